"""Tests of the space of crystals."""
