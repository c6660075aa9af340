"""Checks of recorded rows: anomalies, repeated rows, actions, ends of episodes and goals."""

from __future__ import annotations

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import Anomalies, is_valid, nonfinite_rows
from dfplan.data.checks.report import Findings, RowCollector, plural
from dfplan.data.checks.rows import ROWS, row_maximum, starts_in
from dfplan.types import Recording

_MIN_ACTION = 1e-3


def check_episodes(recording: Recording, findings: Findings) -> str:
    """Describe the episodes; report empty ones, and final observations in only some of them."""
    episodes, final = recording.episodes, recording.final_observations
    empty = np.flatnonzero(np.diff(episodes, append=len(recording)) == 0)
    if len(empty):
        findings.add(
            "note",
            "empty",
            "Episodes without a row.",
            "dfplan ignores them.",
            rows=episodes[empty],
            unit="episode",
        )
    number = plural(len(episodes), "episode")
    if final is None or not final.any():
        return f"{number}, with an action in every row"
    if final.all():
        return f"{number}, each with a final observation (T + 1 observations for T actions)"
    odd = np.flatnonzero(~final)
    findings.add(
        "note",
        "mixed ends",
        f"{len(odd)} of {number} have an action in their last row (T observations), the others "
        "a final observation without an action (T + 1).",
        "dfplan can use both.",
        rows=episodes[odd],
        unit="episode",
    )
    return f"{number}, {int(final.sum())} of them with a final observation"


def check_anomalies(recording: Recording, anomalies: Anomalies, findings: Findings) -> None:
    """Report excluded rows, jumps, and rewards and goals that are not finite."""
    for kind, rows, message in (
        (
            "not finite",
            anomalies.nonfinite,
            "Observations with NaN, infinity or numbers beyond the range of float32.",
        ),
        (
            "zero padding",
            anomalies.zero_padding,
            "Observations in which every number is 0, far from the neighboring rows.",
        ),
        (
            "velocity outliers",
            anomalies.velocity_outliers,
            "Velocities far above the usual, while positions do not move accordingly.",
        ),
        (
            "isolated",
            anomalies.isolated,
            "Rows that jumps or excluded rows separate from the others, mostly far away.",
        ),
    ):
        if len(rows):
            advice = "dfplan excludes these rows and cuts there."
            findings.add("handled", kind, message, advice, rows=rows)
    if len(anomalies.jumps):
        findings.add(
            "handled",
            "jumps",
            f"The position jumps within an episode, by up to "
            f"{_longest_jump(recording, anomalies.jumps):.4g} along an axis. Steps of motion are "
            f"at most {anomalies.limit:.4g}.",
            "dfplan cuts there: a new segment begins.",
            rows=anomalies.jumps,
        )
    for name, array in (("rewards", recording.rewards), ("goals", recording.goals)):
        if array is not None and len(rows := nonfinite_rows(array)):
            findings.add(
                "note",
                f"{name} not finite",
                f"{name.capitalize()} with NaN, infinity or numbers beyond the range of float32.",
                "Planning to goals does not use them. Correct them before learning from them."
                if name == "rewards"
                else "Training does not use them. Cutting by goals cuts before and after each.",
                rows=rows,
            )


def _longest_jump(recording: Recording, jumps: np.ndarray) -> float:
    longest, layout = 0.0, recording.layout
    for block in blocks(len(jumps), ROWS):
        rows = jumps[block]
        step = layout.positions(recording.observations[rows]).astype(np.float64)
        step -= layout.positions(recording.observations[rows - 1])
        longest = max(longest, float(np.abs(step).max()))
    return longest


def check_repeats(recording: Recording, findings: Findings) -> None:
    """Report rows that are equal to the row before: a body at rest, or a stuck recorder."""
    repeated, runs = RowCollector(), _LongestRun()
    driven = 0
    for block in blocks(len(recording), ROWS):
        before = max(block.start - 1, 0)
        rows = recording.observations[before : block.stop]
        same = np.logical_and.reduce([column[1:] == column[:-1] for column in rows.T])
        same &= is_valid(rows[1:])
        if not block.start:
            same = np.append(False, same)
        same[starts_in(recording.episodes, block) - block.start] = False
        repeated.add(block.start, same)
        runs.add(same)
        actions = recording.actions[block.start + np.flatnonzero(same) - 1]
        driven += int(np.count_nonzero(row_maximum(np.abs(actions)) > _MIN_ACTION))
    if not repeated.count:
        return
    share = repeated.count / len(recording)
    findings.add(
        "note",
        "repeated rows",
        f"Observations equal to the one before, at most {runs.longest} in succession; {driven} of "
        "them follow an action that is not zero.",
        "A body at rest is harmless."
        if share <= 0.5
        else f"They are {share:.0%} of the data, so a model learns mostly to stand still. Remove "
        "most of them.",
        rows=repeated,
    )


