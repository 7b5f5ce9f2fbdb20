"""Scores -> weights."""
