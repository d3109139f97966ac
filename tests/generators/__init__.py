"""Tests of generators of crystals."""