class _LongestRun:
    """Finds the longest run of True in successive blocks."""

    def __init__(self) -> None:
        self.longest = 0
        self._open = 0

    def add(self, mask: np.ndarray) -> None:
        gaps = np.flatnonzero(~mask)
        if not len(gaps):
            self._open += len(mask)
            self.longest = max(self.longest, self._open)
            return
        inner = int(np.diff(gaps).max(initial=1)) - 1
        self.longest = max(self.longest, self._open + int(gaps[0]), inner)
        self._open = len(mask) - 1 - int(gaps[-1])
        self.longest = max(self.longest, self._open)


def check_actions(recording: Recording, findings: Findings) -> None:
    """Report actions that are not finite, all zero, or outside [-1, 1]."""
    wrong = nonfinite_rows(recording.actions)
    if len(wrong):
        findings.add(
            "error",
            "actions",
            "Actions with NaN, infinity or numbers beyond the range of float32.",
            "Remove these rows, or write the correct actions.",
            rows=wrong,
        )
    beyond, largest, any_action = RowCollector(), 0.0, False
    for block in blocks(len(recording), ROWS):
        size = row_maximum(np.abs(recording.actions[block]))
        any_action |= bool(size.any())
        out = (size > 1 + 1e-6) & np.isfinite(size)
        beyond.add(block.start, out)
        largest = max(largest, float(size[out].max(initial=0.0)))
    if not any_action:
        findings.add(
            "note",
            "no actions",
            "Every action is 0.",
            "Planning needs no actions, but the default tracker needs to know what they do.",
        )
    if beyond.count:
        findings.add(
            "note",
            "large actions",
            f"Actions outside [-1, 1], up to {largest:.4g}.",
            "dfplan clips them, as the simulators do. Scale actions that have another unit.",
            rows=beyond,
        )


def check_ends(recording: Recording, findings: Findings) -> None:
    """Report terminals inside episodes, and files without any end of an episode."""
    count, episodes, terminals = len(recording), recording.episodes, recording.terminals
    inside, any_terminal = RowCollector(), False
    if terminals is not None:
        # The last row of an episode, and the row before it if that is a final observation.
        last = np.append(episodes[1:], count) - 1
        if recording.final_observations is not None:
            last = np.union1d(last, last[recording.final_observations] - 1)
        for block in blocks(count, ROWS):
            flags = terminals[block].astype(bool)
            any_terminal |= bool(flags.any())
            flags[starts_in(last, block) - block.start] = False
            inside.add(block.start, flags)
    if inside.count:
        findings.add(
            "note",
            "terminals",
            "Terminals inside an episode, which continues after them.",
            "dfplan cuts there only if the position jumps.",
            rows=inside,
        )
    if recording.timeouts is None and not any_terminal and len(episodes) == 1:
        findings.add(
            "note",
            "no ends",
            "Neither terminals nor timeouts mark an end, so the file is one episode.",
            "dfplan cuts where the position jumps. If there are several episodes, each starting "
            "where the one before ended, mark their ends.",
        )


def check_stale_goals(recording: Recording, goals: np.ndarray, findings: Findings) -> None:
    """Report episodes whose first row has the goal of the episode before."""
    count, episodes = len(recording), recording.episodes
    first = episodes[1:][np.diff(episodes, append=count)[1:] >= 2]
    before = np.array(goals[first - 1])
    here, after = np.array(goals[first]), np.array(goals[first + 1])
    stale = first[(before == here).all(axis=1) & (here != after).any(axis=1)]
    if len(stale):
        findings.add(
            "note",
            "stale goals",
            "Episodes whose first row has the goal of the episode before.",
            "Take an episode's goal from its second row. Training of a planner needs no goals.",
            rows=stale,
            unit="episode",
        )
