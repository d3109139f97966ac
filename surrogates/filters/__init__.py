"""Cheap filters: charge balance and distances of atoms."""
