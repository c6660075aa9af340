"""Recorded motion: read, download, check, convert and cut into segments."""

from __future__ import annotations

from dfplan.data.checks.check import check
from dfplan.data.checksums import checksum
from dfplan.data.download import download
from dfplan.data.formats.arrays import from_arrays
from dfplan.data.read import load_data, read, write
from dfplan.data.segments import segmented

__all__ = [
    "check",
    "checksum",
    "download",
    "from_arrays",
    "load_data",
    "read",
    "segmented",
    "write",
]
