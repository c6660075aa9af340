"""Noise schedules, targets, training levels and the forcing loss."""
