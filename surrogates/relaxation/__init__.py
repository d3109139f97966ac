"""Relaxation of crystals, and checks of whether they kept their structure."""
