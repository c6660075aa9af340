"""Counts which places of a reward a body has passed, so that new plans do not go back to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dfplan.planning.rewards import ComposableReward, PassThrough
from dfplan.planning.warm_start import FollowedLine
from dfplan.types import Reward

_ON_WAY = 10.0
"""A place is on the way if a plan comes as near to it, in steps of the body."""

_NEAR, _NEAR_BEHIND = 7.0, 10.0
"""A body passes a place at this distance more than its plan, in steps: before it has followed its
plan past the place, and behind it. Trackers cut corners by about a braking distance."""


class PassedPlaces:
    """For each row of a batch, how many places of each ``PassThrough`` of a reward are passed.

    A place that is on the way of the plan is passed where the body is nearly as near to it as the
    plan comes, or has followed the plan past it: trackers cut corners.

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

    def forget(self, rows: np.ndarray) -> None:
        """``rows``, bool [B], start again."""
        self.counts[rows] = 0

    def move(self, positions: np.ndarray, lines: list[FollowedLine | None]) -> None:
        """The bodies are at ``positions`` [B, 2], and follow ``lines``."""
        for (row, term), count in np.ndenumerate(self.counts):
            line, places = lines[row], self._places[term]
            if line is None or count == len(places):
                continue
            place = places[count]
            reach = line.distance(place)
            away = float(np.linalg.norm(positions[row] - place)) - reach
            near = _NEAR if not line.is_past(place) else _NEAR_BEHIND
            if away <= near * line.step and reach <= _ON_WAY * line.step:
                self.counts[row, term] += 1

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
