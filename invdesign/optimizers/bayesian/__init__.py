"""Bayesian optimization on BoTorch and GPyTorch."""
