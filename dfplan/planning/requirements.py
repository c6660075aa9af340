"""What a reward requires of the way to the goal: places to pass, and regions to keep out of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.planning.rewards import ComposableReward, KeepOut, PassThrough
from dfplan.record import Record
from dfplan.types import Reward

_LATER = 1000.0
"""A region that is elsewhere after so many steps moves, and closes no way."""


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


def requirements_of(reward: Reward | None) -> Requirements | None:
    """The requirements in a sum of rewards; None if it has none.

    They are the places of :class:`~dfplan.planning.rewards.PassThrough` and the regions of
    :class:`~dfplan.planning.rewards.KeepOut` that do not move. Terms with a weight that is not
    positive require nothing.
    """
    terms = list(reward.terms()) if isinstance(reward, ComposableReward) else []
    places = [term.places.numpy() for term in terms if isinstance(term, PassThrough)]
    closed = tuple(term for term in terms if isinstance(term, KeepOut) and _rests(term))
    if len(places) > 1 or not (places or closed):  # the order of several terms is not known
        return None
    return Requirements(np.concatenate([np.zeros((0, 2)), *places]), closed)


def _rests(term: KeepOut) -> bool:
    """Whether the regions of ``term`` are in the same place at all times."""
    points = torch.tensor([[[0.0, 0.0], [1.0, 3.0]]])
    return all(
        torch.equal(
            region.signed_distance(points, torch.zeros(2)),
            region.signed_distance(points, torch.full((2,), _LATER)),
        )
        for region in term.regions
    )
