"""What spaces and surrogates share about structures."""
