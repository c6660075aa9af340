"""Checks of data before a model is trained on it."""
