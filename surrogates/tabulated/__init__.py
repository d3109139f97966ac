"""Values that are known: tables, experiments and test functions."""
