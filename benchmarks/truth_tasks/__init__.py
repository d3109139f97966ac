"""Tasks of `benchmarks/truth.py`, a module each; `measure()` gives its rows, ready to be written."""
