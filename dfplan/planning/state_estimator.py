"""State estimation: the positions and velocities of bodies from noisy observations and actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from dfplan.boundary import isolated
from dfplan.errors import require_class, require_flags, require_numbers
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.observation_history import (
    ObservationHistory,
    fill_missing,
    noise_to_level,
    read_history,
    require_room_for_plan,
)
from dfplan.planning.query import noise_generator
from dfplan.sampling.model import SequenceModel
from dfplan.tokens.statistics import Statistics

_VELOCITY = np.array([0.003, 0.05, 1.0])
"""Standard deviations of a step's change of velocity around that of the fitted motion, in top
speeds. Three modes: as commanded; under an unknown force; pushed, or stopped by a wall. These and
the numbers below were chosen on validation starts."""

_VELOCITY_SWITCH = np.array([[0.9989, 0.001, 0.0001], [0.02, 0.9799, 0.0001], [0.25, 0.25, 0.5]])
"""Probability of each mode in the next step (column) given the mode in this one (row)."""

_POSITION = np.array([0.003, 1.0])
"""The same for the change of position, in step lengths (a step length is the distance covered in a
step at top speed). Two modes: as the velocity predicts; displaced."""

_POSITION_SWITCH = np.array([[0.9997, 0.0003], [0.02, 0.98]])

_VELOCITY_NOISE = np.array([1e-4, 0.1, 0.3, 1.0])
"""Hypotheses for the unknown noise of observed velocities: standard deviations in top speeds."""

_VELOCITY_NOISE_SWITCH = 1e-5 / len(_VELOCITY_NOISE) + (1 - 1e-5) * np.eye(len(_VELOCITY_NOISE))

_UNKNOWN = 0.5
"""Standard deviation of a velocity before the first observation, in top speeds."""

_MAX_VELOCITY = 1.99
"""Largest velocity that is accepted, in limits of the data. A planner refuses 2."""

_MAX_POSITION = 1e5
"""Largest distance of an accepted position from the data's mean, in step lengths. Beyond it,
rounding errors matter."""

_NETWORK_ERROR = 5.0
"""Error of the network's estimate of a position, in step lengths."""

_EXACT = 1e-6
"""Standard deviation, in step lengths, that counts as 0."""


@dataclass(frozen=True)
class StateEstimatorSettings:
    """How noisy observations are, and how many of them the network sees.

    Attributes:
        noise: standard deviation of the noise of observed positions on each axis, in units of
            position. 0 means that observed positions are exact.
        tokens: length of the history in tokens.
        use_network: whether the network corrects the filter, and plans start from the history, if
            the planner plans from one, and its tokens hold no more of an observation than the
            position. Without it, the filter's state counts as exact.
    """

    noise: float = 0.0
    tokens: int = 3
    use_network: bool = True

    def __post_init__(self) -> None:
        require_numbers(vars(self), "noise", minimum=0)
        require_numbers(vars(self), "tokens", integer=True, minimum=1)
        require_flags(vars(self), "use_network")


@isolated()
def estimate_positions(
    history: ObservationHistory, model: SequenceModel, *, seed: int | None = None
) -> np.ndarray:
    """Estimate the true positions of a noisy history; see :func:`estimate_history`.

    Args:
        history: the last positions of each body, and their noise levels.
        model: the model that estimates.
        seed: seed of the noise that stands for missing tokens; None draws a random one.

    Returns:
        Float32 [B, H, O] in units of the data. Exact positions are returned unchanged.

    Raises:
        ObservationError: see :func:`~dfplan.planning.observation_history.read_history`.
        ConfigError: the history fills the model's window, so no token is left for a plan.
    """
    read = read_history(history, model.layout, model.schedule.max_level)
    return estimate_history(read, model, noise_generator(seed), largest_batch=512)[0].observed


