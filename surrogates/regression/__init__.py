"""Property models trained on tables of materials: features, models, grouped splits, calibrated intervals, domain."""
