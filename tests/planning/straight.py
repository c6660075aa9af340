"""Plans that need no network."""

from __future__ import annotations

import numpy as np

from dfplan.types import Plan


def straight_plan(observation: np.ndarray, goal: np.ndarray) -> Plan:
    """Straight lines of 100 steps from ``observation`` [B, 2 or more] to ``goal`` [B, 2]."""
    share = np.linspace(0, 1, 11, dtype=np.float32)[:, None]
    points = observation[:, None, :2] + share * (goal - observation[:, :2])[:, None]
    batch = len(points)
    return Plan(
        points=points,
        steps=np.full(batch, 100),
        stride=10,
        level=np.zeros((batch, 11), dtype=int),
        max_level=10,
        spread=np.zeros((batch, 11), dtype=np.float32),
        candidates=points[:, None],
        scores=np.zeros((batch, 1), dtype=np.float32),
        observation=observation,
        goal=goal,
        evaluations=1,
        seconds=0.0,
    )
