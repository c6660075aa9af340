"""Statistics of the training data, which are stored in the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dfplan.blocks import SegmentRows, segment_blocks
from dfplan.boundary import isolated
from dfplan.record import Record
from dfplan.tokens.layout import POSITION, Feature
from dfplan.tokens.motion import Motion, fit_motion, require_resolved
from dfplan.tokens.normalizer import Normalizer, fit_normalizer
from dfplan.tokens.support import Support, fit_support
from dfplan.types import Trajectories

_MAX_REWARD_SCALE = 1e3  # rewards between this and its inverse need no other unit
_LARGEST_REWARD = float(np.finfo(np.float32).max)

_SHAPES = {
    "support.origin": ((2,), torch.float32),
    "support.resolution": ((), torch.float64),
    "motion": ((4,), torch.float64),
    "reward_unit": ((), torch.float64),
}
_POSITIVE = ("std", "support.resolution", "reward_unit")


@dataclass(frozen=True)
class Statistics(Record):
    """The scale of the columns of frames, the visited region, and the motion of the body.

    Attributes:
        normalizer: mean and standard deviation of each column, the position first.
        support: the visited region.
        motion: the fitted point mass.
        reward_unit: unit of the rewards for value learning. It is 1, except for very small or very
            large rewards.
    """

    normalizer: Normalizer
    support: Support
    motion: Motion
    reward_unit: float = 1.0

    @isolated()
    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Convert to named tensors for a checkpoint; :meth:`from_tensors` is the inverse."""
        motion = self.motion
        tensors = {
            "mean": self.normalizer.mean,
            "std": self.normalizer.std,
            "support.origin": self.support.origin,
            "support.resolution": torch.tensor(self.support.resolution, dtype=torch.float64),
            "support.visited": self.support.visited,
            "motion": torch.tensor(
                [motion.dt, motion.drag, motion.gain, motion.limit], dtype=torch.float64
            ),
        }
        if self.reward_unit != 1:
            tensors["reward_unit"] = torch.tensor(self.reward_unit, dtype=torch.float64)
        return tensors

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, torch.Tensor], width: int = len(POSITION.columns)
    ) -> Statistics:
        """Inverse of :meth:`to_tensors`.

        Args:
            tensors: by name.
            width: W, the number of columns that are normalized; by default the position's.

        Raises:
            KeyError: a tensor is missing; the argument is its name.
            ValueError: a tensor has the wrong shape, type or sign; the argument is its name.
        """
        frame = (width,), torch.float32
        shapes = {**_SHAPES, "mean": frame, "std": frame}
        for name, tensor in tensors.items():
            actual = tensor.shape, tensor.dtype
            if actual != shapes.get(name, actual) or (name in _POSITIVE and not (tensor > 0).all()):
                raise ValueError(name)
            is_grid = tensor.dtype == torch.bool and tensor.ndim == 2 and min(tensor.shape) > 1
            if name == "support.visited" and not is_grid:
                raise ValueError(name)
        return cls(
            Normalizer(tensors["mean"], tensors["std"]),
            Support(
                tensors["support.origin"],
                float(tensors["support.resolution"]),
                tensors["support.visited"],
            ),
            Motion(*tensors["motion"].tolist()),
            float(tensors.get("reward_unit", 1.0)),
        )


@isolated()
def fit_statistics(
    trajectories: Trajectories, features: Sequence[Feature] = (POSITION,)
) -> Statistics:
    """Compute the statistics of ``trajectories``.

    Args:
        trajectories: the data.
        features: what a frame holds; the normalizer is of these columns.

    Raises:
        DataError: no motion can be fitted (:func:`~dfplan.tokens.motion.fit_motion`), float32
            cannot represent the positions, or the data lacks a feature.
    """
    observations, segments = trajectories.observations, trajectories.segments
    positions = SegmentRows(trajectories.layout.positions(observations), segments)
    motion = fit_motion(trajectories)
    farthest = max(float(np.abs(block).max()) for block in positions)
    require_resolved(farthest, motion, trajectories.source)
    return Statistics(
        _fit_normalizer(trajectories, features),
        fit_support(positions, motion.max_step),
        motion,
        _reward_unit(trajectories),
    )


def _fit_normalizer(trajectories: Trajectories, features: Sequence[Feature]) -> Normalizer:
    """The normalizer of all columns of a frame."""
    parts = []
    for feature in features:
        if feature.normalize == "none":
            width = len(feature.columns)
            zeros = torch.zeros(width, dtype=torch.float32)
            parts.append(Normalizer(zeros, zeros + 1))
        else:
            values = feature.of(trajectories)
            parts.append(fit_normalizer(SegmentRows(values, trajectories.segments)))
    means, deviations = zip(*((part.mean, part.std) for part in parts), strict=True)
    return Normalizer(torch.cat(means), torch.cat(deviations))


def _reward_unit(trajectories: Trajectories) -> float:
    """The largest absolute reward if it is very small or very large, else 1."""
    rewards = trajectories.rewards
    if rewards is None:
        return 1.0
    sizes = (np.abs(rewards[rows]) for rows in segment_blocks(trajectories.segments))
    largest = max(float(size.max(initial=0, where=size <= _LARGEST_REWARD)) for size in sizes)
    usual = 1 / _MAX_REWARD_SCALE <= largest <= _MAX_REWARD_SCALE
    return 1.0 if usual or not largest else largest
