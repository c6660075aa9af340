"""Plans, their candidates and executed paths."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from dfplan.errors import DataError, require_name
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting import marks
from dfplan.plotting.checks import check_array
from dfplan.plotting.drawn_plan import prepare_axes
from dfplan.plotting.maze import (
    current_axes,
    draw_maze_once,
    maze_limits,
    points_limits,
    to_picture,
    token_size,
)
from dfplan.plotting.records import PlanLike
from dfplan.plotting.style import named_theme
from dfplan.plotting.uncertainty import spread_colors
from dfplan.suites import DEFAULT


def plot_plan(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    color: str = "level",
    candidates: bool = True,
    theme: str = "light",
) -> Axes:
    """Draw a plan: tokens, start and goal, and the candidates as faint lines.

    If colored by noise level, each noisy token is surrounded by a pale disc; its radius is
    proportional to the noise level. Points after arrival are not drawn.

    Args:
        plan: batch of plans.
        ax: axes to draw on; default: pyplot's current axes.
        index: which plan of the batch.
        color: what colors the tokens: ``level``, their noise level, or ``spread``, the root mean
            square distance to the candidates.
        candidates: whether to draw the candidates.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: unknown index, color or theme.
        DataError: an array has a wrong shape or is not finite.
    """
    require_name("color of a plan", color, ("level", "spread"))
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    size = token_size(ax)
    if candidates:
        marks.draw_candidates(ax, drawn.candidates, colors)
    if color == "level":
        noise = drawn.level / plan.max_level
        token_colors = colors.level(noise)
        marks.draw_noise(ax, drawn.points, noise, token_colors)
    else:
        token_colors = spread_colors(drawn.spread, colors).to_rgba(drawn.spread)
    marks.draw_tokens(ax, drawn.points, token_colors, size, theme=colors)
    marks.draw_ends(ax, drawn.points[0], drawn.goal, size, drawn.suite, colors)
    return ax


def plot_candidates(
    plan: PlanLike, ax: Axes | None = None, *, index: int = 0, theme: str = "light"
) -> Axes:
    """Draw the candidates as lines; those with better scores are stronger and on top.

    Args:
        plan: batch of plans.
        ax: axes to draw on; default: pyplot's current axes.
        index: which plan of the batch.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: unknown index or theme.
        DataError: an array has a wrong shape or is not finite.
    """
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    rank = _rank(check_array("scores", plan.scores[index], (len(drawn.candidates),)))
    order = np.argsort(rank)
    lines = LineCollection([drawn.candidates[one][:, ::-1] for one in order], zorder=3)
    line_colors = colors.spread(1 - rank[order])
    line_colors[:, 3] = 0.35 + 0.55 * rank[order]
    lines.set(colors=line_colors, linewidths=0.7 + 0.9 * rank[order], capstyle="round")
    ax.add_collection(lines)
    return ax


def plot_tree(
    plan: PlanLike, ax: Axes | None = None, *, index: int = 0, theme: str = "light"
) -> Axes:
    """Draw all plans of a tree search; those with better scores are stronger and on top.

    Args:
        plan: batch of plans of a :class:`dfplan.TreePlanner`, made with ``trace=True``.
        ax: axes to draw on; default: pyplot's current axes.
        index: which plan of the batch.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: unknown index or theme.
        DataError: the plan has no tree, or an array has a wrong shape or is not finite.
    """
    if plan.tree is None:
        raise DataError(
            "The plan must have a search tree; it has none. Use TreePlanner.plan(trace=True)."
        )
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    exists = plan.tree.parent[index] >= 0
    nodes = check_array("points of the tree", plan.tree.points[index][exists], ("N", "P", 2))
    nodes, rank = to_picture(drawn.maze, nodes), _rank(plan.tree.scores[index][exists])
    order = np.argsort(rank)
    lines = LineCollection([nodes[one][:, ::-1] for one in order], zorder=3)
    line_colors = colors.spread(1 - rank[order])
    line_colors[:, 3] = 0.15 + 0.75 * rank[order] ** 3
    lines.set(colors=line_colors, linewidths=0.5 + 1.3 * rank[order] ** 3, capstyle="round")
    ax.add_collection(lines)
    marks.draw_ends(ax, drawn.points[0], drawn.goal, token_size(ax), drawn.suite, colors)
    return ax


def plot_path(
    positions: np.ndarray,
    ax: Axes | None = None,
    *,
    maze: str | Maze | None = None,
    ball: bool = True,
    theme: str = "light",
) -> Axes:
    """Draw the path of an episode, and the body to scale at its end.

    Args:
        positions: visited positions in the suite's coordinates; float [S, 2].
        ax: axes to draw on; default: pyplot's current axes.
        maze: the maze; None for a floor without walls.
        ball: whether to draw the body.
        theme: ``light`` or ``dark``.

    Raises:
        MazeError: the maze cannot be read.
        ConfigError: unknown name of a maze or theme.
        DataError: positions have another shape or are not finite.
    """
    positions, colors = check_array("positions", positions, ("S", 2)), named_theme(theme)
    parsed = None if maze is None else parse_maze(maze)
    path = to_picture(parsed, positions)
    ax = current_axes(ax)
    limits = points_limits(path) if parsed is None else maze_limits(parsed)
    draw_maze_once(ax, parsed, limits, colors)
    marks.draw_executed(ax, path, colors)
    if ball:
        marks.draw_ball(ax, path[-1], DEFAULT if parsed is None else parsed.suite, colors)
    return ax


def _rank(scores: np.ndarray) -> np.ndarray:
    """Ranks of scores [C], scaled from 0 for the worst to 1 for the best."""
    if len(scores) < 2:
        return np.ones(len(scores))
    return np.asarray(np.argsort(np.argsort(scores)) / (len(scores) - 1))
