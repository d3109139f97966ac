"""Tests of trained property models and their features."""
