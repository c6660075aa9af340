"""Score, refine and select candidate plans."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from dfplan.arrays import copy_array
from dfplan.boundary import isolated
from dfplan.errors import ObservationError
from dfplan.planning.partial_plan import Candidates
from dfplan.planning.query import PlanQuery
from dfplan.planning.rewards import (
    OnSupport,
    Short,
    check_reward,
    points_on_lines,
    squared_distance_to_line,
)
from dfplan.planning.settings import PlannerSettings
from dfplan.record import Record
from dfplan.sampling.guidance import GuidanceSettings, gradient_ascent
from dfplan.sampling.model import SequenceModel
from dfplan.tokens.layout import TokenLayout
from dfplan.types import Plan, Reward

_POINTS_PER_LINE = 4
"""Points on each line of a plan at which its distance from the data is measured."""


class PlanObjective:
    """What plans are optimized for: a differentiable reward for guidance, and a score.

    The guidance reward is the weighted sum of :class:`~dfplan.planning.rewards.Short`,
    :class:`~dfplan.planning.rewards.OnSupport` and the caller's reward. The score, by which plans
    are compared, is ::

        -(travel time in steps) - support_penalty * (step lengths off the data) + caller's reward

    A step length is the distance that the body covers in one environment step at top speed. Travel
    time is the sum over the plan's lines of the distance along the larger axis, in step lengths.
    The planner knows walls only as places that the data never visited.

    Attributes:
        settings: weights, and how to sample.

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
        self._reward = None if reward is None else check_reward(reward)
        terms = settings.smoothness_weight * Short()
        terms = terms + settings.support_weight * OnSupport(self._statistics.safe_support)
        self._guidance_reward = terms if self._reward is None else terms + self._reward

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

    def score(self, states: torch.Tensor) -> torch.Tensor:
        """The score of states [S, P, W]; [S]."""
        points = states[..., self._position]
        line = points.diff(dim=1).abs().amax(-1) / self._step_length
        off_length = (self.off_support(points) * line).sum(-1)
        score = -line.sum(-1) - self.settings.support_penalty * off_length
        return score if self._reward is None else score + self._reward(states, self._steps(states))

    def off_support(self, states: torch.Tensor) -> torch.Tensor:
        """Fraction of each line of [S, P, W] that is farther than the margin from the data.

        Float [S, P - 1].
        """
        points = states[..., self._position]
        lines = points_on_lines(points, _POINTS_PER_LINE)
        distance = self._statistics.safe_support.distance(lines)
        off = (distance > self.settings.support_margin * self._step_length).float()
        return off.view(*points.diff(dim=1).shape[:-1], _POINTS_PER_LINE).mean(-1)

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
        anneal = self._reward is not None
        iterations, max_move = self.settings.refine_steps, guidance.max_move
        return gradient_ascent(
            self.guidance_reward, states, scale, iterations, max_move, anneal=anneal
        )

    def _steps(self, states: torch.Tensor) -> torch.Tensor:
        """The environment step of each of ``states`` [S, P, W]; float [P]."""
        return torch.arange(states.shape[1], dtype=states.dtype) * float(self._stride)


@dataclass(frozen=True)
class Selected(Record):
    """The best candidate of each query.

    Attributes:
        index: which candidate it was, int [B].
        states: its states after refinement, float [B, P, W].
    """

    index: torch.Tensor
    states: torch.Tensor


def select(
    query: PlanQuery, candidates: Candidates, objective: PlanObjective, layout: TokenLayout
) -> Selected:
    """Refine the best candidates of each query and select the one with the highest score.

    Args:
        query: what the candidates were made for.
        candidates: to choose from.
        objective: refines and scores; its settings say how many candidates are refined.
        layout: layout of the candidates' tokens.
    """
    # A last point that is the goal stays where it is.
    fixed = 0 if query.goal is None else 1
    last = candidates.end * layout.frame_stack - fixed
    order = candidates.scores.argsort(dim=1, descending=True, stable=True)
    best = order[:, : objective.settings.refine_top_k]
    row = torch.arange(len(order))[:, None]
    states, before = candidates.states[row, best], candidates.scores[row, best]
    refined = objective.refine(states.flatten(0, 1), last[row, best].flatten())
    after = objective.score(refined).view(before.shape)
    # Refinement can lower the score, for example if a strong reward pulls a line off the data.
    states = torch.where((after >= before)[..., None, None], refined.view(states.shape), states)
    row, winner = row[:, 0], torch.maximum(after, before).argmax(1)
    return Selected(best[row, winner], states[row, winner])


def to_plan(
    query: PlanQuery,
    model: SequenceModel,
    candidates: Candidates,
    selected: Selected,
    *,
    evaluations: int,
    began: float,
    maze: str | None,
) -> Plan:
    """The plan of the selected candidates.

    Args:
        query: what was planned for.
        model: the model that made the candidates.
        candidates: the candidates that were compared.
        selected: the best candidate of each query.
        evaluations: network evaluations for each query.
        began: ``time.perf_counter()`` at the start of planning.
        maze: the maze as text, for drawing.
    """
    layout = model.layout
    chosen = torch.arange(len(query)), selected.index
    position = layout.position
    points, lines = selected.states[..., position], candidates.states[..., position]
    return Plan(
        points=points.numpy(),
        steps=candidates.end[chosen].numpy() * layout.token_steps,
        stride=layout.stride,
        level=candidates.level[chosen].numpy(),
        max_level=model.schedule.max_level,
        spread=spread(points, lines).numpy(),
        candidates=lines.numpy(),
        scores=candidates.scores.numpy(),
        observation=query.observation,
        goal=query.goal,
        evaluations=evaluations,
        seconds=time.perf_counter() - began,
        maze=maze,
        history=None if query.history is None else query.history.observed[..., position],
        velocities=_planned("velocity", selected.states, layout),
        actions=_planned_actions(selected.states, layout),
        states=None if layout.holds_positions_alone else selected.states.numpy(),
        layout=query.layout,
    )


def _planned(name: str, states: torch.Tensor, layout: TokenLayout) -> np.ndarray | None:
    return states[..., layout.columns(name)].numpy() if layout.has(name) else None


def _planned_actions(states: torch.Tensor, layout: TokenLayout) -> np.ndarray | None:
    """The action to take at each point [B, P, A]: the one that leads to the next point."""
    actions = _planned("action", states, layout)
    return None if actions is None else np.concatenate([actions[:, 1:], actions[:, -1:]], 1)


def spread(points: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """How far candidates [B, C, P, 2] pass from each of ``points`` [B, P, 2]; [B, P].

    The root mean square over candidates of the distance to the candidate's line. It measures where
    a candidate passes, not when.
    """
    squared = [squared_distance_to_line(points, line) for line in candidates.unbind(1)]
    return torch.stack(squared).mean(0).sqrt()


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
