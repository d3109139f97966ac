"""Tests of trained models of properties."""
