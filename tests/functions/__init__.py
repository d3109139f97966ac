"""Fitness functions: users' own Python as evaluators."""
