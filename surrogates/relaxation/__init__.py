"""Relaxation of crystals, and whether they kept their structure."""
