"""Policies: state -> weights."""
