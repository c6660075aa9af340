"""What recorded rewards pay for: which goal, and at which end of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import sound
from dfplan.data.checks.report import Findings
from dfplan.data.checks.rows import ROWS, starts
from dfplan.mazes import Maze
from dfplan.suites import DEFAULT
from dfplan.types import Recording

_NEAR = 1e-3
_FITS = 0.95


def explain_rewards(
    recording: Recording, rewards: np.ndarray, maze: Maze | None, findings: Findings
) -> dict[str, str]:
    """Facts about ``rewards`` [N] in words: which there are, and what they pay for.

    Tried are the maze's own goal and the goal of each row, with the radius that the maze's suite
    pays within; rewards of more than two levels are tried as D4RL's and gymnasium-robotics'
    ``exp(-distance)``. That none fits is added to ``findings``.
    """
    scale = _reward_scale(rewards)
    if not scale.least < scale.greatest:
        return {"rewards": f"all {scale.least:g}" if scale.least == scale.greatest else "none"}
    text = f"{scale.least:.4g} {'or' if scale.two else 'to'} {scale.greatest:.4g}"
    goals: dict[str, np.ndarray] = {}
    if maze is not None and maze.goal is not None:
        goals["the maze's goal"] = np.broadcast_to(maze.goal, (len(recording), 2))
    if recording.goals is not None:
        goals["the goal of the row"] = recording.goals
    if not goals:
        return {"rewards": f"{text}; no goal is known that they could be for"}
    radius = (DEFAULT if maze is None else maze.suite).goal_radius
    shares = {
        name: _shares_explained(recording, rewards, goal, scale, radius)
        for name, goal in goals.items()
    }
    best = max(shares, key=lambda name: max(shares[name]))
    own, after = shares[best]
    what = f"within {radius:g} of {best}" if scale.two else f"for nearness to {best}"
    if max(own, after) < _FITS:
        findings.add(
            "note",
            "rewards",
            [],
            f"The rewards fit no goal that is known. Nearest comes pay {what}: measured from the "
            f"row's own position it explains {own:.1%} of them, from the next row's {after:.1%}.",
            "Planning by goals uses no rewards; before learning from them find out what they pay.",
            unit="file",
        )
        return {"rewards": f"{text}; they fit no goal that is known"}
    how = (
        f"the row's own position, as D4RL relabelled its files ({own:.1%} fit; next row's "
        f"{after:.1%})"
        if own > after
        else f"the next row's position, as environments pay ({after:.1%} fit; row's own {own:.1%})"
    )
    return {"rewards": f"{text}, {what}", "paid by": how}


@dataclass(frozen=True)
class _Scale:
    """Least and greatest reward, and whether there are only these ``two``."""

    least: float
    greatest: float
    two: bool


def _reward_scale(rewards: np.ndarray) -> _Scale:
    least, greatest, other = np.inf, -np.inf, 0
    for block in blocks(len(rewards), ROWS):
        part = rewards[block]
        part = part[np.isfinite(part)]
        least = min(least, float(part.min(initial=np.inf)))
        greatest = max(greatest, float(part.max(initial=-np.inf)))
    for block in blocks(len(rewards), ROWS):
        part = rewards[block]
        other += int(np.count_nonzero((part > least) & (part < greatest)))
    return _Scale(least, greatest, two=not other)


def _shares_explained(
    recording: Recording, rewards: np.ndarray, goals: np.ndarray, scale: _Scale, radius: float
) -> tuple[float, float]:
    """Share of the rewards that a goal explains by a row's own position, and by the next row's.

    Of rewards with two levels only rows that pay, or should, are counted: nearly all the others
    fit whatever the goal. Rows at which the goal changes are not: files differ in which of the two
    they name there.
    """
    fit, counted = np.zeros(2), np.zeros(2)
    for block in blocks(len(recording) - 1, ROWS):
        rows = recording.observations[block.start : block.stop + 1]
        goal, paid = goals[block], rewards[block]
        new = starts(recording.episodes, slice(block.start + 1, block.stop + 1))
        known = sound(rows)
        known = known[:-1] & known[1:] & np.isfinite(paid)
        known[new - block.start - 1] = False
        known &= (goals[block.start + 1 : block.stop + 1] == goal).all(1)
        for later in (0, 1):
            here = rows[later : later + len(paid)]
            with np.errstate(invalid="ignore", over="ignore"):
                distance = np.hypot(here[:, 0] - goal[:, 0], here[:, 1] - goal[:, 1])
            if scale.two:
                pays, should = paid == scale.greatest, distance <= radius
                fit[later] += np.count_nonzero(pays & should & known)
                counted[later] += np.count_nonzero((pays | should) & known)
            else:
                near = np.abs(paid - np.exp(-distance)) < _NEAR
                fit[later] += np.count_nonzero(near & known)
                counted[later] += np.count_nonzero(known)
    own, after = fit / np.maximum(counted, 1)
    return float(own), float(after)