def estimate_history(
    history: ObservationHistory,
    model: SequenceModel,
    generator: torch.Generator,
    largest_batch: int,
) -> tuple[ObservationHistory, int]:
    """Estimate the positions of a noisy history with one call of the network.

    A position with Gaussian noise, scaled by ``alpha``, is a noisy token (arXiv 2407.01392,
    section 3.1: noise as partial masking). The network's clean estimate of these tokens is
    therefore the mean of the true positions, given the noisy ones.

    A token has one noise level, the highest of its positions. The first token holds one position
    ``frame_stack`` times, so its noise counts for more by the square root of that number. Missing
    positions are replaced by :func:`fill_missing` where possible. The goal is not shown: its
    horizon is unknown, and a wrong one would distort the estimate. The rest of the window is shown
    as pure noise, as in training; a shorter sequence would mean that the trajectory ends here.

    Args:
        history: read by :func:`~dfplan.planning.observation_history.read_history`.
        model: the model that estimates.
        generator: draws the noise that stands for missing tokens.
        largest_batch: most sequences in one network call.

    Returns:
        (the history with estimated positions, all at level 0; network evaluations per sequence).
        Exact positions stay as they are.
    """
    layout, schedule = model.layout, model.schedule
    stack, known_columns = layout.frame_stack, history.observed.shape[2]
    normalizer = model.statistics.normalizer.first(known_columns)
    known = torch.from_numpy(history.level)
    if not known.any():
        return history, 0
    filled = fill_missing(history, model)
    first = schedule.level_for_noise(schedule.relative_noise(known[:, :1]) * stack**0.5)
    later = torch.from_numpy(filled.level[:, 1:]).reshape(len(known), -1, stack).amax(2)
    level = torch.cat([first, later], 1)
    normalized = normalizer.normalize(torch.from_numpy(filled.observed))
    shown = layout.to_tokens(layout.known_frames(normalized))
    tokens = level.shape[1]
    ahead = layout.tokens - tokens
    level = F.pad(level, (0, ahead), value=schedule.max_level)
    shown = F.pad(shown, (0, 0, 0, ahead))
    noise = torch.randn(shown.shape, generator=generator, dtype=shown.dtype)
    missing = (level == schedule.max_level)[..., None]
    x = torch.where(missing, noise, schedule.alpha[level][..., None] * shown)
    parts = zip(torch.split(x, largest_batch), torch.split(level, largest_batch), strict=True)
    clean = torch.cat([model.denoiser(*part) for part in parts])
    frames = layout.to_frames(clean[:, :tokens])[..., :known_columns]
    estimate = normalizer.unnormalize(frames).numpy()
    exact = history.level[..., None] == 0
    observed = np.where(exact, history.observed, estimate)
    return ObservationHistory(observed, np.zeros_like(history.level)), 1


