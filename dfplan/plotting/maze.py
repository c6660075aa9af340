"""Draws the walls of a maze, and prepares axes for what is drawn over them.

All pictures have the same coordinates, whatever the suite of the maze. They are D4RL's: one unit is
a cell, ``q0`` points down the rows of the maze's text, and ``q1`` points right along its columns.
:func:`to_picture` converts positions to them.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

from dfplan.mazes import Maze, parse_maze
from dfplan.plotting.style import LIGHT, Theme, named_theme
from dfplan.suites import CELL_OFFSET

_WALL_WIDTH = 0.06  # of the drawn outer wall, as a share of the maze's length
_MIN_WALL_WIDTH = 0.3
_ROUNDING = 0.02
_MARGIN = 0.8
_MIN_TOKEN, _MAX_TOKEN = 2.0, 9.0
_FLOOR = "floor"

_FIRST_CELL = np.array([CELL_OFFSET, CELL_OFFSET])
_PICTURE_AXES = ((CELL_OFFSET, CELL_OFFSET), (1.0, 0.0), (0.0, 1.0))

Limits = tuple[float, float, float, float]
"""Limits of the axes: (min q0, max q0, min q1, max q1)."""


def to_picture(maze: Maze | None, positions: np.ndarray) -> np.ndarray:
    """Convert positions [..., 2] from the suite's coordinates to the picture's.

    Without a maze the positions are returned unchanged.
    """
    if maze is None:
        return positions
    suite = maze.suite
    if (suite.first_cell, suite.row_step, suite.column_step) == _PICTURE_AXES:
        return positions
    return np.asarray(maze.xy_to_grid(positions) + _FIRST_CELL)


def maze_limits(maze: Maze) -> Limits:
    """Limits that show a maze and a thin strip of its outer wall."""
    height, width = maze.shape
    (q0, q1), (p0, p1) = 1 + _FIRST_CELL, np.array([height - 2, width - 2]) + _FIRST_CELL
    margin = 0.5 + _wall_width(max(height, width))
    return q0 - margin, p0 + margin, q1 - margin, p1 + margin


def _wall_width(cells: float) -> float:
    """Drawn width of the outer wall of a maze that is ``cells`` long."""
    return min(1.0, max(_MIN_WALL_WIDTH, _WALL_WIDTH * (cells - 2)))


def visible_limits(maze: Maze | None, points: np.ndarray) -> Limits:
    """Limits that show a maze; without one, positions [P, 2] with a margin on all sides.

    The margin is reduced if all positions are close together.
    """
    if maze is not None:
        return maze_limits(maze)
    longest = float(np.ptp(points, axis=0).max())
    margin = longest if 0 < longest < 0.05 * _MARGIN else _MARGIN
    (q0, q1), (p0, p1) = points.min(axis=0) - margin, points.max(axis=0) + margin
    return float(q0), float(p0), float(q1), float(p1)


def draw_maze(
    axes: Axes, maze: Maze | None, limits: Limits, scale: bool = True, theme: Theme = LIGHT
) -> None:
    """Draw the walls of a maze and, if ``scale``, a bar that is one cell long.

    The axes get equal units, no ticks and a vertical axis that points down. Without a maze, a floor
    is drawn, and the bar only if a length of 1 is visible.
    """
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set(xlim=limits[2:], ylim=(limits[1], limits[0]))
    floor = FancyBboxPatch(
        (limits[2], limits[0]),
        limits[3] - limits[2],
        limits[1] - limits[0],
        boxstyle=f"round,pad=0,rounding_size={_ROUNDING * (limits[3] - limits[2])}",
        facecolor=theme.open_floor if maze is None else theme.floor,
        linewidth=0,
        zorder=0,
        gid=_FLOOR,
    )
    axes.add_patch(floor)
    if maze is not None:
        axes.add_patch(walls := _walls(maze, theme))
        walls.set_clip_path(floor)
    longest = max(limits[1] - limits[0], limits[3] - limits[2])
    if scale and (maze is not None or 1 < longest < 1000):
        _draw_scale(axes, limits, 1.0 if maze is None else maze.suite.cell_size, theme)


def _walls(maze: Maze, theme: Theme) -> PathPatch:
    """All wall cells as one outline, so that no seam is visible between neighbors."""
    square = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5), (-0.5, -0.5)])
    corners = np.argwhere(maze.walls)[:, None] + _FIRST_CELL + square
    codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY] * len(corners)
    outline = Outline(corners.reshape(-1, 2)[:, ::-1], codes)
    return PathPatch(outline, facecolor=theme.wall, linewidth=0, zorder=1)


def _draw_scale(axes: Axes, limits: Limits, cell_size: float, theme: Theme) -> None:
    inset = _wall_width(max(limits[1] - limits[0], limits[3] - limits[2])) / 2
    q0, q1 = limits[1] - inset, limits[2] + 2 * inset
    axes.plot([q1, q1 + 1], [q0, q0], color=theme.ink, lw=1.6, solid_capstyle="butt", zorder=9)
    axes.annotate(
        f"{cell_size:g} unit{'' if cell_size == 1 else 's'}",
        (q1 + 1, q0),
        xytext=(5, 0),
        textcoords="offset points",
        color=theme.ink,
        fontsize=9,
        va="center_baseline",
        zorder=9,
    )


def plot_maze(
    maze: str | Maze, ax: Axes | None = None, *, scale: bool = True, theme: str = "light"
) -> Axes:
    """Draw a maze's walls and floor and, if ``scale``, a scale bar that is one cell long."""
    parsed, colors, ax = parse_maze(maze), named_theme(theme), current_axes(ax)
    draw_maze(ax, parsed, maze_limits(parsed), scale, colors)
    return ax


def current_axes(ax: Axes | None) -> Axes:
    """Return ``ax``; if it is None, pyplot's current axes."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.gca()


def maze_axes(ax: Axes | None, maze: Maze | None, limits: Limits, theme: Theme) -> Axes:
    """Return the current axes; draw the maze or the floor unless they already have one."""
    ax = current_axes(ax)
    if not any(patch.get_gid() == _FLOOR for patch in ax.patches):
        draw_maze(ax, maze, limits, theme=theme)
    return ax


def token_size(ax: Axes) -> float:
    """Diameter of a token in typographic points: a sixth of a cell, within readable bounds."""
    box, figure = ax.get_position(), ax.get_figure(root=True)
    if figure is None:
        return _MAX_TOKEN
    width, height = 72 * figure.get_size_inches() * (box.width, box.height)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    cell = min(width / abs(right - left), height / abs(top - bottom))
    return float(np.clip(cell / 6, _MIN_TOKEN, _MAX_TOKEN))
