"""Describes a data set and finds its problems, before a model is trained on it.

The data is processed in blocks, so that a file of a hundred million rows needs as much memory as a
small one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import find_anomalies, is_valid, nonfinite_rows
from dfplan.data.checks import recorded, training
from dfplan.data.checks.report import (
    ROWS,
    ColumnStatistics,
    Findings,
    Report,
    RowCollector,
    plural,
    row_maximum,
    starts_in,
)
from dfplan.errors import ConfigError, DataError, MazeError
from dfplan.mazes import Maze, parse_maze
from dfplan.types import Recording

if TYPE_CHECKING:
    from dfplan.plotting.output import Output

SOFT_CONTACT = 0.07
"""How deep a ball can be pressed into a wall, in cells. The contacts of the simulators are soft."""

_LINE_ROWS = 1000
_NO_SEGMENTS = np.zeros((0, 2), np.int64)


def check(recording: Recording, segment_by: str = "none", window: int | None = None) -> Report:
    """Find everything in a recording that would spoil training, or that is good to know.

    Args:
        recording: the data.
        segment_by: where else to cut episodes; see :data:`dfplan.data.segments.SEGMENT_BY`.
        window: rows of a training window; segments that are too short for it are reported.

    Raises:
        ConfigError: ``segment_by`` is unknown.
        DataError: the layout of the recording does not fit its observations.
    """
    findings = Findings(recording.episodes)
    facts = {"rows": _size(recording)}
    if len(recording) < 2:
        findings.add(
            "error",
            "rows",
            "Motion needs at least 2 rows of observations.",
            "Check that the file is the right one, and that it is complete.",
        )
        return Report(recording.source, findings.sorted(), facts, {}, _NO_SEGMENTS, {})
    maze = _maze(recording, findings)
    if maze is not None:
        name = "" if maze.name == "custom" else f"{maze.name}, "
        height, width = maze.shape
        facts["maze"] = f"{name}{height} x {width} cells, coordinates of {maze.suite.name}"
    facts["episodes"] = recorded.check_episodes(recording, findings)
    anomalies = find_anomalies(recording)
    recorded.check_anomalies(recording, anomalies, findings)
    recorded.check_repeats(recording, findings)
    recorded.check_actions(recording, findings)
    recorded.check_ends(recording, findings)
    if recording.goals is not None:
        recorded.check_stale_goals(recording, recording.goals, findings)
    if recording.rewards is not None:
        facts.update(recorded.check_rewards(recording, recording.rewards, maze, findings))
    trained = training.check_segments(recording, segment_by, findings)
    segments = _NO_SEGMENTS if trained is None else trained.segments
    training.check_lengths(segments, window, findings)
    statistics = column_statistics(recording, anomalies.excluded)
    if (
        trained is not None
        and training.check_velocities(recording, segments, findings)
        and statistics
    ):
        training.check_motion(trained, statistics, findings)
    if maze is not None:
        facts["coverage"] = check_coverage(recording, maze, findings)
    boundaries = {
        "ends of episodes": len(recording.episodes) - 1,
        "excluded rows": len(anomalies.excluded),
        "jumps": len(anomalies.jumps),
        **training.count_marks(recording, segment_by),
    }
    return Report(recording.source, findings.sorted(), facts, statistics, segments, boundaries)


def draw_check(path: Output, recording: Recording, report: Report) -> Path | Any:
    """Draw the visited places, a part of the longest segment as a line, jumps and rows in walls.

    Args:
        path: picture to write (PNG, SVG or PDF by its ending), or a file opened for bytes.
        recording: the data.
        report: result of :func:`check`.

    Raises:
        ConfigError: the ending is unknown.
        DataError: no row is finite.
        OSError: the picture cannot be written. No part of it remains.
    """
    # Here, because Matplotlib is slow to import.
    from dfplan.plotting.figures import coverage_figure, require_picture_path, save

    path = require_picture_path(path)
    line, positions = None, recording.layout.positions(recording.observations)
    if len(report.segments):
        first, end = report.segments[np.argmax(np.diff(report.segments))].tolist()
        line = positions[first : min(end, first + _LINE_ROWS)]
    places = {
        finding.kind: positions[finding.rows]
        for finding in report.findings
        if finding.kind in ("jumps", "walls")
    }
    if len(report.segments) and any(finding.kind == "isolated" for finding in report.findings):
        positions = np.concatenate([positions[first:end] for first, end in report.segments])
    maze = _maze(recording, Findings(recording.episodes))
    try:
        figure = coverage_figure(positions, maze=maze, line=line, **places)
    except DataError as error:
        raise DataError(f"{recording.source}: {error}") from error
    return save(figure, path)


def _size(recording: Recording) -> str:
    arrays = [recording.observations, recording.actions, recording.rewards, recording.goals]
    size = sum(array.nbytes for array in arrays if array is not None)
    types = {str(array.dtype) for array in arrays[:2] if array is not None}
    content = _content(recording)
    unit = "MB" if size >= 1e6 else "kB"
    size_text = f"{size / (1e6 if size >= 1e6 else 1e3):.4g} {unit}"
    return f"{len(recording):,} of {content}, {' and '.join(sorted(types))}, {size_text}"


def _content(recording: Recording) -> str:
    """What an observation holds."""
    names = recording.layout.names[: recording.observations.shape[1]]
    others = sum(name.startswith("observation") for name in names)
    parts = ["positions"]
    if "velocity 1" in names:
        parts.append("velocities")
    if others:
        parts.append(plural(others, "other number"))
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else f"{last} only"


def _maze(recording: Recording, findings: Findings) -> Maze | None:
    if recording.maze is None:
        return None
    try:
        return parse_maze(recording.maze)
    except (ConfigError, MazeError) as error:
        findings.add(
            "note",
            "maze",
            f"The maze that the file names cannot be read: {error}",
            "Only pictures and the search for walls need it. Write a maze's name or rows.",
        )
        return None


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
