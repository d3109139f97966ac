"""Evaluators that run outside programs, each candidate in a folder of its own."""
