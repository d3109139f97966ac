"""What a person reads of a run: one HTML file, and candidates in the formats of other programs."""
