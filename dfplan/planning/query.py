"""Reading what a planner is asked: observations, goals and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dfplan.arrays import copy_array
from dfplan.errors import ObservationError, read_seed, require_numbers
from dfplan.planning.observation_history import Past
from dfplan.record import Record
from dfplan.tokens.statistics import Statistics

Observation = np.ndarray | Mapping[str, np.ndarray]
"""Position and velocity [4] or [B, 4], or the position alone [2] or [B, 2] where what acts on it
needs no velocity; or a dict with one of these as ``observation``, and ``desired_goal``."""


@dataclass(frozen=True)
class Vicinity:
    """How far from the data a start or goal may lie, in lengths of one step at top speed.

    Data rarely goes into corners, so a free place can be farther from it than the face of a wall,
    and no distance parts the two. A start is where the body is, so it is refused only where no
    body could be; a goal is a wish, and can be refused sooner. In D4RL's mazes the defaults let
    every place through that the ball can be in as a start, and every goal within 0.2 of a cell's
    middle on each axis, and no goal that lies deeper than 0.32 in a wall.
    """

    start: float = 12.0
    goal: float = 7.0

    def __post_init__(self) -> None:
        require_numbers(vars(self), "start", "goal", least=0, most=math.inf)


@dataclass(frozen=True)
class Problem(Record):
    """A batch of checked questions.

    Attributes:
        observation: position and velocity; float32 [B, 4].
        goal: position; float32 [B, 2], or None.
        past: positions that lead up to the present, or None where there is only the present.
    """

    observation: np.ndarray
    goal: np.ndarray | None
    past: Past | None = None

    def __len__(self) -> int:
        return len(self.observation)

    @property
    def start(self) -> torch.Tensor:
        """Positions to plan from, float32 [B, 2]."""
        return torch.from_numpy(self.observation[:, :2])

    def rows(self, part: slice) -> Problem:
        """The problems ``part``."""
        return Problem(
            self.observation[part],
            None if self.goal is None else self.goal[part],
            None if self.past is None else self.past.rows(part),
        )

    def after(self, past: Past) -> Problem:
        """The same from the last position of ``past``."""
        observation = np.concatenate([past.positions[:, -1], self.observation[:, 2:]], 1)
        return Problem(observation, self.goal, past)

    def require_known(self, statistics: Statistics, vicinity: Vicinity) -> None:
        """Raise unless the data has been near the starts and goals, and moved as fast.

        A start that a past does not know exactly may lie anywhere.

        Raises:
            ObservationError: a start or goal farther from the data than ``vicinity``, or a velocity
                of more than twice the data's limit.
        """
        top = 2 * statistics.motion.limit
        speed = np.abs(self.observation[:, 2:]).max(1)
        if (speed > top).any():
            row = int(speed.argmax())
            raise ObservationError(
                f"An observation is position and velocity, in the units of the planner's data, in "
                f"which no axis is faster than {top / 2:.3g}; row {row} has the velocity "
                f"{self.observation[row, 2:].tolist()}. Is it of another frame or unit?",
                rows=named_first(speed > top, row),
            )
        step, places = statistics.motion.max_step, self.observation[:, :2]
        for what, points, steps in (
            ("start", places, vicinity.start),
            ("goal", self.goal, vicinity.goal),
        ):
            if points is None:
                continue
            within = steps * step
            distance = statistics.support.distance(torch.from_numpy(points)).numpy()
            if what == "start" and self.past is not None:
                distance = np.where(self.past.level[:, -1] == 0, distance, 0.0)
            if (distance >= within).any():
                row = int(distance.argmax())
                place = [float(f"{coordinate:.6g}") for coordinate in points[row]]
                raise ObservationError(
                    f"The {what} must lie where the planner's data has been, or less than "
                    f"{within:#.3g} from there; row {row} is {place}, "
                    f"{distance[row]:#.3g} off. Is it in a wall, outside, or of another frame?",
                    rows=named_first(distance >= within, row),
                )


SEEDS = 2**63
"""How many seeds a planner tells apart."""


def noise_source(seed: int | None) -> torch.Generator:
    """A generator seeded by ``seed``, or afresh where it is None.

    Raises:
        ConfigError: the seed is no whole number of at least 0.
    """
    number = read_seed(seed, SEEDS)
    generator = torch.Generator("cpu")
    if number is None:
        generator.seed()
    else:
        generator.manual_seed(number)
    return generator


def named_first(wrong: np.ndarray, row: int) -> list[int]:
    """The rows where ``wrong`` bool [B] is true, ``row`` before the others."""
    return [row, *(other for other in np.flatnonzero(wrong).tolist() if other != row)]


def read_problem(observation: np.ndarray, goal: np.ndarray | None) -> Problem:
    """Check shapes and values; one observation [4] or [2] is a batch of one.

    A position alone is taken to be at rest: plans do not depend on velocities, though a tracker
    may need them.
    """
    states = read_observation(observation)
    if states.shape[1] == 2:
        states = np.concatenate([states, np.zeros_like(states)], 1)
    return Problem(states, None if goal is None else read_goal(goal, len(states)))


def unpacked(
    observation: Observation, goal: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The array of an observation, and the goal: that given, else the observation's, else None."""
    if not isinstance(observation, Mapping):
        return observation, goal
    if "observation" not in observation:
        raise ObservationError(
            "A dict observation needs the keys observation and desired_goal; got "
            f"{', '.join(map(str, observation)) or 'none'}."
        )
    return observation["observation"], observation.get("desired_goal") if goal is None else goal


