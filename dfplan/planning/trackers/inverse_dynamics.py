"""Learned inverse dynamics as a tracker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dfplan.planning.trackers.base import TimedTracker, at_each_step, velocity_of
from dfplan.tokens.motion import Motion
from dfplan.types import Plan


class InverseDynamics(TimedTracker):
    """Learned inverse dynamics: the action with which the data reached the plan's next position.

    The target is the plan's position ``steps`` environment steps ahead, interpolated linearly
    between its points; after the plan's end it is the last point. Decision Diffuser (arXiv
    2211.15657) also plans states and learns the actions between them. The model sees only
    displacements, so it does not know walls.

    Args:
        model: function from inputs [B, 2 or 4] (:func:`inverse_inputs`) to actions [B, 2].
        motion: the point mass fitted to the data; it scales the inputs.
        steps: environment steps from now to the target.
        velocities: whether the model sees the velocity.
    """

    def __init__(
        self,
        model: Callable[[np.ndarray], np.ndarray],
        motion: Motion,
        steps: int,
        *,
        velocities: bool,
    ) -> None:
        super().__init__()
        self._model = model
        self._motion = motion
        self._ahead = steps
        self._velocities = velocities

    def _paths(self, plan: Plan) -> Sequence[np.ndarray]:
        return list(at_each_step(plan.points, plan.stride))

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        observation = self._read(observation)
        target = self._at(self._advance(len(observation)) + self._ahead)
        velocity = velocity_of(observation, self._layout) if self._velocities else None
        displacement = target - self._layout.positions(observation)
        inputs = inverse_inputs(displacement, velocity, self._motion, self._ahead)
        action: np.ndarray = np.clip(self._model(inputs), -1.0, 1.0)
        return action


def inverse_inputs(
    displacement: np.ndarray, velocity: np.ndarray | None, motion: Motion, steps: int
) -> np.ndarray:
    """The inputs of inverse dynamics: float32 [B, 4], or [B, 2] without velocities.

    Args:
        displacement: displacement in ``steps`` environment steps, [B, 2]; it is divided by the
            largest distance that the body covers in them.
        velocity: present velocity [B, 2], which is divided by the body's limit; None for a model
            without velocities.
        motion: the fitted point mass.
        steps: number of environment steps between the two positions.
    """
    parts = [displacement / (steps * motion.max_step)]
    if velocity is not None:
        parts.append(velocity / motion.limit)
    return np.concatenate(parts, -1).astype(np.float32)
