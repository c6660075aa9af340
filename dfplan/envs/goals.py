"""Rewards of positions and goals, as Gymnasium-Robotics' ``GoalEnv`` has them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dfplan.arrays import copy_array
from dfplan.errors import ObservationError

_hypot = np.frompyfunc(math.hypot, 2, 1)


class GoalRewards:
    """What a step would have paid at other positions or with other goals (hindsight replay).

    Each method takes one position and goal, [2], or arrays of them, [..., 2], which broadcast
    against each other; ``info`` is there because ``GoalEnv`` has it. Each raises
    :class:`~dfplan.errors.ObservationError` where positions or goals have another shape or are not
    finite.

    Attributes:
        goal_radius: within this distance the goal is reached.
        terminates: whether reaching the goal ends the episode.
    """

    goal_radius: float
    terminates: ClassVar[bool] = False

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """1 where the goal is reached, else 0: a float, or float64 [...]."""
        return self._reached(achieved_goal, desired_goal).astype(float)[()]

    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Whether the episode ends there: a bool, or bool [...]."""
        reached = self._reached(achieved_goal, desired_goal)
        return (reached & self.terminates)[()]

    def compute_truncated(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """False, as only the length of an episode truncates it: a bool, or bool [...]."""
        return np.zeros_like(self._reached(achieved_goal, desired_goal))[()]

    def _reached(self, achieved_goal: Any, desired_goal: Any) -> np.ndarray:
        """Bool [...]."""
        try:
            offset = copy_array(achieved_goal, np.float64) - copy_array(desired_goal, np.float64)
        except (ValueError, OverflowError) as error:
            raise _refused(achieved_goal, desired_goal) from error
        if offset.shape[-1:] != (2,) or not np.isfinite(offset).all():
            raise _refused(achieved_goal, desired_goal)
        return np.asarray(self._distances(offset) <= self.goal_radius)

    def _distances(self, offset: np.ndarray) -> np.ndarray:
        """Lengths [...] of ``offset`` [..., 2], rounded as the environment's step rounds them."""
        return np.asarray(_hypot(offset[..., 0], offset[..., 1]), dtype=float)


def _refused(achieved_goal: object, desired_goal: object) -> ObservationError:
    shapes = " and ".join(
        str(list(goal.shape)) if hasattr(goal, "shape") else repr(goal)
        for goal in (achieved_goal, desired_goal)
    )
    return ObservationError(
        "Achieved and desired goals must be finite numbers [..., 2] that broadcast against each "
        f"other; got {shapes}."
    )
