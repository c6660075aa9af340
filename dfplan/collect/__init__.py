"""Collects data in mazes in the same way as the authors of each suite."""

from __future__ import annotations

from dfplan.collect.generate import generate

__all__ = ["generate"]
