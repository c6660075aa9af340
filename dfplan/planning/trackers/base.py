"""What trackers share: the interface, the plans of a batch, and checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from dfplan.errors import ConfigError, ObservationError
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.query import read_observation
from dfplan.tokens.motion import Motion
from dfplan.types import Plan


@runtime_checkable
class Tracker(Protocol):
    """Follows one plan in each environment of a batch."""

    def assign(self, rows: np.ndarray, plan: Plan) -> None:
        """Follow ``plan``, of R queries, in environments ``rows`` [R], from the next step on."""
        ...

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action [B, A] in [-1, 1] for ``observation`` [B, S] or [B, 2]; call once per step.

        ``plan.layout`` says which columns of an observation are the position and the velocity.

        Raises:
            ObservationError: a velocity is needed and missing.
        """
        ...

    def deviation(self, observation: np.ndarray) -> np.ndarray:
        """Distance [B] of each position from its plan."""
        ...


def require_tracker(tracker: object) -> None:
    """Raise :class:`ConfigError` unless ``tracker`` is a :class:`Tracker`."""
    # A class has the methods, too, but nothing can be called without an instance.
    if isinstance(tracker, type) or not isinstance(tracker, Tracker):
        raise ConfigError(
            "tracker must be an object with the methods assign, act and deviation, such as a "
            f"dfplan.Pursuit; got {tracker!r:.200}. Leave it out for the planner's own tracker."
        )


class PathTracker(ABC):
    """A tracker that keeps a path, and a place on it, for each environment."""

    def __init__(self) -> None:
        self._path = np.zeros((0, 1, 0))  # [B, L, F], the position first
        self._layout = PLANAR
        self._index = np.zeros(0, dtype=int)  # of the present point

    def assign(self, rows: np.ndarray, plan: Plan) -> None:
        """See :class:`Tracker`."""
        rows = np.asarray(rows)
        self._layout = plan.layout
        self._path = _with_rows(self._path, rows, self._paths(plan))
        index = np.zeros(max(len(self._index), int(rows.max()) + 1), dtype=int)
        index[: len(self._index)] = self._index
        index[rows] = 0
        self._index = index

    @abstractmethod
    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""

    @abstractmethod
    def deviation(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""

    @abstractmethod
    def _paths(self, plan: Plan) -> Sequence[np.ndarray]:
        """The paths to keep of ``plan``: R arrays [L, F], L may differ."""

    def _read(self, observation: np.ndarray) -> np.ndarray:
        """Observations [B, S] or [B, 2] of at most as many environments as have plans."""
        states = read_observation(observation, self._layout, dtype=None)
        if states.dtype not in (np.float32, np.float64):
            states = states.astype(np.float64)
        if len(states) > len(self._index):
            raise ObservationError(
                f"Plans were assigned to {len(self._index)} environments; got observations of "
                f"{len(states)}. Assign a plan to each environment first."
            )
        return states


class TimedTracker(PathTracker):
    """A tracker whose path has one point per environment step, counted from the assignment."""

    def deviation(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`. The nearest point counts, whatever its time."""
        observation = self._read(observation)
        positions = self._layout.positions(observation)
        away = self._path[: len(observation), :, :2] - positions[:, None]
        distance: np.ndarray = np.linalg.norm(away, axis=-1).min(1)
        return distance

    def skip(self, rows: np.ndarray, steps: int) -> None:
        """Leave out the next ``steps`` of the plans of ``rows`` [R]."""
        self._index[rows] += steps

    def _advance(self, count: int) -> np.ndarray:
        """Count one step in the first ``count`` rows; returns the steps before it, int [B]."""
        now = self._index[:count].copy()
        self._index[:count] += 1
        return now

    def _at(self, step: np.ndarray) -> np.ndarray:
        """The point at ``step`` [B] of each path, or its last point; [B, features]."""
        points: np.ndarray = self._path[
            np.arange(len(step)), np.minimum(step, self._path.shape[1] - 1)
        ]
        return points


def velocity_of(observation: np.ndarray, layout: ObservationLayout) -> np.ndarray:
    """The velocities [B, 2] of ``observation`` [B, S].

    Raises:
        ObservationError: there are no velocities.
    """
    velocities = layout.velocities(observation)
    if velocities is None:
        raise ObservationError(
            "This tracker needs velocities: an observation must be position and velocity, [4] or "
            f"[B, 4], or name the columns of the velocity; got {observation.shape[1]} numbers "
            "without. Pass another tracker to Policy, such as PlannedActions."
        )
    return velocities


def require_actuation(motion: Motion) -> None:
    """Raise :class:`ConfigError` if the data's actions do not move the body."""
    if motion.gain <= 1e-6 * motion.limit:  # no more than rounding
        raise ConfigError(
            "A tracker needs data with actions of two numbers that move the body, to know how the "
            "body brakes; this data has none. Train on data with such actions, or pass another "
            "tracker to Policy, such as dfplan.PlannedActions()."
        )


def at_each_step(values: np.ndarray, stride: int) -> np.ndarray:
    """Interpolate ``values`` [R, P, 2], ``stride`` steps apart, to [R, (P - 1) * stride + 1, 2]."""
    step = np.arange((values.shape[1] - 1) * stride + 1)
    before, share = step // stride, (step % stride / stride)[:, None]
    after = np.minimum(before + 1, values.shape[1] - 1)
    every: np.ndarray = (1 - share) * values[:, before] + share * values[:, after]
    return every


def _with_rows(paths: np.ndarray, rows: np.ndarray, new: Sequence[np.ndarray]) -> np.ndarray:
    """A copy of ``paths`` [B, L, F] with ``new`` [L', F] at ``rows``.

    B and L grow as needed; shorter paths repeat their last point.
    """
    batch, length, _ = paths.shape
    features = new[0].shape[1]
    if not batch:  # the first plan says how many numbers a point has
        paths = np.zeros((0, length, features))
    grow = max(length, *(len(path) for path in new)) - length
    grown = np.pad(paths, ((0, 0), (0, grow), (0, 0)), mode="edge") if grow else paths.copy()
    more = max(0, int(rows.max()) + 1 - batch)
    grown = np.concatenate([grown, np.zeros((more, length + grow, features))])
    for row, path in zip(rows, new, strict=True):
        grown[row, : len(path)] = path
        grown[row, len(path) :] = path[-1]
    return grown
