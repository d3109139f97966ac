"""The one reader of tables: encodings, separators, headings, and what cells stand for."""
