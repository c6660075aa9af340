"""Odometry: where bodies are, from noisy observations and from what was sent to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfplan.errors import require_numbers
from dfplan.planning.observation_history import Past, require_room, trust
from dfplan.planning.single import ForcingPlanner

_VELOCITY = np.array([0.003, 0.05, 1.0])
"""Standard deviation of a step's change of velocity from the fitted one, in top speeds: as sent;
under a force of which nothing is known; struck, or stopped by a wall. These and the numbers below
were chosen on validation starts."""

_VELOCITY_SWITCH = np.array([[0.9989, 0.001, 0.0001], [0.02, 0.9799, 0.0001], [0.25, 0.25, 0.5]])
"""The chance that a row's deviation is followed by a column's."""

_POSITION = np.array([0.003, 1.0])
"""The same of a step's change of position, in steps at top speed: as the velocity says; moved."""

_POSITION_SWITCH = np.array([[0.9997, 0.0003], [0.02, 0.98]])

_SENSED = np.array([1e-4, 0.1, 0.3, 1.0])
"""Noise that observed velocities may have, in top speeds: nobody states it."""

_SENSED_SWITCH = 1e-5 / len(_SENSED) + (1 - 1e-5) * np.eye(len(_SENSED))

_UNKNOWN = 0.5
"""Deviation of a velocity before it is observed, in top speeds."""

_BELIEVED = 1.99
"""The largest velocity believed, in limits; a planner refuses those of twice the limit."""

_FARTHEST = 1e5
"""How far from the data's mean a position is believed, in steps at top speed; beyond, rounding
would matter."""

_ESTIMATED = 5.0
"""How far the planner's estimate of a position is off, in steps at top speed."""

_EXACT = 1e-6
"""Deviation, in steps at top speed, that counts as none."""


@dataclass(frozen=True)
class PastSettings:
    """How observations are remembered.

    Attributes:
        noise: standard deviation of an observed position an axis, in units of position; 0 where
            what is received is exact.
        tokens: n, the tokens of context.
    """

    noise: float = 0.0
    tokens: int = 3

    def __post_init__(self) -> None:
        require_numbers(vars(self), "noise", least=0)
        require_numbers(vars(self), "tokens", whole=True, least=1)


