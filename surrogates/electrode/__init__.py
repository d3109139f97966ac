"""Insertion electrodes: voltage, capacity and volume change, and the window of an intact electrolyte."""
