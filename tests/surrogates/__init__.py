"""Tests of the surrogates."""
