"""The base class of rewards: composition, checks, and positions as arguments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, ClassVar

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from dfplan.arrays import copy_array
from dfplan.boundary import as_tensor, isolated
from dfplan.errors import ConfigError, ObservationError, require_function, require_numbers
from dfplan.types import Reward


class ComposableReward(ABC):
    """A reward that supports ``a + b``, ``sum([a, b])`` and ``0.5 * a``.

    One of ``a`` and ``b`` may be a plain function; anything else raises :class:`ConfigError`. A
    reward can be called with arrays instead of tensors.

    Attributes:
        columns: how many columns of the states :meth:`__call__` receives; None for all.
    """

    columns: ClassVar[int | None] = None

    __array_ufunc__ = None  # otherwise NumPy numbers would not call __rmul__

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        call = vars(cls).get("__call__")
        if call is not None:

            @wraps(call)
            def call_with_tensors(self: Any, states: Any, steps: Any) -> Any:
                states, steps = as_tensor(states), as_tensor(steps)
                if states.dim() != 3 or states.shape[2] < 2:
                    raise ObservationError(
                        "A reward takes states [B, P, W], the position in the first two columns; "
                        f"got {list(states.shape)}."
                    )
                if self.columns is not None:
                    if states.shape[2] < self.columns:
                        raise ConfigError(
                            f"The reward {type(self).__name__} takes states of {self.columns} "
                            f"columns; this plan has {states.shape[2]}. {_HOLD_MORE}"
                        )
                    states = states[..., : self.columns]
                return call(self, states, steps)

            cls.__call__ = call_with_tensors  # type: ignore[method-assign]

    @abstractmethod
    def __call__(self, states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """States [B, P, W] at ``steps`` [P] to rewards [B]."""

    def terms(self) -> Iterator[ComposableReward]:
        """The rewards of which this one is a sum with positive weights."""
        yield self

    def with_terms(
        self, change: Callable[[ComposableReward], ComposableReward]
    ) -> ComposableReward:
        """The same sum of what ``change`` makes of each of :meth:`terms`."""
        return change(self)

    def __add__(self, other: Reward | int) -> ComposableReward:
        # sum() starts with 0.
        return self if isinstance(other, int) and other == 0 else _Sum(self, _composable(other))

    __radd__ = __add__

    def __mul__(self, weight: float) -> ComposableReward:
        return _Scaled(self, weight)

    __rmul__ = __mul__


class PositionReward(ComposableReward):
    """A reward of positions [B, P, 2]; the other columns of states do not matter."""

    columns = 2


@dataclass(frozen=True)
class _Sum(ComposableReward):
    first: ComposableReward
    second: ComposableReward

    def __call__(self, states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return self.first(states, steps) + self.second(states, steps)

    def terms(self) -> Iterator[ComposableReward]:
        yield from self.first.terms()
        yield from self.second.terms()

    def with_terms(
        self, change: Callable[[ComposableReward], ComposableReward]
    ) -> ComposableReward:
        return _Sum(self.first.with_terms(change), self.second.with_terms(change))


@dataclass(frozen=True)
class _Scaled(ComposableReward):
    reward: ComposableReward
    weight: float

    def __post_init__(self) -> None:
        if callable(self.weight):
            raise ConfigError(
                f"A reward can only be multiplied by a number; got {_name(self.weight)}. Rewards "
                "are added with +."
            )
        require_numbers(vars(self), "weight")

    def __call__(self, states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return self.weight * self.reward(states, steps)

    def terms(self) -> Iterator[ComposableReward]:
        if self.weight > 0:
            yield from self.reward.terms()

    def with_terms(
        self, change: Callable[[ComposableReward], ComposableReward]
    ) -> ComposableReward:
        return replace(self, reward=self.reward.with_terms(change)) if self.weight > 0 else self


@dataclass(frozen=True)
class Custom(ComposableReward):
    """A user's function as a reward. It can be composed, and each call is checked.

    Its values are converted to the dtype of the states.

    Attributes:
        function: states [B, P, W] at steps [P] to rewards [B], differentiable.

    Raises:
        ConfigError: it is not a function of two arguments. When called: it does not return one
            finite number per plan, or a gradient is needed and it has none.
    """

    function: Reward
    _gradient_checked: list[bool] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    _widths_checked: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_function("A reward", self.function, "states", "steps")

    def __call__(self, states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        width = states.shape[-1]
        try:
            # An index of missing columns can give an empty tensor without an error. It is checked
            # once, because the check slows down each operation.
            with nullcontext() if width in self._widths_checked else _ColumnCheck(width):
                values = self.function(states, steps)
        except _MissingColumnError as error:
            raise ConfigError(
                f"The reward {_name(self.function)} asks for a column that this plan does not "
                f"have: {error}. Its states have {width} columns, the position first. {_HOLD_MORE}"
            ) from None
        except IndexError as error:
            raise ConfigError(
                f"The reward {_name(self.function)} uses an index that does not exist ({error}). "
                f"Its states have the shape {list(states.shape)}, for plans, points and columns."
            ) from error
        self._widths_checked.add(width)
        problem = _problem(values, states)
        needs_gradient = states.requires_grad and torch.is_grad_enabled()
        if not problem and not self._gradient_checked and needs_gradient:
            # Parameters of a network can give values a gradient although the states have none.
            # This is checked once.
            self._gradient_checked.append(True)
            (gradient,) = torch.autograd.grad(
                values.sum(), states, retain_graph=True, allow_unused=True
            )
            problem = _NO_GRADIENT if gradient is None else ""
        if problem:
            raise ConfigError(
                f"The reward {_name(self.function)} must return one finite number per plan, a "
                f"differentiable tensor [{len(states)}] for states {list(states.shape)}; got "
                f"{problem}."
            )
        return values.to(states.dtype)


_HOLD_MORE = (
    "Train a model whose tokens hold more (dfplan train ... --features), and find a column by "
    "planner.model.layout.columns(name)."
)


class _MissingColumnError(Exception):
    """States are indexed by a column that they do not have."""


class _ColumnCheck(TorchFunctionMode):
    """Raises an error if states [B, P, W] are indexed by a column from ``width`` on."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__getitem__ and args[0].dim() == 3:
            column = _last_index(args[1])
            number = column.stop if isinstance(column, slice) else column
            limit = self._width + isinstance(column, slice)
            if (
                args[0].shape[-1] == self._width
                and isinstance(number, int)
                and not isinstance(number, bool)
                and number >= limit
            ):
                raise _MissingColumnError(f"{column} of columns 0 to {self._width - 1}")
        return func(*args, **(kwargs or {}))


