"""Iterates over long arrays in blocks, so that no temporary array has their length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dfplan.record import Record

SEGMENT_ROWS = 1 << 20
"""Largest number of rows in a block of segments. It affects the last digits of sums over blocks."""


def blocks(stop: int, size: int, *, start: int = 0) -> Iterator[slice]:
    """Yield slices of at most ``size`` rows that cover ``start`` to ``stop`` - 1 in order."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def segment_blocks(segments: np.ndarray) -> Iterator[slice]:
    """Yield slices that cover all rows of ``segments`` in order.

    Args:
        segments: first and one-past-last row of each; int [S, 2].

    Yields:
        Slices of at most :data:`SEGMENT_ROWS` rows.
    """
    # Segments without a gap between them are one range of rows.
    gaps = np.flatnonzero(segments[1:, 0] != segments[:-1, 1])
    firsts = segments[np.concatenate([[0], gaps + 1]), 0]
    lasts = segments[np.concatenate([gaps, [len(segments) - 1]]), 1]
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        yield from blocks(last, SEGMENT_ROWS, start=first)


@dataclass(frozen=True)
class SegmentRows(Record):
    """Iterates over the rows of an array inside segments, in blocks, as often as needed.

    Attributes:
        values: [N, ...].
        segments: first and one-past-last row of each; int [S, 2].
    """

    values: np.ndarray
    segments: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.values[rows] for rows in segment_blocks(self.segments))
