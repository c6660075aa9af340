"""Rewards of a plan, in physical units; they compose with ``+`` and ``*``.

A reward takes positions [B, P, 2], the points of each plan with the last repeated after arrival,
and the environment step [P] at which each point is reached; it returns [B]. Any differentiable
function of that form can be used in place of these, and added to them; :class:`Custom` makes it
one of them. One reward holds for all plans of a call, in which candidates and problems are mixed.
None of these rewards is above 0, its best, but :class:`LearnedValue`, which is in units of the
data's rewards.

Positions that a reward is made with may be a tensor, an array or a list of numbers; they are kept
as a float32 tensor. Arguments that mean nothing raise :class:`ConfigError`.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from dfplan.arrays import copy_array
from dfplan.boundary import as_tensor, isolated
from dfplan.errors import ConfigError, ObservationError, require_numbers
from dfplan.record import Record
from dfplan.tokens.support import Support
from dfplan.types import Reward


class ComposableReward(ABC):
    """Adds ``a + b``, ``sum([a, b])`` and ``0.5 * a`` to a reward.

    One of ``a`` and ``b`` may be a plain function; anything else raises :class:`ConfigError`.
    Positions and steps that a reward is called with may be arrays, too.
    """

    __array_ufunc__ = None  # NumPy's numbers leave multiplication to __rmul__

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        call = vars(cls).get("__call__")
        if call is not None:

            @wraps(call)
            def of_tensors(self: Any, points: Any, steps: Any) -> Any:
                points, steps = as_tensor(points), as_tensor(steps)
                if points.dim() != 3 or points.shape[2] != 2:
                    raise ObservationError(
                        f"A reward takes positions [B, P, 2]; got {list(points.shape)}."
                    )
                return call(self, points, steps)

            cls.__call__ = of_tensors  # type: ignore[method-assign]

    @abstractmethod
    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Positions [B, P, 2] at ``steps`` [P] to rewards [B]."""

    def __add__(self, other: Reward | int) -> ComposableReward:
        # sum() begins with 0.
        return self if isinstance(other, int) and other == 0 else _Sum(self, _composable(other))

    __radd__ = __add__

    def __mul__(self, weight: float) -> ComposableReward:
        return _Scaled(self, weight)

    __rmul__ = __mul__


@dataclass(frozen=True)
class _Sum(ComposableReward):
    first: ComposableReward
    second: ComposableReward

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return self.first(points, steps) + self.second(points, steps)


@dataclass(frozen=True)
class _Scaled(ComposableReward):
    reward: ComposableReward
    weight: float

    def __post_init__(self) -> None:
        if callable(self.weight):
            raise ConfigError(
                f"* weighs a reward by a number; got {_name(self.weight)}. Rewards are added, by +."
            )
        require_numbers(vars(self), "weight")

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return self.weight * self.reward(points, steps)


@dataclass(frozen=True)
class Custom(ComposableReward):
    """A function of your own as a reward, which composes and is checked at every call.

    Its values are given back in the type of the positions.

    Attributes:
        function: positions [B, P, 2] at steps [P] to rewards [B], differentiable.

    Raises:
        ConfigError: no function of two arguments; when called, one that does not give one finite
            number a plan, or has no gradient where one is asked for.
    """

    function: Reward
    _looked: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (callable(self.function) and _takes_two(self.function)):
            raise ConfigError(
                "A reward is a function of two arguments, positions and steps; got "
                f"{_name(self.function)}. See dfplan.planning.rewards."
            )

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        values = self.function(points, steps)
        fault = _fault(values, points)
        if not fault and not self._looked and points.requires_grad and torch.is_grad_enabled():
            # Parameters of a network have a gradient of their own; once is enough to look behind.
            self._looked.append(True)
            (found,) = torch.autograd.grad(
                values.sum(), points, retain_graph=True, allow_unused=True
            )
            fault = _NO_GRADIENT if found is None else ""
        if fault:
            raise ConfigError(
                f"The reward {_name(self.function)} must give one finite number a plan, a "
                f"differentiable tensor [{len(points)}] for positions {list(points.shape)}; got "
                f"{fault}."
            )
        return values.to(points.dtype)


@dataclass(frozen=True)
class Reach(Record, ComposableReward):
    """Minus half the squared distance from the plan's last point to ``target`` [2]."""

    target: torch.Tensor

    def __post_init__(self) -> None:
        _keep_positions(self, "target")

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -0.5 * _squared_distance(points[:, -1], self.target)


