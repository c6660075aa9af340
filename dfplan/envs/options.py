"""Checks of reset options and actions that all environments share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dfplan.arrays import copy_array
from dfplan.errors import ConfigError, ObservationError, require_name
from dfplan.mazes import Maze

SPEED_BOUND = 10.0
"""Bound of the speed along an axis. A step clips it to 5; a rebound then reached up to 6.6."""


def finite_vector(value: object, sizes: tuple[int, ...], what: str) -> np.ndarray:
    """Copy ``value``, any container of numbers, to a float64 array [n], n one of ``sizes``.

    Raises :class:`ObservationError`, which names ``what``, for another shape and numbers not
    finite.
    """
    try:
        plain = type(value) is np.ndarray and value.dtype.kind == "f"
        array = np.array(value, np.float64) if plain else copy_array(value, np.float64)
    except (ValueError, OverflowError):
        array = np.array(np.nan)
    if array.ndim != 1 or array.size not in sizes or not all(map(math.isfinite, array.tolist())):
        expected = " or ".join(map(str, sizes))
        raise ObservationError(f"The {what} must be {expected} finite numbers; got {value!r}.")
    return array


def read_options(options: object, known: tuple[str, ...]) -> Mapping[str, Any]:
    """Check the options of a reset; None becomes an empty dict.

    Raises :class:`ConfigError` unless ``options`` is a dict with keys in ``known``.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ConfigError(
            f"The reset options must be a dict with keys among {', '.join(known)}; got {options!r}."
        )
    for key in options:
        require_name("reset option", key, known)
    return options


def read_start(value: object, maze: Maze) -> np.ndarray:
    """Check a start: a position or an observation; return it as float64 [2] or [S].

    Args:
        value: in the maze's coordinates.
        maze: the start must be at a position of it that the body can reach.

    Raises:
        MazeError: the start is in a wall or outside the maze.
        ObservationError: it has the wrong shape, is not finite or is too fast.
    """
    suite = maze.suite
    layout = suite.observation
    start = finite_vector(value, tuple(sorted({2, suite.state_size})), "start")
    position = start if len(start) == 2 else layout.positions(start)
    maze.require_free(position, "start", radius=suite.min_wall_distance)
    velocity = layout.velocities(start)
    if velocity is not None and (np.abs(velocity) > SPEED_BOUND).any():
        raise ObservationError(
            f"The start's velocity must be within ±{SPEED_BOUND} per axis, which the body never "
            f"exceeds; got {velocity.tolist()}."
        )
    return start


def read_goal(value: object, maze: Maze) -> np.ndarray:
    """Check a goal in the maze's coordinates; return it as float64 [2].

    Raises:
        MazeError: the goal is in a wall or outside the maze.
        ObservationError: it has the wrong shape or is not finite.
    """
    goal = finite_vector(value, (2,), "goal")
    maze.require_free(goal, "goal", radius=0.0)
    return goal
