"""Rewards from positions and goals, in the interface of Gymnasium-Robotics' ``GoalEnv``."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dfplan.arrays import copy_array
from dfplan.errors import ObservationError

_hypot = np.frompyfunc(math.hypot, 2, 1)


class GoalRewards:
    """Recomputes rewards and ends for other goals (hindsight replay).

    Each method accepts one position and one goal, [2], or arrays of them, [..., 2], which
    broadcast. ``info`` is ignored; it is part of ``GoalEnv``'s interface. Each method raises
    :class:`~dfplan.errors.ObservationError` if positions or goals have another shape or are not
    finite.

    Attributes:
        goal_radius: a goal is reached within this distance.
        terminates: whether an episode ends when the goal is reached.
    """

    goal_radius: float
    terminates: ClassVar[bool] = False

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """1 if the goal is reached, otherwise 0: a float, or float64 [...]."""
        return self._reached(achieved_goal, desired_goal).astype(float)[()]

    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Whether the episode ends: a bool, or bool [...]."""
        reached = self._reached(achieved_goal, desired_goal)
        return (reached & self.terminates)[()]

    def compute_truncated(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """False, because only an episode's length truncates it: a bool, or bool [...]."""
        return np.zeros_like(self._reached(achieved_goal, desired_goal))[()]

    def _reached(self, achieved_goal: Any, desired_goal: Any) -> np.ndarray:
        """Whether each goal is reached, bool [...]."""
        try:
            offset = copy_array(achieved_goal, np.float64) - copy_array(desired_goal, np.float64)
        except (ValueError, OverflowError) as error:
            raise _shape_error(achieved_goal, desired_goal) from error
        if offset.shape[-1:] != (2,) or not np.isfinite(offset).all():
            raise _shape_error(achieved_goal, desired_goal)
        return np.asarray(self._distances(offset) <= self.goal_radius)

    def _distances(self, offset: np.ndarray) -> np.ndarray:
        """Lengths [...] of ``offset`` [..., 2], with the rounding of the environment's step."""
        return np.asarray(_hypot(offset[..., 0], offset[..., 1]), dtype=float)


def _shape_error(achieved_goal: object, desired_goal: object) -> ObservationError:
    shapes = " and ".join(
        str(list(goal.shape)) if hasattr(goal, "shape") else repr(goal)
        for goal in (achieved_goal, desired_goal)
    )
    return ObservationError(
        "Achieved and desired goals must be finite numbers [..., 2] that broadcast against each "
        f"other; got {shapes}."
    )
