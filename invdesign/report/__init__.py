"""Reports of a run: one HTML file, and exports of candidates in the formats of other programs."""
