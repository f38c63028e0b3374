"""Runs side by side, and their cards as data."""
