"""What a caller may say of an episode or a step: read and checked alike for every environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dfplan.arrays import copy_array
from dfplan.errors import ConfigError, ObservationError, unknown_name
from dfplan.mazes import Maze

SPEED_BOUND = 10.0
"""No speed an axis is beyond it: a step clips to 5, and a rebound in it was seen to reach 6.6."""



def finite_vector(value: object, sizes: tuple[int, ...], what: str) -> np.ndarray:
    """``value`` as a new float64 array of one of ``sizes``.

    Args:
        value: what the caller gave.
        sizes: numbers of elements that are allowed.
        what: names it in the message.

    Raises:
        ObservationError: it has another shape, or is not finite.
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
    """The options of a reset, which may be None.

    Raises:
        ConfigError: they are no dict, or have a key that is not ``known``.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ConfigError(
            f"The reset options must be a dict with keys among {', '.join(known)}; got {options!r}."
        )
    for key in options:
        if key not in known:
            raise unknown_name("reset option", key, known)
    return options


def read_start(value: object, maze: Maze, sizes: tuple[int, ...] = (2, 4)) -> np.ndarray:
    """A start that the ball can have: a position, or a position and velocity.

    Args:
        value: in the maze's frame.
        maze: where it must be free; every place that the ball can be driven to is.
        sizes: numbers of elements that are allowed.

    Returns:
        float64 [2] or [4].

    Raises:
        MazeError: it lies in a wall or outside the maze.
        ObservationError: it has the wrong shape, is not finite, or is impossibly fast.
    """
    start = finite_vector(value, sizes, "start")
    maze.require_free(start[:2], "start", radius=maze.suite.wall_distance)
    if (np.abs(start[2:]) > SPEED_BOUND).any():
        raise ObservationError(
            f"The start's velocity must lie within ±{SPEED_BOUND} an axis, beyond what "
            f"the ball can reach; got {start[2:].tolist()}."
        )
    return start


def read_goal(value: object, maze: Maze) -> np.ndarray:
    """A goal, float64 [2], anywhere in free space, in the maze's frame.

    Raises:
        MazeError: it lies in a wall or outside the maze.
        ObservationError: it has the wrong shape or is not finite.
    """
    goal = finite_vector(value, (2,), "goal")
    maze.require_free(goal, "goal", radius=0.0)
    return goal
