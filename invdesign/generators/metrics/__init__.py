"""Metrics of generated crystals: validity, novelty, frameworks, coverage, distributions, matches of formulas."""
