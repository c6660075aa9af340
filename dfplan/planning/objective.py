"""What plans are optimized for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from dfplan.arrays import copy_array
from dfplan.boundary import isolated
from dfplan.errors import ObservationError
from dfplan.planning.rewards import OnSupport, Short, check_reward, points_on_lines
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.timing import within_speed
from dfplan.sampling.guidance import GuidanceSettings, gradient_ascent
from dfplan.sampling.model import SequenceModel
from dfplan.types import Reward

_POINTS_PER_LINE = 4
"""Points on each line of a plan at which its distance from the data is measured."""

_NEAR_COST = 0.5
"""Cost in the score of a line at the edge of the margin, in steps for each of its steps. Without
it, the best of many candidates is one that passes through a wall as far as the margin allows."""


class PlanObjective:
    """What plans are optimized for: a differentiable reward for guidance, and a score.

    The guidance reward is the weighted sum of :class:`~dfplan.planning.rewards.Short`,
    :class:`~dfplan.planning.rewards.OnSupport` and the caller's reward. The score, by which plans
    are compared, is ::

        -(travel time in steps) - support_penalty * (step lengths off the data)
        - 0.5 * (step lengths in the margin, by their depth from 0 to 1) + caller's reward

    A step length is the distance that the body covers in one environment step at top speed. Travel
    time is the sum over the plan's lines of the distance along the larger axis, in step lengths.
    The planner knows walls only as places that the data never visited.

    Attributes:
        settings: weights, and how to sample.
        reward: the caller's; None if only the planner's terms count.

    Args:
        settings: weights, and how to sample.
        model: its statistics say where the data is and how fast the body moves.
        reward: the caller's; by default only the planner's terms count.

    Raises:
        ConfigError: the reward is not a function of states and steps.
    """

    def __init__(
        self, settings: PlannerSettings, model: SequenceModel, reward: Reward | None = None
    ) -> None:
        self.settings = settings
        self._statistics = model.statistics
        self._stride, self._position = model.layout.stride, model.layout.position
        self.reward = None if reward is None else check_reward(reward)
        terms = settings.smoothness_weight * Short()
        # As steep as with 2 points on each line, for which the weight is meant.
        weight = 2 / _POINTS_PER_LINE * settings.support_weight
        terms = terms + weight * OnSupport(self._statistics.free_region, _POINTS_PER_LINE)
        self._guidance_reward = terms if self.reward is None else terms + self.reward

    @property
    def guidance(self) -> GuidanceSettings:
        """Settings of the guidance, with ``max_move`` in units of position."""
        guidance = self.settings.guidance
        return replace(guidance, max_move=guidance.max_move * self._step_length)

    @property
    def _step_length(self) -> float:
        return self._statistics.motion.max_step

    def guidance_reward(self, states: torch.Tensor) -> torch.Tensor:
        """The reward that guidance and refinement increase, of states [S, P, W]; [S]."""
        return self._guidance_reward(states, self._steps(states))

    def score(self, states: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
        """The score of states [S, P, W]; [S].

        Lines from point ``known`` [S] on follow a recorded way. They count as at most at the edge
        of the margin.
        """
        points = states[..., self._position]
        line = points.diff(dim=1).abs().amax(-1) / self._step_length
        away = self._margins_away(points)
        off = (away > 1).float().mean(-1)
        if known is not None:
            off = torch.where(torch.arange(off.shape[1]) < known[:, None], off, 0.0)
        cost = self.settings.support_penalty * off + _NEAR_COST * away.clamp(max=1).mean(-1)
        score = -(line * (1 + cost)).sum(-1)
        return score if self.reward is None else score + self.reward(states, self._steps(states))

    def is_on_support(self, states: torch.Tensor) -> torch.Tensor:
        """Whether each of ``states`` [..., W] is within the margin of the data; bool [...]."""
        distance = self._statistics.free_region.distance(states[..., self._position])
        return distance <= self._margin

    def off_support(self, states: torch.Tensor) -> torch.Tensor:
        """Fraction of each line of [S, P, W] that is farther than the margin from the data.

        Float [S, P - 1].
        """
        return (self._margins_away(states[..., self._position]) > 1).float().mean(-1)

    @property
    def _margin(self) -> float:
        return max(self.settings.support_margin, 1e-6) * self._step_length

    def _margins_away(self, points: torch.Tensor) -> torch.Tensor:
        """Distances to the data on each line of [S, P, 2], in margins; float [S, P - 1, K]."""
        distance = self._statistics.free_region.distance(points_on_lines(points, _POINTS_PER_LINE))
        return distance.view(*points.diff(dim=1).shape[:-1], _POINTS_PER_LINE) / self._margin

    def refine(self, states: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Increase the guidance reward of plans by gradient ascent on their positions.

        Args:
            states: float [S, P, W].
            last: the points 1 to this one are moved, int [S].
        """
        guidance = self.guidance
        index = torch.arange(states.shape[1])
        position = torch.zeros(states.shape[2], dtype=states.dtype)
        position[self._position] = 1.0
        scale = ((index > 0) & (index <= last[:, None]))[..., None].float() * guidance.scale
        scale = scale * position
        # The caller's reward may be steep; the planner's own terms are not.
        anneal = self.reward is not None
        iterations, max_move = self.settings.refine_steps, guidance.max_move
        return gradient_ascent(
            self.guidance_reward, states, scale, iterations, max_move, anneal=anneal
        )

    def within_speed(self, states: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """States [S, P, W] of which no part is faster than the body, where there is time for it.

        Args:
            states: of plans.
            end: index of each plan's last state, int [S].
        """
        return within_speed(states, end, self._position, self._stride * self._step_length)

    def _steps(self, states: torch.Tensor) -> torch.Tensor:
        """The environment step of each of ``states`` [S, P, W]; float [P]."""
        return torch.arange(states.shape[1], dtype=states.dtype) * float(self._stride)


@isolated()
def reward_gradient(
    points: np.ndarray,
    model: SequenceModel,
    settings: PlannerSettings,
    reward: Reward | None = None,
) -> np.ndarray:
    """The gradient of the guidance reward at each point of plans.

    Args:
        points: positions, ``model.layout.stride`` steps apart; float [B, P, 2].
        model: its statistics say where the data is.
        settings: contain the weights of the planner's terms.
        reward: the caller's; it is added to these terms.

    Returns:
        Reward per unit of position, float32 [B, P, 2]. Guidance moves a point by
        ``settings.guidance.scale`` times this, but by at most its ``max_move``.

    Raises:
        ObservationError: wrong shape, or numbers that are not finite.
        ConfigError: the reward is not a function of states and steps.
    """
    positions = copy_array(points, np.float32)
    if positions.ndim != 3 or positions.shape[2] != 2 or not np.isfinite(positions).all():
        raise ObservationError(
            f"Points of plans must be finite numbers [B, P, 2]; got {points!r:.200}."
        )
    leaf = torch.from_numpy(positions).requires_grad_()
    objective = PlanObjective(settings, model, reward)
    with torch.enable_grad():
        value = objective.guidance_reward(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return np.asarray(gradient)
