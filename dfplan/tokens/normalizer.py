"""Normalization of the columns of frames to zero mean and unit variance."""

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
    """Scales each column to zero mean and unit variance, and back.

    Attributes:
        mean: mean of each column of a frame, the position first; float32 [W].
        std: standard deviation, float32 [W]; 1 for a column that does not vary, or is not scaled.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def first(self, columns: int) -> Normalizer:
        """The normalizer of the first columns; two of them are the position."""
        return Normalizer(self.mean[:columns], self.std[:columns])

    @property
    def position_scale(self) -> float:
        """The smaller of the two standard deviations of the position."""
        return float(self.std[:2].min())

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        """Normalize values [..., W], which are in physical units."""
        return (as_tensor(values) - self.mean) / self.std

    def unnormalize(self, values: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`normalize`."""
        return as_tensor(values) * self.std + self.mean


def fit_normalizer(values: Iterable[np.ndarray]) -> Normalizer:
    """Compute mean and standard deviation of each column.

    Args:
        values: blocks of rows [N, W]; they are iterated more than once.

    Raises:
        DataError: there are no rows, or a value is not finite.
    """
    count = sum(len(block) for block in values)
    if not count or not all(np.isfinite(block).all() for block in values):
        raise DataError("A normalizer needs at least one row of finite numbers.")
    mean = sum(block.sum(0, dtype=np.float64) for block in values) / count
    variance = sum(np.square(block - mean).sum(0) for block in values) / count
    std = np.sqrt(variance)
    # A deviation that is no larger than rounding errors of float32 is not motion.
    rounding = np.abs(np.spacing(mean.astype(np.float32))).astype(np.float64)
    std[(std < _MIN_RATIO * std.max()) | (std <= 2 * rounding)] = 1.0
    return Normalizer(
        torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)
    )
