"""Seeded fuzzers: mutated inputs are read or refused, never anything else."""
