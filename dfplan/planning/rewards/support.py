"""Rewards that come from data: the visited region, and a learned value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dfplan.boundary import isolated
from dfplan.errors import ConfigError, require_numbers
from dfplan.planning.rewards.base import PositionReward
from dfplan.planning.rewards.geometry import points_on_lines
from dfplan.tokens.free_region import FreeRegion
from dfplan.tokens.support import Support


@dataclass(frozen=True)
class OnSupport(PositionReward):
    """Minus half the summed squared distances of the plan's lines to a region.

    Attributes:
        support: the region that the data visited, or where plans may pass.
        points_per_line: points on each line at which the distance is measured, its end included.
    """

    support: Support | FreeRegion
    points_per_line: int = 2

    def __post_init__(self) -> None:
        require_numbers(vars(self), "points_per_line", integer=True, minimum=1)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        on = points_on_lines(points, self.points_per_line)
        return -0.5 * self.support.distance(on).square().sum(-1)


@dataclass(frozen=True)
class LearnedValue(PositionReward):
    """A learned value function of positions, at the plan's last point.

    A value already sums all rewards that follow. If earlier points counted as well, the same
    rewards would count several times, and a plan that starts at a low value would be held back.

    Attributes:
        value: differentiable function from positions [..., 2] in units of the data to values
            [...]; see :func:`dfplan.load_value`. It is called once with three positions to check
            it.
    """

    value: Callable[[torch.Tensor], torch.Tensor]

    def __post_init__(self) -> None:
        try:
            with isolated():
                got = f"values {list(self.value(torch.zeros(3, 2, dtype=torch.float32)).shape)}"
        except (AttributeError, RuntimeError, TypeError) as error:
            got = f"{type(error).__name__}: {error}"
        if got != "values [3]":
            raise ConfigError(
                "LearnedValue needs a function from positions [..., 2] to values [...]; for "
                f"positions [3, 2] got {got}. Wrap any other network in such a function."
            )

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return self.value(points[:, -1])
