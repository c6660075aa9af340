"""Refine and select candidate plans."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from dfplan.planning.objective import PlanObjective
from dfplan.planning.partial_plan import Candidates
from dfplan.planning.query import PlanQuery
from dfplan.planning.rewards import squared_distance_to_line
from dfplan.record import Record
from dfplan.sampling.model import SequenceModel
from dfplan.tokens.layout import TokenLayout
from dfplan.types import Plan


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
