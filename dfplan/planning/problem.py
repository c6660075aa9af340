"""Reading what a planner is asked: observations, goals and seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.data.support import Support
from dfplan.errors import ObservationError


@dataclass(frozen=True)
class Problem:
    """A batch of checked questions.

    Attributes:
        observation: position and velocity; float32 [B, 4].
        goal: position; float32 [B, 2], or None.
    """

    observation: np.ndarray
    goal: np.ndarray | None

    def __len__(self) -> int:
        return len(self.observation)

    @property
    def start(self) -> torch.Tensor:
        """Positions to plan from, float32 [B, 2]."""
        return torch.from_numpy(self.observation[:, :2])

    def rows(self, part: slice) -> Problem:
        """The problems ``part``."""
        return Problem(self.observation[part], None if self.goal is None else self.goal[part])

    def require_known(self, support: Support, reach: float) -> None:
        """Raise :class:`ObservationError` for a start or goal ``reach`` or more off the data."""
        for what, points in (("start", self.observation[:, :2]), ("goal", self.goal)):
            if points is None:
                continue
            distance = support.distance(torch.from_numpy(points)).numpy()
            if (distance >= reach).any():
                row = int(distance.argmax())
                raise ObservationError(
                    f"The {what} must lie where the planner's data has been, or less than "
                    f"{reach:.2f} from there; row {row} is {np.round(points[row], 3).tolist()}, "
                    f"{distance[row]:.2f} off. Is it in a wall, outside, or of another frame?"
                )


def noise_source(seed: int | None) -> torch.Generator:
    """A generator seeded by ``seed``, or afresh where it is None."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def read_problem(observation: np.ndarray, goal: np.ndarray | None) -> Problem:
    """Check shapes and values; one observation [4] is a batch of one."""
    states = read_observation(observation)
    return Problem(states, None if goal is None else read_goal(goal, len(states)))


def read_observation(observation: np.ndarray) -> np.ndarray:
    """Positions and velocities, [4] or [B, 4], as float32 [B, 4]."""
    return _rows("observation", observation, 4)


def read_goal(goal: np.ndarray, count: int) -> np.ndarray:
    """Goals, [2] for all or [B, 2], as float32 [count, 2]."""
    goals = _rows("goal", goal, 2)
    if len(goals) not in (1, count):
        raise ObservationError(
            f"Expected one goal, or one for each of {count} observations; got {len(goals)}."
        )
    return np.tile(goals, (count // len(goals), 1))


def _rows(what: str, values: np.ndarray, width: int) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ObservationError(f"The {what} must be numbers; got {values!r}.") from error
    if array.ndim not in (1, 2) or array.shape[-1] != width or not array.size:
        raise ObservationError(
            f"The {what} must have shape [{width}] or [B, {width}]; got {list(array.shape)}."
        )
    array = np.atleast_2d(array)
    finite = np.isfinite(array).all(1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ObservationError(f"The {what} must be finite; row {row} is {array[row].tolist()}.")
    return array
