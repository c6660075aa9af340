"""One picture each, on axes of your own: ``plot_*(record, ax)`` draws and returns the axes.

Without ``ax`` they draw on pyplot's current axes, as seaborn's do. The first of them on empty axes
draws the maze too, so they go over one another::

    ax = plot_futures(plan)
    plot_plan(plan, ax)
    plot_path(positions, ax, maze=plan.maze)

Axes over a maze have the rows and columns of its text, one unit a cell: the horizontal axis is the
column, the vertical one the row, downwards, and the middle of cell (0, 0) lies at -0.2 on both, as
in D4RL, whose positions (q0, q1) are drawn at (q1, q0). What is given in another suite's frame is
taken there (:func:`dfplan.plotting.maze.to_picture`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Protocol, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from dfplan.errors import ConfigError, DataError, require_numbers, unknown_name
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting import marks
from dfplan.plotting.checks import arrival, checked, checked_level, checked_trace
from dfplan.plotting.maze import (
    View,
    current_axes,
    lay_floor,
    maze_view,
    points_view,
    to_picture,
    token_size,
)
from dfplan.plotting.style import Theme, named_theme
from dfplan.suites import DEFAULT

_LEAST_SPREAD = 0.05
"""Spread is colored on a scale that reaches at least this far, so that no noise is blown up."""


class Tree(Protocol):
    """What is drawn of a :class:`dfplan.types.SearchTree`."""

    @property
    def parent(self) -> np.ndarray: ...
    @property
    def points(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...


@runtime_checkable
class Disc(Protocol):
    """What is drawn of a :class:`dfplan.planning.rewards.Disc`."""

    @property
    def center(self) -> tuple[float, float]: ...
    @property
    def radius(self) -> float: ...
    @property
    def velocity(self) -> tuple[float, float]: ...


@runtime_checkable
class Box(Protocol):
    """What is drawn of a :class:`dfplan.planning.rewards.Box`."""

    @property
    def low(self) -> tuple[float, float]: ...
    @property
    def high(self) -> tuple[float, float]: ...


class Planned(Protocol):
    """What is drawn of a :class:`dfplan.types.Plan`."""

    @property
    def points(self) -> np.ndarray: ...
    @property
    def level(self) -> np.ndarray: ...
    @property
    def max_level(self) -> int: ...
    @property
    def spread(self) -> np.ndarray: ...
    @property
    def candidates(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...
    @property
    def goal(self) -> np.ndarray | None: ...
    @property
    def trace(self) -> Sequence[tuple[np.ndarray, np.ndarray]]: ...
    @property
    def maze(self) -> str | None: ...
    @property
    def tree(self) -> Tree | None: ...


def plot_plan(
    plan: Planned,
    ax: Axes | None = None,
    *,
    row: int = 0,
    color: str = "level",
    candidates: bool = True,
    theme: str = "light",
) -> Axes:
    """A plan: its tokens, start and goal, and faintly the candidates that it was chosen from.

    Colored by noise level, tokens that are not certain lie in fog, the more the noisier they are.
    Points after arrival are left out.

    Args:
        plan: of a batch of problems.
        ax: where to draw; by default pyplot's current axes.
        row: which problem of the batch.
        color: ``level``, the noise left on each token, or ``spread``, how far the candidates pass
            from it.
        candidates: whether to draw them.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row, color or theme.
        DataError: an array is not as a plan has it.
    """
    if color not in ("level", "spread"):
        raise unknown_name("color of a plan", color, ("level", "spread"))
    at, ax, look = _on_floor(plan, row, ax, theme)
    size = token_size(ax)
    if candidates:
        marks.draw_candidates(ax, at.candidates, look)
    if color == "level":
        noise = at.level / plan.max_level
        colors = look.level(noise)
        marks.draw_fog(ax, at.points, noise, colors)
    else:
        colors = spread_colors(at.spread, look).to_rgba(at.spread)
    marks.draw_tokens(ax, at.points, colors, size, theme=look)
    marks.draw_ends(ax, at.points[0], at.goal, size, at.suite, look)
    return ax


def plot_futures(
    plan: Planned, ax: Axes | None = None, *, row: int = 0, theme: str = "light"
) -> Axes:
    """The sampled futures, a line each, the better their score the stronger.

    Args:
        plan: of a batch of problems.
        ax: where to draw; by default pyplot's current axes.
        row: which problem of the batch.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row or theme.
        DataError: an array is not as a plan has it.
    """
    at, ax, look = _on_floor(plan, row, ax, theme)
    scores = checked("scores", plan.scores[row], (len(at.candidates),))
    worth = _ranked(scores)
    order = np.argsort(worth)
    lines = LineCollection([at.candidates[one][:, ::-1] for one in order], zorder=3)
    colors = look.spread(1 - worth[order])
    colors[:, 3] = 0.35 + 0.55 * worth[order]
    lines.set(colors=colors, linewidths=0.7 + 0.9 * worth[order], capstyle="round")
    ax.add_collection(lines)
    return ax


def plot_spread(
    plan: Planned, ax: Axes | None = None, *, row: int = 0, theme: str = "light"
) -> Axes:
    """A tube about the plan, as wide as the candidates pass from it.

    The root mean square distance from each point to the candidates' lines: where they pass
    counts, and not when.

    Args:
        plan: of a batch of problems.
        ax: where to draw; by default pyplot's current axes.
        row: which problem of the batch.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row or theme.
        DataError: an array is not as a plan has it.
    """
    at, ax, look = _on_floor(plan, row, ax, theme)
    colors = spread_colors(at.spread, look)
    marks.draw_halo(ax, at.points, at.spread, colors, at.suite, look)
    return ax


def plot_ellipses(
    plan: Planned, ax: Axes | None = None, *, row: int = 0, every: int = 4, theme: str = "light"
) -> Axes:
    """Where the body might be at a time: ellipses of the candidates' positions at that time.

    One and two standard deviations of a normal distribution with their mean and covariance. Where
    the candidates go two ways no ellipse says so: see :func:`plot_futures`.

    Args:
        plan: of a batch of problems, of at least two candidates.
        ax: where to draw; by default pyplot's current axes.
        row: which problem of the batch.
        every: points from one ellipse to the next.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row or theme; ``every`` below 1.
        DataError: an array is not as a plan has it, or fewer than two candidates.
    """
    require_numbers({"every": every}, whole=True, least=1)
    at, ax, look = _on_floor(plan, row, ax, theme)
    if len(at.candidates) < 2:
        raise DataError(
            f"Ellipses need at least two candidates; this plan has {len(at.candidates)}. Plan with "
            "PlannerSettings(candidates=16)."
        )
    shown = np.arange(every, at.candidates.shape[1], every)
    there = at.candidates[:, shown]
    means, off = there.mean(0), there - there.mean(0)
    covariances = np.einsum("cpi,cpj->pij", off, off) / (len(there) - 1)
    wide = np.sqrt(np.trace(covariances, axis1=1, axis2=2)) * at.suite.unit
    colors = spread_colors(wide, look).to_rgba(wide)
    marks.draw_ellipses(ax, means, covariances, colors)
    return ax


def plot_path(
    positions: np.ndarray,
    ax: Axes | None = None,
    *,
    maze: str | Maze | None = None,
    ball: bool = True,
    theme: str = "light",
) -> Axes:
    """A path that was driven, and the ball at its end, as large as it is.

    Args:
        positions: one after the other, in the maze's frame; float [S, 2].
        ax: where to draw; by default pyplot's current axes.
        maze: that they lie in; None for a bare floor.
        ball: whether to draw it.
        theme: ``light`` or ``dark``.

    Raises:
        MazeError: the maze cannot be read.
        ConfigError: an unknown name of a maze or a theme.
        DataError: positions of another shape, or not finite.
    """
    positions, look = checked("positions", positions, ("S", 2)), named_theme(theme)
    parsed = None if maze is None else parse_maze(maze)
    path = to_picture(parsed, positions)
    ax = current_axes(ax)
    lay_floor(ax, parsed, points_view(path) if parsed is None else maze_view(parsed), look)
    marks.draw_executed(ax, path, look)
    if ball:
        marks.draw_ball(ax, path[-1], DEFAULT if parsed is None else parsed.suite, look)
    return ax


def plot_regions(
    regions: Sequence[Disc | Box],
    ax: Axes | None = None,
    *,
    maze: str | Maze | None = None,
    step: int = 0,
    theme: str = "light",
) -> Axes:
    """Places that a reward keeps out of or is slow in, hatched.

    Args:
        regions: discs and boxes of :mod:`dfplan.planning.rewards`, in the maze's frame.
        ax: where to draw; by default pyplot's current axes.
        maze: that they lie in; None for a bare floor.
        step: the environment step at which those that move are drawn.
        theme: ``light`` or ``dark``.

    Raises:
        MazeError: the maze cannot be read.
        ConfigError: an unknown name of a maze or a theme.
        DataError: no region, or one that is neither a disc nor a box.
    """
    look, parsed = named_theme(theme), None if maze is None else parse_maze(maze)
    corners = [_corners(region, step) for region in regions]
    if not corners:
        raise DataError("Regions to draw: expected at least one disc or box; got none.")
    places = to_picture(parsed, np.array(corners))
    ax = current_axes(ax)
    view = points_view(places.reshape(-1, 2)) if parsed is None else maze_view(parsed)
    lay_floor(ax, parsed, view, look)
    for region, (low, high) in zip(regions, places, strict=True):
        marks.draw_region(ax, low, high, isinstance(region, Disc), look)
    return ax


def plot_denoising(
    plan: Planned,
    axes: Sequence[Axes] | None = None,
    *,
    row: int = 0,
    theme: str = "light",
) -> Sequence[Axes]:
    """How a plan came out of noise: some rows of its scheduling matrix, one on each axes.

    Args:
        plan: made with ``trace=True``.
        axes: where to draw, a grid of them or a sequence, which stays empty where it is longer
            than there are rows; by default new ones of pyplot, six at most.
        row: which problem of the batch.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row or theme.
        DataError: the plan has no trace, or an array is not as a plan has it.
    """
    rows = trace_rows(plan, row)
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots(1, min(6, len(rows)), squeeze=False)[1][0]
    flat = list(np.ravel(np.asarray(axes, dtype=object)))
    for ax, index in zip_longest(flat, spaced(len(rows), len(flat))):
        if index is None:
            ax.set_axis_off()
        else:
            plot_moment(plan, index, ax, row=row, theme=theme)
    return axes


def plot_moment(
    plan: Planned, index: int, ax: Axes | None = None, *, row: int = 0, theme: str = "light"
) -> Axes:
    """One row of the denoising: where the tokens seemed to be, and how certain they were.

    Args:
        plan: made with ``trace=True``.
        index: of the row, from 0; negative ones count from the last.
        ax: where to draw; by default pyplot's current axes.
        row: which problem of the batch.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row, index or theme.
        DataError: the plan has no trace, or an array is not as a plan has it.
    """
    rows = trace_rows(plan, row)
    if not -len(rows) <= index < len(rows):
        raise ConfigError(f"This plan was denoised in {len(rows)} rows; got index {index}.")
    at, ax, look = _on_floor(plan, row, ax, theme)
    level, points = rows[index]
    points, noise = to_picture(at.maze, points), level / plan.max_level
    size, colors = token_size(ax), look.level(noise)
    marks.draw_fog(ax, points, noise, colors)
    marks.draw_tokens(ax, points, colors, size, (1 - noise) ** 2, look)
    marks.draw_ends(ax, at.points[0], at.goal, size, at.suite, look)
    return ax


def plot_levels(
    plan: Planned, ax: Axes | None = None, *, row: int = 0, theme: str = "light"
) -> Axes:
    """The noise level of each point, row by row of the denoising: the pyramid, if it is one.

    Points run to the right, from the present into the future; rows of the scheduling matrix run
    down, so that time passes downwards.

    Args:
        plan: made with ``trace=True``.
        ax: where to draw; by default pyplot's current axes.
        row: which problem of the batch.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row or theme.
        DataError: the plan has no trace, or an array is not as a plan has it.
    """
    look = named_theme(theme)
    levels = np.stack([level for level, _ in trace_rows(plan, row)])
    ax = current_axes(ax)
    count, last = levels.shape[1], levels.shape[0]
    image = ax.imshow(
        levels,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, count - 0.5, last + 0.5, 0.5),
    )
    image.set(cmap=look.level, norm=Normalize(0, plan.max_level))
    ax.set_facecolor(look.floor)
    ax.set_xlabel("point of the plan", color=look.muted)
    ax.set_ylabel("row of the matrix", color=look.muted)
    ax.tick_params(length=0, labelcolor=look.ink)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    for side in ax.spines.values():
        side.set_visible(False)
    return ax


def plot_pull(
    plan: Planned,
    pull: np.ndarray,
    ax: Axes | None = None,
    *,
    row: int = 0,
    longest: float = 0.8,
    theme: str = "light",
) -> Axes:
    """Where guidance pulls: an arrow at each point of each candidate.

    Args:
        plan: of a batch of problems.
        pull: at the candidates of ``row``, as ``planner.pull(plan.candidates[row])`` has it;
            float [C, P, 2].
        ax: where to draw; by default pyplot's current axes.
        row: which problem of the batch.
        longest: the longest arrow, in cells; the others are to scale with it.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row or theme.
        DataError: an array is not as a plan has it, or a pull of another shape.
    """
    require_numbers({"longest": longest}, above=0)
    at, ax, look = _on_floor(plan, row, ax, theme)
    pull = checked("pull", pull, plan.candidates[row].shape)
    tips = to_picture(at.maze, plan.candidates[row] + pull) - at.candidates
    length = np.linalg.norm(tips, axis=-1)
    shown = length > 1e-3 * float(length.max())
    arrows = tips[shown] * longest / (float(length.max()) or 1.0)
    marks.draw_arrows(ax, at.candidates[shown], arrows, look)
    return ax


def plot_tree(plan: Planned, ax: Axes | None = None, *, row: int = 0, theme: str = "light") -> Axes:
    """Every plan that a tree search tried, the better the stronger, the best on top.

    Args:
        plan: made by a :class:`dfplan.TreePlanner` with ``trace=True``.
        ax: where to draw; by default pyplot's current axes.
        row: which problem of the batch.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row or theme.
        DataError: the plan has no tree, or an array is not as a plan has it.
    """
    if plan.tree is None:
        raise DataError("This plan has no tree to draw. Make it by a TreePlanner, with trace=True.")
    at, ax, look = _on_floor(plan, row, ax, theme)
    there = plan.tree.parent[row] >= 0
    nodes = checked("points of the tree", plan.tree.points[row][there], ("N", "P", 2))
    nodes, worth = to_picture(at.maze, nodes), _ranked(plan.tree.scores[row][there])
    order = np.argsort(worth)
    lines = LineCollection([nodes[one][:, ::-1] for one in order], zorder=3)
    colors = look.spread(1 - worth[order])
    colors[:, 3] = 0.15 + 0.75 * worth[order] ** 3
    lines.set(colors=colors, linewidths=0.5 + 1.3 * worth[order] ** 3, capstyle="round")
    ax.add_collection(lines)
    size = token_size(ax)
    marks.draw_ends(ax, at.points[0], at.goal, size, at.suite, look)
    return ax


def spread_ticks(spread: np.ndarray) -> np.ndarray:
    """Round numbers from 0 to no less than the greatest of ``spread`` [P]; the scale's ends too."""
    locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    return np.asarray(locator.tick_values(0, max(float(spread.max()), _LEAST_SPREAD)))


