"""Refine and select candidate plans."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from dfplan.planning.objective import PlanObjective
from dfplan.planning.partial_plan import Candidates
from dfplan.planning.query import PlanQuery
from dfplan.planning.replans import same_route, spread
from dfplan.planning.timing import body_times
from dfplan.record import Record
from dfplan.sampling.model import SequenceModel
from dfplan.tokens.layout import TokenLayout
from dfplan.types import Plan

_NEXT_BEST = 1
"""Candidates that count as plans made again, since other noise could have made them the best. More
of them make the spread too large on validation problems."""


@dataclass(frozen=True)
class Selected(Record):
    """The best candidate of each query.

    Attributes:
        index: which candidate it was, int [B].
        states: its states after refinement, float [B, P, W].
        end: index of its last token, int [B].
        level: noise level of each point's token, int [B, P].
        others: states of plans that could have been the plan with another seed, refined, float
            [B, L, P, W]; None if they are not wanted.
    """

    index: torch.Tensor
    states: torch.Tensor
    end: torch.Tensor
    level: torch.Tensor
    others: torch.Tensor | None = None


def select(
    query: PlanQuery,
    candidates: Candidates,
    objective: PlanObjective,
    layout: TokenLayout,
    again: Candidates | None = None,
) -> Selected:
    """Refine the best candidates of each query and select the one with the highest score.

    Args:
        query: what the candidates were made for.
        candidates: to choose from.
        objective: refines and scores; its settings say how many candidates are refined.
        layout: layout of the candidates' tokens.
        again: the best candidates of plans that were made again. They and the next-best of
            ``candidates`` become the ``others``.
    """
    order = candidates.scores.argsort(dim=1, descending=True, stable=True)
    count = min(objective.settings.refine_top_k, order.shape[1])
    next_best = 0 if again is None else min(_NEXT_BEST, order.shape[1] - 1)
    wanted = max(count, 1 + next_best)
    tried = candidates.at(order[:, :wanted])
    if again is not None:
        tried = tried.followed_by(again)
    refined = _refined(query, tried, objective, layout)
    row = torch.arange(len(order))
    winner = refined.scores[:, :count].argmax(1)
    others = None
    if again is not None:
        index = torch.arange(next_best).expand(len(order), -1)
        index = index + (index >= winner[:, None]).long()
        remade = torch.arange(wanted, refined.scores.shape[1]).expand(len(order), -1)
        others = refined.at(torch.cat([index, remade], 1)).states
    return Selected(
        order[row, winner],
        refined.states[row, winner],
        refined.end[row, winner],
        refined.level[row, winner],
        others,
    )


def _refined(
    query: PlanQuery, candidates: Candidates, objective: PlanObjective, layout: TokenLayout
) -> Candidates:
    """The candidates after refinement, or unchanged where refinement lowers the score.

    It can, for example if a strong reward pulls a line off the data. Refined candidates are not
    faster than the body where there is time for it.
    """
    if not objective.settings.refine_steps:
        return candidates
    # A last point that is the goal stays where it is.
    fixed, end = 0 if query.goal is None else 1, (candidates.end * layout.frame_stack).flatten()
    raw = objective.within_speed(candidates.states.flatten(0, 1), end)
    before = objective.score(raw)
    refined = objective.within_speed(objective.refine(raw, end - fixed), end)
    after = objective.score(refined)
    states = torch.where((after >= before)[:, None, None], refined, raw)
    return replace(
        candidates,
        states=states.view(candidates.states.shape),
        scores=torch.maximum(after, before).view(candidates.scores.shape),
    )


def to_plan(
    query: PlanQuery,
    model: SequenceModel,
    candidates: Candidates,
    selected: Selected,
    *,
    evaluations: int,
    began: float,
    maze: str | None,
    timed: bool,
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
        timed: whether the body should be at each point when it was planned. Otherwise it hurries.
    """
    layout, statistics = model.layout, model.statistics
    position, motion = layout.position, statistics.motion
    states = selected.states
    points = states[..., position].numpy()
    others, same = None, None
    if selected.others is not None:
        others = selected.others[..., position].numpy()
        islands = statistics.support.islands
        same = np.stack([same_route(*pair, islands) for pair in zip(points, others, strict=True)])
    steps = selected.end.numpy() * layout.token_steps
    planned = np.minimum(np.arange(points.shape[1]) * layout.stride, steps[:, None])
    velocities = query.layout.velocities(query.observation)
    times = planned if timed else body_times(points, motion, velocities)
    return Plan(
        points=points,
        steps=steps,
        stride=layout.stride,
        level=selected.level.numpy(),
        max_level=model.schedule.max_level,
        candidates=candidates.states[..., position].numpy(),
        scores=candidates.scores.numpy(),
        observation=query.observation,
        goal=query.goal,
        evaluations=evaluations,
        seconds=time.perf_counter() - began,
        times=times.astype(np.float32),
        max_step=motion.max_step,
        spread=None if others is None or same is None else spread(points, others, same),
        replans=others,
        same_route=same,
        maze=maze,
        floor=statistics.support.floor,
        history=None if query.history is None else query.history.observed[..., position],
        velocities=_planned("velocity", states, layout),
        actions=_planned_actions(states, layout),
        states=None if layout.holds_positions_alone else states.numpy(),
        layout=query.layout,
    )


def _planned(name: str, states: torch.Tensor, layout: TokenLayout) -> np.ndarray | None:
    return states[..., layout.columns(name)].numpy() if layout.has(name) else None


def _planned_actions(states: torch.Tensor, layout: TokenLayout) -> np.ndarray | None:
    """The action of each environment step, [B, (P - 1) * stride, A]."""
    actions = _planned("action", states, layout)
    if actions is None:
        return None
    (steps,) = (feature.steps for feature in layout.features if feature.name == "action")
    each = actions[:, 1:].reshape(len(actions), -1, actions.shape[2] // steps)
    return each.repeat(layout.stride // steps, axis=1)
