"""One plan of a batch, checked and converted to the picture's coordinates."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from dfplan.errors import ConfigError, require_numbers
from dfplan.mazes import parse_maze
from dfplan.plotting.checks import check_array, check_level, check_trace, count_until_arrival
from dfplan.plotting.maze import (
    Limits,
    current_axes,
    draw_maze_once,
    maze_limits,
    points_limits,
    to_picture,
)
from dfplan.plotting.records import PlanLike
from dfplan.plotting.style import Theme, named_theme
from dfplan.suites import DEFAULT


class DrawnPlan:
    """One plan of a batch, checked and converted to the picture's coordinates.

    Args:
        plan: batch of plans.
        index: which plan of the batch.

    Attributes:
        maze: the plan's maze; None if it is not known.
        suite: suite of the maze; the default suite without a maze.
        points: points until arrival, [P, 2].
        level: noise level of each of these points, [P].
        spread: spread of the candidates at each of these points, [P].
        candidates: [C, P', 2], including the repeated points after arrival.
        goal: [2]; None without a goal.

    Raises:
        ConfigError: ``index`` is not in the batch.
        DataError: an array has a wrong shape or is not finite.
    """

    def __init__(self, plan: PlanLike, index: int) -> None:
        _require_index(plan, index)
        points = check_array("points", plan.points[index], ("P", 2))
        level = check_level(plan.level[index], len(points), plan.max_level)
        spread = check_array("spread", plan.spread[index], (len(points),))
        candidates = check_array("candidates", plan.candidates[index], ("C", len(points), 2))
        goal = None if plan.goal is None else check_array("goal", plan.goal[index], (2,))
        self.maze = None if plan.maze is None else parse_maze(plan.maze)
        self.suite = DEFAULT if self.maze is None else self.maze.suite
        count = count_until_arrival(points)
        self.points = to_picture(self.maze, points[:count])
        self.level, self.spread = level[:count], spread[:count]
        self.candidates = to_picture(self.maze, candidates)
        self.goal = None if goal is None else to_picture(self.maze, goal)

    def limits(self, executed: np.ndarray | None = None) -> Limits:
        """Limits that show the whole maze, or without a maze everything that is drawn.

        Args:
            executed: visited positions [S, 2] that are drawn too; None without a path.
        """
        if self.maze is not None:
            return maze_limits(self.maze)
        points = [self.points, self.candidates.reshape(-1, 2)]
        if self.goal is not None:
            points.append(self.goal[None])
        if executed is not None:
            points.append(check_array("executed", executed, ("S", 2)))
        return points_limits(np.concatenate(points))


def prepare_axes(
    plan: PlanLike, index: int, ax: Axes | None, theme: str
) -> tuple[DrawnPlan, Axes, Theme]:
    """Return the checked plan, axes with its maze, and the theme's colors."""
    colors, drawn, ax = named_theme(theme), DrawnPlan(plan, index), current_axes(ax)
    draw_maze_once(ax, drawn.maze, drawn.limits(), colors)
    return drawn, ax, colors


def visible_trace(plan: PlanLike, index: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows of a plan's trace that are drawn: (level [P], points [P, 2]) each.

    Rows after the first clean row are left out, and so are points after arrival. The points are in
    the suite's coordinates.
    """
    _require_index(plan, index)
    trace = [(level[index], points[index]) for level, points in plan.trace]
    rows = check_trace(trace, plan.max_level)
    count = count_until_arrival(rows[-1][1])
    clean = [row for row, (level, _) in enumerate(rows) if not level[:count].any()]
    rows = rows[: clean[0] + 1] if clean else rows
    return [(level[:count], points[:count]) for level, points in rows]


def spaced_indices(length: int, count: int) -> list[int]:
    """Return at most ``count`` indices of ``length``, evenly spaced from the first to the last.

    If ``count`` is 1, it is the last.
    """
    first = 0 if count > 1 else length - 1
    return [int(x) for x in np.unique(np.linspace(first, length - 1, count).round())]


def _require_index(plan: PlanLike, index: int) -> None:
    require_numbers({"index": index}, integer=True)
    if not -len(plan.points) <= index < len(plan.points):
        raise ConfigError(f"This batch has {len(plan.points)} plans; got index {index}.")
