"""Which numbers of an observation are the position and the velocity of the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from dfplan.errors import ConfigError, require_numbers
from dfplan.record import Record

Array = TypeVar("Array", bound=Any)
"""A NumPy array or a tensor of PyTorch."""


@dataclass(frozen=True)
class ObservationLayout(Record):
    """The columns of an observation.

    Attributes:
        width: S, how many numbers an observation has.
        position: the two columns of the position in the plane.
        velocity: the two columns of its velocity; None if it is not observed.

    Raises:
        ConfigError: a position or velocity that is not two different columns of the observation,
            or a column that is both.
    """

    width: int
    position: tuple[int, int]
    velocity: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        require_numbers(vars(self), "width", integer=True, minimum=2)
        for name in ("position", "velocity"):
            columns = getattr(self, name)
            if columns is not None:
                object.__setattr__(self, name, require_columns(name, columns, self.width, count=2))
        if self.velocity is not None and set(self.position) & set(self.velocity):
            raise ConfigError(
                "The position and the velocity must be different columns; got "
                f"{list(self.position)} and {list(self.velocity)}."
            )

    def __str__(self) -> str:
        parts = [f"{self.width} numbers"]
        for name in ("position", "velocity"):
            columns = getattr(self, name)
            if columns is not None:
                parts.append(f"the {name} in columns {columns[0]} and {columns[1]}")
        return ", ".join(parts)

    def positions(self, observations: Array) -> Array:
        """The positions [..., 2] of observations [..., S], as :func:`select_columns`.

        Where observations are positions alone, [..., 2], they are returned unchanged.
        """
        if observations.shape[-1] == len(self.position) != self.width:
            return observations
        return select_columns(observations, self.position)

    def velocities(self, observations: Array) -> Array | None:
        """The velocities [..., 2] of observations [..., S]; None if they are not observed."""
        if self.velocity is None or observations.shape[-1] != self.width:
            return None
        return select_columns(observations, self.velocity)

    @property
    def names(self) -> list[str]:
        """A name for each column, for reports; other columns are counted from 0."""
        names = [f"observation {column}" for column in range(self.width)]
        for kind in ("position", "velocity"):
            for number, column in enumerate(getattr(self, kind) or (), 1):
                names[column] = f"{kind} {number}"
        return names


def observation_layout(
    width: int, position: Sequence[int] | None, source: str
) -> ObservationLayout:
    """The layout of recorded observations.

    Args:
        width: S.
        position: the two columns of the position; may be None for 2 or 4 numbers, which are
            the position, or position and velocity.
        source: name of the data, for error messages.

    Raises:
        ConfigError: columns that do not exist, or a missing ``position``.
    """
    planar = width in (PLANAR.width, len(PLANAR.position))
    if position is None:
        if not planar:
            raise ConfigError(
                f"{source}: an observation has {width} numbers, and dfplan cannot know which two "
                "are the position. Name their columns, counted from 0: "
                "load_data(..., position=(0, 1)) or --position 0,1."
            )
        return PLANAR
    columns = require_columns("position", position, width, count=2)
    if planar and columns == PLANAR.position:
        return PLANAR
    return ObservationLayout(width, (columns[0], columns[1]))


def require_columns(
    name: str, columns: Sequence[int], width: int, count: int | None = None
) -> tuple[int, ...]:
    """Return ``columns`` as Python's ints.

    Args:
        name: what they hold, for error messages.
        columns: to check.
        width: how many columns there are.
        count: how many are expected; None for any number of at least one.

    Raises:
        ConfigError: not so many, not whole numbers from 0 to below ``width``, or one twice.
    """
    valid = isinstance(columns, Sequence | np.ndarray) and not isinstance(columns, str)
    numbers = list(columns) if valid else []
    integers = all(
        isinstance(column, int | np.integer) and not isinstance(column, bool) for column in numbers
    )
    if not integers or not numbers or (count is not None and len(numbers) != count):
        wanted = "at least one column" if count is None else f"{count} columns"
        raise ConfigError(
            f"The {name} must be {wanted}, whole numbers from 0 to {width - 1}; got {columns!r}."
        )
    read = tuple(int(column) for column in numbers)
    if min(read) < 0:
        raise ConfigError(
            f"The {name} names columns {list(read)}, but columns are counted from 0. Name columns "
            "that exist."
        )
    if max(read) >= width:
        raise ConfigError(
            f"The {name} names columns {list(read)}, but there are {width} columns, 0 to "
            f"{width - 1}. Name columns that exist."
        )
    if len(set(read)) < len(read):
        raise ConfigError(f"The {name} names a column twice: {list(read)}. Name each once.")
    return read


def select_columns(array: Array, columns: tuple[int, ...]) -> Array:
    """The columns of an array [..., S]; a view if they are evenly spaced, otherwise a copy."""
    first, last = columns[0], columns[-1]
    step = max(1, (last - first) // max(1, len(columns) - 1))
    evenly = columns == tuple(range(first, last + 1, step))
    selected: Array = array[..., slice(first, last + 1, step) if evenly else list(columns)]
    return selected


PLANAR = ObservationLayout(4, (0, 1), (2, 3))
"""Position, then velocity, as in the suites' point mazes. The position alone is accepted, too."""
