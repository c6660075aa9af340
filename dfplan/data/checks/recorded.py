"""Checks of recorded rows: anomalies, repeated rows, actions, ends of episodes, goals, rewards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import Anomalies, is_valid, nonfinite_rows
from dfplan.data.checks.report import ROWS, Findings, RowCollector, plural, row_maximum, starts_in
from dfplan.mazes import Maze
from dfplan.suites import DEFAULT
from dfplan.types import Recording

_NOT_FINITE = "with NaN, infinity or numbers beyond the range of float32."
_MIN_ACTION = 1e-3
_TOLERANCE = 1e-3
_MIN_SHARE = 0.95
"""Share of the rewards that a goal must explain."""


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
    excluded = {
        "not finite": (anomalies.nonfinite, f"Observations {_NOT_FINITE}"),
        "zero padding": (
            anomalies.zero_padding,
            "Observations in which every number is 0, far from the neighboring rows.",
        ),
        "velocity outliers": (
            anomalies.velocity_outliers,
            "Velocities far above the usual, while positions do not move accordingly.",
        ),
        "isolated": (
            anomalies.isolated,
            "Rows that jumps or excluded rows separate from the others, mostly far away.",
        ),
    }
    for kind, (rows, message) in excluded.items():
        if len(rows):
            advice = "dfplan excludes these rows and cuts there."
            findings.add("handled", kind, message, advice, rows)
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
                f"{name.capitalize()} {_NOT_FINITE}",
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
        self.longest = self._open = 0

    def add(self, mask: np.ndarray) -> None:
        gaps = np.flatnonzero(~mask)
        if len(gaps):
            inner = int(np.diff(gaps).max(initial=1)) - 1
            self.longest = max(self.longest, self._open + int(gaps[0]), inner)
            self._open = len(mask) - 1 - int(gaps[-1])
        else:
            self._open += len(mask)
        self.longest = max(self.longest, self._open)


def check_actions(recording: Recording, findings: Findings) -> None:
    """Report actions that are not finite, all zero, or outside [-1, 1]."""
    wrong = nonfinite_rows(recording.actions)
    if len(wrong):
        findings.add(
            "error",
            "actions",
            f"Actions {_NOT_FINITE}",
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


def check_rewards(
    recording: Recording, rewards: np.ndarray, maze: Maze | None, findings: Findings
) -> dict[str, str]:
    """Describe ``rewards`` [N], as facts by name: their values, and the goal that explains them.

    The maze's own goal and the goal of each row are tried; that no goal explains the rewards is a
    finding. Rewards with two values are compared with the goal radius of the maze's suite, others
    with ``exp(-distance)``, as in D4RL and gymnasium-robotics.
    """
    scale = _reward_scale(rewards)
    if not scale.minimum < scale.maximum:
        return {"rewards": f"all {scale.minimum:g}" if scale.minimum == scale.maximum else "none"}
    text = f"{scale.minimum:.4g} {'or' if scale.binary else 'to'} {scale.maximum:.4g}"
    goals: dict[str, np.ndarray] = {}
    if maze is not None and maze.goal is not None:
        goals["the maze's goal"] = np.broadcast_to(maze.goal, (len(recording), 2))
    if recording.goals is not None:
        goals["the row's goal"] = recording.goals
    if not goals:
        return {"rewards": f"{text}; no goal is known to compare them with"}
    radius = (DEFAULT if maze is None else maze.suite).goal_radius
    shares = {
        name: _explained_shares(recording, rewards, goal, scale, radius)
        for name, goal in goals.items()
    }
    best = max(shares, key=lambda name: max(shares[name]))
    here, after = shares[best]
    meaning = f"within {radius:g} of {best}" if scale.binary else f"exp(-distance) to {best}"
    if max(here, after) < _MIN_SHARE:
        findings.add(
            "note",
            "rewards",
            f"No known goal explains the rewards. The best explanation is: {meaning}. It holds for "
            f"{here:.1%} of them with the row's own position, and for {after:.1%} with the next "
            "row's position.",
            "Planning to goals does not use rewards. Before learning from them, find out what they "
            "mean.",
        )
        return {"rewards": f"{text}; no known goal explains them"}
    position = (
        f"the row's own position, as in D4RL's relabelled files ({here:.1%} match; next row's "
        f"position: {after:.1%})"
        if here > after
        else f"the next row's position, as in environments ({after:.1%} match; row's own position: "
        f"{here:.1%})"
    )
    return {"rewards": f"{text}, {meaning}", "measured at": position}


@dataclass(frozen=True)
class _Scale:
    """Range of rewards, and whether there are only two values."""

    minimum: float
    maximum: float
    binary: bool


def _reward_scale(rewards: np.ndarray) -> _Scale:
    minimum, maximum, between = np.inf, -np.inf, 0
    for block in blocks(len(rewards), ROWS):
        part = rewards[block]
        part = part[np.isfinite(part)]
        minimum = min(minimum, float(part.min(initial=np.inf)))
        maximum = max(maximum, float(part.max(initial=-np.inf)))
    for block in blocks(len(rewards), ROWS):
        part = rewards[block]
        between += int(np.count_nonzero((part > minimum) & (part < maximum)))
    return _Scale(minimum, maximum, binary=not between)


def _explained_shares(
    recording: Recording, rewards: np.ndarray, goals: np.ndarray, scale: _Scale, radius: float
) -> tuple[float, float]:
    """Share of the rewards that a goal explains, from the row's own and the next row's position.

    With two reward values, only rows count that have the higher one, or should have it: nearly all
    others match every goal. Rows at which the goal changes do not count, because files differ in
    the goal that they record there.
    """
    matches, total = np.zeros(2), np.zeros(2)
    for block in blocks(len(recording) - 1, ROWS):
        rows = recording.observations[block.start : block.stop + 1]
        positions = recording.layout.positions(rows)
        goal, reward = goals[block], rewards[block]
        starts = starts_in(recording.episodes, slice(block.start + 1, block.stop + 1))
        known = is_valid(rows)
        known = known[:-1] & known[1:] & np.isfinite(reward)
        known[starts - block.start - 1] = False
        known &= (goals[block.start + 1 : block.stop + 1] == goal).all(1)
        for later in (0, 1):
            position = positions[later : later + len(reward)]
            with np.errstate(invalid="ignore", over="ignore"):
                # Column by column: operations on rows of two numbers are several times slower.
                offset = (x - y for x, y in zip(position.T, goal.T, strict=True))
                distance = np.hypot(*offset)
            if scale.binary:
                actual, expected = reward == scale.maximum, distance <= radius
                matches[later] += np.count_nonzero(actual & expected & known)
                total[later] += np.count_nonzero((actual | expected) & known)
            else:
                match = np.abs(reward - np.exp(-distance)) < _TOLERANCE
                matches[later] += np.count_nonzero(match & known)
                total[later] += np.count_nonzero(known)
    here, after = matches / np.maximum(total, 1)
    return float(here), float(after)