def read_observation(
    observation: np.ndarray,
    *,
    may_be_lost: bool = False,
    dtype: type[np.floating] | None = np.float32,
) -> np.ndarray:
    """Positions and velocities, [4] or [B, 4], as float32 [B, 4]; positions alone as [B, 2].

    They are a copy. With ``may_be_lost`` they need not be finite; without a ``dtype`` they keep
    their own.
    """
    states = _rows("observation", observation, 4, 2, dtype=dtype)
    if not may_be_lost:
        require_finite("observation", states)
    return states


def read_goal(goal: np.ndarray, count: int, *, may_be_lost: bool = False) -> np.ndarray:
    """Goals, [2] for all or [B, 2], as a copy of their own, float32 [count, 2].

    With ``may_be_lost`` they need not be finite.
    """
    goals = _rows("goal", goal, 2)
    if len(goals) not in (1, count):
        raise ObservationError(
            f"Expected one goal, or one for each of {count} observations; got {len(goals)}."
        )
    if not may_be_lost:
        require_finite("goal", goals)
    return np.tile(goals, (count // len(goals), 1))


def require_finite(what: str, rows: np.ndarray, among: np.ndarray | None = None) -> None:
    """Raise :class:`ObservationError` unless ``rows`` [B, D] are finite, all or ``among`` [B]."""
    wrong = ~np.isfinite(rows).all(1)
    if among is not None:
        wrong &= among
    if wrong.any():
        row = int(wrong.argmax())
        raise ObservationError(
            f"The {what} must be finite; row {row} is {rows[row].tolist()}.",
            rows=named_first(wrong, row),
        )


def _rows(
    what: str,
    values: np.ndarray,
    *widths: int,
    dtype: type[np.floating] | None = np.float32,
) -> np.ndarray:
    try:
        array = copy_array(values, dtype)
    except ObservationError as error:
        raise ObservationError(f"The {what} must be numbers. {error}") from error
    if array.ndim not in (1, 2) or array.shape[-1] not in widths or not array.size:
        width = widths[0]
        raise ObservationError(
            f"The {what} must have shape [{width}] or [B, {width}]; got {list(array.shape)}."
        )
    return np.atleast_2d(array)
