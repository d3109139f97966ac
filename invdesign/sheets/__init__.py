"""Batches of candidates on their way to whoever measures them, and results on their way back: files of rows."""
