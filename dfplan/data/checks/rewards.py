"""Checks which goal, and which end of a step, recorded rewards refer to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import is_valid
from dfplan.data.checks.report import Findings
from dfplan.data.checks.rows import ROWS, starts_in
from dfplan.mazes import Maze
from dfplan.suites import DEFAULT
from dfplan.types import Recording

_TOLERANCE = 1e-3
_MIN_SHARE = 0.95
"""Share of the rewards that a goal must explain."""


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
