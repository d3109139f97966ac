"""The loop that asks, evaluates, commits and tells, and what can be read of a run at any time."""
