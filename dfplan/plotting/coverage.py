"""A picture of where data has been.

Matplotlib is imported when a picture is drawn and not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfplan.errors import DataError
from dfplan.mazes import CELL_OFFSET, Maze
from dfplan.plotting.plan import checked_path, save

BINS = 12
"""Bins of the map that a cell of the maze is wide."""

_BARE_BINS = 240
_BARE_MARGIN = 0.04
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Visits:
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
    from dfplan.plotting.maze import to_picture

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
        margin = _BARE_MARGIN * max(float((greatest - least).max()), 1e-3)
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


def draw_coverage(
    path: str | Path,
    *,
    observations: np.ndarray,
    maze: Maze | None,
    line: np.ndarray | None = None,
    jumps: np.ndarray | None = None,
    walls: np.ndarray | None = None,
) -> Path:
    """Draw how often the data was where, over the walls of its maze.

    Positions are in the maze's frame, or in any where there is none.

    Args:
        path: picture to write (PNG, SVG or PDF by its ending).
        observations: position in the first two columns; float [N, D].
        maze: the maze that they lie in, or None for a bare floor.
        line: positions one after the other, float [S, 2], drawn as a line.
        jumps: positions that a jump led to, float [J, 2], marked.
        walls: positions in walls, float [W, 2], marked.

    Returns:
        The path that was written.

    Raises:
        ConfigError: unknown ending.
        DataError: no row is finite and not zero.
        OSError: the picture cannot be written; nothing is left behind.
    """
    path = checked_path(path)
    visits = count_visits(observations, maze)

    from dfplan.plotting.figures import coverage_figure
    from dfplan.plotting.maze import to_picture

    figure = coverage_figure(
        visits=visits.counts,
        box=visits.box,
        rows=len(observations),
        maze=maze,
        line=None if line is None or not len(line) else to_picture(maze, line),
        jumps=None if jumps is None or not len(jumps) else to_picture(maze, jumps),
        walls=None if walls is None or not len(walls) else to_picture(maze, walls),
    )
    return save(figure, path)


def _places(observations: np.ndarray) -> Iterator[np.ndarray]:
    """Positions that are places, float64 [k, 2], block by block."""
    for first in range(0, len(observations), _BLOCK):
        rows = observations[first : first + _BLOCK]
        positions = rows[np.isfinite(rows).all(axis=1) & rows.any(axis=1), :2]
        if len(positions):
            yield positions.astype(np.float64)


def _no_place(observations: np.ndarray) -> DataError:
    return DataError(
        f"At least one row must be finite and not zero for a picture; none of {len(observations)} "
        "rows is. See `dfplan data check`."
    )
