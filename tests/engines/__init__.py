"""Tests of invdesign.engines."""
