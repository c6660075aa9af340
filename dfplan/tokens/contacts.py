"""Recorded contacts: places where an obstacle stopped the body."""

from __future__ import annotations

import numpy as np

from dfplan.blocks import SEGMENT_ROWS, blocks
from dfplan.tokens.motion import Motion, forces, transitions, velocities
from dfplan.types import Trajectories

_STOPPED = 0.1
"""A contact shortens a step by at least this share of the longest step."""

_NOISE_QUANTILE, _NOISE_FACTOR = 0.9, 10.0
"""Noise changes steps, too. A contact changes one by more than this factor times this quantile of
all changes."""

_MAX_LEAST = 0.5
"""If noise hides contacts that change a step by this share of the longest one, none are found."""

_SPACING = 0.5
"""Of contacts in a square with this side, in longest steps, one is kept."""


def find_contacts(trajectories: Trajectories, motion: Motion) -> np.ndarray:
    """Find where the body did not move as its actions should have moved it.

    Walls that no body touched leave no trace. Nothing is found if actions do not explain how the
    body moves.

    Args:
        trajectories: the data.
        motion: the point mass that was fitted to it.

    Returns:
        Positions of the body's center, float32 [Q, 2].
    """
    starts, step = transitions(trajectories), motion.max_step
    every = max(1, len(starts) // SEGMENT_ROWS)
    _, change = _steps(trajectories, motion, starts.locate(np.arange(0, len(starts), every))[0])
    least = max(_STOPPED * step, _NOISE_FACTOR * float(np.quantile(change, _NOISE_QUANTILE)))
    found = []
    if least <= _MAX_LEAST * step:
        for part in blocks(len(starts), SEGMENT_ROWS):
            rows = starts.locate(np.arange(part.start, part.stop))[0]
            after, change = _steps(trajectories, motion, rows)
            found.append(after[change > least])
    places = np.concatenate([np.zeros((0, 2)), *found])
    _, first = np.unique(np.floor(places / (_SPACING * step)), axis=0, return_index=True)
    return np.asarray(places[np.sort(first)], np.float32)


def _steps(
    trajectories: Trajectories, motion: Motion, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The positions after ``rows`` [R], [R, 2], and how far they are from the expected ones [R]."""
    positions = trajectories.layout.positions(trajectories.observations)
    after = positions[rows + 1].astype(np.float64)
    expected, _ = motion.advance(
        positions[rows].astype(np.float64),
        velocities(trajectories, rows),
        forces(trajectories, rows).astype(np.float64),
    )
    return after, np.linalg.norm(expected - after, axis=1)
