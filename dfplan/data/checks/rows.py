"""What checks need to iterate over a recording in blocks."""

from __future__ import annotations

from functools import reduce

import numpy as np

ROWS = 1 << 16
"""Rows of a block: few enough for a processor's cache."""


def starts_in(episodes: np.ndarray, rows: slice) -> np.ndarray:
    """The first rows of episodes that are in ``rows``."""
    return episodes[np.searchsorted(episodes, rows.start) : np.searchsorted(episodes, rows.stop)]


def row_maximum(rows: np.ndarray) -> np.ndarray:
    """The maximum of each row, or whether one of its flags is True; [k] from [k, D]."""
    # A reduction along a short last axis is several times slower.
    return reduce(np.maximum, rows.T)
