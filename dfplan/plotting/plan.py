"""Pictures of a plan: what is certain in it, what is not, and how it came to be.

Matplotlib is imported when a picture is drawn and not before: every import of dfplan passes
through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfplan.errors import ConfigError, DataError, unknown_name
from dfplan.files import atomic_path
from dfplan.mazes import parse_maze

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
"""Pixels an inch of a PNG."""

_ENDINGS = (".pdf", ".png", ".svg")


def draw_plan(
    path: str | Path,
    *,
    points: np.ndarray,
    level: np.ndarray,
    max_level: int,
    spread: np.ndarray,
    candidates: np.ndarray,
    goal: np.ndarray | None,
    maze: str | None,
    executed: np.ndarray | None,
) -> Path:
    """Draw one plan twice: coloured by noise level, and by spread over sampled futures.

    Positions are in the maze's frame. The points after arrival, repeats of the last, are left out.

    Args:
        path: picture to write (PNG, SVG or PDF by its ending).
        points: the plan, the current position first; float [P, 2].
        level: noise level left on each point's token, 0 to ``max_level``; int [P].
        max_level: the level that is pure noise.
        spread: root mean square distance from each point to the sampled futures, in units of
            position; float [P].
        candidates: the plans that were compared; float [C, P, 2], C may be 0.
        goal: float [2], or None.
        maze: the maze as text or by name, or None.
        executed: positions that were really visited; float [S, 2], or None.

    Returns:
        The path that was written.

    Raises:
        ConfigError: unknown ending, or a ``max_level`` below 1.
        DataError: an array of another shape, not finite, or a level out of range.
        OSError: the picture cannot be written; nothing is left behind.
    """
    path = checked_path(path)
    points = _checked("points", points, ("P", 2))
    count = len(points)
    level = _checked_level(level, count, max_level)
    spread = _checked("spread", spread, (count,))
    candidates = _checked("candidates", candidates, ("C", count, 2))
    goal = None if goal is None else _checked("goal", goal, (2,))
    executed = None if executed is None else _checked("executed", executed, ("S", 2))
    kept = _arrival(points)

    from dfplan.plotting.figures import plan_figure
    from dfplan.plotting.maze import to_picture

    parsed = None if maze is None else parse_maze(maze)
    figure = plan_figure(
        points=to_picture(parsed, points[:kept]),
        level=level[:kept],
        max_level=max_level,
        spread=spread[:kept],
        candidates=to_picture(parsed, candidates),
        goal=None if goal is None else to_picture(parsed, goal),
        maze=parsed,
        executed=None if executed is None else to_picture(parsed, executed),
    )
    return save(figure, path)


def draw_denoising(
    path: str | Path,
    *,
    trace: Sequence[tuple[np.ndarray, np.ndarray]],
    max_level: int,
    goal: np.ndarray | None,
    maze: str | None,
    panels: int = 6,
) -> Path:
    """Draw how a plan came out of noise: some rows of its scheduling matrix, side by side.

    Positions are in the maze's frame. The points after arrival are left out of every panel, and so
    are the rows after the first in which the whole plan is clean.

    Args:
        path: picture to write (PNG, SVG or PDF by its ending).
        trace: (level int [P], points float [P, 2]) of each row of the scheduling matrix.
        max_level: the level that is pure noise.
        goal: float [2], or None.
        maze: the maze as text or by name, or None.
        panels: how many rows to show, spaced evenly from the first to the last; no more than
            there are.

    Returns:
        The path that was written.

    Raises:
        ConfigError: unknown ending, ``max_level`` or ``panels`` below 1.
        DataError: an empty trace, an array of another shape, not finite, or a level out of
            range.
        OSError: the picture cannot be written; nothing is left behind.
    """
    path = checked_path(path)
    if panels < 1:
        raise ConfigError(f"panels must be at least 1; got {panels}.")
    rows = _checked_trace(trace, max_level)
    goal = None if goal is None else _checked("goal", goal, (2,))
    kept = _arrival(rows[-1][1])
    clean = [index for index, (level, _) in enumerate(rows) if not level[:kept].any()]
    rows = rows[: clean[0] + 1] if clean else rows
    first = 0 if panels > 1 else len(rows) - 1
    shown = np.unique(np.linspace(first, len(rows) - 1, panels).round().astype(int))

    from dfplan.plotting.figures import denoising_figure
    from dfplan.plotting.maze import to_picture

    parsed = None if maze is None else parse_maze(maze)
    figure = denoising_figure(
        rows=[
            (int(row), rows[row][0][:kept], to_picture(parsed, rows[row][1][:kept]))
            for row in shown
        ],
        last=len(rows) - 1,
        max_level=max_level,
        goal=None if goal is None else to_picture(parsed, goal),
        maze=parsed,
    )
    return save(figure, path)


def _arrival(points: np.ndarray) -> int:
    """How many points of [P, 2] there are up to and with the first of the last's repeats."""
    moving = np.flatnonzero((points != points[-1]).any(axis=-1))
    return int(moving[-1]) + 2 if len(moving) else 1


def checked_path(path: str | Path) -> Path:
    """The path, if it ends like a picture; else :class:`ConfigError`."""
    path = Path(path)
    if path.suffix.lower() not in _ENDINGS:
        raise unknown_name("ending of a picture", path.suffix or path.name, _ENDINGS)
    return path


def _checked(what: str, array: np.ndarray, shape: tuple[int | str, ...]) -> np.ndarray:
    """``array`` as float64, if it has ``shape`` (a letter stands for any length) and is finite."""
    array = np.asarray(array, dtype=float)
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


def _checked_level(level: np.ndarray, count: int, max_level: int) -> np.ndarray:
    if max_level < 1:
        raise ConfigError(f"max_level must be at least 1; got {max_level}.")
    level = _checked("level", level, (count,))
    if level.min() < 0 or level.max() > max_level:
        raise DataError(
            f"The level must lie between 0 and {max_level}; got {level.min():g} to "
            f"{level.max():g}. Pass the max_level of the same plan."
        )
    return level


def _checked_trace(
    trace: Sequence[tuple[np.ndarray, np.ndarray]], max_level: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    if not len(trace):
        raise DataError(
            "The trace must hold at least one row; got none. Ask the planner to record its "
            "denoising."
        )
    what = "points of the trace"
    count = len(_checked(what, trace[-1][1], ("P", 2)))
    return [
        (_checked_level(level, count, max_level), _checked(what, points, (count, 2)))
        for level, points in trace
    ]


def save(figure: Figure, path: Path) -> Path:
    """Write the picture, whole or not at all, and return its path."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format=path.suffix[1:].lower())
    return path
