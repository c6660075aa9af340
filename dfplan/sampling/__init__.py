"""Sampling: scheduling matrices, per-token steps, the loop, guidance."""
