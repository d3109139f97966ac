"""Tests of invdesign.campaign."""
