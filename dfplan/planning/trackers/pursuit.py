"""Pure pursuit: follow the path of a plan as fast as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfplan.planning.trackers.base import PathTracker, require_actuation, velocity_of
from dfplan.tokens.motion import Motion
from dfplan.types import Plan

_WINDOW = 24
"""Points of the path, from the present one on, among which the nearest is searched."""


@dataclass(frozen=True)
class PursuitGains:
    """Gains of pure pursuit.

    Attributes:
        lookahead: distance along the path to the target point, in units of position.
        position: action per unit of distance to the target point.
        velocity: damping: action subtracted for each unit of velocity.
    """

    lookahead: float
    position: float
    velocity: float


def pursuit_gains(motion: Motion, lookahead: float = 1.5) -> PursuitGains:
    """Compute gains from the fitted motion.

    The action is ``(target - position - brake * velocity / limit) / max_step``, clipped to [-1, 1].
    ``brake`` is the braking distance: how far the body moves until full force has stopped it from
    top speed. So at top speed along an axis the force is full until the target point is about that
    near. A body without inertia needs no braking: its target point is two steps ahead, so that both
    axes have full force on a diagonal.

    Args:
        motion: the fitted point mass.
        lookahead: distance to the target point, in braking distances. The default was chosen on
            validation starts.

    Raises:
        ConfigError: the data's actions do not move the body.
    """
    require_actuation(motion)
    position = 1.0 / motion.max_step
    if not motion.has_inertia:
        return PursuitGains(2 * motion.max_step, position, 0.0)
    brake = motion.dt * motion.limit**2 / (2 * motion.gain)
    return PursuitGains(lookahead * brake, position, position * brake / motion.limit)


class Lookahead(PathTracker):
    """Base of trackers that steer toward the point a fixed distance ahead on the path.

    The times of the plan are ignored; the body moves as fast as it can.

    Args:
        distance: to the target point, along the path, in units of position.
        spacing: distance between the points of the path that are kept.
    """

    def __init__(self, distance: float, spacing: float) -> None:
        super().__init__()
        self._spacing = spacing
        self._ahead = max(1, round(distance / spacing))

    def deviation(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`. Only the next part of the path counts."""
        observation = self._read(observation)
        distance: np.ndarray = np.sqrt(self._nearby(observation)[1].min(1))
        return distance

    def _paths(self, plan: Plan) -> Sequence[np.ndarray]:
        return [resample(line, self._spacing) for line in plan.points]

    def _to_target(self, observation: np.ndarray) -> np.ndarray:
        """Displacements [B, 2] from the positions in ``observation`` [B, S] to the target points.

        Each place on a path moves to the nearest point.
        """
        nearby, distance = self._nearby(observation)
        row = np.arange(len(observation))
        self._index[row] = nearby[row, distance.argmin(1)]
        target = np.minimum(self._index[row] + self._ahead, self._path.shape[1] - 1)
        return np.asarray(self._path[row, target] - self._layout.positions(observation))

    def _nearby(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices and squared distances [B, W] of the next W = ``_WINDOW`` points of each path."""
        index = self._index[: len(observation), None] + np.arange(_WINDOW)
        index = np.minimum(index, self._path.shape[1] - 1)
        points = self._path[np.arange(len(observation))[:, None], index]
        return index, np.square(points - self._layout.positions(observation)[:, None]).sum(-1)


class Pursuit(Lookahead):
    """Pure pursuit: a force toward the point that is a fixed distance ahead on the path.

    Args:
        gains: gains of the controller.
        spacing: distance between the points of the path that are kept, in units of position.
    """

    def __init__(self, gains: PursuitGains, spacing: float) -> None:
        super().__init__(gains.lookahead, spacing)
        self._gains = gains

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        observation = self._read(observation)
        force = self._gains.position * self._to_target(observation)
        if self._gains.velocity:  # otherwise a position alone is enough
            force -= self._gains.velocity * velocity_of(observation, self._layout)
        action: np.ndarray = np.clip(force, -1, 1)
        return action


def pursuit(motion: Motion) -> Pursuit:
    """Pure pursuit with the gains for a fitted motion.

    Raises:
        ConfigError: the data's actions do not move the body.
    """
    return Pursuit(pursuit_gains(motion), motion.max_step)


def resample(line: np.ndarray, spacing: float) -> np.ndarray:
    """Points [Q, 2] every ``spacing`` along the polyline ``line`` [P, 2], including its end."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.append(np.arange(0.0, length[-1], spacing), length[-1])
    return np.stack([np.interp(at, length, line[:, axis]) for axis in (0, 1)], 1)
