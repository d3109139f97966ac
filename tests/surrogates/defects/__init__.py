"""Energies of point defects."""
