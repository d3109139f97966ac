"""Energies of interfaces."""
