"""One plan of a batch, checked and converted to the picture's coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from dfplan.errors import ConfigError, DataError, require_numbers
from dfplan.lines import too_long
from dfplan.mazes import parse_maze
from dfplan.plotting.marks import cut_off
from dfplan.plotting.maze import Limits, floor_outline, maze_axes, to_picture, visible_limits
from dfplan.plotting.records import PlanLike
from dfplan.plotting.style import Theme, named_theme

_UNKNOWN = float(np.finfo(np.float32).max)
"""A plan spread that is not known."""


class DrawnPlan:
    """One plan of a batch, checked and converted to the picture's coordinates.

    Attributes:
        maze: the plan's maze; None if it is not known.
        suite: suite of the maze; None without a maze.
        points: points until arrival, [P, 2].
        level: noise level of each of these points, [P].
        spread: plan spread at each of these points, [P], huge if it is not known; None if the plan
            has none.
        candidates: [C, P', 2], including the repeated points after arrival.
        others: lines of plans made again that take another route, in the picture's coordinates;
            float [R, Q, 2].
        again: number of plans made again.
        goal: [2]; None without a goal.
        futures: those of this plan, in the suite's coordinates.

    Raises:
        ConfigError: ``index`` is not in the batch.
        DataError: an array has a wrong shape or is not finite.
    """

    def __init__(self, plan: PlanLike, index: int) -> None:
        _require_index(plan, index)
        points = check_array("points", plan.points[index], ("P", 2))
        level = _check_level(plan.level[index], len(points), plan.max_level)
        spread = None
        if plan.spread is not None:
            unknown = np.isnan(np.asarray(plan.spread[index], float)).all()
            spread = np.full(len(points), _UNKNOWN)
            if not unknown:
                spread = check_array("spread", plan.spread[index], (len(points),))
        candidates = check_array("candidates", plan.candidates[index], ("C", len(points), 2))
        goal = None if plan.goal is None else check_array("goal", plan.goal[index], (2,))
        self.maze = None if plan.maze is None else parse_maze(plan.maze)
        self.suite = None if self.maze is None else self.maze.suite
        count = _count_until_arrival(points)
        self.points = to_picture(self.maze, points[:count])
        self.level, self.spread = level[:count], None if spread is None else spread[:count]
        self.candidates = to_picture(self.maze, candidates)
        self.goal = None if goal is None else to_picture(self.maze, goal)
        self.floor, self.max_level, self._regions = plan.floor, plan.max_level, plan.regions
        self.others, self.again = np.zeros((0, 1, 2)), 0
        if plan.replans is not None and plan.same_route is not None:
            lines, same = plan.replans[index], plan.same_route[index]
            self.others, self.again = to_picture(self.maze, lines[~same]), len(lines)
        self._longest = None if plan.max_step is None else plan.stride * plan.max_step / self.unit
        query = index % len(plan.points)
        self.futures = [future for future in plan.futures or () if future.query == query]

    def region_radii(self, noise: np.ndarray) -> np.ndarray | None:
        """Radii of the prediction regions of points with ``noise`` [P] as a share of pure noise.

        In units of the picture, [P, 2], for the two probabilities; None if they are not known.
        """
        if self._regions is None:
            return None
        return self._regions.of(noise) / self.unit

    def too_fast(self, points: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Parts between clean points that are faster than the body, bool [..., P - 1].

        What is still noisy will change.

        Args:
            points: in the picture's coordinates, [..., P, 2].
            level: their noise levels, [..., P].
        """
        clean = (level[..., 1:] == 0) & (level[..., :-1] == 0)
        if self._longest is None:
            return np.zeros_like(clean)
        return np.asarray(clean & too_long(points, self._longest))

    def cut_off(self, ax: Axes, artists: Sequence[Artist]) -> None:
        """Show artists only where the data has been, if that is known."""
        if self.floor is not None:
            cut_off(ax, artists, floor_outline(self.floor, self.maze))

    @property
    def unit(self) -> float:
        """Units of position in a unit of the picture."""
        return 1.0 if self.suite is None else self.suite.cell_size

    @property
    def knows_spread(self) -> bool:
        """Whether a plan that was made again is on the plan's route."""
        return self.spread is not None and bool(self.spread.max() < _UNKNOWN)

    def require_spread(self) -> np.ndarray:
        """The plan spread, [P]; raise :class:`DataError` if the plan has none."""
        if self.spread is None:
            raise DataError(
                "The plan must have a spread; it has none. Plan with a ForcingPlanner whose "
                "PlannerSettings.replans is above 0; for a Policy use spread=True."
            )
        return self.spread

    def limits(self, executed: np.ndarray | None = None) -> Limits:
        """Limits that show the maze, or else all that is drawn and the floor.

        Prediction regions are cut off at the floor; without one they can be larger.

        Args:
            executed: a path, [S, 2].
        """
        points = [self.points, self.candidates.reshape(-1, 2)]
        if self.spread is not None and self.knows_spread:
            radius = self.spread[:, None]
            points += [self.points - radius, self.points + radius]
        points += [to_picture(self.maze, future.points) for future in self.futures]
        if self.goal is not None:
            points.append(self.goal[None])
        if self.floor is not None and self.maze is None:
            cells = np.argwhere(self.floor.visited)
            corners = np.stack([cells.min(0), cells.max(0) + 1])
            points.append(self.floor.origin + self.floor.resolution * corners)
        if executed is not None and self.maze is None:
            points.append(check_array("executed", executed, ("S", 2)))
        return visible_limits(self.maze, np.concatenate(points))


def prepare_axes(
    plan: PlanLike, index: int, ax: Axes | None, theme: str
) -> tuple[DrawnPlan, Axes, Theme]:
    """Return the checked plan, axes with its maze, and the theme's colors."""
    colors, drawn = named_theme(theme), DrawnPlan(plan, index)
    ax = maze_axes(ax, drawn.maze, drawn.limits(), colors, drawn.floor)
    return drawn, ax, colors


def visible_trace(plan: PlanLike, index: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows of a plan's trace that are drawn: (level [P], points [P, 2]) each.

    Rows after the first clean row are left out, and so are points after arrival. The points are in
    the suite's coordinates.
    """
    _require_index(plan, index)
    if not len(plan.trace):
        raise DataError(
            "The trace must have at least one row; got none. Plan with trace=True to record the "
            "denoising."
        )
    name = "points of the trace"
    length = len(check_array(name, plan.trace[-1][1][index], ("P", 2)))
    rows = [
        (
            _check_level(level[index], length, plan.max_level),
            check_array(name, points[index], (length, 2)),
        )
        for level, points in plan.trace
    ]
    count = _count_until_arrival(rows[-1][1])
    clean = [row for row, (level, _) in enumerate(rows) if not level[:count].any()]
    rows = rows[: clean[0] + 1] if clean else rows
    return [(level[:count], points[:count]) for level, points in rows]


def spaced_indices(length: int, count: int) -> list[int]:
    """Return at most ``count`` indices of ``length``, evenly spaced from the first to the last.

    If ``count`` is 1, it is the last.
    """
    first = 0 if count > 1 else length - 1
    return [int(x) for x in np.unique(np.linspace(first, length - 1, count).round())]


def check_array(name: str, array: np.ndarray, shape: tuple[int | str, ...]) -> np.ndarray:
    """Return ``array`` as float64.

    Raises:
        DataError: ``array`` is not finite or has another shape than ``shape``, in which a letter
            stands for any length.
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


def _check_level(level: np.ndarray, count: int, max_level: int) -> np.ndarray:
    """Return noise levels [count] as float64, if they are from 0 to ``max_level``."""
    if max_level < 1:
        raise ConfigError(f"max_level must be at least 1; got {max_level}.")
    level = check_array("level", level, (count,))
    if level.min() < 0 or level.max() > max_level:
        raise DataError(
            f"The level must be between 0 and {max_level}; got {level.min():g} to "
            f"{level.max():g}. Pass the max_level of the same plan."
        )
    return level


def _count_until_arrival(points: np.ndarray) -> int:
    """Count the points [P, 2] of a plan without the repeats of its last point."""
    moving = np.flatnonzero((points != points[-1]).any(axis=-1))
    return int(moving[-1]) + 2 if len(moving) else 1


def _require_index(plan: PlanLike, index: int) -> None:
    require_numbers({"index": index}, integer=True)
    if not -len(plan.points) <= index < len(plan.points):
        raise ConfigError(f"This batch has {len(plan.points)} plans; got index {index}.")
