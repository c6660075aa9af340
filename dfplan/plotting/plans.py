"""Plans, their candidates and how much these differ, search trees and executed paths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import ListedColormap, Normalize, PowerNorm
from matplotlib.patches import Circle, Ellipse

from dfplan.errors import DataError, require_name, require_numbers
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting import marks
from dfplan.plotting.drawn_plan import DrawnPlan, check_array, prepare_axes
from dfplan.plotting.maze import maze_axes, to_picture, token_size, visible_limits
from dfplan.plotting.records import PlanLike, TreeLike
from dfplan.plotting.style import Theme, named_theme

_LARGEST_SPREAD = 0.5
"""Default end of the color scale of plan spread, in cells of the maze. It is the same for all plans
in a maze, so that pictures compare."""

_CELL_STEPS = 20
"""Steps at top speed through a cell."""


def plot_plan(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    color: str = "level",
    candidates: bool = True,
    norm: Normalize | None = None,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw a plan: tokens, start and goal, and the candidates as faint lines if ``candidates``.

    ``color`` is what colors the tokens: ``level``, their noise level, or ``spread``, the plan
    spread (:attr:`dfplan.Plan.spread`), gray if it is not known. If colored by noise level,
    each noisy token is surrounded by its prediction regions, if the plan knows them: they hold
    the place where it ends with 50 and 90% (:mod:`dfplan.regions`). Tokens of pure noise are
    rings. A part of the line has the color of its less certain end. Points after arrival are
    not drawn. ``norm`` is the color scale, by default :func:`level_norm` or
    :func:`spread_norm`. ``width`` is the diameter of a token in typographic points; by default
    it follows the size of a cell.

    Raises:
        ConfigError: unknown index, color or theme, or a width that is not above 0.
        DataError: the plan has no spread, or an array has a wrong shape or is not finite.
    """
    require_name("color of a plan", color, ("level", "spread"))
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    size = mark_size(ax, width)
    if candidates:
        lines = LineCollection([line[:, ::-1] for line in drawn.candidates], zorder=3)
        lines.set(colors=colors.muted, linewidths=size / 20, label="candidates")
        ax.add_collection(lines)
    if color == "level":
        scale = ScalarMappable(norm or level_norm(plan.max_level), colors.uncertainty)
        draw_noisy_tokens(ax, drawn, drawn.points, drawn.level, scale, size, colors)
    else:
        known = drawn.knows_spread
        colormap = colors.uncertainty if known else ListedColormap([colors.muted])
        scale = ScalarMappable(norm or spread_norm(plan), colormap)
        values, fast = drawn.require_spread(), drawn.too_fast(drawn.points, drawn.level)
        marks.draw_tokens(ax, drawn.points, values, scale, size, too_fast=fast, theme=colors)
    marks.draw_ends(ax, drawn.points[0], drawn.goal, size, drawn.suite, colors)
    return ax


