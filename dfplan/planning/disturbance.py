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
        action_bias: added to each number of the actions of an episode, with a random sign.
        action_delay: environment steps after which an action acts. Until the first one acts, there
            is action 0.
        push_chance: probability in each step that a push begins, unless one is going on. During a
            push the action has length 1 and one random direction; if it has other than two
            numbers, each of them is 1 or -1.
        push_steps: environment steps of a push.
        observation_noise: standard deviation of normal noise on an observed position, in units of
            position.
        observation_loss: probability in each step that an observation is lost. All its numbers are
            then NaN.

    Raises:
        ConfigError: a value is negative or not a number, or a probability above 1.
    """

    action_noise: float = 0.0
    action_bias: float = 0.0
    action_delay: int = 0
    push_chance: float = 0.0
    push_steps: int = 10
    observation_noise: float = 0.0
    observation_loss: float = 0.0

    def __post_init__(self) -> None:
        sizes = ("action_noise", "action_bias", "observation_noise")
        require_numbers(vars(self), *sizes, minimum=0)
        require_numbers(vars(self), "push_chance", "observation_loss", minimum=0, maximum=1)
        require_numbers(vars(self), "action_delay", integer=True, minimum=0)
        require_numbers(vars(self), "push_steps", integer=True, minimum=1)


class Disturber:
    """Disturbs B environments, step by step.

    Args:
        disturbance: what happens.
        rng: draws it.
    """

    def __init__(self, disturbance: Disturbance, rng: np.random.Generator) -> None:
        self._disturbance, self._rng = disturbance, rng
        self._start(0, 0)

    def _start(self, count: int, size: int) -> None:
        """Start with ``count`` bodies whose actions have ``size`` numbers."""
        self._left = np.zeros(count, dtype=int)  # steps of the present push
        self._force = np.zeros((count, size))
        self._sent = np.zeros((self._disturbance.action_delay, count, size))
        self._bias = np.zeros((count, size))
        if self._disturbance.action_bias:
            self._bias += self._disturbance.action_bias
            self._bias *= self._rng.choice((-1.0, 1.0), (count, size))

    def observed(self, states: np.ndarray, layout: ObservationLayout) -> np.ndarray:
        """What is observed of ``states`` [B, S]."""
        noise, loss = self._disturbance.observation_noise, self._disturbance.observation_loss
        if not (noise or loss):
            return states
        states = states.copy()
        if noise:
            columns = list(layout.position)
            states[:, columns] += noise * self._rng.standard_normal((len(states), 2))
        if loss:
            states[self._rng.random(len(states)) < loss] = np.nan
        return states

    def acted(self, actions: np.ndarray) -> np.ndarray:
        """What acts on the bodies when they take ``actions`` [B, A]; call it once per step."""
        what, count = self._disturbance, len(actions)
        if self._force.shape != actions.shape:
            self._start(*actions.shape)
        if what.action_delay:
            self._sent = np.concatenate([self._sent, actions[None]])
            actions, self._sent = self._sent[0], self._sent[1:]
        if what.action_bias:
            actions = actions + self._bias
        if what.action_noise:
            actions = actions + what.action_noise * self._rng.standard_normal(actions.shape)
        if what.push_chance:
            begins = (self._left == 0) & (self._rng.random(count) < what.push_chance)
            force = self._pushes(*actions.shape)
            self._force[begins], self._left[begins] = force[begins], what.push_steps
            actions = np.where((self._left > 0)[:, None], self._force, actions)
            self._left = np.maximum(self._left - 1, 0)
        return np.asarray(np.clip(actions, -1.0, 1.0), np.float32)

    def _pushes(self, count: int, size: int) -> np.ndarray:
        """Actions [count, size] of pushes."""
        if size != 2:
            return self._rng.choice((-1.0, 1.0), (count, size))
        angle = self._rng.uniform(0, 2 * np.pi, count)
        return np.stack([np.cos(angle), np.sin(angle)], 1)
