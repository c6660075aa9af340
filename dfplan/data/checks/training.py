"""Checks what training makes of a recording: segments, velocities, and the fitted motion."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import nonfinite_rows, sample_steps
from dfplan.data.checks.report import ROWS, ColumnStatistics, Findings, plural, starts_in
from dfplan.data.segments import DataWarning, goal_changes, segmented
from dfplan.errors import DataError
from dfplan.tokens.motion import estimate_dt, fit_motion, is_consistent, require_resolved
from dfplan.types import Recording, Trajectories

_SAMPLE = 200_000


def check_segments(
    recording: Recording, segment_by: str, findings: Findings
) -> Trajectories | None:
    """Cut the recording as for training; report why that fails.

    Actions do not affect the cuts. If some are not finite, which is reported elsewhere, all become
    0.
    """
    if len(nonfinite_rows(recording.actions)):
        zeros = np.broadcast_to(np.float32(0), recording.actions.shape)
        recording = replace(recording, actions=zeros)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            return segmented(recording, segment_by)
    except DataError as error:
        findings.add(
            "error",
            "segments",
            str(error),
            "Correct the other findings, or cut episodes differently.",
        )
        return None


def check_lengths(segments: np.ndarray, window: int | None, findings: Findings) -> None:
    """Report segments that are too short for a window of training."""
    lengths = np.diff(segments)[:, 0]
    needed = 2 if window is None else window
    short = segments[lengths < needed, 0]
    if len(short):
        some_fit = len(short) < len(lengths)
        findings.add(
            "note" if some_fit else "error",
            "short",
            f"Of {plural(len(lengths), 'segment')} these have fewer than {plural(needed, 'row')}, "
            f"which {'motion' if window is None else 'a training window'} needs.",
            "dfplan does not use them."
            if some_fit
            else "No segment is left for training. Join segments that belong together, or use a "
            "smaller stride.",
            rows=short,
            unit="segment",
        )


def check_velocities(recording: Recording, segments: np.ndarray, findings: Findings) -> bool:
    """Check that something moves, and that positions follow the recorded velocities.

    Returns whether both are true; if not, it is reported.
    """
    rows, layout = sample_steps(segments, _SAMPLE), recording.layout
    after = recording.observations[rows]
    moved = layout.positions(after).astype(np.float64)
    moved -= layout.positions(recording.observations[rows - 1])
    if not moved.any():
        findings.add(
            "error",
            "no motion",
            "Nothing moves from any row to the next.",
            "Check which columns are the position, and name them: position=(0, 1) or --position "
            "0,1 for the first two.",
        )
        return False
    recorded = layout.velocities(after)
    if recorded is None:
        return True
    velocity = recorded.astype(np.float64)
    if not velocity.any():
        findings.add(
            "error",
            "velocities",
            "Every velocity is 0, but positions move.",
            "Say that they are no velocity, by velocity=() or --velocity none: positions are "
            "sufficient.",
        )
        return False
    median, spread = estimate_dt(moved, velocity)
    if is_consistent(median, spread):
        return True
    swapped = estimate_dt(moved, velocity[:, ::-1])
    findings.add(
        "error",
        "velocities",
        "Positions do not change along the velocities. The step is "
        f"{median:.3g} of the velocity in the median, with an interquartile range of {spread:.3g}.",
        "The two columns of the velocity match if they are swapped: swap them."
        if is_consistent(*swapped)
        else "Is the order of the columns different, or are rows of several episodes mixed? If "
        "these columns are no velocity, say velocity=() or --velocity none.",
    )
    return False


def check_motion(
    trained: Trajectories, statistics: dict[str, ColumnStatistics], findings: Findings
) -> None:
    """Report a motion that is impossible, or that float32 cannot resolve."""
    farthest = max(
        abs(end)
        for name, (_, _, *ends) in statistics.items()
        if name.startswith("position")
        for end in ends
    )
    try:
        with warnings.catch_warnings(record=True) as doubts:
            warnings.simplefilter("always")
            require_resolved(farthest, fit_motion(trained, _SAMPLE), trained.source)
        for doubt in doubts:
            if doubt.category is UserWarning:
                findings.add("note", "forces", str(doubt.message), "Pass a tracker to Policy.")
    except DataError as error:
        findings.add("error", "motion", str(error), "Correct the other findings first.")


def count_marks(recording: Recording, segment_by: str) -> dict[str, int]:
    """Count timeouts and changes of the goal inside episodes, and say whether they cut."""
    marks = {}
    for kind, name in (("timeouts", "timeouts"), ("goals", "changes of goal")):
        values = recording.timeouts if kind == "timeouts" else recording.goals
        if values is None:
            continue
        number = 0
        for block in blocks(len(recording) - 1, ROWS):
            rows = values[block.start : block.stop + 1]
            ends = rows[:-1] != 0 if kind == "timeouts" else goal_changes(rows)
            starts = starts_in(recording.episodes, slice(block.start + 1, block.stop + 1))
            ends[starts - block.start - 1] = False
            number += int(np.count_nonzero(ends))
        cut = "cut" if segment_by == kind else "not cut"
        marks[f"{name} within episodes ({cut})"] = number
    return marks
