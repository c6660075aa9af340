"""A maze drawn where it really is.

A picture has the rows and columns of the maze's text, one unit a cell, whatever frame the maze is
in: its axes are D4RL's, ``q0`` downwards and ``q1`` to the right, and :func:`to_picture` takes
positions there.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

from dfplan.mazes import CELL_OFFSET, D4RL, Maze, parse_maze

WALL = "#d9dde4"
INK = "#22252b"
MUTED = "#6b7078"

_RING = 0.06
_LEAST_RING = 0.3
_ROUNDING = 0.02
_FLOOR = "white"
_BARE_FLOOR = "#f3f4f6"

_FIRST = np.array([CELL_OFFSET, CELL_OFFSET])

View = tuple[float, float, float, float]
"""What a panel shows: (least q0, greatest q0, least q1, greatest q1)."""


def to_picture(maze: Maze | None, positions: np.ndarray) -> np.ndarray:
    """Positions [..., 2] of the maze's frame as those of its picture; as they are without one."""
    if maze is None or maze.frame is D4RL:
        return positions
    return np.asarray(maze.on_grid(positions) + _FIRST)


def maze_view(maze: Maze) -> View:
    """The maze with its outer wall cut to a ring, thin beside what it encloses."""
    height, width = maze.shape
    (q0, q1), (p0, p1) = 1 + _FIRST, np.array([height - 2, width - 2]) + _FIRST
    margin = 0.5 + _ring(max(height, width))
    return q0 - margin, p0 + margin, q1 - margin, p1 + margin


def _ring(cells: float) -> float:
    """Width of the outer wall in the picture of a maze that is ``cells`` long."""
    return min(1.0, max(_LEAST_RING, _RING * (cells - 2)))


def points_view(points: np.ndarray, margin: float = 0.8) -> View:
    """A box around positions [P, 2], ``margin`` wide on every side."""
    (q0, q1), (p0, p1) = points.min(axis=0) - margin, points.max(axis=0) + margin
    return float(q0), float(p0), float(q1), float(p1)


def draw_maze(
    axes: Axes, maze: str | Maze | None, view: View | None = None, scale: bool = True
) -> None:
    """Draw the walls of a maze and a bar of one cell, and nothing else.

    Args:
        axes: where to draw; it gets equal units, no ticks and a vertical axis pointing down.
        maze: anything that :func:`dfplan.mazes.parse_maze` reads; None for a bare floor.
        view: what to show, in the picture's axes; None for the whole maze (or the axes' own limits
            where there is no maze).
        scale: whether to draw the bar.

    Raises:
        MazeError: the maze cannot be read.
        ConfigError: its name is unknown.
    """
    parsed = None if maze is None else parse_maze(maze)
    if view is None:
        top, bottom = sorted(axes.get_ylim())
        left, right = sorted(axes.get_xlim())
        view = (top, bottom, left, right) if parsed is None else maze_view(parsed)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set(xlim=view[2:], ylim=(view[1], view[0]))
    frame = FancyBboxPatch(
        (view[2], view[0]),
        view[3] - view[2],
        view[1] - view[0],
        boxstyle=f"round,pad=0,rounding_size={_ROUNDING * (view[3] - view[2])}",
        facecolor=_BARE_FLOOR if parsed is None else _FLOOR,
        linewidth=0,
        zorder=0,
    )
    axes.add_patch(frame)
    if parsed is not None:
        axes.add_patch(walls := _walls(parsed))
        walls.set_clip_path(frame)
    if scale:
        _draw_scale(axes, view, 1.0 if parsed is None else parsed.frame.unit)


def _walls(maze: Maze) -> PathPatch:
    """One outline for all wall cells, so that no seam shows between neighbors."""
    square = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5), (-0.5, -0.5)])
    corners = np.argwhere(maze.walls)[:, None] + _FIRST + square
    codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY] * len(corners)
    outline = Outline(corners.reshape(-1, 2)[:, ::-1], codes)
    return PathPatch(outline, facecolor=WALL, linewidth=0, zorder=1)


def _draw_scale(axes: Axes, view: View, unit: float) -> None:
    inset = _ring(max(view[1] - view[0], view[3] - view[2])) / 2
    q0, q1 = view[1] - inset, view[2] + 2 * inset
    axes.plot([q1, q1 + 1], [q0, q0], color=MUTED, lw=1.6, solid_capstyle="butt", zorder=9)
    axes.annotate(
        f"{unit:g} unit{'' if unit == 1 else 's'}",
        (q1 + 1, q0),
        xytext=(5, 0),
        textcoords="offset points",
        color=MUTED,
        fontsize=9,
        va="center_baseline",
        zorder=9,
    )
