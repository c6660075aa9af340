"""What a token holds: features, windows, normalization, and statistics of the data."""
