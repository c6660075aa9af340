"""Recorded motion: read, download, collect; statistics and windows of it."""

from __future__ import annotations

from dfplan.data.arrays import from_arrays
from dfplan.data.download import download
from dfplan.data.generate import generate
from dfplan.data.read import read, write

__all__ = ["download", "from_arrays", "generate", "read", "write"]
