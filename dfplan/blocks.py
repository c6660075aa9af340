"""Walk long arrays in blocks, so that no second array of their length is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dfplan.record import Record

SEGMENT_ROWS = 1 << 20
"""Rows of a block of segments. Sums over blocks depend on it in their last digits."""


def blocks(stop: int, size: int, *, start: int = 0) -> Iterator[slice]:
    """Slices of at most ``size`` rows that cover the rows ``start`` to ``stop`` in order."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def segment_blocks(segments: np.ndarray) -> Iterator[slice]:
    """Slices that cover the rows inside ``segments`` [S, 2] in order.

    Each has at most :data:`SEGMENT_ROWS` rows.
    """
    # Segments that follow one another without a gap are walked as one.
    gaps = np.flatnonzero(segments[1:, 0] != segments[:-1, 1])
    firsts = segments[np.concatenate([[0], gaps + 1]), 0]
    lasts = segments[np.concatenate([gaps, [len(segments) - 1]]), 1]
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        yield from blocks(last, SEGMENT_ROWS, start=first)


@dataclass(frozen=True)
class PositionBlocks(Record):
    """The positions inside segments, in blocks [R, 2]. It can be iterated more than once."""

    observations: np.ndarray
    segments: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.observations[rows, :2] for rows in segment_blocks(self.segments))
