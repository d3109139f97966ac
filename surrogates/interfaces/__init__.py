"""Energies of interfaces between two solids."""
