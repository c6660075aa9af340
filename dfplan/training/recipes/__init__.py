"""Training recipes: one file for each kind of model."""
