"""Protocols of the records that pictures are drawn from.

Pictures need only these fields, so this package does not import the records' modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np


class TreeLike(Protocol):
    """The drawn fields of a :class:`dfplan.types.SearchTree`."""

    @property
    def parent(self) -> np.ndarray: ...
    @property
    def points(self) -> np.ndarray: ...
    @property
    def begins(self) -> np.ndarray: ...
    @property
    def ends(self) -> np.ndarray: ...
    @property
    def arrived(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...


class FutureLike(Protocol):
    """The drawn fields of a :class:`dfplan.types.Future`."""

    @property
    def query(self) -> int: ...
    @property
    def point(self) -> int: ...
    @property
    def probability(self) -> float: ...
    @property
    def arrival(self) -> float: ...
    @property
    def points(self) -> np.ndarray: ...


class PlanLike(Protocol):
    """The drawn fields of a :class:`dfplan.types.Plan`."""

    @property
    def points(self) -> np.ndarray: ...
    @property
    def level(self) -> np.ndarray: ...
    @property
    def max_level(self) -> int: ...
    @property
    def spread(self) -> np.ndarray: ...
    @property
    def candidates(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...
    @property
    def goal(self) -> np.ndarray | None: ...
    @property
    def trace(self) -> Sequence[tuple[np.ndarray, np.ndarray]]: ...
    @property
    def maze(self) -> str | None: ...
    @property
    def tree(self) -> TreeLike | None: ...
    @property
    def futures(self) -> Sequence[FutureLike] | None: ...


class EpisodeLike(Protocol):
    """The drawn fields of a :class:`dfplan.types.Episode`."""

    @property
    def positions(self) -> np.ndarray: ...
    @property
    def plans(self) -> Sequence[tuple[int, PlanLike]]: ...
    @property
    def reached(self) -> int | None: ...
    @property
    def maze(self) -> str | None: ...


@runtime_checkable
class DiscLike(Protocol):
    """The drawn fields of a :class:`dfplan.planning.rewards.Disc`."""

    @property
    def center(self) -> tuple[float, float]: ...
    @property
    def radius(self) -> float: ...
    @property
    def velocity(self) -> tuple[float, float]: ...


@runtime_checkable
class BoxLike(Protocol):
    """The drawn fields of a :class:`dfplan.planning.rewards.Box`."""

    @property
    def low(self) -> tuple[float, float]: ...
    @property
    def high(self) -> tuple[float, float]: ...
