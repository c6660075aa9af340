"""Reading what a planner is given: observations, goals and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dfplan.arrays import copy_array
from dfplan.errors import ObservationError, read_seed
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.observation_history import ObservationHistory
from dfplan.planning.row_errors import first_then_others, in_row
from dfplan.record import Record
from dfplan.tokens.statistics import Statistics

Observation = np.ndarray | Mapping[str, np.ndarray]
"""Position and velocity, [4] or [B, 4], or what the model was trained on, [S] or [B, S]; the
position alone, [2] or [B, 2], is enough where nothing else is needed. Or a dict with one of these
as ``observation``, and ``desired_goal``."""

MAX_START_DISTANCE = 12.0
"""By default a start may be this far from the data, in lengths of one step at top speed.

A start is where the body is, so it is refused only where no body can be. A goal can be chosen, so
its limit is smaller. Data rarely enters corners, so a free position can be farther from the data
than the face of a wall, and no distance separates the two exactly. In D4RL's mazes the defaults
accept every start that the body can reach and every goal within 0.2 of a cell's center on each
axis, and refuse every goal deeper than 0.32 in a wall.
"""

MAX_GOAL_DISTANCE = 7.0
"""By default a goal may be this far from the data; see :data:`MAX_START_DISTANCE`."""

SEED_LIMIT = 2**63
"""Seeds of planners lie below it."""


@dataclass(frozen=True)
class PlanQuery(Record):
    """A batch of checked observations and goals to plan for.

    Attributes:
        observation: float32 [B, S]; by default position and velocity, S = 4.
        goal: position, float32 [B, 2]; None to plan by reward alone.
        history: the last positions, the present one included; None if only the present one is
            known.
        layout: the columns of the observation.
    """

    observation: np.ndarray
    goal: np.ndarray | None
    history: ObservationHistory | None = None
    layout: ObservationLayout = PLANAR

    def __len__(self) -> int:
        return len(self.observation)

    @property
    def start(self) -> torch.Tensor:
        """Positions to plan from, float32 [B, 2]."""
        return torch.from_numpy(self.layout.positions(self.observation))

    def part(self, rows: slice) -> PlanQuery:
        """The queries ``rows``."""
        return PlanQuery(
            self.observation[rows],
            None if self.goal is None else self.goal[rows],
            None if self.history is None else self.history.part(rows),
            self.layout,
        )

    def with_history(self, history: ObservationHistory, columns: Sequence[int]) -> PlanQuery:
        """The same queries, starting from the end of ``history``, which holds these columns."""
        observation = self.observation.copy()
        observation[:, list(columns)] = history.observed[:, -1]
        return PlanQuery(observation, self.goal, history, self.layout)

    def require_near_data(
        self, statistics: Statistics, max_start_distance: float, max_goal_distance: float
    ) -> None:
        """Check that starts and goals are near the data, and that velocities are plausible.

        A start that the history does not know exactly may be anywhere.

        Args:
            statistics: statistics of the data.
            max_start_distance: largest distance of a start from the data, in lengths of one step at
                top speed.
            max_goal_distance: largest distance of a goal, in the same unit.

        Raises:
            ObservationError: a start or goal is too far from the data, or a velocity exceeds twice
                the data's limit.
        """
        velocity = self.layout.velocities(self.observation)
        if velocity is not None:
            _require_plausible(velocity, statistics)
        step, positions = statistics.motion.max_step, self.start.numpy()
        for name, points, steps in (
            ("start", positions, max_start_distance),
            ("goal", self.goal, max_goal_distance),
        ):
            if points is None:
                continue
            within = steps * step
            distance = statistics.support.distance(torch.from_numpy(points)).numpy()
            if name == "start" and self.history is not None:
                distance = np.where(self.history.level[:, -1] == 0, distance, 0.0)
            if (distance >= within).any():
                row = int(distance.argmax())
                position = [float(f"{coordinate:.6g}") for coordinate in points[row]]
                raise ObservationError(
                    f"The {name} must be less than {within:#.3g} from the planner's data; "
                    f"{position}{in_row(row, len(points))} is {distance[row]:#.3g} away. Is it in "
                    "a wall, outside the maze, or in other coordinates?",
                    rows=first_then_others(row, distance >= within),
                )


def _require_plausible(velocity: np.ndarray, statistics: Statistics) -> None:
    """Raise :class:`ObservationError` if a velocity [B, 2] exceeds twice the data's limit."""
    top = 2 * statistics.motion.limit
    speed = np.abs(velocity).max(1)
    if (speed > top).any():
        row = int(speed.argmax())
        raise ObservationError(
            f"An observation is position and velocity, in the units of the planner's data, "
            f"where no axis is faster than {top / 2:.3g}; got the velocity "
            f"{velocity[row].tolist()}{in_row(row, len(speed))}. Check its coordinates and units.",
            rows=first_then_others(row, speed > top),
        )


def spawned(generator: torch.Generator) -> torch.Generator:
    """Another generator, from the seed of ``generator``, from which nothing is drawn."""
    state = np.random.SeedSequence(generator.initial_seed()).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(state >> np.uint64(1)))


def noise_generator(seed: int | None) -> torch.Generator:
    """A random generator with this seed, or with a random one for None.

    Raises:
        ConfigError: the seed is not a whole number from 0 to below :data:`SEED_LIMIT`.
    """
    number = read_seed(seed, SEED_LIMIT)
    generator = torch.Generator("cpu")
    if number is None:
        generator.seed()
    else:
        generator.manual_seed(number)
    return generator


