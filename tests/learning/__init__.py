"""Tests of models of properties."""
