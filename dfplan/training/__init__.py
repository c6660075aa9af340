"""Training: recipes, the loop that trains any of them, checkpoints."""
