"""Rewards for being in time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfplan.errors import require_class
from dfplan.planning.rewards.base import PositionReward
from dfplan.planning.time_to_goal import GoalTimes
from dfplan.record import Record
from dfplan.tokens.roadmap import BIN_CELLS


@dataclass(frozen=True)
class TimeToGoal(Record, PositionReward):
    """Minus half the summed squared delays of a plan, as lengths.

    A point is late by ``expected steps to the goal - steps left in the plan``, if that is positive.
    The delay is multiplied by the length of a step at top speed, so that this is a squared length,
    as the other rewards are.

    Attributes:
        times: the expected time to the goal, of :func:`~dfplan.planning.time_to_goal.goal_times`.
    """

    times: GoalTimes

    def __post_init__(self) -> None:
        require_class(GoalTimes, times=self.times)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        moves = (points.diff(dim=1) != 0).any(-1)
        index = torch.arange(1, points.shape[1]) * moves
        end = steps[index.amax(1)]
        late = self.times.expected_steps(points) - (end[:, None] - steps).clamp_min(0.0)
        step_length = self.times.roadmap.size / BIN_CELLS
        return -0.5 * (late.clamp_min(0.0) * step_length).square().sum(-1)
