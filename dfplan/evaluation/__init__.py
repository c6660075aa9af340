"""Judge planners: protocols, episodes, bounds, statistics and published scores. No PyTorch."""
