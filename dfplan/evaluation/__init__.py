"""Protocols, rollouts, metrics, bounds, published figures and reports."""
