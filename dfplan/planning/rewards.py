"""Rewards of a plan, in physical units; they compose with ``+`` and ``*``.

A reward takes positions [B, P, 2], the points of each plan with the last repeated after arrival,
and returns [B]. Any differentiable function of that form can be used in place of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from dfplan.data.support import Support
from dfplan.types import Reward


class ComposableReward(ABC):
    """Adds ``a + b`` and ``0.5 * a`` to a reward."""

    @abstractmethod
    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Positions [B, P, 2] to rewards [B]."""

    def __add__(self, other: Reward) -> ComposableReward:
        return _Sum(self, other)

    def __mul__(self, weight: float) -> ComposableReward:
        return _Scaled(self, weight)

    __rmul__ = __mul__


@dataclass(frozen=True)
class _Sum(ComposableReward):
    first: Reward
    second: Reward

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return self.first(points) + self.second(points)


@dataclass(frozen=True)
class _Scaled(ComposableReward):
    reward: Reward
    weight: float

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return self.weight * self.reward(points)


@dataclass(frozen=True)
class Reach(ComposableReward):
    """Minus half the squared distance from the plan's last point to ``target``.

    Attributes:
        target: position, [2].
    """

    target: torch.Tensor

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return -0.5 * (points[:, -1] - self.target).square().sum(-1)


@dataclass(frozen=True)
class Short(ComposableReward):
    """Minus half the summed squared distance between successive points.

    Its gradient pulls each point to the middle of its neighbours: an elastic band.
    """

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return -0.5 * points.diff(dim=1).square().sum((-1, -2))


@dataclass(frozen=True)
class OnSupport(ComposableReward):
    """Minus half the squared distance of points, and of the lines between, off the data.

    Attributes:
        support: where the data has been.
        between: points that are looked at on each line, its end included.
    """

    support: Support
    between: int = 2

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return -0.5 * self.support.distance(on_lines(points, self.between)).square().sum(-1)


def on_lines(points: torch.Tensor, between: int) -> torch.Tensor:
    """``between`` evenly spaced points on each line of [B, P, 2], ends included."""
    share = torch.arange(1, between + 1, dtype=points.dtype) / between
    start, step = points[:, :-1, None], points.diff(dim=1)[:, :, None]
    return (start + share[:, None] * step).flatten(1, 2)