def spread_colors(spread: np.ndarray, theme: Theme) -> ScalarMappable:
    """Colors of spread [P]."""
    return ScalarMappable(Normalize(0, spread_ticks(spread)[-1]), theme.spread)


def trace_rows(plan: Planned, row: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(level [P], points [P, 2]) of each row, up to the first that is clean, and to arrival."""
    _require_row(plan, row)
    trace = [(level[row], points[row]) for level, points in plan.trace]
    return shown_rows(checked_trace(trace, plan.max_level))


def shown_rows(rows: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of checked rows those up to the first that is clean, cut at arrival."""
    kept = arrival(rows[-1][1])
    clean = [index for index, (level, _) in enumerate(rows) if not level[:kept].any()]
    rows = rows[: clean[0] + 1] if clean else rows
    return [(level[:kept], points[:kept]) for level, points in rows]


def spaced(count: int, wanted: int) -> list[int]:
    """At most so many of ``count`` indices, evenly from the first to the last."""
    first = 0 if wanted > 1 else count - 1
    return [int(x) for x in np.unique(np.linspace(first, count - 1, wanted).round())]


class Problem:
    """One problem of a plan, checked, in the axes of its picture.

    Attributes:
        maze: that it is in, or None.
        frame: of the maze.
        points: up to arrival, [P, 2].
        level: of each, [P].
        spread: of each, [P].
        candidates: [C, P', 2], with what follows arrival.
        goal: [2], or None.
    """

    def __init__(self, plan: Planned, row: int) -> None:
        """Check row ``row`` of the batch.

        Raises:
            ConfigError: no such row.
            DataError: an array is not as a plan has it.
        """
        _require_row(plan, row)
        points = checked("points", plan.points[row], ("P", 2))
        level = checked_level(plan.level[row], len(points), plan.max_level)
        spread = checked("spread", plan.spread[row], (len(points),))
        candidates = checked("candidates", plan.candidates[row], ("C", len(points), 2))
        goal = None if plan.goal is None else checked("goal", plan.goal[row], (2,))
        self.maze = None if plan.maze is None else parse_maze(plan.maze)
        self.suite = DEFAULT if self.maze is None else self.maze.suite
        kept = arrival(points)
        self.points = to_picture(self.maze, points[:kept])
        self.level, self.spread = level[:kept], spread[:kept]
        self.candidates = to_picture(self.maze, candidates)
        self.goal = None if goal is None else to_picture(self.maze, goal)

    def view(self, executed: np.ndarray | None = None) -> View:
        """The whole maze, or all that is to be seen where there is none."""
        if self.maze is not None:
            return maze_view(self.maze)
        places = [self.points, self.candidates.reshape(-1, 2)]
        if self.goal is not None:
            places.append(self.goal[None])
        if executed is not None:
            places.append(checked("executed", executed, ("S", 2)))
        return points_view(np.concatenate(places))


def _on_floor(plan: Planned, row: int, ax: Axes | None, theme: str) -> tuple[Problem, Axes, Theme]:
    """The problem, axes with its maze, and the colors."""
    look, at, ax = named_theme(theme), Problem(plan, row), current_axes(ax)
    lay_floor(ax, at.maze, at.view(), look)
    return at, ax, look


def _corners(region: Disc | Box, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest position [2] of a region at a step."""
    match region:
        case Disc():
            center = np.array(region.center) + step * np.array(region.velocity)
            return center - region.radius, center + region.radius
        case Box():
            return np.array(region.low), np.array(region.high)
    raise DataError(
        f"A region to draw must be a Disc or a Box of dfplan.planning.rewards; got {region!r}. "
        "Draw others with matplotlib, on the same axes."
    )


def _require_row(plan: Planned, row: int) -> None:
    require_numbers({"row": row}, whole=True)
    if not -len(plan.points) <= row < len(plan.points):
        raise ConfigError(f"This plan has {len(plan.points)} problems; got row {row}.")


def _ranked(scores: np.ndarray) -> np.ndarray:
    """Scores [C] as shares of the best, 0 for the worst and 1 for the best, by rank."""
    if len(scores) < 2:
        return np.ones(len(scores))
    return np.asarray(np.argsort(np.argsort(scores)) / (len(scores) - 1))
