"""Learned policies: networks that map states to actions, without a plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dfplan.boundary import isolated
from dfplan.errors import (
    ObservationError,
    read_seed,
    require_class,
    require_flags,
    require_function,
    require_numbers,
)
from dfplan.observations import PLANAR
from dfplan.planning.query import (
    MAX_GOAL_DISTANCE,
    SEED_LIMIT,
    Observation,
    read_goal,
    read_observation,
    read_query,
    split_observation,
)
from dfplan.planning.row_errors import first_then_others, in_row
from dfplan.record import Record
from dfplan.tokens.statistics import Statistics

_SAME_GOAL = 0.02
"""Two goals closer than this are the same, in lengths of one step at top speed."""


@dataclass(frozen=True)
class LearnedPolicy(Record):
    """Acts with a trained network, for one environment or a batch.

    It is deterministic and has no memory between steps.

    Attributes:
        network: function from :func:`policy_inputs` [B, F] to actions [B, 2] in [-1, 1].
        statistics: statistics of the data.
        velocities: whether the network sees the velocity.
        goal: position [2] of the only goal that it was trained for; None if the network sees the
            goal.
        max_start_distance: largest distance of a body from the data, in lengths of one step at top
            speed. The policy acts at every step, also after it has left the data, so by default
            there is no limit.
        max_goal_distance: largest distance of a goal from the data, in the same unit.
        maze: the maze as text, as planners have it. Not used.
    """

    network: Callable[[torch.Tensor], torch.Tensor]
    statistics: Statistics
    velocities: bool
    goal: tuple[float, float] | None = None
    max_start_distance: float = math.inf
    max_goal_distance: float = MAX_GOAL_DISTANCE
    maze: str | None = None

    def __post_init__(self) -> None:
        require_function("network", self.network, "inputs")
        require_class(Statistics, statistics=self.statistics)
        require_flags(vars(self), "velocities")
        distances = ("max_start_distance", "max_goal_distance")
        require_numbers(vars(self), *distances, minimum=0, maximum=math.inf)
        if self.goal is not None:
            read_goal(np.array(self.goal), 1)

    def reset(self, seed: int | None = None) -> None:
        """Check the seed as :meth:`dfplan.planning.policy.Policy.reset`; there is no other effect.

        Raises:
            ConfigError: the seed is not a whole number from 0 to below 2**63.
        """
        read_seed(seed, SEED_LIMIT)

    @isolated()
    def act(self, observation: Observation, goal: np.ndarray | None = None) -> np.ndarray:
        """The action for each environment.

        Args:
            observation: see :data:`~dfplan.planning.query.Observation`; in the data's coordinates.
            goal: position [2] or [B, 2]; by default the observation's ``desired_goal``. A policy
                for a single goal needs none.

        Returns:
            Action in [-1, 1], float32 [2] or [B, 2] like the observation.

        Raises:
            ObservationError: wrong shapes, values that are not finite, a body or goal too far from
                the data, a missing velocity, no goal, or a goal other than the policy's only one.
        """
        observation, goal = split_observation(observation, goal)
        if goal is None and self.goal is not None:
            goal = np.array(self.goal)
        if goal is None:
            raise ObservationError(
                "This policy needs a goal: pass act(observation, goal=...) or a dict observation "
                "with desired_goal."
            )
        states = read_observation(observation)
        goals = read_goal(goal, len(states))
        read_query(states, goals).require_near_data(
            self.statistics, self.max_start_distance, self.max_goal_distance
        )
        self._require_same_goal(goals)
        if self.velocities and PLANAR.velocities(states) is None:
            raise ObservationError(
                "This policy needs positions and velocities, [4] or [B, 4]; got "
                f"{states.shape[1]} numbers."
            )
        shown = None if self.goal is not None else torch.from_numpy(goals)
        inputs = policy_inputs(torch.from_numpy(states), shown, self.statistics, self.velocities)
        action: np.ndarray = self.network(inputs).numpy()
        return action if np.ndim(observation) == 2 else action.reshape(2)

    def _require_same_goal(self, goals: np.ndarray) -> None:
        """Raise :class:`ObservationError` if ``goals`` [B, 2] differ from the only one."""
        limit = _SAME_GOAL * self.statistics.motion.max_step
        if self.goal is not None and np.abs(goals - self.goal).max() > limit:
            away = np.abs(goals - self.goal).max(1)
            row = int(away.argmax())
            raise ObservationError(
                f"This policy was trained only for the goal {list(self.goal)}; got "
                f"{goals[row].tolist()}{in_row(row, len(goals))}. For other goals train a policy "
                "that sees the goal, such as bc-umaze.",
                rows=first_then_others(row, away > limit),
            )


def policy_inputs(
    states: torch.Tensor,
    goals: torch.Tensor | None,
    statistics: Statistics,
    velocities: bool,
) -> torch.Tensor:
    """The input of a policy's network, float32 [B, F]: position, velocity and goal, scaled.

    Args:
        states: position and velocity [B, 4], or without ``velocities`` at least the position.
        goals: positions [B, 2]; None if the network does not see the goal.
        statistics: positions and goals are scaled to unit variance, velocities by the body's limit.
        velocities: whether the network sees them.
    """
    position, velocity = PLANAR.positions(states), PLANAR.velocities(states)
    parts = [statistics.normalizer.normalize(position)]
    if velocities and velocity is not None:
        parts.append(velocity / statistics.motion.limit)
    if goals is not None:
        parts.append(statistics.normalizer.normalize(goals))
    return torch.cat(parts, -1)
