"""Regions of rewards, and gradients of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgba
from matplotlib.patches import Circle, Patch, Rectangle

from dfplan.errors import DataError, require_numbers
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting.drawn_plan import check_array, prepare_axes
from dfplan.plotting.maze import maze_axes, to_picture, visible_limits
from dfplan.plotting.plans import mark_size
from dfplan.plotting.records import BoxLike, DiscLike, PlanLike
from dfplan.plotting.style import named_theme


def plot_regions(
    regions: Sequence[DiscLike | BoxLike],
    ax: Axes | None = None,
    *,
    maze: str | Maze | None = None,
    step: int = 0,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw the regions of a reward, for example those that it keeps plans out of, hatched.

    The regions are discs and boxes of :mod:`dfplan.planning.rewards`, in the suite's coordinates.
    Moving regions are drawn where they are at the environment step ``step``. ``width`` is the
    diameter of a token in typographic points, to which the edges are adapted.

    Raises:
        DataError: no region, or one that is neither a disc nor a box.
    """
    colors, parsed = named_theme(theme), None if maze is None else parse_maze(maze)
    corners = [_corners(region, step) for region in regions]
    if not corners:
        raise DataError("Regions to draw: expected at least one disc or box; got none.")
    corners_in_picture = to_picture(parsed, np.array(corners))
    limits = visible_limits(parsed, corners_in_picture.reshape(-1, 2))
    ax = maze_axes(ax, parsed, limits, colors)
    edge = 0.12 * mark_size(ax, width)
    for region, (first, last) in zip(regions, corners_in_picture, strict=True):
        (y, x), (height, width) = np.minimum(first, last), np.abs(last - first)
        patch: Patch = (
            Circle((x + width / 2, y + height / 2), width / 2)
            if isinstance(region, DiscLike)
            else Rectangle((x, y), width, height)
        )
        fill = to_rgba(colors.warning, 0.12)
        patch.set(fc=fill, ec=colors.warning, hatch="////", lw=edge, zorder=2.5)
        ax.add_patch(patch)
    ax.patches[-1].set_label("region of the reward")
    return ax


def plot_reward_gradient(
    plan: PlanLike,
    gradient: np.ndarray,
    ax: Axes | None = None,
    *,
    index: int = 0,
    longest: float = 0.8,
    norm: Normalize | None = None,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw the gradient of a reward as an arrow at each point of each candidate.

    The gradient at the candidates of plan ``index``, float [C, P, 2], is what
    :func:`dfplan.planning.objective.reward_gradient` returns for ``plan.candidates[index]``. The
    longest arrow is ``longest`` cells long, and the others are in proportion. The arrows are the
    last collection of the axes; their color scale is the length of the gradient, or ``norm``. Their
    shafts are a tenth as wide as a token, which has the diameter ``width`` in typographic points.

    Raises:
        ConfigError: unknown index or theme, or ``longest`` is not above 0.
    """
    require_numbers({"longest": longest}, above=0)
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    gradient = check_array("gradient", gradient, plan.candidates[index].shape)
    arrows = to_picture(drawn.maze, plan.candidates[index] + gradient) - drawn.candidates
    length = np.linalg.norm(arrows, axis=-1)
    visible = length > 1e-3 * float(length.max())
    scaled = arrows[visible] * longest / (float(length.max()) or 1.0)
    (y, x), (dy, dx) = drawn.candidates[visible].T, scaled.T
    shaft = 0.1 * mark_size(ax, width) / 72
    style: Any = {"width": shaft, "headwidth": 3.5, "headlength": 4, "minlength": 0.1}
    units: Any = {"units": "inches", "angles": "xy", "scale_units": "xy", "scale": 1}
    size = np.linalg.norm(gradient, axis=-1)[visible]
    arrow = ax.quiver(x, y, dx, dy, size, cmap=colors.gradient, zorder=6, **style, **units)
    ax.plot([], [], color=colors.goal, marker=">", ms=4, label="gradient of the reward")
    arrow.set(norm=norm or Normalize(0, float(size.max(initial=0.0)) or 1.0))
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
