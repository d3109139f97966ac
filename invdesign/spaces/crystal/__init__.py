"""Crystals from scratch: cell, atoms and composition are searched."""
