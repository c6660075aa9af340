"""Plans, their candidates and how much these differ, search trees and executed paths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Circle, Ellipse
from matplotlib.ticker import MaxNLocator

from dfplan.errors import DataError, require_name, require_numbers
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting import marks
from dfplan.plotting.drawn_plan import check_array, prepare_axes
from dfplan.plotting.maze import maze_axes, to_picture, token_size, visible_limits
from dfplan.plotting.records import PlanLike, TreeLike
from dfplan.plotting.style import Theme, named_theme
from dfplan.suites import DEFAULT

_MIN_SPREAD_SCALE = 0.05
"""Smallest end of the color scale of spread, so that rounding errors are not magnified."""


def plot_plan(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    color: str = "level",
    candidates: bool = True,
    theme: str = "light",
) -> Axes:
    """Draw a plan: tokens, start and goal, and the candidates as faint lines if ``candidates``.

    ``color`` is what colors the tokens: ``level``, their noise level, or ``spread``, the root mean
    square distance to the candidates. If colored by noise level, each noisy token is surrounded by
    a pale disc; its radius is proportional to the noise level. Points after arrival are not drawn.

    Raises:
        ConfigError: unknown index, color or theme.
    """
    require_name("color of a plan", color, ("level", "spread"))
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    size = token_size(ax)
    if candidates:
        lines = LineCollection([line[:, ::-1] for line in drawn.candidates], zorder=3)
        lines.set(colors=colors.muted, linewidths=0.7, alpha=0.45)
        ax.add_collection(lines)
    if color == "level":
        noise = drawn.level / plan.max_level
        token_colors = colors.level(noise)
        marks.draw_noise(ax, drawn.points, noise, token_colors)
    else:
        spread = drawn.require_spread()
        token_colors = spread_colors(spread, colors).to_rgba(spread)
    marks.draw_tokens(ax, drawn.points, token_colors, size, theme=colors)
    marks.draw_ends(ax, drawn.points[0], drawn.goal, size, drawn.suite, colors)
    return ax


def plot_candidates(
    plan: PlanLike, ax: Axes | None = None, *, index: int = 0, theme: str = "light"
) -> Axes:
    """Draw the candidates as lines; those with better scores are stronger and on top."""
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    rank = _rank(check_array("scores", plan.scores[index], (len(drawn.candidates),)))
    _draw_ranked(ax, list(drawn.candidates), rank, 0.35 + 0.55 * rank, 0.7 + 0.9 * rank, colors)
    return ax


def plot_spread(
    plan: PlanLike, ax: Axes | None = None, *, index: int = 0, theme: str = "light"
) -> Axes:
    """Draw a tube around the plan; its radius is the spread of the candidates.

    The spread at a point is the root mean square distance from it to the candidates' lines. It
    depends on where the candidates pass, not on when.
    """
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    spread = drawn.require_spread()
    scale = spread_colors(spread, colors)
    marks.draw_spread(ax, drawn.points, spread, scale, drawn.suite, colors)
    return ax


def plot_futures(
    plan: PlanLike, ax: Axes | None = None, *, index: int = 0, theme: str = "light"
) -> Axes:
    """Draw where an episode can continue if it jumps off the plan, with each probability.

    A dotted line leads from the plan's point to each landing, and a line along the expected way on
    to the goal. A landing from which the goal is never reached is marked with a cross. Landings at
    the same place after several points of the plan are drawn once, with the sum of probabilities.

    Raises:
        DataError: the plan does not know its futures.
    """
    if plan.futures is None:
        raise DataError(
            "The plan does not know where it can part. Plan with GraphPlanner, or with a finite "
            "PlannerSettings.route_noise, from a checkpoint with a roadmap."
        )
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    landings = {tuple(future.points[0].tolist()): future for future in drawn.futures}
    for place, future in landings.items():
        same = (each for each in drawn.futures if tuple(each.points[0].tolist()) == place)
        probability = sum(each.probability for each in same)
        line = to_picture(drawn.maze, check_array("points of a future", future.points, ("P", 2)))
        begin = drawn.points[min(future.point + 1, len(drawn.points) - 1)]
        jump, lost = np.stack([begin, line[0]]), future.arrival == 0
        marks.draw_future(ax, jump, line, f"{probability:.0%}", lost, colors)
    return ax


def plot_ellipses(
    plan: PlanLike, ax: Axes | None = None, *, index: int = 0, every: int = 4, theme: str = "light"
) -> Axes:
    """Draw the candidates' positions at every ``every``-th point as ellipses.

    The ellipses show one and two standard deviations of the normal distribution that has the mean
    and covariance of the candidates. If the candidates split into two groups, an ellipse cannot
    show it; see :func:`dfplan.plotting.plot_candidates`.

    Raises:
        ConfigError: unknown index or theme, or ``every`` is below 1.
        DataError: fewer than two candidates, or an array has a wrong shape or is not finite.
    """
    require_numbers({"every": every}, integer=True, minimum=1)
    drawn, ax, theme_colors = prepare_axes(plan, index, ax, theme)
    if len(drawn.candidates) < 2:
        raise DataError(
            f"Ellipses need at least two candidates; this plan has {len(drawn.candidates)}. Plan "
            "with PlannerSettings(candidates=16)."
        )
    times = np.arange(every, drawn.candidates.shape[1], every)
    positions = drawn.candidates[:, times]
    means, deviations = positions.mean(0), positions - positions.mean(0)
    covariances = np.einsum("cpi,cpj->pij", deviations, deviations) / (len(positions) - 1)
    widths = np.sqrt(np.trace(covariances, axis1=1, axis2=2)) * drawn.suite.cell_size
    colors = spread_colors(widths, theme_colors).to_rgba(widths)
    for deviation, alpha, edge in ((2.0, 0.06, 0.0), (1.0, 0.1, 0.8)):
        for mean, covariance, color in reversed(list(zip(means, covariances, colors, strict=True))):
            variances, directions = np.linalg.eigh(covariance)
            width, height = 2 * deviation * np.sqrt(np.maximum(variances, 0))
            angle = np.degrees(np.arctan2(directions[0, 0], directions[1, 0]))
            ellipse = Ellipse(mean[::-1], width, height, angle=angle, zorder=2)
            ellipse.set(fc=(*color[:3], alpha), ec=(*color[:3], 0.5), lw=edge)
            ax.add_patch(ellipse)
    return ax


def plot_tree(
    plan: PlanLike, ax: Axes | None = None, *, index: int = 0, theme: str = "light"
) -> Axes:
    """Draw the segments of a tree search, with a dot where each one ends.

    Segments of nodes with better scores are stronger and on top. The plan of the best node that
    has arrived, or else of the best node, is thick, and dotted where the network did not make it.
    ``plan`` is of a :class:`dfplan.TreePlanner` and made with ``trace=True``.

    Raises:
        DataError: the plan has no tree, or an array has a wrong shape or is not finite.
    """
    tree = require_tree(plan)
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    parents, scores = tree.parent[index], tree.scores[index]
    points = check_array("points of the tree", tree.points[index], ("N", "P", 2))
    lines, begins, ends = to_picture(drawn.maze, points), tree.begins[index], tree.ends[index]
    nodes = np.flatnonzero((parents >= 0) & (ends > begins))
    segments = [lines[node, begins[node] : ends[node] + 1] for node in nodes]
    rank = _rank(scores[nodes])
    _draw_ranked(ax, segments, rank, 0.3 + 0.6 * rank, 0.6 + 0.6 * rank, colors)
    marks.draw_nodes(ax, lines[nodes, ends[nodes]], colors.spread(1 - rank), colors)
    good = (parents >= 0) & (tree.arrived[index] | ~tree.arrived[index].any())
    best = int(np.where(good, scores, -np.inf).argmax())
    marks.draw_branch(ax, lines[best], int(ends[best]), colors)
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
    """Draw the path of an episode and, if ``ball``, the body to scale at its end.

    The visited positions are in the suite's coordinates; float [S, 2].
    """
    positions, colors = check_array("positions", positions, ("S", 2)), named_theme(theme)
    parsed = None if maze is None else parse_maze(maze)
    path = to_picture(parsed, positions)
    ax = maze_axes(ax, parsed, visible_limits(parsed, path), colors)
    marks.draw_executed(ax, path, colors)
    if ball:
        suite, (y, x) = DEFAULT if parsed is None else parsed.suite, path[-1].tolist()
        body = Circle((x, y), suite.ball_radius / suite.cell_size, zorder=7.5)
        body.set(fc=colors.ink, ec=colors.floor, lw=0.6)
        ax.add_patch(body)
    return ax


def require_tree(plan: PlanLike) -> TreeLike:
    """Return the search tree of a plan; raise :class:`DataError` if it has none."""
    if plan.tree is None:
        raise DataError(
            "The plan must have a search tree; it has none. Use TreePlanner.plan(trace=True)."
        )
    return plan.tree


def spread_ticks(spread: np.ndarray) -> np.ndarray:
    """Round numbers from 0 to at least the maximum of ``spread`` [P]; also the scale's ends."""
    locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    return np.asarray(locator.tick_values(0, max(float(spread.max()), _MIN_SPREAD_SCALE)))


def spread_colors(spread: np.ndarray, theme: Theme) -> ScalarMappable:
    """Color scale for spread [P]."""
    return ScalarMappable(Normalize(0, spread_ticks(spread)[-1]), theme.spread)


def _draw_ranked(
    ax: Axes,
    lines: Sequence[np.ndarray],
    rank: np.ndarray,
    opacity: np.ndarray,
    width: np.ndarray,
    theme: Theme,
) -> None:
    """Draw C lines [P, 2] in the colors of their ranks [C], the best on top."""
    order = np.argsort(rank)
    collection = LineCollection([lines[one][:, ::-1] for one in order], zorder=3)
    colors = theme.spread(1 - rank[order])
    colors[:, 3] = opacity[order]
    collection.set(colors=colors, linewidths=width[order], capstyle="round")
    ax.add_collection(collection)


def _rank(scores: np.ndarray) -> np.ndarray:
    """Ranks of scores [C], scaled from 0 for the worst to 1 for the best."""
    if len(scores) < 2:
        return np.ones(len(scores))
    return np.asarray(np.argsort(np.argsort(scores)) / (len(scores) - 1))
