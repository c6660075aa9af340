"""Regions of the plane, and rewards that depend on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from dfplan.boundary import as_tensor
from dfplan.errors import ConfigError, require_numbers
from dfplan.planning.rewards.base import PositionReward, keep_place
from dfplan.planning.rewards.geometry import length, points_on_lines, steps_on_lines
from dfplan.record import Record


@runtime_checkable
class Region(Protocol):
    """A region of the plane, which may move."""

    def signed_distance(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Distance of points [B, P, 2] at ``steps`` [P] to the region, negative inside; [B, P]."""
        ...


@dataclass(frozen=True)
class Disc:
    """A disc, which may move at a constant velocity.

    Attributes:
        center: position at step 0, (q0, q1).
        radius: in units of position.
        velocity: in units of position per environment step.
    """

    center: tuple[float, float]
    radius: float
    velocity: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        keep_place(self, "center")
        keep_place(self, "velocity")
        require_numbers(vars(self), "radius", minimum=0)

    def signed_distance(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """See :class:`Region`."""
        points, steps = as_tensor(points), as_tensor(steps)
        drift = steps[:, None] * points.new_tensor(self.velocity)
        away = points - (points.new_tensor(self.center) + drift)
        return length(away.square().sum(-1)) - self.radius


@dataclass(frozen=True)
class Box:
    """A rectangle with sides parallel to the axes.

    Attributes:
        low: the corner with the smaller coordinates.
        high: the corner with the larger coordinates.
    """

    low: tuple[float, float]
    high: tuple[float, float]

    def __post_init__(self) -> None:
        if not (keep_place(self, "low") < keep_place(self, "high")).all():
            raise ConfigError(
                f"A box needs low below high on both axes; got {self.low} and {self.high}."
            )

    def signed_distance(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """See :class:`Region`."""
        points = as_tensor(points)
        low, high = points.new_tensor(self.low), points.new_tensor(self.high)
        beyond = torch.maximum(low - points, points - high)
        scale = beyond.detach().square().sum(-1)
        apart = length(beyond.clamp_min(0.0).square().sum(-1), scale)
        return apart + beyond.amax(-1).clamp_max(0.0)


@dataclass(frozen=True)
class KeepOut(Record, PositionReward):
    """Minus the squared depth at which the plan lies inside regions, summed over its lines.

    The squared depth of a line is the mean over points on it.

    Attributes:
        regions: the regions to keep out of, at least one.
        margin: distance to keep from them, in units of position.
        points_per_line: points on each line at which the depth is measured. A region that is
            thinner than the distance between them can be crossed for little.
    """

    regions: Sequence[Region]
    margin: float = 0.0
    points_per_line: int = 8

    def __post_init__(self) -> None:
        _require_regions(self.regions, self.regions)
        object.__setattr__(self, "regions", tuple(self.regions))
        require_numbers(vars(self), "margin", minimum=0)
        require_numbers(vars(self), "points_per_line", integer=True, minimum=1)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        on = points_on_lines(points, self.points_per_line)
        at = steps_on_lines(steps, self.points_per_line)
        depth = [
            (self.margin - region.signed_distance(on, at)).clamp_min(0.0) for region in self.regions
        ]
        return -torch.stack(depth).square().sum((0, -1)) / self.points_per_line


@dataclass(frozen=True)
class SlowIn(PositionReward):
    """Minus half the summed squared excess of speed over ``limit`` on lines inside ``region``.

    Attributes:
        region: where speed is limited.
        limit: in units of position per environment step.
    """

    region: Region
    limit: float

    def __post_init__(self) -> None:
        _require_regions(self.region, [self.region])
        require_numbers(vars(self), "limit", minimum=0)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        way = length(points.diff(dim=1).square().sum(-1))
        excess = (way - self.limit * steps.diff()).clamp_min(0.0)
        middle = 0.5 * (points[:, 1:] + points[:, :-1])
        within = self.region.signed_distance(middle, 0.5 * (steps[1:] + steps[:-1])) < 0
        return -0.5 * (excess.square() * within).sum(-1)


def _require_regions(value: object, regions: object) -> None:
    """Raise :class:`ConfigError` about ``value`` unless ``regions`` is a list of regions."""
    if not (
        isinstance(regions, Sequence)
        and regions
        and all(isinstance(r, Region) and not isinstance(r, type) for r in regions)
    ):
        raise ConfigError(
            "KeepOut needs a list of at least one region, and SlowIn one region; a region is a "
            f"Disc, a Box or an object with signed_distance(points, steps). Got {value!r}."
        )
