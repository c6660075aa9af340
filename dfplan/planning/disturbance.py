"""Pushes and noise, the same in simulated episodes and in real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfplan.errors import require_numbers
from dfplan.observations import ObservationLayout


@dataclass(frozen=True)
class Disturbance:
    """What happens to a body and its observations besides what a policy wants.

    Attributes:
        action_noise: standard deviation of normal noise on each number of an action.
        push_chance: probability in each step that a push begins, unless one is going on. During a
            push the action is a full force in one random direction.
        push_steps: environment steps of a push.
        observation_noise: standard deviation of normal noise on an observed position, in units of
            position.

    Raises:
        ConfigError: a value is negative or not a number, or a probability above 1.
    """

    action_noise: float = 0.0
    push_chance: float = 0.0
    push_steps: int = 10
    observation_noise: float = 0.0

    def __post_init__(self) -> None:
        require_numbers(vars(self), "action_noise", "observation_noise", minimum=0)
        require_numbers(vars(self), "push_chance", minimum=0, maximum=1)
        require_numbers(vars(self), "push_steps", integer=True, minimum=1)


class Disturber:
    """Disturbs B environments, step by step.

    Args:
        disturbance: what happens.
        rng: draws it.
    """

    def __init__(self, disturbance: Disturbance, rng: np.random.Generator) -> None:
        self._disturbance, self._rng = disturbance, rng
        self._left = np.zeros(0, dtype=int)  # steps of the present push
        self._force = np.zeros((0, 2))

    def observed(self, states: np.ndarray, layout: ObservationLayout) -> np.ndarray:
        """What is observed of ``states`` [B, S]."""
        noise = self._disturbance.observation_noise
        if not noise:
            return states
        states = states.copy()
        states[:, list(layout.position)] += noise * self._rng.standard_normal((len(states), 2))
        return states

    def acted(self, actions: np.ndarray) -> np.ndarray:
        """What acts on the bodies when they take ``actions`` [B, 2]; call it once per step."""
        what, count = self._disturbance, len(actions)
        if len(self._left) != count:
            self._left, self._force = np.zeros(count, dtype=int), np.zeros((count, 2))
        if what.action_noise:
            actions = actions + what.action_noise * self._rng.standard_normal(actions.shape)
        if what.push_chance:
            begins = (self._left == 0) & (self._rng.random(count) < what.push_chance)
            angle = self._rng.uniform(0, 2 * np.pi, count)
            force = np.stack([np.cos(angle), np.sin(angle)], 1)
            self._force[begins], self._left[begins] = force[begins], what.push_steps
            actions = np.where((self._left > 0)[:, None], self._force, actions)
            self._left = np.maximum(self._left - 1, 0)
        return np.asarray(np.clip(actions, -1.0, 1.0), np.float32)
