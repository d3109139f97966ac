"""variation."""
