"""Draws the walls of a maze, and prepares axes for what is drawn over them.

All pictures of mazes have the same coordinates, whatever the suite. They are D4RL's: one unit is a
cell, ``q0`` points down the rows of the maze's text, and ``q1`` points right along its columns.
Without a maze, ``q1`` is the first coordinate of a position and points right, and ``q0`` is the
second one and points up. :func:`to_picture` converts positions to (q0, q1).
"""

from __future__ import annotations

from typing import Any

import contourpy
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

from dfplan.mazes import Maze, parse_maze
from dfplan.plotting.records import FloorLike
from dfplan.plotting.style import LIGHT, Theme, named_theme
from dfplan.suites import CELL_OFFSET

_WALL_WIDTH = 0.06  # of the drawn outer wall, as a share of the maze's length
_MIN_WALL_WIDTH = 0.3
_ROUNDING = 0.02
_MARGIN = 0.08  # without a maze, as a share of the longer side
_CELLS = 10  # without a maze, the longer side counts as so many cells
_MIN_TOKEN, _MAX_TOKEN = 2.0, 9.0
_FLOOR = "floor"

_FIRST_CELL = np.array([CELL_OFFSET, CELL_OFFSET])
_PICTURE_AXES = ((CELL_OFFSET, CELL_OFFSET), (1.0, 0.0), (0.0, 1.0))

Limits = tuple[float, float, float, float]
"""Limits of the axes: (min q0, max q0, min q1, max q1)."""


def to_picture(maze: Maze | None, positions: np.ndarray) -> np.ndarray:
    """Convert positions [..., 2] from the suite's coordinates to the picture's."""
    if maze is None:
        return positions[..., ::-1]
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
    """Limits that show a maze; without one, positions [P, 2] with a margin on all sides."""
    if maze is not None:
        return maze_limits(maze)
    margin = _MARGIN * float(np.ptp(points, axis=0).max()) or 1.0
    (q0, q1), (p0, p1) = points.min(axis=0) - margin, points.max(axis=0) + margin
    return float(q0), float(p0), float(q1), float(p1)


def draw_maze(
    axes: Axes,
    maze: Maze | None,
    limits: Limits,
    scale: bool = True,
    theme: Theme = LIGHT,
    floor: FloorLike | None = None,
) -> None:
    """Draw the walls of a maze and, if ``scale``, a bar that is one cell long.

    The axes get equal units, no ticks and a vertical axis that points down. Without a maze, the
    vertical axis points up, the axes have ticks, and the floor is where the data has been, if that
    is known.
    """
    axes.set_aspect("equal")
    if maze is None:
        _draw_axes(axes, scale, theme)
        axes.set(xlim=limits[2:], ylim=limits[:2])
    else:
        axes.set_axis_off()
        axes.set(xlim=limits[2:], ylim=(limits[1], limits[0]))
    area = FancyBboxPatch(
        (limits[2], limits[0]),
        limits[3] - limits[2],
        limits[1] - limits[0],
        boxstyle=f"round,pad=0,rounding_size={_ROUNDING * (limits[3] - limits[2])}",
        facecolor=_ground(maze, floor, theme),
        linewidth=0,
        zorder=0,
        gid=_FLOOR,
    )
    axes.add_patch(area)
    if maze is not None:
        axes.add_patch(walls := _walls(maze, theme))
        walls.set_clip_path(area)
        if scale:
            _draw_scale(axes, limits, maze.suite.cell_size, theme)
    elif floor is not None:
        visited = PathPatch(floor_outline(floor, None), fc=theme.floor, lw=0, zorder=0.5)
        axes.add_patch(visited)


def _ground(maze: Maze | None, floor: FloorLike | None, theme: Theme) -> str:
    """The color below a maze, or around the places where data has been."""
    if maze is not None:
        return theme.floor
    return theme.open_floor if floor is None else theme.wall


def _draw_axes(axes: Axes, labels: bool, theme: Theme) -> None:
    """Ticks and names of the axes of a plane without a maze."""
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=2, pad=2, labelsize=7, color=theme.muted, labelcolor=theme.ink)
    axes.tick_params(labelleft=labels, labelbottom=labels)
    axes.locator_params(nbins=5)
    if labels:
        style: dict[str, Any] = {"fontsize": 7, "color": theme.muted, "labelpad": 2}
        axes.set_xlabel("x, units of position", **style)
        axes.set_ylabel("y, units of position", **style)


def floor_outline(floor: FloorLike, maze: Maze | None) -> Outline:
    """The outline of the places where data has been, in the picture's coordinates (q1, q0)."""
    visited = np.pad(floor.visited, 1).astype(float)
    generator = contourpy.contour_generator(z=visited, fill_type="OuterCode")
    parts: Any = generator.filled(0.5, 2.0)
    points, codes = parts
    if not points:
        return Outline(np.zeros((0, 2)))
    # Columns of the grid are the second coordinate; centers of cells are half a cell inside.
    cells = np.concatenate(points)[:, ::-1] - 0.5
    places = to_picture(maze, floor.origin + floor.resolution * cells)
    return Outline(places[:, ::-1], np.concatenate(codes))


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
        fontsize=max(7.0, token_size(axes)),
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


def maze_axes(
    ax: Axes | None,
    maze: Maze | None,
    limits: Limits,
    theme: Theme,
    floor: FloorLike | None = None,
) -> Axes:
    """Return the current axes; draw the maze or the floor unless they already have one."""
    ax = current_axes(ax)
    if not any(patch.get_gid() == _FLOOR for patch in ax.patches):
        draw_maze(ax, maze, limits, theme=theme, floor=floor)
    return ax


def token_size(ax: Axes) -> float:
    """Diameter of a token in typographic points: a sixth of a cell, within readable bounds."""
    box, figure = ax.get_position(), ax.get_figure(root=True)
    if figure is None:
        return _MAX_TOKEN
    width, height = 72 * figure.get_size_inches() * (box.width, box.height)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    cell = min(width / abs(right - left), height / abs(top - bottom))
    if ax.axison:  # no maze
        cell *= max(abs(right - left), abs(top - bottom)) / _CELLS
    return float(np.clip(cell / 6, _MIN_TOKEN, _MAX_TOKEN))
