"""Describes a data set and finds its problems, before a model is trained on it.

The data is processed in blocks, so that a file of a hundred million rows needs as much memory as a
small one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfplan.data.anomalies import find_anomalies
from dfplan.data.checks.recorded import (
    check_actions,
    check_anomalies,
    check_ends,
    check_episodes,
    check_repeats,
    check_stale_goals,
)
from dfplan.data.checks.report import Findings, Report, plural
from dfplan.data.checks.rewards import check_rewards
from dfplan.data.checks.statistics import check_coverage, column_statistics
from dfplan.data.checks.training import (
    check_lengths,
    check_motion,
    check_segments,
    check_velocities,
    count_marks,
)
from dfplan.errors import ConfigError, DataError, MazeError
from dfplan.mazes import Maze, parse_maze
from dfplan.types import Recording

if TYPE_CHECKING:
    from dfplan.plotting.output import Output

_LINE_ROWS = 1000
_NO_SEGMENTS = np.zeros((0, 2), np.int64)


def check(recording: Recording, segment_by: str = "none", window: int | None = None) -> Report:
    """Find everything in a recording that would spoil training, or that is good to know.

    Args:
        recording: the data.
        segment_by: whether to cut episodes at more places, as for training; see
            :data:`dfplan.data.segments.SEGMENT_BY`.
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
    facts["episodes"] = check_episodes(recording, findings)
    anomalies = find_anomalies(recording)
    check_anomalies(recording, anomalies, findings)
    check_repeats(recording, findings)
    check_actions(recording, findings)
    check_ends(recording, findings)
    if recording.goals is not None:
        check_stale_goals(recording, recording.goals, findings)
    if recording.rewards is not None:
        facts.update(check_rewards(recording, recording.rewards, maze, findings))
    trained = check_segments(recording, segment_by, findings)
    segments = _NO_SEGMENTS if trained is None else trained.segments
    check_lengths(segments, window, findings)
    statistics = column_statistics(recording, anomalies.excluded)
    if trained is not None and check_velocities(recording, segments, findings) and statistics:
        check_motion(trained, statistics, findings)
    if maze is not None:
        facts["coverage"] = check_coverage(recording, maze, findings)
    boundaries = {
        "ends of episodes": len(recording.episodes) - 1,
        "excluded rows": len(anomalies.excluded),
        "jumps": len(anomalies.jumps),
        **count_marks(recording, segment_by),
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
    try:
        maze = None if recording.maze is None else parse_maze(recording.maze)
    except (ConfigError, MazeError):
        maze = None
    try:
        figure = coverage_figure(
            positions,
            maze=maze,
            line=line,
            jumps=places.get("jumps"),
            walls=places.get("walls"),
        )
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
