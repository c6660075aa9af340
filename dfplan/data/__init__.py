"""Recorded motion: read, download, collect, check; statistics and windows of it."""

from __future__ import annotations

from dfplan.data.arrays import from_arrays
from dfplan.data.check import check
from dfplan.data.checksums import checksum
from dfplan.data.download import download
from dfplan.data.generate import generate
from dfplan.data.read import load_data, read, write
from dfplan.data.segments import segmented

__all__ = [
    "check",
    "checksum",
    "download",
    "from_arrays",
    "generate",
    "load_data",
    "read",
    "segmented",
    "write",
]