@dataclass(frozen=True)
class ReachBy(Record, ComposableReward):
    """Minus half the mean squared distance to ``target`` over the points from ``step`` on.

    Attributes:
        target: position, [2].
        step: environment step; where the plan ends before it, its last point counts.
    """

    target: torch.Tensor
    step: float

    def __post_init__(self) -> None:
        _keep_positions(self, "target")
        require_numbers(vars(self), "step", least=0)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        late = points[:, steps >= min(self.step, steps[-1].item())]
        return -0.5 * _squared_distance(late, self.target).mean(-1)


@dataclass(frozen=True)
class PassThrough(Record, ComposableReward):
    """Minus half the summed squared distances to ``places``, each passed after the one before.

    Of all ways to give each place a point of the plan, in order, the nearest counts.

    Attributes:
        places: positions in the order in which they are to be passed; [V, 2].
        between: points that are looked at on each line of the plan.
    """

    places: torch.Tensor
    between: int = 2

    def __post_init__(self) -> None:
        _keep_positions(self, "places", 1)
        require_numbers(vars(self), "between", whole=True, least=1)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        line = torch.cat([points[:, :1], on_lines(points, self.between)], 1)
        best = line.new_zeros(line.shape[:-1])
        for place in self.places:
            # The least sum when this place is passed at a point or before it.
            best = (best + _squared_distance(line, place)).cummin(-1).values
        return -0.5 * best[:, -1]


@dataclass(frozen=True)
class Follow(Record, ComposableReward):
    """Minus half the mean squared distance of the plan's points to a path.

    Attributes:
        path: corners of the path, at least 2; [Q, 2].
    """

    path: torch.Tensor

    def __post_init__(self) -> None:
        _keep_positions(self, "path", 2)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -0.5 * squared_distance_to_line(points, self.path).mean(-1)


@dataclass(frozen=True)
class Short(ComposableReward):
    """Minus half the summed squared distance between successive points.

    Its gradient pulls each point to the middle of its neighbours: an elastic band.
    """

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -0.5 * points.diff(dim=1).square().sum((-1, -2))


@dataclass(frozen=True)
class Smooth(ComposableReward):
    """Minus half the summed squared second differences: no turns and no change of speed."""

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -0.5 * points.diff(n=2, dim=1).square().sum((-1, -2))


@dataclass(frozen=True)
class Dense(Record, ComposableReward):
    """The dense reward of D4RL's and gymnasium-robotics' mazes, less its maximum of 1 a point.

    The mean over the plan's points of ``exp(-distance to target) - 1``.

    Attributes:
        target: position, [2].
    """

    target: torch.Tensor

    def __post_init__(self) -> None:
        _keep_positions(self, "target")

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        # At the target itself the distance has no gradient.
        squared = _squared_distance(points, self.target)
        return ((-(squared + 1e-12).sqrt()).exp() - 1).mean(-1)


@dataclass(frozen=True)
class Fast(Record, ComposableReward):
    """Minus the steps at which the plan is not within ``radius`` of ``target``.

    A step is counted at its end and by a share that grows with the distance ``d`` from there to
    the disc, ``d / (d + radius)``: 0 inside, 1 far off, and never flat outside, so that it guides
    plans from anywhere.

    Attributes:
        target: position, [2].
        radius: in units of position; by default that of D4RL's goals.
    """

    target: torch.Tensor
    radius: float = 0.5

    def __post_init__(self) -> None:
        _keep_positions(self, "target")
        require_numbers(vars(self), "radius", above=0)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        distance = _length(_squared_distance(points[:, 1:], self.target))
        beyond = (distance - self.radius).clamp_min(0.0)
        return -(beyond / (beyond + self.radius) * steps.diff()).sum(-1)


