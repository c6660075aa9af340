"""What a planner keeps of its data: it travels inside the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfplan.data.motion import Motion, fit_motion
from dfplan.data.normalizer import Normalizer, fit_normalizer
from dfplan.data.segments import Positions
from dfplan.data.support import Support, fit_support
from dfplan.types import Trajectories


@dataclass(frozen=True)
class Statistics:
    """Scale of the positions, where they have been, and how the body moves.

    Attributes:
        normalizer: mean and standard deviation of positions.
        support: the places visited.
        motion: the fitted point mass.
    """

    normalizer: Normalizer
    support: Support
    motion: Motion

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Flat tensors for a checkpoint; :meth:`from_tensors` is the inverse."""
        motion = self.motion
        return {
            "mean": self.normalizer.mean,
            "std": self.normalizer.std,
            "support.origin": self.support.origin,
            "support.resolution": torch.tensor(self.support.resolution, dtype=torch.float64),
            "support.visited": self.support.visited,
            "motion": torch.tensor(
                [motion.dt, motion.drag, motion.gain, motion.limit], dtype=torch.float64
            ),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> Statistics:
        """Rebuild from :meth:`to_tensors`; a missing entry raises KeyError with its name."""
        return cls(
            Normalizer(tensors["mean"], tensors["std"]),
            Support(
                tensors["support.origin"],
                float(tensors["support.resolution"]),
                tensors["support.visited"],
            ),
            Motion(*tensors["motion"].tolist()),
        )


def fit_statistics(trajectories: Trajectories) -> Statistics:
    """Statistics of ``trajectories``."""
    positions = Positions(trajectories)
    motion = fit_motion(trajectories)
    return Statistics(fit_normalizer(positions), fit_support(positions, motion.max_step), motion)
