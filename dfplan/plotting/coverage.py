"""Where data has been."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from dfplan.blocks import blocks
from dfplan.errors import DataError
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting.marks import draw_visits
from dfplan.plotting.maze import current_axes, draw_maze, maze_view, to_picture
from dfplan.plotting.style import named_theme
from dfplan.record import Record
from dfplan.suites import CELL_OFFSET

BINS = 12
"""Bins of the map that a cell of the maze is wide."""

_BARE_BINS = 240
_BARE_MARGIN = 0.04
_ROWS = 1 << 18


@dataclass(frozen=True)
class Visits(Record):
    """How often the data was where.

    Attributes:
        counts: rows in each bin; int [G0, G1].
        first: outer corner of bin (0, 0), in the axes of the maze's picture; float [2].
        side: of a bin, there.
    """

    counts: np.ndarray
    first: np.ndarray
    side: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """What the bins cover: (least q0, greatest q0, least q1, greatest q1)."""
        (q0, q1), (p0, p1) = self.first, self.first + self.side * np.array(self.counts.shape)
        return float(q0), float(p0), float(q1), float(p1)


def count_visits(observations: np.ndarray, maze: Maze | None) -> Visits:
    """Count rows by place, 12 bins to a cell, or 240 to the longer side where there is no maze.

    Rows that are not finite, or zero throughout, are no places; what lies outside of the maze is
    not counted.

    Args:
        observations: position in the first two columns; float [N, D].
        maze: the maze that they lie in, or None.

    Raises:
        DataError: no row is a place.
    """
    if maze is not None:
        first, side = np.full(2, CELL_OFFSET - 0.5), 1 / BINS
        shape = np.array(maze.shape) * BINS
    else:
        least, greatest = np.full(2, np.inf), np.full(2, -np.inf)
        for positions in _places(observations):
            least = np.minimum(least, positions.min(axis=0))
            greatest = np.maximum(greatest, positions.max(axis=0))
        if not (least <= greatest).all():
            raise _no_place(observations)
        margin = _BARE_MARGIN * (float((greatest - least).max()) or 1e-3)
        first, side = least - margin, max(greatest - least + 2 * margin) / _BARE_BINS
        shape = np.ceil((greatest - least + 2 * margin) / side).astype(int)
    counts, known = np.zeros(int(shape.prod()), np.int64), 0
    for positions in _places(observations):
        bins = np.floor((to_picture(maze, positions) - first) / side)
        inside = ((bins >= 0) & (bins < shape)).all(axis=1)
        at = bins[inside].astype(np.int64)
        counts += np.bincount(at[:, 0] * shape[1] + at[:, 1], minlength=len(counts))
        known += len(positions)
    if not known:
        raise _no_place(observations)
    return Visits(counts.reshape(shape), first, float(side))


def plot_coverage(
    observations: np.ndarray,
    ax: Axes | None = None,
    *,
    maze: str | Maze | None = None,
    theme: str = "light",
) -> Axes:
    """How often the data was where, on a logarithmic scale, over the walls of its maze.

    Args:
        observations: position in the first two columns, in the maze's frame; float [N, D].
        ax: where to draw; by default pyplot's current axes.
        maze: that they lie in, or None for a bare floor.
        theme: ``light`` or ``dark``.

    Returns:
        The axes; their last image has the colors, for a color bar.

    Raises:
        MazeError: the maze cannot be read.
        ConfigError: an unknown name of a maze or a theme.
        DataError: observations of another shape, or none that is finite and not zero.
    """
    parsed, look = None if maze is None else parse_maze(maze), named_theme(theme)
    if np.ndim(observations) != 2 or np.shape(observations)[1] < 2:
        raise DataError(
            "Expected observations [N, D], a position in the first two columns; got "
            f"{list(np.shape(observations))}."
        )
    visits, ax = count_visits(observations, parsed), current_axes(ax)
    view = visits.box if parsed is None else maze_view(parsed)
    longest = max(view[1] - view[0], view[3] - view[2])
    draw_maze(ax, parsed, view, scale=parsed is not None or 2 <= longest <= 40, theme=look)
    colors = ScalarMappable(LogNorm(1, max(int(visits.counts.max()), 2)), look.visits)
    draw_visits(ax, visits.counts, visits.box, colors)
    return ax


def _places(observations: np.ndarray) -> Iterator[np.ndarray]:
    """Positions that are places, float64 [k, 2], block by block."""
    for block in blocks(len(observations), _ROWS):
        rows = observations[block]
        known = (np.abs(rows) <= np.finfo(np.float32).max).all(axis=1)
        positions = rows[known & rows.any(axis=1), :2]
        if len(positions):
            yield positions.astype(np.float64)


def _no_place(observations: np.ndarray) -> DataError:
    return DataError(
        f"At least one row must be finite and not zero for a picture; none of {len(observations)} "
        "rows is. See `dfplan data check`."
    )
