"""Tests of invdesign.run."""
