"""Forecasters, encoders and the glass box."""
