"""What pictures need of the arrays that they are drawn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfplan.errors import ConfigError, DataError


def arrival(points: np.ndarray) -> int:
    """How many points of [P, 2] there are up to and with the first of the last's repeats."""
    moving = np.flatnonzero((points != points[-1]).any(axis=-1))
    return int(moving[-1]) + 2 if len(moving) else 1


def checked(what: str, array: np.ndarray, shape: tuple[int | str, ...]) -> np.ndarray:
    """``array`` as float64, if it has ``shape`` (a letter stands for any length) and is finite."""
    try:
        array = np.asarray(array, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"The {what} must be an array of numbers; got {array!r:.60}.") from error
    fits = array.ndim == len(shape) and all(
        isinstance(wanted, str) or wanted == length
        for wanted, length in zip(shape, array.shape, strict=False)
    )
    if not fits or (shape[0] in ("P", "S") and not len(array)):
        wanted = ", ".join(map(str, shape))
        raise DataError(
            f"The {what} must have shape [{wanted}]; got {list(array.shape)}. Pass one problem "
            "of the batch, not the whole."
        )
    if not np.isfinite(array).all():
        raise DataError(
            f"The {what} must be finite; {int((~np.isfinite(array)).sum())} of {array.size} "
            "numbers are not. Plan again, or leave that problem out."
        )
    return array


def checked_level(level: np.ndarray, count: int, max_level: int) -> np.ndarray:
    """``level`` as float64, if it has shape [count] and lies between 0 and ``max_level``."""
    if max_level < 1:
        raise ConfigError(f"max_level must be at least 1; got {max_level}.")
    level = checked("level", level, (count,))
    if level.min() < 0 or level.max() > max_level:
        raise DataError(
            f"The level must lie between 0 and {max_level}; got {level.min():g} to "
            f"{level.max():g}. Pass the max_level of the same plan."
        )
    return level


def checked_trace(
    trace: Sequence[tuple[np.ndarray, np.ndarray]], max_level: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows of a trace, (level [P], points [P, 2]) each, as float64."""
    if not len(trace):
        raise DataError(
            "The trace must hold at least one row; got none. Ask the planner to record its "
            "denoising."
        )
    what = "points of the trace"
    count = len(checked(what, trace[-1][1], ("P", 2)))
    return [
        (checked_level(level, count, max_level), checked(what, points, (count, 2)))
        for level, points in trace
    ]
