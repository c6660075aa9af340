"""Statistics of a recording: columns, and the cells of its maze that were visited."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import is_valid, nonfinite_rows
from dfplan.data.checks.report import Findings, RowCollector
from dfplan.data.checks.rows import ROWS, row_maximum, starts_in
from dfplan.mazes import Maze
from dfplan.types import Recording

SOFT_CONTACT = 0.07
"""How deep a ball can be pressed into a wall, in cells. The contacts of the simulators are soft."""

ColumnStatistics = tuple[float, float, float, float]
"""Mean, standard deviation, minimum, maximum."""


def column_statistics(recording: Recording, excluded: np.ndarray) -> dict[str, ColumnStatistics]:
    """Statistics of each column of observations and actions by name, over valid rows.

    Rows in ``excluded``, int [k] in increasing order, do not count.
    """
    names = recording.layout.names[: recording.observations.shape[1]]
    names += [f"action {column + 1}" for column in range(recording.actions.shape[1])]
    sums = [_Sums() for _ in names]
    for block in blocks(len(recording), ROWS):
        rows, actions = recording.observations[block], recording.actions[block]
        valid = is_valid(rows)
        valid[nonfinite_rows(actions)] = False
        valid[starts_in(excluded, block) - block.start] = False
        for column, values in zip(sums, [*rows.T, *actions.T], strict=True):
            column.add(values[valid].astype(np.float64))
    return {
        name: column.statistics() for name, column in zip(names, sums, strict=True) if column.count
    }


def check_coverage(recording: Recording, maze: Maze, findings: Findings) -> str:
    """Describe how many cells of the maze were visited; report positions in its walls."""
    height, width = maze.shape
    visits = np.zeros(height * width, np.int64)
    in_walls, valid = RowCollector(), 0
    suite = maze.suite
    clearance = suite.ball_radius - SOFT_CONTACT * suite.cell_size
    for block in blocks(len(recording), ROWS):
        rows = recording.observations[block]
        index = np.flatnonzero(is_valid(rows))
        position = recording.layout.positions(rows)[index]
        valid += len(index)
        grid = maze.xy_to_grid(position)
        nearest = np.clip(np.floor(grid + 0.5), -1, maze.shape)  # floats of any size
        cell = nearest.astype(np.int64)
        cell[row_maximum((cell < 0) | (cell >= maze.shape))] = 0  # outside; the outer ring is wall
        flat = cell[:, 0] * width + cell[:, 1]
        visits += np.bincount(flat, minlength=len(visits))
        # The search for walls around a position is slow, and not needed in the middle of a cell.
        near_edge = row_maximum(np.abs(grid - nearest)) > 0.5 - clearance / suite.cell_size
        candidates = np.flatnonzero(near_edge | maze.walls.ravel()[flat])
        wall = np.zeros(len(rows), bool)
        wall[index[candidates[~maze.is_free(position[candidates], clearance)]]] = True
        in_walls.add(block.start, wall)
    if in_walls.count:
        share = in_walls.count / valid
        findings.add(
            "note",
            "walls",
            f"Positions in walls, or nearer to one than contact allows ({share:.1%} of all).",
            "dfplan does not exclude them. It only draws the maze, so a wrong one is harmless."
            if share < 0.1
            else "Is it another maze, or do the positions have other coordinates?",
            rows=in_walls,
        )
    free = ~maze.walls.ravel()
    visited = int(np.count_nonzero(visits[free]))
    return f"{visited} of {int(free.sum())} free cells visited ({visited / free.sum():.0%})"


@dataclass
class _Sums:
    """Sums for the statistics of a column, block by block."""

    count: int = 0
    offset: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    minimum: float = np.inf
    maximum: float = -np.inf

    def add(self, values: np.ndarray) -> None:
        if not len(values):
            return
        if not self.count:
            self.offset = float(values[0])  # sums relative to a value lose fewer digits
        self.count += len(values)
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        values -= self.offset
        self.total += float(values.sum())
        self.squares += float(values @ values)

    def statistics(self) -> ColumnStatistics:
        mean = self.total / self.count
        deviation = float(np.sqrt(max(self.squares / self.count - mean**2, 0.0)))
        return self.offset + mean, deviation, self.minimum, self.maximum
