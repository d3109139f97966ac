"""Tests of the spaces."""
