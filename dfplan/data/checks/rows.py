"""Rows that checks find while they walk over a recording in blocks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dfplan.data.checks.report import KEPT

ROWS = 1 << 16
"""Rows of a block: few enough for a processor's cache."""


def starts(episodes: np.ndarray, rows: slice) -> np.ndarray:
    """First rows of episodes among ``rows``."""
    return episodes[np.searchsorted(episodes, rows.start) : np.searchsorted(episodes, rows.stop)]


@dataclass(eq=False)
class Rows:
    """Rows that come block by block: how many, and the first of them."""

    count: int = 0
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def take(self, first: int, marked: np.ndarray) -> None:
        """Add the rows of a block from ``first`` on that are ``marked``, bool [k]."""
        self.count += int(np.count_nonzero(marked))
        if len(self.kept) < KEPT:
            self.kept = np.append(self.kept, first + np.flatnonzero(marked))[:KEPT]
