"""Speed, as ratios against a stated other way, measured in one run: `python -m tools.benchmarks`."""
