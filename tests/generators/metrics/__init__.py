"""Tests of the metrics of generators."""
