"""Collect data in mazes as each suite did."""

from __future__ import annotations

from dfplan.collect.generate import generate

__all__ = ["generate"]
