"""Gaussian processes on PyTorch, for BoTorch."""
