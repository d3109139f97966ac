"""Batches of candidates handed out for measurement, and results coming back: files of rows."""
