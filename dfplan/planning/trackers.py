"""Trackers: from a plan to actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.query import read_observation
from dfplan.tokens.motion import Motion
from dfplan.types import Plan

_WINDOW = 24


class Tracker(Protocol):
    """Follows one plan for each environment of a batch."""

    def assign(self, rows: np.ndarray, plan: Plan) -> None:
        """Follow ``plan``, of R problems, in environments ``rows`` [R] from the next step on."""
        ...

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action [B, 2] in [-1, 1] for ``observation`` [B, 4] or [B, 2]; call once a step.

        Raises:
            ObservationError: velocities are needed and there are none.
        """
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


def pursuit_gains(motion: Motion, lookahead: float = 1.5) -> PursuitGains:
    """Gains that follow from how the body moves.

    An axis is at full force until the aim is within the distance in which it can brake from top
    speed, and full force is a matter of one step's travel: the action is
    ``(aim - position - brake * velocity / limit) / max_step``. A body that does not coast needs not
    brake: it is sent two steps ahead, so that both axes are at full force on a diagonal.

    Args:
        motion: the fitted point mass.
        lookahead: in braking distances. The default was chosen on validation starts.
    """
    _require_moved(motion)
    position = 1.0 / motion.max_step
    if not motion.coasts:
        return PursuitGains(2 * motion.max_step, position, 0.0)
    brake = motion.dt * motion.limit**2 / (2 * motion.gain)
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

    def assign(self, rows: np.ndarray, plan: Plan) -> None:
        """See :class:`Tracker`; when the plan is where does not matter here."""
        rows = np.asarray(rows)
        dense = [resample(line, self._spacing) for line in plan.points]
        self._path = _replace(self._path, rows, dense)
        self._progress = _restart(self._progress, rows)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        observation = _read(observation, len(self._progress))
        nearby, distance = self._nearby(observation)
        row = np.arange(len(observation))
        self._progress[row] = nearby[row, distance.argmin(1)]
        aim_at = np.minimum(self._progress[row] + self._ahead, self._path.shape[1] - 1)
        aim = self._path[row, aim_at]
        force = self._gains.position * (aim - observation[:, :2])
        if self._gains.velocity:  # else the observation may be a position alone
            force -= self._gains.velocity * _velocity(observation)
        action: np.ndarray = np.clip(force, -1, 1)
        return action

    def deviation(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        observation = _read(observation, len(self._progress))
        distance: np.ndarray = np.sqrt(self._nearby(observation)[1].min(1))
        return distance

    def _nearby(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices [B, W] of the path not far ahead of the progress, squared distances to them."""
        index = self._progress[: len(observation), None] + np.arange(_WINDOW)
        index = np.minimum(index, self._path.shape[1] - 1)
        points = self._path[np.arange(len(observation))[:, None], index]
        return index, np.square(points - observation[:, None, :2]).sum(-1)


def resample(line: np.ndarray, spacing: float) -> np.ndarray:
    """Points [Q, 2] every ``spacing`` along the polyline ``line`` [P, 2], its end included."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.append(np.arange(0.0, length[-1], spacing), length[-1])
    return np.stack([np.interp(at, length, line[:, axis]) for axis in (0, 1)], 1)


class _Timed(ABC):
    """Keeps each row's time since its plan was assigned, and where the plan is at each step.

    Args:
        features: of a step, its position first.
    """

    def __init__(self, features: int) -> None:
        self._steps = np.zeros((0, 1, features))
        self._time = np.zeros(0, dtype=int)

    def assign(self, rows: np.ndarray, plan: Plan) -> None:
        """See :class:`Tracker`; the plan's time begins at the next step."""
        rows = np.asarray(rows)
        self._steps = _replace(self._steps, rows, list(self._each_step(plan)))
        self._time = _restart(self._time, rows)

    def deviation(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`; from the nearest point, early or late."""
        observation = _read(observation, len(self._time))
        away = self._steps[: len(observation), :, :2] - observation[:, None, :2]
        distance: np.ndarray = np.linalg.norm(away, axis=-1).min(1)
        return distance

    @abstractmethod
    def _each_step(self, plan: Plan) -> np.ndarray:
        """What is kept of ``plan`` for each environment step, [R, L, features]."""

    def _tick(self, count: int) -> np.ndarray:
        """The time of the first ``count`` rows, int [B]; a step later from the next call on."""
        now = self._time[:count].copy()
        self._time[:count] += 1
        return now

    def _at(self, time: np.ndarray) -> np.ndarray:
        """What was kept for ``time`` [B] of each row, [B, features]; the last after the end."""
        steps: np.ndarray = self._steps[
            np.arange(len(time)), np.minimum(time, self._steps.shape[1] - 1)
        ]
        return steps


class TimedPD(_Timed):
    """A proportional-derivative law toward where the plan is one step from now.

        action = position_gain * (p - position) + velocity_gain * (v - velocity)

    ``p`` and ``v`` are the plan's at the next step, on straight lines between its points; after
    its end it stays at its last point with ``v = 0``. A plan without velocities has those of its
    lines, ``(p - p of the step before) / dt``. Gains (1, 1) on a plan with velocities are the
    controller of Diffuser (arXiv 2205.09991); (12.5, 1.2) with velocities of lines and
    ``dt = 1`` that of Diffusion Forcing's authors (arXiv 2407.01392).

    Args:
        position_gain: action for a unit of distance.
        velocity_gain: action for a unit of velocity.
        dt: units of time in an environment step, for the velocities of lines.
        of_lines: take the velocities of the plan's lines even where it has its own.
    """

    def __init__(
        self,
        position_gain: float,
        velocity_gain: float,
        *,
        dt: float = 1.0,
        of_lines: bool = False,
    ) -> None:
        super().__init__(features=4)
        self._position_gain = position_gain
        self._velocity_gain = velocity_gain
        self._dt = dt
        self._of_lines = of_lines

    def _each_step(self, plan: Plan) -> np.ndarray:
        position = _every_step(plan.points, plan.stride)
        if plan.velocities is None or self._of_lines:
            velocity = np.diff(position, axis=1, prepend=position[:, :1]) / self._dt
        else:
            velocity = _every_step(plan.velocities, plan.stride)
        # One point more, at which the plan stays.
        position = np.concatenate([position, position[:, -1:]], 1)
        velocity = np.concatenate([velocity, np.zeros_like(velocity[:, -1:])], 1)
        return np.concatenate([position, velocity], -1)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        observation = _read(observation, len(self._time))
        next_step = self._at(self._tick(len(observation)) + 1)
        force = self._position_gain * (next_step[:, :2] - observation[:, :2])
        force += self._velocity_gain * (next_step[:, 2:] - _velocity(observation))
        action: np.ndarray = np.clip(force, -1.0, 1.0)
        return action


class DiffusedActions(_Timed):
    """Executes the actions that were planned along with the positions, whatever comes of it.

    Each action is held until the plan's next point; from the end of the plan on the action is 0.
    One beyond [-1, 1] is given as it is, so that whoever plays the episode sees what was planned.
    Nothing is fed back, so what the body does differently adds up until there is a new plan.
    """

    def __init__(self) -> None:
        super().__init__(features=4)

    def _each_step(self, plan: Plan) -> np.ndarray:
        if plan.actions is None:
            raise ConfigError(
                "DiffusedActions executes the actions of a plan, and this plan has none; make it "
                "with a planner of transitions, such as Diffuser's, or use another tracker."
            )
        position = _every_step(plan.points, plan.stride)
        step = np.arange(position.shape[1])
        over = (step >= np.asarray(plan.steps)[:, None])[..., None]
        action = np.where(over, 0.0, plan.actions[:, step // plan.stride])
        return np.concatenate([position, action], -1)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`; where the observation is does not matter."""
        observation = _read(observation, len(self._time))
        return self._at(self._tick(len(observation)))[:, 2:]


class InverseDynamics(_Timed):
    """Learned inverse dynamics: the action that the data took to be where the plan will be.

    Each step it aims at the plan's position ``steps`` environment steps later, on straight lines
    between its points; after the plan's end that is its last point. As in Decision Diffuser (arXiv
    2211.15657), which plans states and learns the actions between them; a model of displacements
    knows no walls.

    Args:
        law: from inputs [B, 2 or 4] (:func:`inverse_inputs`) to actions [B, 2].
        motion: of the data, which scales the inputs.
        steps: environment steps between now and the aim.
        velocities: whether the law is told the velocity.
    """

    def __init__(
        self,
        law: Callable[[np.ndarray], np.ndarray],
        motion: Motion,
        steps: int,
        *,
        velocities: bool,
    ) -> None:
        super().__init__(features=2)
        self._law = law
        self._motion = motion
        self._ahead = steps
        self._velocities = velocities

    def _each_step(self, plan: Plan) -> np.ndarray:
        return _every_step(plan.points, plan.stride)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        observation = _read(observation, len(self._time))
        aim = self._at(self._tick(len(observation)) + self._ahead)
        velocity = _velocity(observation) if self._velocities else None
        inputs = inverse_inputs(aim - observation[:, :2], velocity, self._motion, self._ahead)
        action: np.ndarray = np.clip(self._law(inputs), -1.0, 1.0)
        return action


def inverse_inputs(
    displacement: np.ndarray, velocity: np.ndarray | None, motion: Motion, steps: int
) -> np.ndarray:
    """What inverse dynamics acts on, float32 [B, 4], or [B, 2] without velocities.

    Args:
        displacement: to the position ``steps`` environment steps later [B, 2]; given as a share of
            the farthest that the body gets in them.
        velocity: now [B, 2], given as a share of the body's limit; or None.
        motion: the fitted point mass.
        steps: between the two.
    """
    parts = [displacement / (steps * motion.max_step)]
    if velocity is not None:
        parts.append(velocity / motion.limit)
    return np.concatenate(parts, -1).astype(np.float32)


def timed_gains(motion: Motion, steps: float = 5.0) -> tuple[float, float]:
    """Gains of :class:`TimedPD`, for ``dt=motion.dt``, that follow from how the body moves.

    While force lasts, an error of position dies away without overshoot, as ``exp(-t / steps)``
    times a line in t: with ``dt * gain`` the travel that a unit of action adds in a step, the law
    is critically damped at ``position_gain = 1 / (steps ** 2 * dt * gain)`` and
    ``velocity_gain = 2 / (steps * gain)``.

    Args:
        motion: the fitted point mass.
        steps: environment steps in which an error fades.
    """
    _require_moved(motion)
    return 1 / (steps**2 * motion.dt * motion.gain), 2 / (steps * motion.gain)


def _read(observation: np.ndarray, plans: int) -> np.ndarray:
    """Observations of at most as many bodies as there are ``plans``, [B, 4] or [B, 2]."""
    states = read_observation(observation, dtype=None)
    if states.dtype not in (np.float32, np.float64):
        states = states.astype(np.float64)
    if len(states) > plans:
        raise ObservationError(
            f"A tracker follows the plans that were assigned, of {plans} environments; got "
            f"observations of {len(states)}. Assign a plan to each first."
        )
    return states


def _velocity(observation: np.ndarray) -> np.ndarray:
    """The velocities [B, 2] of ``observation`` [B, 4]."""
    if observation.shape[1] != 4:
        raise ObservationError(
            "To follow a plan this body's velocity must be known: an observation is position and "
            f"velocity, [4] or [B, 4]; got {observation.shape[1]} numbers."
        )
    return observation[:, 2:]


def _require_moved(motion: Motion) -> None:
    if motion.gain <= 1e-6 * motion.limit:  # no more than rounding
        raise ConfigError(
            "A tracker needs data whose actions move the body, to know how it brakes; this data "
            "has none. Train on data with actions, or pass Policy a tracker of your own."
        )


def _replace(paths: np.ndarray, rows: np.ndarray, lines: list[np.ndarray]) -> np.ndarray:
    """``paths`` [B, L, F], those of ``rows`` replaced; grown as needed by repeating the ends."""
    batch, length, features = paths.shape
    grow = max(length, *(len(line) for line in lines)) - length
    grown = np.pad(paths, ((0, 0), (0, grow), (0, 0)), mode="edge") if grow else paths.copy()
    more = max(0, int(rows.max()) + 1 - batch)
    grown = np.concatenate([grown, np.zeros((more, length + grow, features))])
    for row, line in zip(rows, lines, strict=True):
        grown[row, : len(line)] = line
        grown[row, len(line) :] = line[-1]
    return grown


def _restart(count: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``count`` int [B], grown as needed, with 0 at ``rows``."""
    grown = np.zeros(max(len(count), int(rows.max()) + 1), dtype=int)
    grown[: len(count)] = count
    grown[rows] = 0
    return grown


def _every_step(values: np.ndarray, stride: int) -> np.ndarray:
    """``values`` [R, P, 2], ``stride`` steps apart, at each step; [R, (P - 1) * stride + 1, 2]."""
    step = np.arange((values.shape[1] - 1) * stride + 1)
    before, share = step // stride, (step % stride / stride)[:, None]
    after = np.minimum(before + 1, values.shape[1] - 1)
    every: np.ndarray = (1 - share) * values[:, before] + share * values[:, after]
    return every
