"""Tests of Bayesian optimization."""