@runtime_checkable
class Region(Protocol):
    """A part of the plane, which may move."""

    def outside(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Distance of [B, P, 2] at ``steps`` [P] from the region, below 0 inside; [B, P]."""
        ...


@dataclass(frozen=True)
class Disc:
    """A disc, which may move at a constant velocity.

    Attributes:
        center: position at step 0, (q0, q1).
        radius: in units of position.
        velocity: units of position an environment step.
    """

    center: tuple[float, float]
    radius: float
    velocity: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        _keep_place(self, "center")
        _keep_place(self, "velocity")
        require_numbers(vars(self), "radius", least=0)

    def outside(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """See :class:`Region`."""
        points, steps = as_tensor(points), as_tensor(steps)
        drift = steps[:, None] * points.new_tensor(self.velocity)
        away = points - (points.new_tensor(self.center) + drift)
        return _length(away.square().sum(-1)) - self.radius


@dataclass(frozen=True)
class Box:
    """A rectangle along the axes.

    Attributes:
        low: the corner with the smaller coordinates.
        high: the corner with the larger ones.
    """

    low: tuple[float, float]
    high: tuple[float, float]

    def __post_init__(self) -> None:
        if not (_keep_place(self, "low") < _keep_place(self, "high")).all():
            raise ConfigError(
                f"A box needs low below high on both axes; got {self.low} and {self.high}."
            )

    def outside(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """See :class:`Region`."""
        points = as_tensor(points)
        low, high = points.new_tensor(self.low), points.new_tensor(self.high)
        beyond = torch.maximum(low - points, points - high)
        reach = beyond.detach().square().sum(-1)
        apart = _length(beyond.clamp_min(0.0).square().sum(-1), reach)
        return apart + beyond.amax(-1).clamp_max(0.0)


@dataclass(frozen=True)
class KeepOut(Record, ComposableReward):
    """Minus half the summed squares of how far the plan's lines reach into regions.

    Attributes:
        regions: what to keep out of, at least one.
        margin: distance to keep, in units of position.
        between: points that are looked at on each line.
    """

    regions: Sequence[Region]
    margin: float = 0.0
    between: int = 2

    def __post_init__(self) -> None:
        _require_regions(self.regions, self.regions)
        object.__setattr__(self, "regions", tuple(self.regions))
        require_numbers(vars(self), "margin", least=0)
        require_numbers(vars(self), "between", whole=True, least=1)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        on, at = on_lines(points, self.between), _on_steps(steps, self.between)
        into = [(self.margin - region.outside(on, at)).clamp_min(0.0) for region in self.regions]
        return -0.5 * torch.stack(into).square().sum((0, -1))


@dataclass(frozen=True)
class SlowIn(ComposableReward):
    """Minus half the summed squares of what speed exceeds ``limit`` where a line is in ``region``.

    Attributes:
        region: where speed is limited.
        limit: units of position an environment step.
    """

    region: Region
    limit: float

    def __post_init__(self) -> None:
        _require_regions(self.region, [self.region])
        require_numbers(vars(self), "limit", least=0)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        way = _length(points.diff(dim=1).square().sum(-1))
        excess = (way - self.limit * steps.diff()).clamp_min(0.0)
        middle = 0.5 * (points[:, 1:] + points[:, :-1])
        within = self.region.outside(middle, 0.5 * (steps[1:] + steps[:-1])) < 0
        return -0.5 * (excess.square() * within).sum(-1)


@dataclass(frozen=True)
class OnSupport(ComposableReward):
    """Minus half the squared distance of points, and of the lines between, off the data.

    Attributes:
        support: where the data has been.
        between: points that are looked at on each line, its end included.
    """

    support: Support
    between: int = 2

    def __post_init__(self) -> None:
        require_numbers(vars(self), "between", whole=True, least=1)

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -0.5 * self.support.distance(on_lines(points, self.between)).square().sum(-1)


@dataclass(frozen=True)
class LearnedValue(ComposableReward):
    """A value that was learned of positions, at the plan's last point.

    There and not along the plan: it counts all that follows a place, so on the way it would count
    the same rewards again and again, and hold back a plan that starts where it is low.

    Attributes:
        value: positions [..., 2] in units of the data to values [...], differentiable; see
            :func:`dfplan.load_value`. Tried on three positions at once, to see that it fits.
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
                "LearnedValue needs a function of positions alone, [..., 2] to values [...]; for "
                f"positions [3, 2] got {got}. Wrap a network of another form in a function."
            )

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return self.value(points[:, -1])


def _composable(part: Any) -> ComposableReward:
    return part if isinstance(part, ComposableReward) else Custom(part)


def checked(reward: Reward) -> ComposableReward:
    """``reward``, each part of which is a :class:`Custom`; raises what that raises."""
    if isinstance(reward, _Sum):
        return _Sum(checked(reward.first), checked(reward.second))
    if isinstance(reward, _Scaled):
        return _Scaled(checked(reward.reward), reward.weight)
    return reward if isinstance(reward, Custom) else Custom(reward)


