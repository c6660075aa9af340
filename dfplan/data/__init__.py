"""Recorded motion: read, download, collect; statistics and windows of it."""

from __future__ import annotations

from dfplan.data.d4rl import download, from_arrays, load_d4rl
from dfplan.data.generate import generate

__all__ = ["download", "from_arrays", "generate", "load_d4rl"]
