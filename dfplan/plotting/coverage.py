"""How often data visits each place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize

from dfplan.blocks import blocks
from dfplan.errors import DataError
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting.maze import Limits, current_axes, draw_maze, maze_limits, to_picture
from dfplan.plotting.style import named_theme
from dfplan.record import Record
from dfplan.suites import CELL_OFFSET

BINS_PER_CELL = 12
"""Width of a maze's cell in bins."""

_BINS_WITHOUT_MAZE = 240
_MARGIN_WITHOUT_MAZE = 0.04
_BLOCK_ROWS = 1 << 18


@dataclass(frozen=True)
class Visits(Record):
    """Counts of visits on a grid of square bins.

    Attributes:
        counts: number of rows in each bin; int [G0, G1].
        corner: outer corner of bin (0, 0) in the picture's coordinates; float [2].
        bin_size: side length of a bin in the picture's coordinates.
    """

    counts: np.ndarray
    corner: np.ndarray
    bin_size: float

    @property
    def limits(self) -> Limits:
        """The area that the bins cover."""
        (q0, q1) = self.corner
        (p0, p1) = self.corner + self.bin_size * np.array(self.counts.shape)
        return float(q0), float(p0), float(q1), float(p1)


def count_visits(observations: np.ndarray, maze: Maze | None) -> Visits:
    """Count visits on a grid: 12 bins per cell, or without a maze 240 bins on the longer side.

    The position is in the first two columns of the observations, float [N, D]. Rows that are not
    finite, that are all zero or that are outside the maze are not counted.

    Raises:
        DataError: no row is finite and not zero.
    """
    if next(_valid_positions(observations), None) is None:
        raise DataError(
            "At least one row must be finite and not zero, to be drawn; none of the "
            f"{len(observations)} rows is. See `dfplan data check`."
        )
    if maze is not None:
        corner, bin_size = np.full(2, CELL_OFFSET - 0.5), 1 / BINS_PER_CELL
        shape = np.array(maze.shape) * BINS_PER_CELL
    else:
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        for positions in map(partial(to_picture, None), _valid_positions(observations)):
            low = np.minimum(low, positions.min(axis=0))
            high = np.maximum(high, positions.max(axis=0))
        margin = _MARGIN_WITHOUT_MAZE * (float((high - low).max()) or 1e-3)
        corner, bin_size = low - margin, max(high - low + 2 * margin) / _BINS_WITHOUT_MAZE
        shape = np.ceil((high - low + 2 * margin) / bin_size).astype(int)
    counts = np.zeros(int(shape.prod()), np.int64)
    for positions in _valid_positions(observations):
        bins = np.floor((to_picture(maze, positions) - corner) / bin_size)
        inside = ((bins >= 0) & (bins < shape)).all(axis=1)
        at = bins[inside].astype(np.int64)
        counts += np.bincount(at[:, 0] * shape[1] + at[:, 1], minlength=len(counts))
    return Visits(counts.reshape(shape), corner, float(bin_size))


def plot_coverage(
    observations: np.ndarray,
    ax: Axes | None = None,
    *,
    maze: str | Maze | None = None,
    norm: Normalize | None = None,
    theme: str = "light",
) -> Axes:
    """Draw how often data visits each place, on a logarithmic scale, over the walls of its maze.

    The position is in the first two columns of the observations, float [N, D]. The last image of
    the axes has the color scale ``norm``, for a color bar.

    Raises:
        DataError: observations have another shape, or no row is finite and not zero.
    """
    parsed, theme_colors = None if maze is None else parse_maze(maze), named_theme(theme)
    if np.ndim(observations) != 2 or np.shape(observations)[1] < 2:
        raise DataError(
            "Expected observations [N, D] with positions in the first two columns; got the shape "
            f"{list(np.shape(observations))}."
        )
    visits, ax = count_visits(observations, parsed), current_axes(ax)
    low0, high0, low1, high1 = visits.limits
    limits = visits.limits if parsed is None else maze_limits(parsed)
    draw_maze(ax, parsed, limits, theme=theme_colors)
    vertical = ax.get_ylim()
    ax.imshow(
        np.ma.masked_equal(visits.counts, 0),  # places without visits are transparent
        extent=(low1, high1, low0, high0),
        origin="lower",
        interpolation="nearest",
        cmap=theme_colors.visits,
        norm=norm or LogNorm(1, max(int(visits.counts.max()), 2)),
        zorder=1.2,
    )
    ax.set(xlim=limits[2:], ylim=vertical)
    return ax


def _valid_positions(observations: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of the rows that are finite and not zero, float64 [k, 2], block by block."""
    for block in blocks(len(observations), _BLOCK_ROWS):
        rows = observations[block]
        finite = (np.abs(rows) <= np.finfo(np.float32).max).all(axis=1)
        positions = rows[finite & rows.any(axis=1), :2]
        if len(positions):
            yield positions.astype(np.float64)
