"""Rows of trajectories that lie far enough inside their segment."""

from __future__ import annotations

import numpy as np
import torch

from dfplan.errors import DataError
from dfplan.types import Trajectories


class WindowSampler:
    """Draws rows that have enough rows of the same segment before and after them.

    Every such row has the same probability.

    Args:
        trajectories: the data.
        successors: rows of the segment that must follow a drawn row.
        predecessors: rows of the segment that must come before it.

    Raises:
        DataError: there is no such row.
    """

    def __init__(
        self, trajectories: Trajectories, successors: int = 0, predecessors: int = 0
    ) -> None:
        first, last = trajectories.segments.T
        counts = np.maximum(last - first - predecessors - successors, 0)
        if not counts.any():
            needed = 1 + predecessors + successors
            raise DataError(
                f"A window of {needed} rows must fit into one segment of {trajectories.source}; "
                f"its longest segment has {int((last - first).max(initial=0))} rows. Use longer "
                "recordings or shorter windows."
            )
        self._until = np.cumsum(counts)
        self._after_last = last - successors
        self._ends = last

    def __len__(self) -> int:
        return int(self._until[-1])

    def locate(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows with these numbers among all that can be drawn.

        Args:
            index: int [R], from 0 to ``len(self) - 1``.

        Returns:
            (rows int [R], one past the last row of the segment of each int [R]).
        """
        segment = np.searchsorted(self._until, index, side="right")
        return self._after_last[segment] - (self._until[segment] - index), self._ends[segment]

    def draw(self, size: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`locate`, for ``size`` random numbers."""
        return self.locate(torch.randint(len(self), (size,), generator=generator).numpy())
