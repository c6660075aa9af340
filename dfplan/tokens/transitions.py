"""Windows of successive transitions (action, position, velocity), and their range of values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.errors import DataError
from dfplan.observations import PLANAR
from dfplan.record import Record
from dfplan.tokens.motion import has_velocities, velocities
from dfplan.tokens.sampler import WindowSampler
from dfplan.tokens.statistics import Statistics
from dfplan.types import Trajectories

ACTION, POSITION, VELOCITY = slice(0, 2), slice(2, 4), slice(4, 6)
"""Columns of a transition."""

STATE = slice(2, 6)
"""Position and velocity."""

WIDTH = 6
"""D, the number of columns of a transition."""


@dataclass(frozen=True)
class Limits(Record):
    """Scales each feature from [low, high] to [-1, 1], and back.

    Attributes:
        low: float32 [D].
        high: float32 [D], greater than ``low``.
    """

    low: torch.Tensor
    high: torch.Tensor

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        """Scale values [..., D] in physical units to [-1, 1]."""
        return 2 * (values - self.low) / (self.high - self.low) - 1

    def unnormalize(self, values: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`normalize`."""
        return (values + 1) / 2 * (self.high - self.low) + self.low


def transition_limits(statistics: Statistics) -> Limits:
    """Compute the limits of a transition (action, position, velocity), D = 6, from the data.

    Actions lie in [-1, 1], positions in the bounding box of the visited cells, and velocities
    within the top speed of the fitted motion.
    """
    support, motion = statistics.support, statistics.motion
    visited = support.visited.nonzero().to(support.origin.dtype)
    first = support.origin + support.resolution * visited.amin(0)
    last = support.origin + support.resolution * (visited.amax(0) + 1)
    action = torch.ones(2, dtype=torch.float32)
    speed = (1 - motion.drag) * motion.limit + motion.gain
    velocity = torch.full((2,), speed, dtype=torch.float32)
    return Limits(torch.cat([-action, first, -velocity]), torch.cat([action, last, velocity]))


def require_planar(trajectories: Trajectories, user: str, *, velocities: bool = False) -> None:
    """Raise :class:`DataError` unless the data is that of a point that moves in the plane.

    Args:
        trajectories: the data.
        user: what needs it, for the message.
        velocities: whether velocities must be recorded.
    """
    layout, actions = trajectories.layout, trajectories.actions.shape[1]
    if layout != PLANAR or actions != len(layout.position):
        raise DataError(
            f"{trajectories.source}: {user} needs observations of position, or position and "
            f"velocity, and actions of 2 numbers; got observations of "
            f"{trajectories.observations.shape[1]} and actions of {actions} numbers. Train "
            "Diffusion Forcing on this data instead."
        )
    if velocities and not has_velocities(trajectories):
        raise DataError(
            f"{trajectories.source} holds only positions, but {user} needs velocities; train "
            "with velocities=False."
        )


class TransitionWindows:
    """Draws random windows of successive transitions.

    Args:
        trajectories: the data; a window never crosses the end of a segment.
        horizon: H, number of transitions in a window, one environment step apart.

    Raises:
        DataError: no segment is as long as a window, or the data is not that of a point.
    """

    def __init__(self, trajectories: Trajectories, horizon: int) -> None:
        require_planar(trajectories, "a transition")
        # Velocities that were not recorded are differences to the row before.
        predecessors = int(not has_velocities(trajectories))
        self._starts = WindowSampler(
            trajectories.segments, horizon - 1, predecessors, source=trajectories.source
        )
        self._steps = np.arange(horizon)
        self._trajectories = trajectories
        self._positions = trajectories.layout.positions(trajectories.observations)

    def draw(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        """Draw windows with a uniform start; float32 [B, H, 6] in physical units."""
        start, _ = self._starts.draw(batch, generator)
        rows = start[:, None] + self._steps
        data = self._trajectories
        parts = data.actions[rows], self._positions[rows], velocities(data, rows)
        return torch.from_numpy(np.concatenate(parts, -1).astype(np.float32))
