"""What a reward requires of the way to the goal: places to pass, and regions to keep out of."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch

from dfplan.planning.rewards import (
    ComposableReward,
    Fast,
    KeepOut,
    OnSupport,
    PassThrough,
    Reach,
    Short,
    TimeToGoal,
)
from dfplan.record import Record
from dfplan.types import Reward

_TIMES = tuple(1000.0 * (0.6180339887 * index % 1) for index in range(64))
"""A region that is elsewhere at one of these steps moves, and closes no way. They are irregular, so
that a period shows."""

_TIMELESS = Fast, OnSupport, PassThrough, Reach, Short, TimeToGoal
"""Rewards that a body satisfies no worse if it hurries."""

_MOST_ORDERED = 3
"""Most terms whose orders are all tried."""


@dataclass(frozen=True)
class Requirements(Record):
    """Requirements of a way.

    Attributes:
        places: to pass in order, float64 [V, 2].
        closed: regions to keep out of that do not move.
    """

    places: np.ndarray
    closed: tuple[KeepOut, ...] = ()

    def forbid(self, points: np.ndarray, margin: float) -> np.ndarray:
        """Whether ``points`` [..., 2] are in a closed region or near it; bool [...].

        Near is nearer than ``margin`` and than the margin of the reward.
        """
        forbidden = np.zeros(points.shape[:-1], bool)
        line = torch.from_numpy(points.astype(np.float32)).reshape(1, -1, 2)
        for term in self.closed:
            for region in term.regions:
                away = region.signed_distance(line, torch.zeros(line.shape[1]))
                forbidden |= away.numpy().reshape(forbidden.shape) < min(margin, term.margin)
        return forbidden


NO_REQUIREMENTS = Requirements(np.zeros((0, 2)))


def requirements_of(reward: Reward | None) -> list[Requirements]:
    """What a sum of rewards may require of the way; empty if it requires nothing.

    Places come from :class:`~dfplan.planning.rewards.PassThrough` and closed regions from
    :class:`~dfplan.planning.rewards.KeepOut`, if they do not move. Terms with a weight that is not
    positive require nothing. Several terms ``PassThrough`` have no order, so there is a result for
    each order of up to three of them; more of them are taken in the order of the sum.
    """
    terms = list(reward.terms()) if isinstance(reward, ComposableReward) else []
    places = [term.places.numpy() for term in terms if isinstance(term, PassThrough)]
    closed = tuple(term for term in terms if isinstance(term, KeepOut) and _rests(term))
    if not (places or closed):
        return []
    orders = permutations(places) if len(places) <= _MOST_ORDERED else [places]
    return [Requirements(np.concatenate([np.zeros((0, 2)), *order]), closed) for order in orders]


def asks_for_times(horizon: int | None, reward: Reward | None) -> bool:
    """Whether a caller's horizon or reward may ask when, or how fast, a body is somewhere.

    If not, a body that follows the plan need not keep the times of the plan.
    """
    if horizon is not None:
        return True
    if reward is None:
        return False
    terms = reward.terms() if isinstance(reward, ComposableReward) else [reward]
    return not all(
        isinstance(term, _TIMELESS) or (isinstance(term, KeepOut) and _rests(term))
        for term in terms
    )


def _rests(term: KeepOut) -> bool:
    """Whether the regions of ``term`` are in the same place at all times."""
    points = torch.tensor([[[0.0, 0.0]], [[1.0, 3.0]]]).expand(-1, len(_TIMES), -1)
    distances = [region.signed_distance(points, torch.tensor(_TIMES)) for region in term.regions]
    return all(torch.equal(each, each[:, :1].expand_as(each)) for each in distances)
