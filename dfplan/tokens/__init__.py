"""Tokens: windows of the data, normalization, and statistics of the data."""
