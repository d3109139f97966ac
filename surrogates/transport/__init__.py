"""Transport of ions: widest paths, percolation and barriers in the bond-valence site energy."""
