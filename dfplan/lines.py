"""Functions of lines through positions. Does not import PyTorch."""

from __future__ import annotations

import numpy as np

_TOLERANCE = 1e-3
"""A part of a line may be this much too long; float32 numbers are not exact."""


def too_long(points: np.ndarray, longest: float) -> np.ndarray:
    """Which parts of lines [..., P, 2] have an extent of more than ``longest``, bool [..., P - 1].

    The extent is the larger one of those along the two axes.
    """
    extent = np.abs(np.diff(points, axis=-2)).max(-1)
    return np.asarray(extent > (1 + _TOLERANCE) * longest)
