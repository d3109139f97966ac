"""Structures for spaces and surrogates: parents, charges, symmetry, descriptors and readers."""
