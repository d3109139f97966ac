"""Tests of what spaces and surrogates share about structures."""
