"""Affine normalization of positions, with statistics computed once from the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.errors import DataError


@dataclass(frozen=True)
class Normalizer:
    """Maps positions to zero mean and unit variance, an axis at a time, and back.

    Attributes:
        mean: float32 [2].
        std: float32 [2]; 1 for an axis along which the data never moves.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def normalize(self, points: torch.Tensor) -> torch.Tensor:
        """Positions [..., 2] in physical units to normalized ones."""
        return (points - self.mean) / self.std

    def unnormalize(self, points: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`normalize`."""
        return points * self.std + self.mean


def fit_normalizer(positions: np.ndarray) -> Normalizer:
    """Mean and standard deviation of ``positions`` [N, 2].

    Raises:
        DataError: no rows, or values that are not finite.
    """
    if not len(positions) or not np.isfinite(positions).all():
        raise DataError("A normalizer needs at least one row of finite positions.")
    std = positions.std(0, dtype=np.float64)
    std[std < 1e-6] = 1.0
    mean = positions.mean(0, dtype=np.float64)
    return Normalizer(
        torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)
    )