class Odometry:
    """An estimate of each body's state, by an interacting multiple model filter.

    A Kalman filter for each way in which a step may depart from the motion fitted to the data and
    each noise of observed velocities; each counts by how well it has predicted what was observed
    (Blom and Bar-Shalom, 1988). So velocities are used as far as they prove right, and pushes and
    walls are noticed. Axes share their variances. Every ``stride`` steps the planner estimates the
    past from what was filtered; what the two differ by is added to :meth:`states`, the more of it
    the less the filter knows, but not to the filter, which would count observations twice.

    Args:
        planner: estimates; its statistics say how bodies move.
        settings: what is remembered.

    Raises:
        ConfigError: more context than the planner's window.
    """

    def __init__(self, planner: ForcingPlanner, settings: PastSettings) -> None:
        layout = planner.layout
        require_room(settings.tokens, layout)
        self.planner = planner
        self._stride = layout.stride
        self._middle = planner.statistics.normalizer.mean.numpy()
        motion = self._motion = planner.statistics.motion
        top = motion.max_step / motion.dt
        self._exact = _EXACT * motion.max_step
        # A model for each deviation of velocity, of position, and noise of observed velocities.
        kinds = np.meshgrid(_VELOCITY, _POSITION, _SENSED, indexing="ij")
        velocity, position, sensed = (np.square(kind.ravel()) for kind in kinds)
        self._switch = np.kron(np.kron(_VELOCITY_SWITCH, _POSITION_SWITCH), _SENSED_SWITCH)
        self._position_variance = np.array(max(settings.noise, self._exact) ** 2)
        self._velocity_variance = top**2 * sensed
        kick = np.array([motion.dt, 1.0])
        self._departure = top**2 * velocity[:, None, None] * np.outer(kick, kick)
        self._departure[:, 0, 0] += motion.max_step**2 * position
        keep = 1 - motion.drag
        self._advance = np.array([[1.0, motion.dt * keep], [0.0, keep]])
        self._start = np.diag([self._position_variance, (_UNKNOWN * top) ** 2])
        # Steps of the track at which the past has its positions, the last of them now.
        frames = 1 + (settings.tokens - 1) * layout.frame_stack
        self._at = np.arange(frames) * self._stride
        self._mean: np.ndarray
        self._spread: np.ndarray
        self._weight: np.ndarray
        self._track: np.ndarray
        self._noise: np.ndarray
        self._refinement: np.ndarray
        self._received: np.ndarray
        self._clock: int
        self._begin(0)

    @property
    def received(self) -> np.ndarray:
        """Of which bodies anything was received, bool [B]."""
        return self._received

    def forget(self, rows: np.ndarray | None = None) -> None:
        """Begin anew, with all bodies or with those where ``rows`` bool [B] is true."""
        if rows is None:
            self._begin(0)
        else:
            self._received[rows] = False

    def observe(
        self, observation: np.ndarray, otherwise: np.ndarray, *, seed: int | None = None
    ) -> np.ndarray:
        """Take in what was observed, a step after that before.

        Args:
            observation: positions [B, 2], or positions and velocities [B, 4]. A position or a
                velocity that is not finite, or that no body has, is lost.
            otherwise: where bodies are taken to rest of which no position was received, [B, 2].
            seed: of the estimate's noise; None draws afresh.

        Returns:
            Of which bodies these are the first that were received, bool [B].
        """
        if len(observation) != len(self._received):
            self._begin(len(observation))
        away = np.abs(observation[:, :2] - self._middle).max(1)
        here = away <= _FARTHEST * self._motion.max_step
        new = ~self._received
        self._received |= here
        place = np.where(here[:, None], observation[:, :2], otherwise)[new, None]
        self._mean[new] = 0.0
        self._mean[new, :, 0] = place
        self._spread[new] = self._start
        self._weight[new] = 1 / len(self._switch)
        self._track[new], self._noise[new], self._refinement[new] = place, np.inf, 0.0
        fit = np.zeros_like(self._weight)
        fit += self._update(0, observation[:, :2], here & ~new, self._position_variance)
        if observation.shape[1] == 4:
            fastest = np.abs(observation[:, 2:]).max(1)
            moving = self._received & (fastest <= _BELIEVED * self._motion.limit)
            fit += self._update(1, observation[:, 2:], moving, self._velocity_variance)
        self._weight *= np.exp(fit - fit.max(1, keepdims=True))
        self._weight /= self._weight.sum(1, keepdims=True)
        position = self._expected()[:, 0]
        self._track = np.concatenate([self._track[:, 1:], position[:, None]], 1)
        apart = np.square(self._mean[:, :, 0] - position[:, None]).mean(-1)
        variance = (self._weight * (self._spread[..., 0, 0] + apart)).sum(1)
        noise = np.where(self._received, np.sqrt(variance.clip(self._exact**2)), np.inf)
        self._noise = np.concatenate([self._noise[:, 1:], noise[:, None]], 1)
        if self._clock % self._stride == 0:
            self.correct(self.planner.estimate(self.past(), seed=seed))
        self._clock += 1
        found: np.ndarray = new & here
        return found

    def send(self, actions: np.ndarray) -> None:
        """Carry the estimate on by a step under ``actions`` [B, 2]."""
        weight = self._weight @ self._switch
        share = (self._weight[:, :, None] * self._switch / weight[:, None]).swapaxes(1, 2)
        expected = self._expected()[:, None]
        apart = self._mean - expected
        moment = self._spread + _outer(apart)
        apart = (share @ apart.reshape(*weight.shape, 4)).reshape(apart.shape)
        moment = (share @ moment.reshape(*weight.shape, 4)).reshape(apart.shape)
        mean, spread = expected + apart, moment - _outer(apart)
        moved = self._motion.advance(mean[:, :, 0], mean[:, :, 1], actions[:, None])
        self._mean = np.stack(moved, 2)
        self._spread = self._advance @ spread @ self._advance.T + self._departure
        self._weight = weight

    def states(self) -> np.ndarray:
        """Position and velocity now, float32 [B, 4]."""
        expected = self._expected()
        expected[:, 0] += self._refinement
        top = _BELIEVED * self._motion.limit
        expected[:, 1] = expected[:, 1].clip(-top, top)
        return expected.reshape(-1, 4).astype(np.float32)

    def past(self) -> Past:
        """The context of an estimate or a plan made now: what was filtered when it was the present.

        Where all is so noisy that it would be told as lost it is told as all but lost, for
        something was received.
        """
        planner, noise = self.planner, self._noise[:, self._at]
        noise = np.where(noise > 2 * self._exact, noise, 0.0)
        level = trust(noise, planner.statistics, planner.schedule)
        lost = planner.schedule.max_level
        level[(level == lost).all(1)] = lost - 1
        return Past(self._track[:, self._at], level)

    def correct(self, estimate: np.ndarray) -> None:
        """Refine :meth:`states` by an estimate [B, H, 2] of :meth:`past`.

        The less is known of where a body is now, the more of the difference counts.
        """
        certain = (_ESTIMATED * self._motion.max_step / self._noise[:, -1:]) ** 2
        refinement = (estimate[:, -1] - self._track[:, -1]) / (1 + certain)
        self._refinement = np.where(self._received[:, None], refinement, 0.0)

    def _begin(self, batch: int) -> None:
        models, steps = len(self._switch), self._at[-1] + 1
        self._mean = np.zeros((batch, models, 2, 2))  # position and velocity, axes
        self._spread = np.zeros((batch, models, 2, 2))
        self._weight = np.ones((batch, models))
        self._track = np.zeros((batch, steps, 2))
        self._noise = np.zeros((batch, steps))
        self._refinement = np.zeros((batch, 2))
        self._received = np.zeros(batch, dtype=bool)
        self._clock = 0

    def _expected(self) -> np.ndarray:
        """Position and velocity, [B, 2, 2]."""
        expected: np.ndarray = np.einsum("bm,bmkx->bkx", self._weight, self._mean)
        return expected

    def _update(
        self, part: int, observed: np.ndarray, rows: np.ndarray, variance: np.ndarray
    ) -> np.ndarray:
        """Take in ``observed`` [B, 2], positions (part 0) or velocities (1), of ``rows`` [B].

        Returns:
            The log likelihood of each model, up to a constant, [B, M].
        """
        spread = self._spread[rows]
        total = spread[..., part, part] + variance
        apart = observed[rows, None] - self._mean[rows, :, part]
        gain = spread[..., part] / total[..., None]
        self._mean[rows] += gain[..., None] * apart[:, :, None]
        # Joseph's form, which stays positive where what was observed is exact.
        left: np.ndarray = np.eye(2) - gain[..., None] * np.eye(2)[part]
        rest = np.sqrt(variance)[..., None] * gain
        self._spread[rows] = left @ spread @ left.swapaxes(-1, -2)
        self._spread[rows] += rest[..., None] * rest[..., None, :]
        fit = np.zeros_like(self._weight)
        fit[rows] = -np.log(total) - np.square(apart).sum(-1) / (2 * total)
        return fit


def _outer(apart: np.ndarray) -> np.ndarray:
    """The mean over axes of the outer products of ``apart`` [B, M, 2, axes]; [B, M, 2, 2]."""
    products: np.ndarray = apart @ apart.swapaxes(-1, -2) / 2
    return products
