"""Regions of rewards, and gradients of rewards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from dfplan.errors import DataError, require_numbers
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
)
from dfplan.plotting.records import BoxLike, DiscLike, PlanLike
from dfplan.plotting.style import named_theme


def plot_regions(
    regions: Sequence[DiscLike | BoxLike],
    ax: Axes | None = None,
    *,
    maze: str | Maze | None = None,
    step: int = 0,
    theme: str = "light",
) -> Axes:
    """Draw the regions of a reward, for example those that it keeps plans out of, hatched.

    Args:
        regions: discs and boxes of :mod:`dfplan.planning.rewards`, in the suite's coordinates.
        ax: axes to draw on; default: pyplot's current axes.
        maze: the maze; None for a floor without walls.
        step: environment step at which moving regions are drawn.
        theme: ``light`` or ``dark``.

    Raises:
        MazeError: the maze cannot be read.
        ConfigError: unknown name of a maze or theme.
        DataError: no region, or one that is neither a disc nor a box.
    """
    colors, parsed = named_theme(theme), None if maze is None else parse_maze(maze)
    corners = [_corners(region, step) for region in regions]
    if not corners:
        raise DataError("Regions to draw: expected at least one disc or box; got none.")
    corners_in_picture = to_picture(parsed, np.array(corners))
    ax = current_axes(ax)
    if parsed is None:
        limits = points_limits(corners_in_picture.reshape(-1, 2))
    else:
        limits = maze_limits(parsed)
    draw_maze_once(ax, parsed, limits, colors)
    for region, (low, high) in zip(regions, corners_in_picture, strict=True):
        marks.draw_region(ax, low, high, isinstance(region, DiscLike), colors)
    return ax


def plot_reward_gradient(
    plan: PlanLike,
    gradient: np.ndarray,
    ax: Axes | None = None,
    *,
    index: int = 0,
    longest: float = 0.8,
    theme: str = "light",
) -> Axes:
    """Draw the gradient of a reward as an arrow at each point of each candidate.

    Args:
        plan: batch of plans.
        gradient: gradient at the candidates of plan ``index``, as returned by
            ``planner.reward_gradient(plan.candidates[index])``; float [C, P, 2].
        ax: axes to draw on; default: pyplot's current axes.
        index: which plan of the batch.
        longest: length of the longest arrow in cells; other arrows are in proportion.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: unknown index or theme, or ``longest`` is not above 0.
        DataError: an array has a wrong shape or is not finite.
    """
    require_numbers({"longest": longest}, above=0)
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    gradient = check_array("gradient", gradient, plan.candidates[index].shape)
    arrows = to_picture(drawn.maze, plan.candidates[index] + gradient) - drawn.candidates
    length = np.linalg.norm(arrows, axis=-1)
    visible = length > 1e-3 * float(length.max())
    scaled = arrows[visible] * longest / (float(length.max()) or 1.0)
    marks.draw_arrows(ax, drawn.candidates[visible], scaled, colors)
    return ax


def _corners(region: DiscLike | BoxLike, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest position [2] of a region at an environment step."""
    match region:
        case DiscLike():
            center = np.array(region.center) + step * np.array(region.velocity)
            return center - region.radius, center + region.radius
        case BoxLike():
            return np.array(region.low), np.array(region.high)
    raise DataError(
        f"A region to draw must be a Disc or a Box of dfplan.planning.rewards; got {region!r}. "
        "Draw other regions with matplotlib on the same axes."
    )
