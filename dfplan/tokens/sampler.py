"""Draws rows of the data that have enough rows of the same segment around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dfplan.errors import DataError

if TYPE_CHECKING:
    import torch


class WindowSampler:
    """The rows that are followed and preceded by enough rows of their own segment.

    A window never crosses the end of a segment. Every row that fits has the same probability.

    Args:
        segments: first and one-past-last row of each segment; int [S, 2].
        successors: rows of the segment that must follow.
        predecessors: rows of the segment that must come before.
        source: name of the data, for error messages.

    Raises:
        DataError: no segment is long enough.
    """

    def __init__(
        self,
        segments: np.ndarray,
        successors: int = 0,
        predecessors: int = 0,
        *,
        source: str = "the data",
    ) -> None:
        first, end = segments.astype(np.int64).reshape(-1, 2).T
        counts = np.maximum(end - first - predecessors - successors, 0)
        if not counts.any():
            needed = 1 + predecessors + successors
            raise DataError(
                f"A window of {needed} rows must fit into one segment of {source}; its longest "
                f"segment has {int((end - first).max(initial=0))} rows. Use longer recordings or "
                "shorter windows."
            )
        self._cumulative = np.cumsum(counts)
        self._last_fit = end - successors  # one past the last row that fits
        self._ends = end

    def __len__(self) -> int:
        """The number of rows that fit."""
        return int(self._cumulative[-1])

    def locate(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows by their index among all rows that can be drawn.

        Args:
            index: int [R], from 0 to ``len(self) - 1``.

        Returns:
            (rows int [R], end of the segment of each row, exclusive, int [R]).
        """
        segment = np.searchsorted(self._cumulative, index, side="right")
        rows = self._last_fit[segment] - (self._cumulative[segment] - index)
        return rows, self._ends[segment]

    def draw(self, count: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw ``count`` rows uniformly, with replacement; returns the same as :meth:`locate`."""
        import torch  # here, because checks of data use this class without PyTorch

        return self.locate(torch.randint(len(self), (count,), generator=generator).numpy())
