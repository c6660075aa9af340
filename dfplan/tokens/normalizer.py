"""Normalization of positions to zero mean and unit variance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from dfplan.boundary import as_tensor
from dfplan.errors import DataError
from dfplan.record import Record

_MIN_RATIO = 1e-6  # of the standard deviations along the two axes


@dataclass(frozen=True)
class Normalizer(Record):
    """Scales positions to zero mean and unit variance along each axis, and back.

    Attributes:
        mean: float32 [2].
        std: standard deviation, float32 [2]; 1 for an axis along which the data does not move.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def normalize(self, points: torch.Tensor) -> torch.Tensor:
        """Normalize positions [..., 2], which are in physical units."""
        return (as_tensor(points) - self.mean) / self.std

    def unnormalize(self, points: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`normalize`."""
        return as_tensor(points) * self.std + self.mean


def fit_normalizer(positions: Iterable[np.ndarray]) -> Normalizer:
    """Compute mean and standard deviation of positions.

    Args:
        positions: blocks of positions [N, 2]; they are iterated more than once.

    Raises:
        DataError: there are no rows, or a value is not finite.
    """
    count = sum(len(block) for block in positions)
    if not count or not all(np.isfinite(block).all() for block in positions):
        raise DataError("A normalizer needs at least one row of finite positions.")
    mean = sum(block.sum(0, dtype=np.float64) for block in positions) / count
    variance = sum(np.square(block - mean).sum(0) for block in positions) / count
    std = np.sqrt(variance)
    # A deviation that is no larger than rounding errors of float32 is not motion.
    rounding = np.abs(np.spacing(mean.astype(np.float32))).astype(np.float64)
    std[(std < _MIN_RATIO * std.max()) | (std <= 2 * rounding)] = 1.0
    return Normalizer(
        torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)
    )