def _takes_two(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a builtin that does not say what it takes
        return True
    return True


def _name(reward: object) -> str:
    return str(getattr(reward, "__name__", repr(reward)))


_NO_GRADIENT = "no gradient. Use torch throughout, without detach(), item() or comparisons"


def _fault(values: object, points: torch.Tensor) -> str:
    """What is wrong with ``values`` as rewards of ``points``; nothing, if nothing is."""
    if not isinstance(values, torch.Tensor):
        return f"a {type(values).__name__}. Use torch throughout, without item()"
    if values.shape != points.shape[:1]:
        return f"shape {list(values.shape)}. Sum over points and axes, but not over plans"
    # A finite sum has finite terms, and is the faster to look at.
    if not math.isfinite(values.sum().item()) and not values.isfinite().all():
        also = "" if points.isfinite().all() else ", as the positions are not: check the settings"
        return f"values that are not finite{also}"
    if not (points.requires_grad and torch.is_grad_enabled()):
        return ""
    if not values.requires_grad:
        return _NO_GRADIENT
    # Too slow for every call: whoever finds a gradient that is not finite calls anew to find whose.
    if torch.is_anomaly_enabled():
        (gradient,) = torch.autograd.grad(
            values.sum(), points, retain_graph=True, materialize_grads=True
        )
        if not gradient.isfinite().all():
            return (
                "a gradient that is not finite. A square root, a logarithm or a division at 0 is "
                "the usual cause: add a small number inside"
            )
    return ""


def _positions(owner: object, field: str, least: int = 0) -> np.ndarray:
    """A copy of the field, positions: one [2], or where ``least`` is given so many [Q, 2]."""
    given = getattr(owner, field)
    try:
        found = copy_array(given, np.float64)
        many = found.ndim == 1 + bool(least) and len(found) >= least
        fits = many and found.shape[-1] == 2 and not np.isnan(found).any()
    except ObservationError:  # not numbers
        fits = False
    if not fits:
        wanted = f"numbers [Q, 2], Q at least {least}" if least else "numbers [2]"
        raise ConfigError(f"{type(owner).__name__} needs {field}: {wanted}; got {given!r}.")
    return found


def _keep_positions(owner: object, field: str, least: int = 0) -> None:
    with isolated():
        kept = torch.from_numpy(_positions(owner, field, least).astype(np.float32))
    object.__setattr__(owner, field, kept)


def _keep_place(owner: object, field: str) -> np.ndarray:
    place = _positions(owner, field)
    object.__setattr__(owner, field, tuple(place.tolist()))
    return place


def _require_regions(given: object, regions: object) -> None:
    if not (
        isinstance(regions, Sequence)
        and regions
        and all(isinstance(r, Region) and not isinstance(r, type) for r in regions)
    ):
        raise ConfigError(
            "KeepOut needs a list of at least one region, and SlowIn one region; a region is a "
            f"Disc, a Box or another that has outside(points, steps). Got {given!r}."
        )


def on_lines(points: torch.Tensor, between: int) -> torch.Tensor:
    """``between`` evenly spaced points on each line of [B, P, 2], ends included."""
    share = torch.arange(1, between + 1, dtype=points.dtype, device=points.device) / between
    start, way = points[:, :-1, None], points.diff(dim=1)[:, :, None]
    return (start + share[:, None] * way).flatten(1, 2)


def _on_steps(steps: torch.Tensor, between: int) -> torch.Tensor:
    """The steps [(P - 1) * between] of :func:`on_lines`."""
    share = torch.arange(1, between + 1, dtype=steps.dtype, device=steps.device) / between
    return (steps[:-1, None] + share * steps.diff()[:, None]).flatten()


def squared_distance_to_line(points: torch.Tensor, line: torch.Tensor) -> torch.Tensor:
    """From ``points`` [..., P, 2] to the nearest places of ``line`` [..., Q, 2]; [..., P]."""
    start, way = line[..., None, :-1, :], line.diff(dim=-2)[..., None, :, :]
    along = ((points[..., None, :] - start) * way).sum(-1)
    squared = way.square().sum(-1)
    along = (along / torch.maximum(squared, _negligible(squared))).clamp(0.0, 1.0)
    return _squared_distance(points[..., None, :], start + along[..., None] * way).amin(-1)


def _length(squared: torch.Tensor, reach: torch.Tensor | None = None) -> torch.Tensor:
    """Square roots with a gradient at 0, where ``reach`` has squares of the lengths in play."""
    return (squared + _negligible(squared if reach is None else reach)).sqrt()


def _negligible(squared: torch.Tensor) -> torch.Tensor:
    """The square of a length that does not matter beside the longest of ``squared``; []."""
    longest = squared.detach().amax() if squared.numel() else squared.new_tensor(0.0)
    return (1e-8 * longest).clamp(torch.finfo(squared.dtype).tiny, 1e-12)


def _squared_distance(points: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (points - target).square().sum(-1)
