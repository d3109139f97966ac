"""Generators of crystals, and the measures they are judged by."""
