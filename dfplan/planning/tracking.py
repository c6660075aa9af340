"""Trackers: from a plan to actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dfplan.data.motion import Motion

_WINDOW = 24


class Tracker(Protocol):
    """Follows one plan for each environment of a batch."""

    def assign(self, rows: np.ndarray, points: np.ndarray, stride: int) -> None:
        """Follow ``points`` [R, P, 2], ``stride`` steps apart, in environments ``rows`` [R]."""
        ...

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action [B, 2] in [-1, 1] for ``observation`` [B, 4]; call once a step."""
        ...

    def deviation(self, observation: np.ndarray) -> np.ndarray:
        """Distance [B] of each position from its plan."""
        ...


@dataclass(frozen=True)
class PursuitGains:
    """Gains of pure pursuit.

    Attributes:
        lookahead: how far ahead on the path to aim, in units of position.
        position: action for a unit of distance to the aim.
        velocity: action against a unit of velocity.
    """

    lookahead: float
    position: float
    velocity: float


def pursuit_gains(motion: Motion, lookahead: float = 1.65) -> PursuitGains:
    """Gains that follow from how the body moves.

    An axis is at full force until the aim is within the distance in which it can brake from top
    speed, and full force is a matter of one step's travel: the action is
    ``(aim - position - brake * velocity / limit) / max_step``.

    Args:
        motion: the fitted point mass.
        lookahead: in braking distances. The default was chosen on validation starts.
    """
    brake = motion.dt * motion.limit**2 / (2 * motion.gain)
    position = 1.0 / motion.max_step
    return PursuitGains(lookahead * brake, position, position * brake / motion.limit)


class Pursuit:
    """Pure pursuit: aim at the point of the path a fixed distance ahead.

    Only the path counts, not when the plan wanted to be where, so it is driven as fast as the
    body can.
    """

    def __init__(self, gains: PursuitGains, spacing: float) -> None:
        self._gains = gains
        self._spacing = spacing
        self._ahead = max(1, round(gains.lookahead / spacing))
        self._path = np.zeros((0, 1, 2))
        self._progress = np.zeros(0, dtype=int)

    def assign(self, rows: np.ndarray, points: np.ndarray, stride: int) -> None:
        """See :class:`Tracker`; ``stride`` does not matter here."""
        dense = [resample(line, self._spacing) for line in points]
        batch = max(len(self._path), int(rows.max()) + 1)
        length = max(self._path.shape[1], *(len(line) for line in dense))
        path = np.zeros((batch, length, 2))
        have = self._path.shape[1]
        path[: len(self._path), :have] = self._path
        path[: len(self._path), have:] = self._path[:, -1:]
        for row, line in zip(rows, dense, strict=True):
            path[row, : len(line)] = line
            path[row, len(line) :] = line[-1]
        self._path = path
        self._progress = np.concatenate(
            [self._progress, np.zeros(batch - len(self._progress), dtype=int)]
        )
        self._progress[rows] = 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        nearby, distance = self._nearby(observation)
        row = np.arange(len(observation))
        self._progress = nearby[row, distance.argmin(1)]
        aim = self._path[row, np.minimum(self._progress + self._ahead, self._path.shape[1] - 1)]
        force = self._gains.position * (aim - observation[:, :2])
        return np.clip(force - self._gains.velocity * observation[:, 2:], -1.0, 1.0)

    def deviation(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        return np.sqrt(self._nearby(observation)[1].min(1))

    def _nearby(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices [B, W] of the path not far ahead of the progress, squared distances to them."""
        index = self._progress[:, None] + np.arange(_WINDOW)
        index = np.minimum(index, self._path.shape[1] - 1)
        points = self._path[np.arange(len(observation))[:, None], index]
        return index, np.square(points - observation[:, None, :2]).sum(-1)


def resample(line: np.ndarray, spacing: float) -> np.ndarray:
    """Points [Q, 2] every ``spacing`` along the polyline ``line`` [P, 2], its end included."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.append(np.arange(0.0, length[-1], spacing), length[-1])
    return np.stack([np.interp(at, length, line[:, axis]) for axis in (0, 1)], 1)
