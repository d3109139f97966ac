"""Reader of tables: encodings, separators, headings, and the meaning of cells."""
