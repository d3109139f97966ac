"""Regression and classification models that are stored as plain arrays: linear, kernel, trees."""
