"""Collects rows while a check iterates over a recording in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.checks.report import MAX_ROWS

ROWS = 1 << 16
"""Rows of a block: few enough for a processor's cache."""


def check_blocks(count: int) -> Iterator[slice]:
    """Yield slices of :data:`ROWS` rows that cover ``count`` rows in order."""
    return blocks(count, ROWS)


def starts_in(episodes: np.ndarray, rows: slice) -> np.ndarray:
    """The first rows of episodes that are in ``rows``."""
    return episodes[np.searchsorted(episodes, rows.start) : np.searchsorted(episodes, rows.stop)]


def row_maximum(rows: np.ndarray) -> np.ndarray:
    """The maximum of each row, or whether one of its flags is True; [k] from [k, D]."""
    # A reduction along a short last axis is several times slower.
    return reduce(np.maximum, rows.T)


@dataclass(eq=False)
class RowCollector:
    """Collects rows block by block.

    Attributes:
        count: number of rows.
        first: the first of them, at most :data:`~dfplan.data.checks.report.MAX_ROWS`; int64 [k].
    """

    count: int = 0
    first: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, start: int, mask: np.ndarray) -> None:
        """Add the rows of a block where ``mask``, bool [k], is True; its first row is ``start``."""
        self.count += int(np.count_nonzero(mask))
        if len(self.first) < MAX_ROWS:
            self.first = np.append(self.first, start + np.flatnonzero(mask))[:MAX_ROWS]
