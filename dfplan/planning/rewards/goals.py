"""Rewards for reaching a position."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfplan.errors import require_numbers
from dfplan.planning.rewards.base import PositionReward, keep_positions
from dfplan.planning.rewards.geometry import length, squared_distance
from dfplan.record import Record


@dataclass(frozen=True)
class Reach(Record, PositionReward):
    """Minus half the squared distance from the plan's last point to ``target`` [2]."""

    target: torch.Tensor

    def __post_init__(self) -> None:
        keep_positions(self, "target")

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -0.5 * squared_distance(points[:, -1], self.target)


@dataclass(frozen=True)
class Fast(Record, PositionReward):
    """Minus the number of steps that the plan is not within ``radius`` of ``target``.

    A step counts by the distance ``d`` of its end to the disc: ``d / (d + radius)``, which is 0
    inside the disc and close to 1 far away. It is flat nowhere outside, so it guides plans from
    any distance.

    Attributes:
        target: position, [2].
        radius: in units of position; by default that of D4RL's goals.
    """

    target: torch.Tensor
    radius: float = 0.5

    def __post_init__(self) -> None:
        keep_positions(self, "target")
        require_numbers(vars(self), "radius", above=0)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        distance = length(squared_distance(points[:, 1:], self.target))
        beyond = (distance - self.radius).clamp_min(0.0)
        return -(beyond / (beyond + self.radius) * steps.diff()).sum(-1)
