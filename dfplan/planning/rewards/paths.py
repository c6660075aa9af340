"""Rewards for the path of a plan: its shape and the positions that it passes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfplan.errors import require_numbers
from dfplan.planning.rewards.base import PositionReward, keep_positions
from dfplan.planning.rewards.geometry import (
    points_on_lines,
    squared_distance,
)
from dfplan.record import Record


@dataclass(frozen=True)
class PassThrough(Record, PositionReward):
    """Minus half the summed squared distances to ``places``, which are passed in order.

    Each place is assigned to a point of the plan that is not before the point of the previous
    place. The assignment with the smallest sum counts.

    Attributes:
        places: positions in the order in which to pass them; [V, 2].
        points_per_line: points on each line of the plan that can be assigned.
    """

    places: torch.Tensor
    points_per_line: int = 2

    def __post_init__(self) -> None:
        keep_positions(self, "places", 1)
        require_numbers(vars(self), "points_per_line", integer=True, minimum=1)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        line = torch.cat([points[:, :1], points_on_lines(points, self.points_per_line)], 1)
        best = line.new_zeros(line.shape[:-1])
        for place in self.places:
            # The smallest sum if this place is assigned to this point or an earlier one.
            best = (best + squared_distance(line, place)).cummin(-1).values
        return -0.5 * best[:, -1]


@dataclass(frozen=True)
class Short(PositionReward):
    """Minus half the summed squared distances between successive points.

    Its gradient moves each point toward the middle of its neighbors, like an elastic band.
    """

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -0.5 * points.diff(dim=1).square().sum((-1, -2))
