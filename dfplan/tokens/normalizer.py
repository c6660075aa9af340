"""Affine normalization of positions, with statistics computed once from the data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from dfplan.boundary import as_tensor
from dfplan.errors import DataError
from dfplan.record import Record

_STILL = 1e-6  # deviation along an axis, in that along the other one


@dataclass(frozen=True)
class Normalizer(Record):
    """Maps positions to zero mean and unit variance, an axis at a time, and back.

    Attributes:
        mean: float32 [2].
        std: float32 [2]; 1 for an axis along which the data never moves, or as good as never.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def normalize(self, points: torch.Tensor) -> torch.Tensor:
        """Positions [..., 2] in physical units to normalized ones."""
        return (as_tensor(points) - self.mean) / self.std

    def unnormalize(self, points: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`normalize`."""
        return as_tensor(points) * self.std + self.mean


def fit_normalizer(positions: Iterable[np.ndarray]) -> Normalizer:
    """Mean and standard deviation of positions, given in blocks [N, 2], twice over.

    Raises:
        DataError: no rows, or values that are not finite.
    """
    count = sum(len(block) for block in positions)
    if not count or not all(np.isfinite(block).all() for block in positions):
        raise DataError("A normalizer needs at least one row of finite positions.")
    mean = sum(block.sum(0, dtype=np.float64) for block in positions) / count
    variance = sum(np.square(block - mean).sum(0) for block in positions) / count
    std = np.sqrt(variance)
    # No more than rounding, too, is none.
    rounding = np.abs(np.spacing(mean.astype(np.float32))).astype(np.float64)
    std[(std < _STILL * std.max()) | (std <= 2 * rounding)] = 1.0
    return Normalizer(
        torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)
    )
