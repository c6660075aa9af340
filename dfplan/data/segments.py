"""From a file as it is to what is trained on: where the motion is whole, and where it breaks off.

No window crosses an episode's end, a row that is not to be trusted, or a jump. Such rows are not
taken out, which would copy the data; they are left outside of every segment.
"""

from __future__ import annotations

import hashlib
import warnings

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import Faults, find_faults, nonfinite_rows, stretches
from dfplan.errors import DataError, unknown_name
from dfplan.types import Recording, Trajectories

_ROWS = 1 << 20  # of a block
SEGMENT_BY = ("none", "timeouts", "goals")
"""What else cuts an episode: nothing; every timeout that the file marks; every change of goal."""


class DataWarning(UserWarning):
    """Data has faults that dfplan works around."""


def segmented(recording: Recording, segment_by: str = "none") -> Trajectories:
    """The continuous stretches of a file.

    Episodes are cut at rows that are not finite, all zero with nothing that leads there, of a
    velocity that no step bears out, or parted by jumps from where the body was, which belong to no
    segment, and before rows to which the position jumps: a step along either axis of more than
    three times what 95% of the file's steps keep within. :mod:`dfplan.data.anomalies` defines each.
    What was left out or cut is said once, as a warning.

    Args:
        recording: the file as it is.
        segment_by: one of :data:`SEGMENT_BY`.

    Raises:
        ConfigError: an unknown ``segment_by``.
        DataError: fewer than two rows, actions that are not finite, a kind of cut of which the file
            says nothing, or no two successive rows left.
    """
    if segment_by not in SEGMENT_BY:
        raise unknown_name("way to cut episodes", segment_by, SEGMENT_BY)
    source = recording.source
    if len(recording) < 2:
        raise DataError(
            f"{source}: at least 2 rows of observations are needed; got {len(recording)}."
        )
    wrong = nonfinite_rows(recording.actions)
    if len(wrong):
        raise DataError(
            f"{source}: actions must be finite; row {wrong[0]} is "
            f"{recording.actions[wrong[0]].tolist()} ({len(wrong)} such rows). Leave them out or "
            f"mend them; `dfplan data check` lists what else there is."
        )
    faults = find_faults(recording.observations, recording.episodes)
    edges = np.concatenate([recording.episodes, faults.jumps, _cuts(recording, segment_by)])
    segments = stretches(edges, faults.left_out, len(recording))
    if not (np.diff(segments) > 1).any():
        raise DataError(
            f"{source}: no two rows follow one another within an episode, so there is no motion to "
            "learn from. Does every row end an episode? See `dfplan data check`."
        )
    _tell(source, faults)
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
    )


def changes(goals: np.ndarray) -> np.ndarray:
    """Where ``goals`` [k, 2] differ from the row before, bool [k - 1]; all that are NaN are one."""
    before, after = goals[:-1], goals[1:]
    both_lost = np.isnan(before) & np.isnan(after)
    return np.asarray(((before != after) & ~both_lost).any(1))


def _cuts(recording: Recording, segment_by: str) -> np.ndarray:
    """First rows of what follows a timeout or a change of goal, int64 [k]."""
    if segment_by == "none":
        return np.zeros(0, np.int64)
    marks = recording.timeouts if segment_by == "timeouts" else recording.goals
    if marks is None:
        raise DataError(
            f"{recording.source} says nothing of {segment_by}, so it cannot be cut by them; cut by "
            f"one of {', '.join(SEGMENT_BY)}."
        )
    found = []
    for rows in blocks(len(marks) - 1, _ROWS):
        part = marks[rows.start : rows.stop + 1]
        after = part[:-1].astype(bool) if segment_by == "timeouts" else changes(part)
        found.append(np.flatnonzero(after) + rows.start + 1)
    return np.concatenate(found)


def _tell(source: str, faults: Faults) -> None:
    left_out = {
        "not finite": faults.lost,
        "all zero": faults.blank,
        "faster than their steps": faults.rushed,
        "parted from those around them": faults.stray,
    }
    told = [
        f"{len(rows)} rows that are {what} (the first {rows[0]}) were left out"
        for what, rows in left_out.items()
        if len(rows)
    ]
    jumps = faults.jumps
    if len(jumps):
        told.append(f"it was cut at {len(jumps)} jumps (the first at row {jumps[0]})")
    if told:
        warnings.warn(
            f"{source}: {'; '.join(told)}. `dfplan data check` has the rest.",
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
