"""Checks of the arrays that pictures are drawn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfplan.errors import ConfigError, DataError


def count_until_arrival(points: np.ndarray) -> int:
    """Count the points of a plan, points [P, 2], without the repeats of its last point."""
    moving = np.flatnonzero((points != points[-1]).any(axis=-1))
    return int(moving[-1]) + 2 if len(moving) else 1


def check_array(name: str, array: np.ndarray, shape: tuple[int | str, ...]) -> np.ndarray:
    """Return ``array`` as float64.

    Args:
        name: for error messages.
        array: array to check.
        shape: expected shape; a letter matches any length.

    Raises:
        DataError: ``array`` has another shape or is not finite.
    """
    try:
        array = np.asarray(array, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"The {name} must be an array of numbers; got {array!r:.60}.") from error
    fits = array.ndim == len(shape) and all(
        isinstance(expected, str) or expected == length
        for expected, length in zip(shape, array.shape, strict=False)
    )
    if not fits or (shape[0] in ("P", "S") and not len(array)):
        expected = ", ".join(map(str, shape))
        raise DataError(
            f"The {name} must have shape [{expected}]; got {list(array.shape)}. Pass one plan of "
            "the batch, not the whole batch."
        )
    if not np.isfinite(array).all():
        raise DataError(
            f"The {name} must be finite; {int((~np.isfinite(array)).sum())} of {array.size} "
            "numbers are not. Plan again, or leave this plan out."
        )
    return array


def check_level(level: np.ndarray, count: int, max_level: int) -> np.ndarray:
    """Return noise levels [count] as float64.

    Raises:
        ConfigError: ``max_level`` is below 1.
        DataError: a wrong shape, or a level is not from 0 to ``max_level``.
    """
    if max_level < 1:
        raise ConfigError(f"max_level must be at least 1; got {max_level}.")
    level = check_array("level", level, (count,))
    if level.min() < 0 or level.max() > max_level:
        raise DataError(
            f"The level must be between 0 and {max_level}; got {level.min():g} to "
            f"{level.max():g}. Pass the max_level of the same plan."
        )
    return level


def check_trace(
    trace: Sequence[tuple[np.ndarray, np.ndarray]], max_level: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows of a trace, (level [P], points [P, 2]) each, as float64.

    Raises:
        DataError: there is no row, or an array of a row is wrong; see :func:`check_array` and
            :func:`check_level`.
    """
    if not len(trace):
        raise DataError(
            "The trace must have at least one row; got none. Plan with trace=True to record the "
            "denoising."
        )
    name = "points of the trace"
    count = len(check_array(name, trace[-1][1], ("P", 2)))
    return [
        (check_level(level, count, max_level), check_array(name, points, (count, 2)))
        for level, points in trace
    ]
