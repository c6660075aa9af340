"""Decides which environments of a batch need a new plan."""

from __future__ import annotations

import math

import numpy as np

from dfplan.errors import require_numbers
from dfplan.types import Plan

_SLOW = 0.25
"""A body makes progress if it moves this share of what its plan moves."""


class Replanning:
    """Keeps, for each row of a batch, what decides whether it needs a new plan.

    Args:
        tolerance: distance from the plan, in units of position, at which a new plan is made; None
            plans once.
        every: steps between two plans; None plans only when needed.
        patience: steps without progress after which a new plan is made; None waits forever. A body
            makes progress when it moves, from its place, half the tolerance or a quarter of what
            its plan moves in this time, whichever is less.

    Attributes:
        stale: rows without a plan that can be followed, bool [B].
        following: rows that did not need a new plan but for ``every``, at the last :meth:`due`;
            bool [B].
        goals: the goals that were planned to, float32 [B, 2]; NaN without a goal.

    Raises:
        ConfigError: an argument is not a positive number.
    """

    def __init__(
        self, tolerance: float | None, every: int | None, patience: int | None = None
    ) -> None:
        if every is not None:
            require_numbers({"replan_every": every}, integer=True, minimum=1)
        if tolerance is not None:
            require_numbers({"tolerance": tolerance}, above=0, maximum=math.inf)
        if patience is not None:
            require_numbers({"patience": patience}, integer=True, minimum=1)
        self.tolerance = tolerance
        self._every, self._patience = every, patience
        self.start(0)

    def start(self, count: int) -> None:
        """Start with ``count`` rows without a plan."""
        self.stale = np.ones(count, dtype=bool)
        self.following = ~self.stale
        self.goals = np.full((count, 2), np.nan, dtype=np.float32)
        self._age = np.zeros(count, dtype=int)
        self._steps = np.zeros(count, dtype=int)
        self._ends = np.zeros((count, 2), dtype=np.float32)
        self._place = np.full((count, 2), np.nan, dtype=np.float32)
        self._waited = np.zeros(count, dtype=int)
        self._pace = np.zeros(count)

    def assign(self, rows: np.ndarray, plan: Plan, goals: np.ndarray) -> None:
        """``rows`` [R] follow ``plan`` to ``goals`` [B, 2] from now on."""
        self.goals[rows] = goals[rows]
        self.stale[rows] = False
        self._age[rows] = 0
        self._steps[rows] = plan.steps
        self._ends[rows] = plan.points[:, -1]
        self._place[rows] = plan.points[:, 0]
        self._waited[rows] = 0
        length = np.linalg.norm(np.diff(plan.points, axis=1), axis=-1).sum(1)
        self._pace[rows] = length / np.maximum(plan.steps, 1)

    def step(self) -> None:
        """Count one environment step."""
        self._age += 1

    def changed(self, goals: np.ndarray) -> np.ndarray:
        """Rows whose goal in ``goals`` [B, 2] differs from the one planned to, bool [B]."""
        same = (goals == self.goals) | (np.isnan(goals) & np.isnan(self.goals))
        changed: np.ndarray = ~same.all(1)
        return changed

    def due(
        self, positions: np.ndarray, goals: np.ndarray, deviation: np.ndarray | None
    ) -> np.ndarray:
        """Rows that need a new plan, bool [B].

        Args:
            positions: of the bodies, [B, 2].
            goals: [B, 2], NaN without a goal.
            deviation: distance of each body from its plan, [B]; None if there is no plan yet, or
                without a tolerance.
        """
        if self.stale.all():
            self.following = ~self.stale
            return self.stale
        due: np.ndarray = self.stale | self.changed(goals)
        if self.tolerance is not None and deviation is not None:
            near = self.tolerance / 2
            due |= deviation > self.tolerance
            aims = np.where(np.isnan(self.goals), self._ends, self.goals)
            remaining = np.linalg.norm(positions - aims, axis=1)
            over = self._age >= self._steps
            if self._patience is not None:
                least = np.minimum(near, _SLOW * self._patience * self._pace)
                moved = np.linalg.norm(positions - self._place, axis=1) > least
                self._place[moved], self._waited[moved] = positions[moved], self._age[moved]
                over = over | (self._age - self._waited >= self._patience)
            due |= over & (remaining > near)
        self.following = ~due
        if self._every is not None:
            due |= self._age >= self._every
        return due
