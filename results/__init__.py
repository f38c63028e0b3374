"""Results as data, filled from run cards: `python -m results`."""
