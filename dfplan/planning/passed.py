"""Counts which places of a reward a body has passed, so that new plans do not go back to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dfplan.planning.requirements import PASSED
from dfplan.planning.rewards import ComposableReward, PassThrough
from dfplan.planning.warm_start import FollowedLine
from dfplan.types import Reward

_LONGEST_STEP = 4.0
"""A body moves at most this many times as far in a step as its plan."""


class PassedPlaces:
    """For each row of a batch, how many places of each ``PassThrough`` of a reward are passed.

    A place is passed where the body is as near to it as its plan comes, up to a few steps, or turns
    away from it after a few more: trackers cut corners.

    Args:
        reward: of all rows, or None.

    Attributes:
        counts: int [B, K], for the K terms ``PassThrough`` of the reward.
    """

    def __init__(self, reward: Reward | None) -> None:
        self._reward = reward
        terms = reward.terms() if isinstance(reward, ComposableReward) else ()
        self._places = [term.places.numpy() for term in terms if isinstance(term, PassThrough)]
        self.start(0)

    @property
    def any(self) -> bool:
        """Whether the reward has places to pass."""
        return bool(self._places)

    def start(self, count: int) -> None:
        """Start with ``count`` rows whose bodies have passed nothing."""
        self.counts = np.zeros((count, len(self._places)), int)
        self._away = np.full(self.counts.shape, np.inf)
        self._positions = np.full((count, 2), np.nan)
        self._steps = np.zeros(count)  # the longest of each body

    def forget(self, rows: np.ndarray) -> None:
        """``rows``, bool [B], start again."""
        self.counts[rows] = 0
        self._away[rows] = np.inf
        self._positions[rows] = np.nan  # a new episode is no step

    def move(self, positions: np.ndarray, lines: list[FollowedLine | None]) -> None:
        """The bodies are at ``positions`` [B, 2], and follow ``lines``."""
        moved = np.linalg.norm(positions - self._positions, axis=1)
        self._steps = np.fmax(self._steps, moved)
        self._positions = positions
        for (row, term), count in np.ndenumerate(self.counts):
            line, places = lines[row], self._places[term]
            if line is None or count == len(places):
                continue
            # A jump is not a step.
            step = min(float(self._steps[row]), _LONGEST_STEP * line.pace)
            reach, margin = line.distance(places[count]), PASSED * step
            before = self._away[row, term]
            away = self._away[row, term] = np.linalg.norm(positions[row] - places[count])
            if away <= reach + margin or before < away <= reach + 2 * margin:
                self.counts[row, term] += 1
                self._away[row, term] = np.inf

    def group(self, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` [R] that have passed the same places as the first one."""
        same = (self.counts[rows] == self.counts[rows[:1]]).all(1)
        return np.asarray(rows[same])

    def left(self, row: int) -> Reward | None:
        """The reward of the places that a row has not passed."""
        if not self.counts[row].any() or not isinstance(self._reward, ComposableReward):
            return self._reward
        passed = iter(self.counts[row].tolist())

        def change(term: ComposableReward) -> ComposableReward:
            if not isinstance(term, PassThrough):
                return term
            count = next(passed)
            if count == len(term.places):
                return 0.0 * term
            return replace(term, places=term.places[count:])

        return self._reward.with_terms(change)