class StateEstimator:
    """Estimates the state of each body with an interacting multiple model filter.

    There is one Kalman filter for each combination of modes: how a step deviates from the fitted
    motion, and how noisy observed velocities are. Each filter is weighted by how well it has
    predicted the observations (Blom and Bar-Shalom, 1988). Velocities are thus used as far as they
    have been reliable, and pushes and walls are detected. Both axes share their variances.

    Every ``stride`` steps the network estimates the history from the filtered positions. The
    difference between the two is added to :meth:`states`, weighted by the filter's uncertainty. It
    is not fed into the filter, which would then count observations twice.

    Other numbers of an observation than position and velocity are the last ones that were received.
    Before that, they are the mean of the data.

    Args:
        settings: noise of observations and length of the history.
        statistics: of the data; they contain the fitted motion.
        layout: the columns of an observation.
        model: the model that estimates histories; None for the filter alone, which is used, too, if
            its tokens hold more of an observation than the position.

    Raises:
        ConfigError: the settings are of another class, or the history fills the model's window.
    """

    def __init__(
        self,
        settings: StateEstimatorSettings,
        statistics: Statistics,
        layout: ObservationLayout,
        model: SequenceModel | None = None,
    ) -> None:
        require_class(StateEstimatorSettings, settings=settings)
        self.settings, self.statistics, self._layout = settings, statistics, layout
        if model is not None and model.layout.observed != layout.position:
            model = None
        self._model = model
        self._stride, frames = 1, 1
        if model is not None:
            require_room_for_plan(settings.tokens, model.layout)
            self._stride = model.layout.stride
            frames += (settings.tokens - 1) * model.layout.frame_stack
        # Indices into the track of the positions that form a history; the last is the present.
        self._at = np.arange(frames) * self._stride
        self._center = statistics.normalizer.mean[:2].numpy()
        motion = self._motion = statistics.motion
        top = motion.max_step / motion.dt
        self._exact = _EXACT * motion.max_step
        # One model for each mode of velocity, mode of position, and noise of observed velocities.
        modes = np.meshgrid(_VELOCITY, _POSITION, _VELOCITY_NOISE, indexing="ij")
        velocity, position, observed = (np.square(mode.ravel()) for mode in modes)
        switch = np.kron(_VELOCITY_SWITCH, _POSITION_SWITCH)
        self._switch = np.kron(switch, _VELOCITY_NOISE_SWITCH)
        self._position_variance = np.array(max(settings.noise, self._exact) ** 2)
        self._velocity_variance = top**2 * observed
        kick = np.array([motion.dt, 1.0])
        self._process_noise = top**2 * velocity[:, None, None] * np.outer(kick, kick)
        self._process_noise[:, 0, 0] += motion.max_step**2 * position
        keep = 1 - motion.drag
        self._transition = np.array([[1.0, motion.dt * keep], [0.0, keep]])
        self._initial_covariance = np.diag([self._position_variance, (_UNKNOWN * top) ** 2])
        self._mean: np.ndarray
        self._covariance: np.ndarray
        self._weight: np.ndarray
        self._track: np.ndarray
        self._deviation: np.ndarray
        self._correction: np.ndarray
        self._received: np.ndarray
        self._seen: np.ndarray
        self._clock: int
        self._start(0)

    @property
    def has_history(self) -> bool:
        """Whether the model estimates histories, and plans from them."""
        return self._model is not None and self.settings.use_network

    @property
    def received(self) -> np.ndarray:
        """Whether at least one position of each body was received, bool [B]."""
        return self._received

    def reset(self, rows: np.ndarray | None = None) -> None:
        """Forget all bodies, or those where ``rows`` bool [B] is true."""
        if rows is None:
            self._start(0)
        else:
            self._received[rows] = False
            self._seen[rows] = self._unseen(self._seen.shape)[rows]

    def observe(
        self, observation: np.ndarray, default: np.ndarray, *, seed: int | None = None
    ) -> np.ndarray:
        """Update with the observations of one environment step.

        Args:
            observation: [B, S], or positions [B, 2]. A position or velocity that is not finite, or
                impossibly large, counts as missing, and so do other numbers that are not finite.
            default: positions [B, 2] at which bodies are assumed to rest until one is received.
            seed: seed of the noise in the network's estimate; None draws a random one.

        Returns:
            Whether this is the first received position of each body, bool [B].
        """
        if len(observation) != len(self._received):
            self._start(len(observation))
        positions = self._layout.positions(observation)
        velocities = self._layout.velocities(observation)
        self._see(observation)
        distance = np.abs(positions - self._center).max(1)
        valid = distance <= _MAX_POSITION * self._motion.max_step
        new = ~self._received
        self._received |= valid
        position = np.where(valid[:, None], positions, default)[new, None]
        self._mean[new] = 0.0
        self._mean[new, :, 0] = position
        self._covariance[new] = self._initial_covariance
        self._weight[new] = 1 / len(self._switch)
        self._track[new], self._deviation[new], self._correction[new] = position, np.inf, 0.0
        fit = np.zeros_like(self._weight)
        fit += self._update(0, positions, valid & ~new, self._position_variance)
        if velocities is not None:
            fastest = np.abs(velocities).max(1)
            moving = self._received & (fastest <= _MAX_VELOCITY * self._motion.limit)
            fit += self._update(1, velocities, moving, self._velocity_variance)
        self._weight *= np.exp(fit - fit.max(1, keepdims=True))
        self._weight /= self._weight.sum(1, keepdims=True)
        self._extend_track()
        if self.has_history and self._clock % self._stride == 0:
            assert self._model is not None
            self.correct(estimate_positions(self.history(), self._model, seed=seed))
        self._clock += 1
        first: np.ndarray = new & valid
        return first

    def _see(self, observation: np.ndarray) -> None:
        """Keep the last numbers that were received of observations [B, S]."""
        if self._seen.shape != observation.shape:
            self._seen = self._unseen(observation.shape)
        self._seen = np.where(np.isfinite(observation), observation, self._seen)

    def _unseen(self, shape: tuple[int, ...]) -> np.ndarray:
        scale = self.statistics.observation
        mean = 0.0 if scale is None or shape[1] != len(scale.mean) else scale.mean.numpy()
        return np.zeros(shape) + mean

    def _extend_track(self) -> None:
        """Append the present position and its standard deviation to the track."""
        position = self._expected()[:, 0]
        self._track = np.concatenate([self._track[:, 1:], position[:, None]], 1)
        apart = np.square(self._mean[:, :, 0] - position[:, None]).mean(-1)
        variance = (self._weight * (self._covariance[..., 0, 0] + apart)).sum(1)
        deviation = np.where(self._received, np.sqrt(variance.clip(self._exact**2)), np.inf)
        self._deviation = np.concatenate([self._deviation[:, 1:], deviation[:, None]], 1)

    def send(self, actions: np.ndarray) -> None:
        """Predict the next step from the actions [B, A] that are sent to the bodies."""
        plane = len(self._layout.position)
        if actions.shape[1] != plane:  # they are no forces in the plane
            actions = np.zeros((len(actions), plane))
        weight = self._weight @ self._switch
        share = (self._weight[:, :, None] * self._switch / weight[:, None]).swapaxes(1, 2)
        expected = self._expected()[:, None]
        apart = self._mean - expected
        moment = self._covariance + _outer(apart)
        apart = (share @ apart.reshape(*weight.shape, 4)).reshape(apart.shape)
        moment = (share @ moment.reshape(*weight.shape, 4)).reshape(apart.shape)
        mean, covariance = expected + apart, moment - _outer(apart)
        moved = self._motion.advance(mean[:, :, 0], mean[:, :, 1], actions[:, None])
        self._mean = np.stack(moved, 2)
        self._covariance = self._transition @ covariance @ self._transition.T + self._process_noise
        self._weight = weight

    def states(self) -> np.ndarray:
        """The estimated observation of each body, float32 [B, S].

        Where observations are positions alone, the velocity is added, [B, 4].
        """
        expected = self._expected()
        expected[:, 0] += self._correction
        top = _MAX_VELOCITY * self._motion.limit
        expected[:, 1] = expected[:, 1].clip(-top, top)
        layout = self._layout
        if layout == PLANAR:
            return expected.reshape(-1, 4).astype(np.float32)
        states = self._seen.astype(np.float32)
        states[:, list(layout.position)] = expected[:, 0]
        if layout.velocity is not None:
            states[:, list(layout.velocity)] = expected[:, 1]
        return states

    def history(self) -> ObservationHistory:
        """The history for an estimate or a plan made now.

        Each position was estimated by the filter at the time of that position, without later
        observations. If all positions of a body are so uncertain that they would count as missing,
        they get the level below that, since something was received.
        """
        deviation = self._deviation[:, self._at]
        deviation = np.where(deviation > 2 * self._exact, deviation, 0.0)
        assert self._model is not None, "only a model has levels"
        level = noise_to_level(deviation, self._model)
        missing = self._model.schedule.max_level
        level[(level == missing).all(1)] = missing - 1
        return ObservationHistory(self._track[:, self._at], level)

    def correct(self, estimate: np.ndarray) -> None:
        """Correct :meth:`states` by an estimate [B, H, 2] of :meth:`history`.

        The more uncertain a body's present position, the larger the share of the difference that
        is added.
        """
        certainty = (_NETWORK_ERROR * self._motion.max_step / self._deviation[:, -1:]) ** 2
        correction = (estimate[:, -1] - self._track[:, -1]) / (1 + certainty)
        self._correction = np.where(self._received[:, None], correction, 0.0)

    def _start(self, batch: int) -> None:
        """Start with ``batch`` bodies whose states are unknown."""
        models, steps = len(self._switch), self._at[-1] + 1
        self._mean = np.zeros((batch, models, 2, 2))  # position and velocity, then axes
        self._covariance = np.zeros((batch, models, 2, 2))
        self._weight = np.ones((batch, models))
        self._track = np.zeros((batch, steps, 2))
        self._deviation = np.zeros((batch, steps))
        self._correction = np.zeros((batch, 2))
        self._received = np.zeros(batch, dtype=bool)
        self._seen = np.zeros((batch, 0))
        self._clock = 0

    def _expected(self) -> np.ndarray:
        """Expected position and velocity, [B, 2, 2]."""
        expected: np.ndarray = np.einsum("bm,bmkx->bkx", self._weight, self._mean)
        return expected

    def _update(
        self, part: int, observed: np.ndarray, rows: np.ndarray, variance: np.ndarray
    ) -> np.ndarray:
        """Update the filters with observed positions or velocities.

        Args:
            part: 0 for positions, 1 for velocities.
            observed: positions or velocities, float [B, 2].
            rows: bodies to update, bool [B]; those whose ``observed`` was received.
            variance: of the observations' noise, one number or one for each model [M].

        Returns:
            The log likelihood of each model, up to a constant, [B, M]; 0 for other bodies.
        """
        covariance = self._covariance[rows]
        total = covariance[..., part, part] + variance
        apart = observed[rows, None] - self._mean[rows, :, part]
        gain = covariance[..., part] / total[..., None]
        self._mean[rows] += gain[..., None] * apart[:, :, None]
        # Joseph's form, which stays positive definite if observations are exact.
        left: np.ndarray = np.eye(2) - gain[..., None] * np.eye(2)[part]
        rest = np.sqrt(variance)[..., None] * gain
        self._covariance[rows] = left @ covariance @ left.swapaxes(-1, -2)
        self._covariance[rows] += rest[..., None] * rest[..., None, :]
        fit = np.zeros_like(self._weight)
        fit[rows] = -np.log(total) - np.square(apart).sum(-1) / (2 * total)
        return fit


def _outer(apart: np.ndarray) -> np.ndarray:
    """Mean over axes of the outer products of ``apart`` [B, M, 2, axes]; [B, M, 2, 2]."""
    products: np.ndarray = apart @ apart.swapaxes(-1, -2) / 2
    return products
