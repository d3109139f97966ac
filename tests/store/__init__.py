"""Tests of invdesign.store."""
