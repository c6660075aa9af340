"""Random rows of trajectories, and where their segments end."""

from __future__ import annotations

import numpy as np
import torch

from dfplan.errors import DataError
from dfplan.types import Trajectories


class Rows:
    """Draws rows evenly among those that have enough successors in their segment.

    Args:
        trajectories: the data.
        successors: rows of the same segment that must follow a drawn one.

    Raises:
        DataError: there is no such row.
    """

    def __init__(self, trajectories: Trajectories, successors: int = 0) -> None:
        first, last = trajectories.segments.T
        counts = np.maximum(last - first - successors, 0)
        if not counts.any():
            raise DataError(
                f"Each row drawn of {trajectories.source} must have {successors} successors in "
                f"its segment, and the longest segment has {int((last - first).max())} rows. Use "
                "longer recordings."
            )
        self._until = np.cumsum(counts)
        self._after_last = last - successors
        self._ends = last

    def draw(self, size: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(rows int [size], one past the last row of their segments int [size])."""
        flat = torch.randint(int(self._until[-1]), (size,), generator=generator).numpy()
        segment = np.searchsorted(self._until, flat, side="right")
        rows = self._after_last[segment] - (self._until[segment] - flat)
        return rows, self._ends[segment]
