"""The run store: SQLite on disk, the source of truth of a run."""
