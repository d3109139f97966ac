"""Seeded fuzzers of what users and strangers bring."""
