"""Recorded walks along lines, and their statistics."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dfplan.data import from_arrays, segmented
from dfplan.tokens.statistics import Statistics, fit_statistics

STEP = 0.1
"""The longest step along an axis."""


def walk(*corners: tuple[float, float]) -> np.ndarray:
    """Positions along a line, one step at top speed apart."""
    parts = [
        np.linspace(begin, end, round(np.abs(np.subtract(end, begin)).max() / STEP), endpoint=False)
        for begin, end in pairwise(corners)
    ]
    return np.concatenate([*parts, [corners[-1]]])


def statistics_of(*walks: np.ndarray) -> Statistics:
    ends = np.concatenate([np.arange(len(each)) == len(each) - 1 for each in walks])
    return fit_statistics(segmented(from_arrays(np.concatenate(walks), ends=ends)))