def read_query(
    observation: np.ndarray,
    goal: np.ndarray | None,
    layout: ObservationLayout = PLANAR,
    *,
    complete: bool = False,
) -> PlanQuery:
    """Check shapes and values. One observation, [S] or [2], is a batch of one.

    For a position without the rest of the observation, the rest is 0. Plans of positions do not
    depend on velocities, but a tracker may need them.

    Args:
        observation: what to plan from.
        goal: position, [2] or [B, 2], or an observation there; may be None.
        layout: the columns of an observation.
        complete: whether the position alone is not enough.

    Raises:
        ObservationError: a wrong shape, or values that are not finite numbers.
    """
    states = read_observation(observation, layout, complete=complete)
    if states.shape[1] != layout.width:
        positions = states
        states = np.zeros((len(positions), layout.width), np.float32)
        states[:, list(layout.position)] = positions
    goals = None if goal is None else read_goal(goal, len(states), layout)
    return PlanQuery(states, goals, layout=layout)


def split_observation(
    observation: Observation, goal: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The array of an observation, and the goal.

    The goal is ``goal`` if it is given, otherwise the ``desired_goal`` of a dict observation.

    Raises:
        ObservationError: a dict observation has no key ``observation``.
    """
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
    layout: ObservationLayout = PLANAR,
    *,
    complete: bool = False,
    allow_missing: bool = False,
    dtype: type[np.floating] | None = np.float32,
) -> np.ndarray:
    """Copy observations, [S] or [B, S], to [B, S]; positions alone to [B, 2].

    Args:
        observation: what to read.
        layout: the columns of an observation.
        complete: whether the position alone is refused.
        allow_missing: whether values may be NaN or infinite.
        dtype: type of the copy; None keeps that of the observation.

    Raises:
        ObservationError: a wrong shape, values that are not numbers, or without ``allow_missing``
            values that are not finite.
    """
    widths = (layout.width,) if complete else (layout.width, 2)
    fix = f" An observation has {layout}."
    if complete:
        fix += " Give all of it: this model's tokens hold more than the position."
    states = _read_rows("observation", observation, *widths, dtype=dtype, fix=fix)
    if not allow_missing:
        require_finite("observation", states)
    return states


def read_goal(
    goal: np.ndarray,
    count: int,
    layout: ObservationLayout = PLANAR,
    *,
    allow_missing: bool = False,
) -> np.ndarray:
    """Copy goals, [2] for all or [B, 2], to float32 [count, 2].

    A goal may also be an observation of the body at the goal, [S] or [B, S], if that has more than
    position and velocity. With ``allow_missing`` goals may be NaN or infinite.

    Raises:
        ObservationError: a wrong shape, another number of goals, values that are not numbers, or
            without ``allow_missing`` values that are not finite.
    """
    goals = _read_rows("goal", goal, *((2,) if layout == PLANAR else (2, layout.width)))
    goals = layout.positions(goals)
    if len(goals) not in (1, count):
        raise ObservationError(
            f"Expected one goal, or one for each of {count} observations; got {len(goals)}."
        )
    if not allow_missing:
        require_finite("goal", goals)
    return np.tile(goals, (count // len(goals), 1))


def require_finite(name: str, values: np.ndarray, among: np.ndarray | None = None) -> None:
    """Raise :class:`ObservationError` if a row of ``values`` [B, D] is not finite.

    Args:
        name: what the values are, for the message.
        values: the values to check.
        among: which rows to check, bool [B]; by default all.
    """
    wrong = ~np.isfinite(values).all(1)
    if among is not None:
        wrong &= among
    if wrong.any():
        row = int(wrong.argmax())
        raise ObservationError(
            f"The {name} must be finite; got {values[row].tolist()}{in_row(row, len(values))}.",
            rows=first_then_others(row, wrong),
        )


def read_mask(name: str, values: object, count: int) -> np.ndarray:
    """``values``, one bool or one for each of ``count`` environments, as bool [count].

    Raises:
        ObservationError: another number of them, or numbers other than 0 and 1.
    """
    try:
        mask = copy_array(values)
    except ObservationError as error:
        raise ObservationError(f"{name} must be True or False for each row. {error}") from error
    if mask.shape not in ((), (count,)) or not np.isin(mask, (0, 1)).all():
        raise ObservationError(
            f"{name} must be one bool, or one for each of {count} environments, [{count}]; got "
            f"{values!r:.200}."
        )
    return np.broadcast_to(mask.astype(bool), count).copy()


def _read_rows(
    name: str,
    values: np.ndarray,
    *widths: int,
    dtype: type[np.floating] | None = np.float32,
    fix: str = "",
) -> np.ndarray:
    """A copy of ``values`` [W] or [B, W] as [B, W]; W is one of ``widths``."""
    try:
        array = copy_array(values, dtype)
    except ObservationError as error:
        raise ObservationError(f"The {name} must be numbers. {error}") from error
    if array.ndim not in (1, 2) or array.shape[-1] not in widths or not array.size:
        shapes = " or ".join(f"[{width}] or [B, {width}]" for width in dict.fromkeys(widths))
        raise ObservationError(
            f"The {name} must have shape {shapes}; got {list(array.shape)}.{fix}"
        )
    return np.atleast_2d(array)
