"""Readers for structures from outside: CIF, POSCAR, JSON, extended XYZ, ASE's formats and databases."""
