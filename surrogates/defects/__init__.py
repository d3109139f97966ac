"""Energies of point defects in neutral supercells."""
