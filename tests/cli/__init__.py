"""Tests of invdesign.cli."""
