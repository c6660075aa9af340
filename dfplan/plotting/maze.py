"""A maze drawn where it really is, and the axes over it.

A picture has the rows and columns of the maze's text, one unit a cell, whatever frame the maze is
in: its axes are D4RL's, ``q0`` downwards and ``q1`` to the right, and :func:`to_picture` takes
positions there.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

from dfplan.mazes import Maze, parse_maze
from dfplan.plotting.style import LIGHT, Theme, named_theme
from dfplan.suites import CELL_OFFSET, DEFAULT

_RING = 0.06
_LEAST_RING = 0.3
_ROUNDING = 0.02
_LEAST_TOKEN, _GREATEST_TOKEN = 2.0, 9.0
_FLOOR = "floor"

_FIRST = np.array([CELL_OFFSET, CELL_OFFSET])

View = tuple[float, float, float, float]
"""What a panel shows: (least q0, greatest q0, least q1, greatest q1)."""


def to_picture(maze: Maze | None, positions: np.ndarray) -> np.ndarray:
    """Positions [..., 2] of the maze's frame as those of its picture; as they are without one."""
    if maze is None or maze.suite is DEFAULT:
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
    """A box around positions [P, 2], ``margin`` wide on every side, or as they are if far less."""
    longest = float(np.ptp(points, axis=0).max())
    margin = longest if 0 < longest < 0.05 * margin else margin
    (q0, q1), (p0, p1) = points.min(axis=0) - margin, points.max(axis=0) + margin
    return float(q0), float(p0), float(q1), float(p1)


def draw_maze(
    axes: Axes,
    maze: str | Maze | None,
    view: View | None = None,
    scale: bool = True,
    theme: Theme = LIGHT,
) -> None:
    """Draw the walls of a maze and a bar of one cell, and nothing else.

    Args:
        axes: where to draw; it gets equal units, no ticks and a vertical axis pointing down.
        maze: anything that :func:`dfplan.mazes.parse_maze` reads; None for a bare floor.
        view: what to show, in the picture's axes; None for the whole maze (or the axes' own limits
            where there is no maze).
        scale: whether to draw the bar; on a bare floor only where one unit shows.
        theme: colors.

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
        facecolor=theme.bare if parsed is None else theme.floor,
        linewidth=0,
        zorder=0,
        gid=_FLOOR,
    )
    axes.add_patch(frame)
    if parsed is not None:
        axes.add_patch(walls := _walls(parsed, theme))
        walls.set_clip_path(frame)
    longest = max(view[1] - view[0], view[3] - view[2])
    if scale and (parsed is not None or 1 < longest < 1000):
        _draw_scale(axes, view, 1.0 if parsed is None else parsed.suite.unit, theme)


def _walls(maze: Maze, theme: Theme) -> PathPatch:
    """One outline for all wall cells, so that no seam shows between neighbors."""
    square = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5), (-0.5, -0.5)])
    corners = np.argwhere(maze.walls)[:, None] + _FIRST + square
    codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY] * len(corners)
    outline = Outline(corners.reshape(-1, 2)[:, ::-1], codes)
    return PathPatch(outline, facecolor=theme.wall, linewidth=0, zorder=1)


def _draw_scale(axes: Axes, view: View, unit: float, theme: Theme) -> None:
    inset = _ring(max(view[1] - view[0], view[3] - view[2])) / 2
    q0, q1 = view[1] - inset, view[2] + 2 * inset
    axes.plot([q1, q1 + 1], [q0, q0], color=theme.ink, lw=1.6, solid_capstyle="butt", zorder=9)
    axes.annotate(
        f"{unit:g} unit{'' if unit == 1 else 's'}",
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
    """Walls and floor, where the physics has them, and a bar of one cell.

    Args:
        maze: text, rows or a name, as :func:`dfplan.mazes.parse_maze` takes it.
        ax: where to draw; by default pyplot's current axes.
        scale: whether to draw the bar.
        theme: ``light`` or ``dark``.

    Returns:
        The axes.

    Raises:
        MazeError: the maze cannot be read.
        ConfigError: an unknown name of a maze or a theme.
    """
    parsed, look, ax = parse_maze(maze), named_theme(theme), current_axes(ax)
    draw_maze(ax, parsed, scale=scale, theme=look)
    return ax


def current_axes(ax: Axes | None) -> Axes:
    """``ax``, or pyplot's current axes in its place."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.gca()


def lay_floor(ax: Axes, maze: Maze | None, view: View, theme: Theme) -> None:
    """The maze, or a bare floor, on axes that have none yet."""
    if any(patch.get_gid() == _FLOOR for patch in ax.patches):
        return
    draw_maze(ax, maze, view, theme=theme)


def token_size(ax: Axes) -> float:
    """A token's diameter in typographic points: a sixth of a cell, if that reads well."""
    box, figure = ax.get_position(), ax.get_figure(root=True)
    if figure is None:
        return _GREATEST_TOKEN
    wide, tall = 72 * figure.get_size_inches() * (box.width, box.height)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    unit = min(wide / abs(right - left), tall / abs(top - bottom))
    return float(np.clip(unit / 6, _LEAST_TOKEN, _GREATEST_TOKEN))
