"""Recommendation at the end of a run, and the trust its models deserve."""
