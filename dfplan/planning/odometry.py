"""Odometry: where bodies are, from noisy observations and from what was sent to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfplan.errors import require_numbers
from dfplan.planning.forcing import ForcingPlanner
from dfplan.planning.past import Past, require_room, trust

_DRIFT = 0.1
"""How far a track drifts in a step, in lengths of a step at top speed: a wall that was touched, or
a body that is not quite a point mass. Chosen on validation starts."""

_EXACT = 1e-6
"""Deviation, in units of position, that counts as none."""


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
    """A track of each body: the fitted point mass, moved by what was sent, laid onto observations.

    Only positions are looked at; velocities follow from the track. Every ``stride`` steps the
    planner estimates the past from the observations, and the track is laid onto the estimate.

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
        self._layout = layout
        self._motion = planner.statistics.motion
        self._tokens = settings.tokens
        self._noise = max(settings.noise, _EXACT)
        self._drift = _DRIFT * self._motion.max_step
        # Index in the track, and token, of each position of the past.
        frame = np.arange(1 + (settings.tokens - 1) * layout.frame_stack)
        self._ago = layout.stride * (frame[-1] - frame)
        self._at = settings.tokens * layout.token_steps - 1 - self._ago
        self._token = (frame + layout.frame_stack - 1) // layout.frame_stack
        self._seen: np.ndarray
        self._track: np.ndarray
        self._velocity: np.ndarray
        self._received: np.ndarray
        self._clock: int
        self.forget()

    @property
    def received(self) -> np.ndarray:
        """Of which bodies anything was received, bool [B]."""
        return self._received

    def forget(self, rows: np.ndarray | None = None) -> None:
        """Begin anew, with all bodies or with those where ``rows`` bool [B] is true."""
        if rows is None:
            self._begin(0)
        else:
            self._received[rows], self._seen[rows] = False, np.nan

    def observe(
        self, positions: np.ndarray, otherwise: np.ndarray, *, seed: int | None = None
    ) -> np.ndarray:
        """Take in positions, a step after those before.

        Args:
            positions: [B, 2], NaN where lost.
            otherwise: where bodies are taken to rest of which nothing was received, [B, 2].
            seed: of the estimate's noise; None draws afresh.

        Returns:
            Of which bodies these are the first that were received, bool [B].
        """
        if len(positions) != len(self._seen):
            self._begin(len(positions))
        here = np.isfinite(positions).all(1)
        self._seen = np.roll(self._seen, -1, 1)
        self._seen[:, -1] = np.where(here[:, None], positions, np.nan)
        new = ~self._received
        self._track[new] = np.where(here[:, None], positions, otherwise)[new, None]
        self._velocity[new] = 0.0
        self._received |= here
        if self._clock % self._layout.stride == 0:
            self.correct(self.planner.estimate(self.past(), seed=seed))
        self._clock += 1
        found: np.ndarray = new & here
        return found

    def send(self, actions: np.ndarray) -> None:
        """Carry the track on by a step under ``actions`` [B, 2]."""
        position, self._velocity = self._motion.advance(self._track[:, -1], self._velocity, actions)
        self._track = np.roll(self._track, -1, 1)
        self._track[:, -1] = position

    def states(self) -> np.ndarray:
        """Position and velocity now, float32 [B, 4]."""
        return np.concatenate([self._track[:, -1], self._velocity], 1).astype(np.float32)

    def past(self) -> Past:
        """The context of an estimate or a plan made now.

        A token's positions are the track's, moved by the mean difference of all observations from
        the track over the steps that the token spans, which leans to the last of them as the
        track drifts. Its positions share that error, so they are told as noisier by
        ``sqrt(frame_stack)`` than one of them is. A token in whose span nothing was received goes
        on from the token before. Where all is so noisy that it would be told as lost it is told as
        all but lost, for something was received.
        """
        mean, noise, _ = self._offsets()
        shared = np.where(self._token > 0, self._layout.frame_stack**0.5, 1.0)
        planner = self.planner
        level = trust(shared * noise[:, self._token], planner.statistics, planner.schedule)
        lost = planner.schedule.max_level
        level[(level == lost).all(1)] = lost - 1
        return Past(self._track[:, self._at] + mean[:, self._token], level)

    def correct(self, estimate: np.ndarray) -> None:
        """Lay the track onto an estimate [B, H, 2] of :meth:`past`.

        What the two differ by is fitted by a straight line over time, in which late positions and
        such from many observations count for more, and where nothing was received for nothing:
        its value now moves the track, its slope corrects the velocity.
        """
        _, noise, lost = (values[:, self._token] for values in self._offsets())
        weight = ~lost / (np.maximum(noise, _EXACT) ** 2 + (self._drift * self._ago) ** 2)
        total = weight.sum(1, keepdims=True)
        total[total == 0] = np.inf
        apart = estimate - self._track[:, self._at]
        middle = (weight * -self._ago).sum(1, keepdims=True) / total
        mean = (weight[..., None] * apart).sum(1) / total
        lever = weight * (-self._ago - middle)
        # The drift is also what is known of the slope beforehand.
        spread = (lever * -self._ago).sum(1, keepdims=True) + self._drift**-2
        slope = (lever[..., None] * apart).sum(1) / spread
        time = np.arange(1 - self._track.shape[1], 1)
        away = time[:, None] - middle[..., None]
        self._track = self._track + mean[:, None] + slope[:, None] * away
        top = self._motion.max_step
        self._velocity = (self._motion.dt * self._velocity + slope).clip(
            -top, top
        ) / self._motion.dt

    def _begin(self, batch: int) -> None:
        window = self._tokens * self._layout.token_steps
        self._seen = np.full((batch, window, 2), np.nan)
        self._track = np.zeros((batch, window, 2))
        self._velocity = np.zeros((batch, 2))
        self._received = np.zeros(batch, dtype=bool)
        self._clock = 0

    def _offsets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each token: observations less track [B, n, 2], deviation [B, n], if none [B, n]."""
        span = self._layout.token_steps
        apart = (self._seen - self._track).reshape(len(self._seen), self._tokens, span, 2)
        received = np.isfinite(apart[..., 0])
        drifted = self._drift * np.arange(span - 1, -1, -1)
        weight = received / (self._noise**2 + drifted**2)
        total = weight.sum(-1)
        known = np.where(received[..., None], apart, 0.0)
        mean = (weight[..., None] * known).sum(-2)
        mean /= np.where(total > 0, total, 1.0)[..., None]
        noise = np.where(total > 0, total, np.inf) ** -0.5
        lost = total == 0
        # Before the window the last observation is at least that old.
        before = np.zeros_like(mean[:, 0]), np.full(len(mean), self._drift * span * self._tokens)
        for token in range(self._tokens):
            mean[:, token] = np.where(lost[:, token, None], before[0], mean[:, token])
            older = np.hypot(before[1], self._drift * span)
            noise[:, token] = np.where(lost[:, token], older, noise[:, token])
            before = mean[:, token], noise[:, token]
        return mean, np.where(noise > _EXACT, noise, 0.0), lost