def plot_candidates(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    norm: Normalize | None = None,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw the candidates as lines; those with better scores are stronger and on top.

    The lines are the last collection of the axes; their color scale is the rank, 0 for the best, or
    ``norm``. ``width`` is the diameter of a token in typographic points, to which other marks are
    adapted.
    """
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    rank = _rank(check_array("scores", plan.scores[index], (len(drawn.candidates),)))
    _draw_ranked(ax, list(drawn.candidates), rank, mark_size(ax, width), norm, colors)
    ax.collections[-1].set_label("candidates")
    return ax


def plot_spread(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    norm: Normalize | None = None,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw a tube around the plan; its radius is the plan spread.

    That is how far a point would move if the plan were made again with other noise, on the same
    route. Plans made again that take another route are drawn as lines, with their number. If all
    of them do, the spread is not known, and there is no tube. A tube ends where the data has never
    been. ``norm`` is the color scale, by default :func:`spread_norm`; the last collection of the
    axes has it. ``width`` as in :func:`plot_candidates`.

    Raises:
        DataError: the plan has no spread.
    """
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    spread, size = drawn.require_spread(), mark_size(ax, width)
    scale = ScalarMappable(norm or spread_norm(plan), colors.uncertainty)
    marks.draw_other_routes(ax, drawn.others, drawn.again, size, colors)
    radius = np.where(drawn.knows_spread, spread, 0.0) / drawn.unit
    tube = marks.draw_tube(ax, drawn.points, radius, spread, scale, colors)
    drawn.cut_off(ax, [tube])
    ax.collections[-1].set(cmap=scale.cmap, norm=scale.norm, label="plan spread")
    return ax


def plot_tracking(
    plan: PlanLike,
    radii: np.ndarray,
    ax: Axes | None = None,
    *,
    index: int = 0,
    norm: Normalize | None = None,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw a tube around the plan; its radius is the tracking spread.

    The body's path comes that near to a point of the plan with the probability for which ``radii``,
    float [P], were made by :func:`dfplan.planning.success.tracking_regions`. The tube ends where
    the data has never been. ``norm`` is the color scale, by default :func:`spread_norm`; the last
    collection of the axes has it. ``width`` as in :func:`plot_candidates`.

    Raises:
        DataError: the radii have the wrong shape or are not finite.
    """
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    values = check_array("radii", radii, (plan.points.shape[1],))[: len(drawn.points)]
    scale = ScalarMappable(norm or spread_norm(plan), colors.uncertainty)
    tube = marks.draw_tube(ax, drawn.points, values / drawn.unit, values, scale, colors)
    drawn.cut_off(ax, [tube])
    size = mark_size(ax, width)
    marks.draw_tokens(ax, drawn.points, values, scale, size, theme=colors)
    marks.draw_ends(ax, drawn.points[0], drawn.goal, size, drawn.suite, colors)
    return ax


def plot_futures(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    norm: Normalize | None = None,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw where an episode can continue if it jumps off the plan, with each probability.

    A dotted line leads from the plan's point to each landing, and a line along the expected way on
    to the goal. A landing from which the goal is never reached is marked with a cross. Landings at
    the same place after several points of the plan are drawn once, with the sum of probabilities.
    The lines after landings are the last collection of the axes; their color scale is the
    probability of no such jump, from 0 to 1, or ``norm``. ``width`` as in :func:`plot_candidates`.

    Raises:
        DataError: the plan does not know its futures.
    """
    if plan.futures is None:
        raise DataError(
            "The plan does not know where it can part. Plan with GraphPlanner, or with a finite "
            "PlannerSettings.route_noise, from a checkpoint with a roadmap."
        )
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    size = mark_size(ax, width)
    landings = {tuple(future.points[0].tolist()): future for future in drawn.futures}
    scale = ScalarMappable(norm or Normalize(0, 1), colors.ranks)
    lines, probabilities = [], []
    for place, future in landings.items():
        same = (each for each in drawn.futures if tuple(each.points[0].tolist()) == place)
        probability = sum(each.probability for each in same)
        line = to_picture(drawn.maze, check_array("points of a future", future.points, ("P", 2)))
        begin = drawn.points[min(future.point + 1, len(drawn.points) - 1)]
        jump, lost = np.stack([begin, line[0]]), future.arrival == 0
        marks.draw_landing(ax, jump, f"{probability:.0%}", lost, size, colors)
        lines.append(line[:, ::-1])
        probabilities.append(probability)
    ways = LineCollection(lines, linewidths=0.18 * size, zorder=3.5, label="future")
    ways.set(cmap=scale.cmap, norm=scale.norm, array=1 - np.array(probabilities))
    ax.add_collection(ways)
    return ax


def plot_ellipses(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    every: int = 4,
    norm: Normalize | None = None,
    theme: str = "light",
) -> Axes:
    """Draw the candidates' positions at every ``every``-th point as ellipses.

    The ellipses show one and two standard deviations of the normal distribution that has the mean
    and covariance of the candidates. They describe the candidates; they are no prediction regions.
    If the candidates split into two groups, an ellipse cannot show it; see
    :func:`dfplan.plotting.plot_candidates`. They end where the data has never been. ``norm`` is the
    color scale of their size, by default :func:`spread_norm`; the last collection of the axes has
    it.

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
    sizes = np.sqrt(np.trace(covariances, axis1=1, axis2=2)) * drawn.unit
    scale = ScalarMappable(norm or spread_norm(plan), theme_colors.uncertainty)
    for deviation, label in ((2.0, "two standard deviations"), (1.0, "one standard deviation")):
        ellipses = [
            _ellipse(mean, covariance, deviation)
            for mean, covariance in reversed(list(zip(means, covariances, strict=True)))
        ]
        collection = PatchCollection(ellipses, zorder=2 - 0.1 * deviation, label=label)
        shades = theme_colors.paler(scale.to_rgba(sizes[::-1]), 0.4 / deviation)
        collection.set(facecolors=shades, edgecolors=shades, linewidths=0.5)
        collection.set(cmap=scale.cmap, norm=scale.norm)
        ax.add_collection(collection)
        drawn.cut_off(ax, [collection])
    return ax


def plot_tree(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    norm: Normalize | None = None,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw the segments of a tree search, with a dot where each one ends.

    Segments of nodes with better scores are stronger and on top. The plan of the best node is
    thick, and dotted where the network did not make it. ``plan`` is of a
    :class:`dfplan.TreePlanner` and made with ``trace=True``. The dots are the last collection of
    the axes; their color scale is the rank of the score, 0 for the best, or ``norm``. ``width`` as
    in :func:`plot_candidates`.

    Raises:
        DataError: the plan has no tree, or an array has a wrong shape or is not finite.
    """
    tree = require_tree(plan)
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    size = mark_size(ax, width)
    parents, scores = tree.parent[index], tree.scores[index]
    points = check_array("points of the tree", tree.points[index], ("N", "P", 2))
    lines, begins, ends = to_picture(drawn.maze, points), tree.begins[index], tree.ends[index]
    nodes = np.flatnonzero((parents >= 0) & (ends > begins))
    segments = [lines[node, begins[node] : ends[node] + 1] for node in nodes]
    rank = _rank(scores[nodes])
    _draw_ranked(ax, segments, rank, 0.6 * size, norm, colors)
    best = int(np.where(parents >= 0, scores, -np.inf).argmax())
    marks.draw_branch(ax, lines[best], int(ends[best]), size, colors)
    marks.draw_ends(ax, drawn.points[0], drawn.goal, size, drawn.suite, colors)
    scale = ScalarMappable(norm or Normalize(0, 1), colors.ranks)
    marks.draw_nodes(ax, lines[nodes, ends[nodes]], 1 - rank, scale, size, colors)
    return ax


def plot_path(
    positions: np.ndarray,
    ax: Axes | None = None,
    *,
    maze: str | Maze | None = None,
    ball: bool = True,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw the path of an episode and, if ``ball``, the body to scale at its end.

    The visited positions are in the suite's coordinates; float [S, 2]. ``width`` as in
    :func:`plot_candidates`.
    """
    positions, colors = check_array("positions", positions, ("S", 2)), named_theme(theme)
    parsed = None if maze is None else parse_maze(maze)
    path = to_picture(parsed, positions)
    ax = maze_axes(ax, parsed, visible_limits(parsed, path), colors)
    marks.draw_executed(ax, path, mark_size(ax, width), colors)
    if ball and parsed is not None:
        suite, (y, x) = parsed.suite, path[-1].tolist()
        body = Circle((x, y), suite.ball_radius / suite.cell_size, zorder=7.5)
        body.set(fc=colors.ink, ec=colors.floor, lw=0.6)
        ax.add_patch(body)
    return ax


def draw_noisy_tokens(
    ax: Axes,
    drawn: DrawnPlan,
    points: np.ndarray,
    level: np.ndarray,
    scale: ScalarMappable,
    size: float,
    theme: Theme,
) -> None:
    """Draw tokens at points [P, 2] with noise ``level`` [P], and their prediction regions."""
    noise = level / drawn.max_level
    radii = drawn.region_radii(noise)
    if radii is not None and noise.any():
        noisy = noise > 0
        regions = marks.draw_regions(
            ax, points[noisy], radii[noisy], scale.to_rgba(level[noisy]), theme
        )
        drawn.cut_off(ax, regions)
    fast = drawn.too_fast(points, level)
    marks.draw_tokens(
        ax, points, level, scale, size, unknown=noise >= 1, too_fast=fast, theme=theme
    )


def level_norm(max_level: int) -> Normalize:
    """The color scale of noise levels, from clean to pure noise."""
    return Normalize(0, max_level)


Scale = tuple[ScalarMappable, dict[float, str], str]
"""A color scale: its colors, labels by value, and what it shows."""


def level_scale(max_level: int, theme: Theme) -> Scale:
    """The color scale of noise levels."""
    colors = ScalarMappable(level_norm(max_level), theme.uncertainty)
    ticks = {0.0: "0  clean", float(max_level): f"{max_level}  pure noise"}
    return colors, ticks, "noise level of a token"


def level_entries(drawn: DrawnPlan, points: np.ndarray, levels: np.ndarray) -> dict[str, bool]:
    """Entries of the legend of a plan, and whether they are drawn.

    Args:
        drawn: the plan.
        points: that are drawn, in the picture's coordinates, [..., P, 2].
        levels: their noise levels, [..., P].
    """
    noise = levels / drawn.max_level
    return {
        "start": True,
        "goal": drawn.goal is not None,
        "plan": True,
        "pure noise": bool((noise >= 1).any()),
        "holds the place with 50 and 90%": bool(noise.any())
        and drawn.region_radii(noise) is not None,
        "faster than the body": bool(drawn.too_fast(points, levels).any()),
    }


def spread_norm(plan: PlanLike) -> Normalize:
    """The color scale of plan spread, in units of position; the same for all plans in a maze.

    It grows with the root of the spread, which is small in most places. Without a maze, a cell is
    what the body passes in 20 steps, as in the mazes of the suites.
    """
    cell = 1.0 if plan.max_step is None else _CELL_STEPS * plan.max_step
    if plan.maze is not None:
        cell = parse_maze(plan.maze).suite.cell_size
    return PowerNorm(0.5, 0, _LARGEST_SPREAD * cell, clip=True)


def require_tree(plan: PlanLike) -> TreeLike:
    """Return the search tree of a plan; raise :class:`DataError` if it has none."""
    if plan.tree is None:
        raise DataError(
            "The plan must have a search tree; it has none. Use TreePlanner.plan(trace=True)."
        )
    return plan.tree


def mark_size(ax: Axes, width: float | None) -> float:
    """Diameter of a token in typographic points: ``width``, or by the size of a cell."""
    if width is None:
        return token_size(ax)
    require_numbers({"width": width}, above=0, maximum=100)
    return width


def _ellipse(mean: np.ndarray, covariance: np.ndarray, deviations: float) -> Ellipse:
    variances, directions = np.linalg.eigh(covariance)
    width, height = 2 * deviations * np.sqrt(np.maximum(variances, 0))
    angle = np.degrees(np.arctan2(directions[0, 0], directions[1, 0]))
    return Ellipse((float(mean[1]), float(mean[0])), width, height, angle=angle)


def _draw_ranked(
    ax: Axes,
    lines: Sequence[np.ndarray],
    rank: np.ndarray,
    size: float,
    norm: Normalize | None,
    theme: Theme,
) -> None:
    """Draw C lines [P, 2] in the colors of their ranks [C], the best on top."""
    if not lines:
        return
    order = np.argsort(rank)
    collection = LineCollection([lines[one][:, ::-1] for one in order], zorder=3)
    collection.set(cmap=theme.ranks, norm=norm or Normalize(0, 1), array=1 - rank[order])
    collection.set(linewidths=size * (0.03 + 0.14 * rank[order]), capstyle="round")
    ax.add_collection(collection)


def _rank(scores: np.ndarray) -> np.ndarray:
    """Ranks of scores [C], scaled from 0 for the worst to 1 for the best."""
    if len(scores) < 2:
        return np.ones(len(scores))
    return np.asarray(np.argsort(np.argsort(scores)) / (len(scores) - 1))
