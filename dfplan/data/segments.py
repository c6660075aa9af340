"""Cuts a recording into continuous segments, which windows for training never leave.

Excluded rows are not removed, because that would copy the data. They belong to no segment.
"""

from __future__ import annotations

import hashlib
import warnings

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import Anomalies, find_anomalies, nonfinite_rows, split_rows
from dfplan.errors import DataError, require_name
from dfplan.types import Recording, Trajectories

_ROWS = 1 << 20  # of a block

SEGMENT_BY = ("none", "timeouts", "goals")
"""Where else to cut episodes: nowhere, after each timeout, or where the goal changes."""


class DataWarning(UserWarning):
    """Data has anomalies that are excluded."""


def segmented(recording: Recording, segment_by: str = "none") -> Trajectories:
    """Cut a recording into continuous segments.

    Episodes are cut at jumps: steps along an axis of more than three times the 95% quantile of all
    steps. They are also cut at rows that are excluded: rows that are not finite, zero padding,
    velocity outliers, and rows that are isolated by jumps. :mod:`dfplan.data.anomalies` defines
    each. One warning says what was excluded.

    Args:
        recording: the data.
        segment_by: one of :data:`SEGMENT_BY`.

    Raises:
        ConfigError: ``segment_by`` is unknown.
        DataError: there are fewer than two rows; actions are not finite; the layout does not fit
            the observations; the recording has no values to cut by; or no segment has two rows.
    """
    require_name("way to cut episodes", segment_by, SEGMENT_BY)
    source = recording.source
    if len(recording) < 2:
        raise DataError(
            f"{source}: at least 2 rows of observations are needed; got {len(recording)}."
        )
    wrong = nonfinite_rows(recording.actions)
    if len(wrong):
        raise DataError(
            f"{source}: actions must be finite; row {wrong[0]} is "
            f"{recording.actions[wrong[0]].tolist()} ({len(wrong)} such rows). Remove or correct "
            "them. `dfplan data check` lists all problems."
        )
    anomalies = find_anomalies(recording)
    edges = np.concatenate([recording.episodes, anomalies.jumps, _cuts(recording, segment_by)])
    segments = split_rows(edges, anomalies.excluded, len(recording))
    if not (np.diff(segments) > 1).any():
        raise DataError(
            f"{source}: no episode has two successive rows, so there is no motion to learn from. "
            "Does every row end an episode? Run `dfplan data check`."
        )
    _warn(source, anomalies)
    between = np.intersect1d(segments[:, 0], segments[:, 1])  # with a segment on both sides
    return Trajectories(
        observations=recording.observations,
        actions=recording.actions,
        rewards=recording.rewards,
        goals=recording.goals,
        segments=segments,
        fingerprint=_fingerprint(recording, segments),
        source=source,
        maze=recording.maze,
        mapped=recording.mapped,
        layout=recording.layout,
        jumps=np.intersect1d(anomalies.jumps, between),
    )


def goal_changes(goals: np.ndarray) -> np.ndarray:
    """Whether each row of ``goals`` [k, 2] differs from the row before; bool [k - 1].

    Two goals that are NaN are equal.
    """
    before, after = goals[:-1], goals[1:]
    both_nan = np.isnan(before) & np.isnan(after)
    return np.asarray(((before != after) & ~both_nan).any(1))


def _cuts(recording: Recording, segment_by: str) -> np.ndarray:
    """The rows after a timeout or a change of the goal, int64 [k]."""
    if segment_by == "none":
        return np.zeros(0, np.int64)
    values = recording.timeouts if segment_by == "timeouts" else recording.goals
    if values is None:
        raise DataError(
            f"{recording.source} has no {segment_by} to cut by. Cut by one of "
            f"{', '.join(SEGMENT_BY)}."
        )
    rows = []
    for block in blocks(len(values) - 1, _ROWS):
        part = values[block.start : block.stop + 1]
        cut = part[:-1].astype(bool) if segment_by == "timeouts" else goal_changes(part)
        rows.append(np.flatnonzero(cut) + block.start + 1)
    return np.concatenate(rows)


def _warn(source: str, anomalies: Anomalies) -> None:
    excluded = {
        "not finite": anomalies.nonfinite,
        "zero padding": anomalies.zero_padding,
        "velocity outliers": anomalies.velocity_outliers,
        "isolated": anomalies.isolated,
    }
    parts = [
        f"{len(rows)} rows are excluded: {kind} (the first is row {rows[0]})"
        for kind, rows in excluded.items()
        if len(rows)
    ]
    jumps = anomalies.jumps
    if len(jumps):
        parts.append(f"it is cut at {len(jumps)} jumps (the first is row {jumps[0]})")
    if parts:
        warnings.warn(
            f"{source}: {'; '.join(parts)}. `dfplan data check` shows the details.",
            DataWarning,
            stacklevel=3,
        )


def _fingerprint(recording: Recording, segments: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in (recording.observations, recording.actions):
        for rows in blocks(len(array), _ROWS):
            digest.update(np.ascontiguousarray(array[rows]).data)
    digest.update(np.ascontiguousarray(segments).data)
    return digest.hexdigest()
