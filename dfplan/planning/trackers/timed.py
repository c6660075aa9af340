"""Proportional-derivative control toward a plan's position at the next step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfplan.planning.trackers.base import (
    TimedTracker,
    at_each_step,
    require_actuation,
    velocity_of,
)
from dfplan.tokens.motion import Motion
from dfplan.types import Plan


class TimedPD(TimedTracker):
    """A proportional-derivative controller toward the plan's state at the next step.

        action = position_gain * (p - position) + velocity_gain * (v - velocity)

    ``p`` and ``v`` are the plan's position and velocity at the next step, interpolated linearly
    between its points. After its end the plan stays at its last point with ``v = 0``. For a plan
    without velocities ``v`` is a finite difference, ``(p - previous p) / dt``. With gains (1, 1)
    and planned velocities this is the controller of Diffuser (arXiv 2205.09991). With gains
    (12.5, 1.2), finite differences and ``dt = 1`` it is that of Diffusion Forcing's authors (arXiv
    2407.01392).

    Args:
        position_gain: action per unit of distance.
        velocity_gain: action per unit of velocity.
        dt: time of one environment step, for finite differences.
        finite_differences: use them even if the plan has velocities.
    """

    def __init__(
        self,
        position_gain: float,
        velocity_gain: float,
        *,
        dt: float = 1.0,
        finite_differences: bool = False,
    ) -> None:
        super().__init__()
        self._position_gain = position_gain
        self._velocity_gain = velocity_gain
        self._dt = dt
        self._finite_differences = finite_differences

    def _paths(self, plan: Plan) -> Sequence[np.ndarray]:
        position = at_each_step(plan.points, plan.stride)
        if plan.velocities is None or self._finite_differences:
            velocity = np.diff(position, axis=1, prepend=position[:, :1]) / self._dt
        else:
            velocity = at_each_step(plan.velocities, plan.stride)
        # One more point, at which the plan rests.
        position = np.concatenate([position, position[:, -1:]], 1)
        velocity = np.concatenate([velocity, np.zeros_like(velocity[:, -1:])], 1)
        return list(np.concatenate([position, velocity], -1))

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        observation = self._read(observation)
        target = self._at(self._advance(len(observation)) + 1)
        force = self._position_gain * (target[:, :2] - self._layout.positions(observation))
        force += self._velocity_gain * (target[:, 2:] - velocity_of(observation, self._layout))
        action: np.ndarray = np.clip(force, -1.0, 1.0)
        return action


def timed_gains(motion: Motion, steps: float = 5.0) -> tuple[float, float]:
    """Compute gains of :class:`TimedPD` from the fitted motion, for ``dt=motion.dt``.

    The controller is critically damped: while the force is not clipped, an error of position
    decays without overshoot as ``exp(-t / steps)`` times a linear function of t. A unit of action
    adds ``dt * gain`` to the distance traveled per step. The gains are therefore
    ``position_gain = 1 / (steps ** 2 * dt * gain)`` and ``velocity_gain = 2 / (steps * gain)``.

    Args:
        motion: the fitted point mass.
        steps: environment steps in which an error decays.

    Raises:
        ConfigError: the data's actions do not move the body.
    """
    require_actuation(motion)
    return 1 / (steps**2 * motion.dt * motion.gain), 2 / (steps * motion.gain)