def _last_index(index: Any) -> Any:
    """The part of the index of a tensor with three axes that selects from the last one."""
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(part for part in parts if part is not None)
    whole = any(part is Ellipsis for part in parts)
    return parts[-1] if len(parts) == 3 or (whole and parts[-1] is not Ellipsis) else None


def _composable(part: Any) -> ComposableReward:
    return part if isinstance(part, ComposableReward) else Custom(part)


def check_reward(reward: Reward) -> ComposableReward:
    """Wrap each part of a reward in :class:`Custom`, which checks it at every call.

    Raises:
        ConfigError: as :class:`Custom`.
    """
    if isinstance(reward, _Sum):
        return _Sum(check_reward(reward.first), check_reward(reward.second))
    if isinstance(reward, _Scaled):
        return _Scaled(check_reward(reward.reward), reward.weight)
    return reward if isinstance(reward, Custom) else Custom(reward)


def _name(reward: object) -> str:
    return str(getattr(reward, "__name__", repr(reward)))


_NO_GRADIENT = "no gradient. Use torch throughout, without detach(), item() or comparisons"


def _problem(values: object, points: torch.Tensor) -> str:
    """What is wrong with ``values`` as rewards of ``points``; empty if they are valid."""
    if not isinstance(values, torch.Tensor):
        return f"{type(values).__name__}. Use torch throughout, without item()"
    if values.shape != points.shape[:1]:
        return f"shape {list(values.shape)}. Sum over points and axes, but not over plans"
    # If the sum is finite, so are all terms; the sum is faster to check.
    if not math.isfinite(values.sum().item()) and not values.isfinite().all():
        also = "" if points.isfinite().all() else ", as the positions are not: check the settings"
        return f"values that are not finite{also}"
    if not (points.requires_grad and torch.is_grad_enabled()):
        return ""
    if not values.requires_grad:
        return _NO_GRADIENT
    # Too slow for every call. A caller that finds a gradient that is not finite repeats the call
    # under anomaly detection to find out which reward it comes from.
    if torch.is_anomaly_enabled():
        (gradient,) = torch.autograd.grad(
            values.sum(), points, retain_graph=True, materialize_grads=True
        )
        if not gradient.isfinite().all():
            return (
                "a gradient that is not finite. The usual cause is a square root, a logarithm or a "
                "division at 0: add a small number inside"
            )
    return ""


def _read_positions(owner: object, field: str, at_least: int) -> np.ndarray:
    """A copy of a field: position [2] if ``at_least`` is 0, else [Q, 2] with Q >= ``at_least``."""
    value = getattr(owner, field)
    try:
        positions = copy_array(value, np.float64)
        fits = positions.ndim == 1 + bool(at_least) and len(positions) >= at_least
        fits = fits and positions.shape[-1] == 2 and not np.isnan(positions).any()
    except ObservationError:  # not numbers
        fits = False
    if not fits:
        wanted = f"numbers [Q, 2], Q at least {at_least}" if at_least else "numbers [2]"
        raise ConfigError(f"{type(owner).__name__} needs {field}: {wanted}; got {value!r}.")
    return positions


def keep_positions(owner: object, field: str, at_least: int = 0) -> None:
    """Replace a field of a frozen dataclass by a float32 tensor of its position or positions.

    Args:
        owner: the dataclass.
        field: its name.
        at_least: 0 if the field is one position [2]; otherwise it is positions [Q, 2], and Q must
            be at least this.

    Raises:
        ConfigError: the field is anything else.
    """
    with isolated():
        positions = torch.from_numpy(_read_positions(owner, field, at_least).astype(np.float32))
    object.__setattr__(owner, field, positions)


def keep_place(owner: object, field: str) -> np.ndarray:
    """Replace a field of a frozen dataclass by a tuple of two numbers; returned as an array [2]."""
    place = _read_positions(owner, field, 0)
    object.__setattr__(owner, field, tuple(place.tolist()))
    return place
