"""Score, refine and select candidate plans."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from dfplan.planning.partial_plan import Candidates
from dfplan.planning.rewards import OnSupport, Short, points_on_lines, squared_distance_to_line
from dfplan.planning.settings import PlannerSettings
from dfplan.record import Record
from dfplan.sampling.guidance import GuidanceSettings, gradient_ascent
from dfplan.tokens.statistics import Statistics
from dfplan.types import Reward

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

    Args:
        settings: weights.
        statistics: of the data.
        stride: environment steps between two points of a plan.
        reward: the caller's, or None.
    """

    def __init__(
        self,
        settings: PlannerSettings,
        statistics: Statistics,
        stride: int,
        reward: Reward | None = None,
    ) -> None:
        self._settings = settings
        self._statistics = statistics
        self._stride = stride
        self._reward = reward
        terms = settings.smoothness_weight * Short()
        terms = terms + settings.support_weight * OnSupport(statistics.support)
        self._guidance_reward = terms if reward is None else terms + reward

    @property
    def guidance(self) -> GuidanceSettings:
        """Settings of the guidance, with ``max_move`` in units of position."""
        guidance = self._settings.guidance
        return replace(guidance, max_move=guidance.max_move * self._step_length)

    @property
    def _step_length(self) -> float:
        return self._statistics.motion.max_step

    def guidance_reward(self, points: torch.Tensor) -> torch.Tensor:
        """The reward that guidance and refinement increase, of points [S, P, 2]; [S]."""
        return self._guidance_reward(points, self._steps(points))

    def score(self, points: torch.Tensor) -> torch.Tensor:
        """The score of points [S, P, 2]; [S]."""
        line = points.diff(dim=1).abs().amax(-1) / self._step_length
        off_length = (self.off_support(points) * line).sum(-1)
        score = -line.sum(-1) - self._settings.support_penalty * off_length
        return score if self._reward is None else score + self._reward(points, self._steps(points))

    def off_support(self, points: torch.Tensor) -> torch.Tensor:
        """Fraction of each line of [S, P, 2] that is farther than the margin from the data.

        Float [S, P - 1].
        """
        lines = points_on_lines(points, _POINTS_PER_LINE)
        distance = self._statistics.support.distance(lines)
        off = (distance > self._settings.support_margin * self._step_length).float()
        return off.view(*points.diff(dim=1).shape[:-1], _POINTS_PER_LINE).mean(-1)

    def refine(self, points: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Increase the guidance reward of plans by gradient ascent.

        Args:
            points: float [S, P, 2].
            last: the points 1 to this one are moved, int [S].
        """
        guidance = self.guidance
        index = torch.arange(points.shape[1])
        scale = ((index > 0) & (index <= last[:, None]))[..., None].float() * guidance.scale
        # The caller's reward may be steep; the planner's own terms are not.
        anneal = self._reward is not None
        iterations, max_move = self._settings.refine_steps, guidance.max_move
        return gradient_ascent(
            self.guidance_reward, points, scale, iterations, max_move, anneal=anneal
        )

    def _steps(self, points: torch.Tensor) -> torch.Tensor:
        """The environment step of each of ``points`` [S, P, 2]; float [P]."""
        return torch.arange(points.shape[1], dtype=points.dtype) * float(self._stride)


@dataclass(frozen=True)
class Selected(Record):
    """The best candidate of each query.

    Attributes:
        index: which candidate it was, int [B].
        points: its positions after refinement, float [B, P, 2].
    """

    index: torch.Tensor
    points: torch.Tensor


def select(
    candidates: Candidates, objective: PlanObjective, top_k: int, last: torch.Tensor
) -> Selected:
    """Refine the best candidates of each query and select the one with the highest score.

    Args:
        candidates: the plans to choose from.
        objective: refines and scores.
        top_k: how many candidates of a query are refined.
        last: index of the last point of each candidate that refinement may move, int [B, C].
    """
    order = candidates.scores.argsort(dim=1, descending=True, stable=True)
    best = order[:, :top_k]
    row = torch.arange(len(order))[:, None]
    points, before = candidates.points[row, best], candidates.scores[row, best]
    refined = objective.refine(points.flatten(0, 1), last[row, best].flatten())
    after = objective.score(refined).view(before.shape)
    # Refinement can lower the score, for example if a strong reward pulls a line off the data.
    points = torch.where((after >= before)[..., None, None], refined.view(points.shape), points)
    row, winner = row[:, 0], torch.maximum(after, before).argmax(1)
    return Selected(best[row, winner], points[row, winner])


def spread(points: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """How far candidates [B, C, P, 2] pass from each of ``points`` [B, P, 2]; [B, P].

    The root mean square over candidates of the distance to the candidate's line. It measures where
    a candidate passes, not when.
    """
    squared = [squared_distance_to_line(points, line) for line in candidates.unbind(1)]
    return torch.stack(squared).mean(0).sqrt()
