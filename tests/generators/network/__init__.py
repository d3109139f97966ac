"""Tests of the networks that make crystals."""
