"""Models of properties from vectors: fits, predictions, calibration, importance."""
