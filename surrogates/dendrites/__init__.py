"""Initiation of dendrites at a flat interface of lithium metal and a solid electrolyte."""
