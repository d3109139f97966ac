"""Generators of crystals."""
