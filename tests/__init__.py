"""Tests, in the packages' own order."""
