"""What a planner keeps of its data: it travels inside the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.blocks import PositionBlocks, segment_blocks
from dfplan.boundary import isolated
from dfplan.errors import DataError
from dfplan.record import Record
from dfplan.tokens.motion import Motion, fit_motion
from dfplan.tokens.normalizer import Normalizer, fit_normalizer
from dfplan.tokens.support import Support, fit_support
from dfplan.types import Trajectories

_FINE = 8  # parts of a step that positions must tell apart
_PLAIN_REWARD = 1e3  # rewards up to this, and down to its inverse, are learned as they are
_LARGEST_REWARD = float(np.finfo(np.float32).max)
_LARGEST = 1e15  # its square, and the inverse's, is well within what 32 bits hold

_FORMS = {
    "mean": ((2,), torch.float32),
    "std": ((2,), torch.float32),
    "support.origin": ((2,), torch.float32),
    "support.resolution": ((), torch.float64),
    "motion": ((4,), torch.float64),
    "reward_unit": ((), torch.float64),
}
_SCALES = ("std", "support.resolution", "reward_unit")


@dataclass(frozen=True)
class Statistics(Record):
    """Scale of the positions, where they have been, and how the body moves.

    Attributes:
        normalizer: mean and standard deviation of positions.
        support: the places visited.
        motion: the fitted point mass.
        reward_unit: reward that a value is learned in units of; 1 but where rewards are in a very
            small or large unit.
    """

    normalizer: Normalizer
    support: Support
    motion: Motion
    reward_unit: float = 1.0

    @isolated()
    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Flat tensors for a checkpoint; :meth:`from_tensors` is the inverse."""
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
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> Statistics:
        """Rebuild from :meth:`to_tensors`.

        Raises:
            KeyError: an entry is missing; its name.
            ValueError: an entry has another shape or type, or cannot be a scale; its name.
        """
        for name, held in tensors.items():
            form = _FORMS.get(name, (held.shape, held.dtype))
            if (held.shape, held.dtype) != form or (name in _SCALES and not (held > 0).all()):
                raise ValueError(name)
            is_grid = held.dtype == torch.bool and held.ndim == 2 and min(held.shape) > 1
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
def fit_statistics(trajectories: Trajectories) -> Statistics:
    """Statistics of ``trajectories``.

    Raises:
        DataError: no motion can be fitted (:func:`~dfplan.tokens.motion.fit_motion`), or 32-bit
            numbers do not hold the positions.
    """
    positions = PositionBlocks(trajectories.observations, trajectories.segments)
    motion = fit_motion(trajectories)
    farthest = max(float(np.abs(block).max()) for block in positions)
    require_resolved(farthest, motion, trajectories.source)
    return Statistics(
        fit_normalizer(positions),
        fit_support(positions, motion.max_step),
        motion,
        _reward_unit(trajectories),
    )


def _reward_unit(trajectories: Trajectories) -> float:
    """The largest reward where it is very small or large, else 1."""
    rewards = trajectories.rewards
    if rewards is None:
        return 1.0
    sizes = (np.abs(rewards[rows]) for rows in segment_blocks(trajectories.segments))
    largest = max(float(size.max(initial=0, where=size <= _LARGEST_REWARD)) for size in sizes)
    return largest if largest and not 1 / _PLAIN_REWARD <= largest <= _PLAIN_REWARD else 1.0


def require_resolved(farthest: float, motion: Motion, source: str) -> None:
    """Raise :class:`DataError` unless 32-bit numbers hold positions and tell steps apart.

    Args:
        farthest: the largest coordinate, in units of position.
        motion: how far a body moves in a step.
        source: where the data came from.
    """
    step = motion.max_step
    if not (farthest < _LARGEST and 1 / _LARGEST < step < _LARGEST):
        raise DataError(
            f"{source}: positions and steps must be smaller than {_LARGEST:g}, steps longer than "
            f"{1 / _LARGEST:g}, as networks are shown 32-bit numbers; got positions up to "
            f"{farthest:.3g} and steps up to {step:.3g}. Convert them to another unit."
        )
    apart = float(np.spacing(np.float32(farthest)))
    if step < _FINE * apart:
        raise DataError(
            f"{source}: positions go up to {farthest:.6g}, where 32-bit numbers are {apart:.3g} "
            f"apart, and bodies move by {step:.3g} a step at most. Take the offset off the "
            "positions first, such as their mean."
        )
