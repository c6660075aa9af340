"""Learned policies: networks that act on what they see, without a plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from dfplan.boundary import isolated
from dfplan.errors import ObservationError, read_seed
from dfplan.planning.query import (
    SEEDS,
    Observation,
    Vicinity,
    named_first,
    read_goal,
    read_observation,
    read_problem,
    unpacked,
)
from dfplan.record import Record
from dfplan.tokens.statistics import Statistics

_SAME_GOAL = 0.02  # steps at top speed between two goals that count as one


@dataclass(frozen=True)
class LearnedPolicy(Record):
    """Acts as a trained network says, at every step anew; for one environment or a batch.

    Nothing is drawn and nothing is remembered between steps.

    Attributes:
        network: from :func:`policy_inputs` [B, F] to actions [B, 2] in [-1, 1].
        statistics: what is kept of the data.
        velocities: whether it is told the velocity.
        goal: position [2] of the only goal that it was trained for; None where it is told the goal.
        vicinity: how far off the data bodies and goals may lie. A policy is asked at every step
            and goes on where it has gone astray, so by default bodies may lie anywhere.
        maze: the maze as text, as a planner has it; not looked at.
    """

    network: Callable[[torch.Tensor], torch.Tensor]
    statistics: Statistics
    velocities: bool
    goal: tuple[float, float] | None = None
    vicinity: Vicinity = field(default_factory=lambda: Vicinity(start=math.inf))
    maze: str | None = None

    def reset(self, seed: int | None = None) -> None:
        """Begin new episodes, as of a :class:`~dfplan.planning.policy.Policy`; changes nothing."""
        read_seed(seed, SEEDS)

    @isolated()
    def act(self, observation: Observation, goal: np.ndarray | None = None) -> np.ndarray:
        """The action for each environment, one step on.

        Args:
            observation: see :data:`~dfplan.planning.query.Observation`; positions in the frame of
                the data.
            goal: position [2] or [B, 2]; by default the observation's ``desired_goal``. A policy
                for one goal needs none.

        Returns:
            Action in [-1, 1], float32 [2] or [B, 2] like the observation.

        Raises:
            ObservationError: wrong shapes, values that are not finite, a body or goal off the data,
                no velocity where one is needed, no goal, or another than the policy's only one.
        """
        observation, goal = unpacked(observation, goal)
        if goal is None and self.goal is not None:
            goal = np.array(self.goal)
        if goal is None:
            raise ObservationError(
                "This policy needs a goal: pass act(observation, goal=...) or a dict observation "
                "with desired_goal."
            )
        states = read_observation(observation)
        goals = read_goal(goal, len(states))
        read_problem(states, goals).require_known(self.statistics, self.vicinity)
        near = _SAME_GOAL * self.statistics.motion.max_step
        if self.goal is not None and np.abs(goals - self.goal).max() > near:
            away = np.abs(goals - self.goal).max(1)
            row = int(away.argmax())
            raise ObservationError(
                f"This policy was trained for the goal {list(self.goal)} alone; that of row {row} "
                f"is {goals[row].tolist()}. For others train a policy that is told its goal, such "
                "as bc-umaze.",
                rows=named_first(away > near, row),
            )
        if self.velocities and states.shape[1] != 4:
            raise ObservationError(
                "This policy was trained on positions and velocities, [4] or [B, 4]; got "
                f"{states.shape[1]} numbers."
            )
        told = None if self.goal is not None else torch.from_numpy(goals)
        inputs = policy_inputs(torch.from_numpy(states), told, self.statistics, self.velocities)
        action: np.ndarray = self.network(inputs).numpy()
        return action if np.ndim(observation) == 2 else action.reshape(2)


def policy_inputs(
    states: torch.Tensor,
    goals: torch.Tensor | None,
    statistics: Statistics,
    velocities: bool,
) -> torch.Tensor:
    """What a policy's network is shown, float32 [B, F]: position, velocity and goal, scaled.

    Args:
        states: position and velocity [B, 4], or without ``velocities`` at least the position.
        goals: positions [B, 2], or None for a policy that is not told its goal.
        statistics: scale positions and goals to unit variance, velocities by the body's limit.
        velocities: whether to show them.
    """
    parts = [statistics.normalizer.normalize(states[:, :2])]
    if velocities:
        parts.append(states[:, 2:] / statistics.motion.limit)
    if goals is not None:
        parts.append(statistics.normalizer.normalize(goals))
    return torch.cat(parts, -1)
