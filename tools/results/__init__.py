"""Results as data, filled from run cards: `make results`."""
