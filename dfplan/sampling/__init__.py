"""Sampling: scheduling matrices, steps, the sampling loop, guidance and rollouts."""
