"""Sweeps: one experiment with named lists of overrides and seeds, as a table: `python cli.py sweep FILE`."""
