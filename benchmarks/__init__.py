"""Both sides in one run, ratios out: `python -m benchmarks.NAME`."""
