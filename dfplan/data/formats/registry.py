"""The table of data formats. To add one, write its module, and add its record here."""

from __future__ import annotations

from dfplan.data.formats.d4rl import D4RL
from dfplan.data.formats.format import Format
from dfplan.data.formats.minari_write import MINARI
from dfplan.data.formats.ogbench import OGBENCH
from dfplan.registry import Registry

FORMATS: Registry[Format] = Registry(
    "data format", {format.name: format for format in (D4RL, OGBENCH, MINARI)}
)
"""Formats by name. The last one that detects a file reads it."""
