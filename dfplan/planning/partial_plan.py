"""Partial plans: sequences in which some tokens are known, and the records made from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.errors import ConfigError
from dfplan.planning.observation_history import read_history
from dfplan.planning.planner import PlanArguments
from dfplan.planning.query import PlanQuery, read_query
from dfplan.planning.row_errors import first_then_others, in_row
from dfplan.planning.settings import PlannerSettings
from dfplan.record import Record
from dfplan.sampling.matrices import FREE
from dfplan.sampling.model import SequenceModel


@dataclass(frozen=True)
class PartialPlan(Record):
    """S sequences in which some tokens are known and the others are pure noise.

    Attributes:
        x: tokens, normalized; float [S, T, D].
        held: the level that each token keeps while the others are denoised, or ``FREE`` for those
            that are denoised; int [S, T].
        end: index of each plan's last token, int [S].
        before: number of positions before the present one; 0 without a history.
        guidance_weight: factor on the guidance scale of each sequence, float [S]; None for 1.
    """

    x: torch.Tensor
    held: torch.Tensor
    end: torch.Tensor
    before: int = 0
    guidance_weight: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.end)

    def part(self, rows: slice) -> PartialPlan:
        """The sequences ``rows``."""
        weight = None if self.guidance_weight is None else self.guidance_weight[rows]
        return PartialPlan(self.x[rows], self.held[rows], self.end[rows], self.before, weight)


@dataclass(frozen=True)
class Denoised(Record):
    """The results of the M steps of a sampling run.

    Attributes:
        level: noise levels, int [M, S, T].
        clean: clean estimates, float [M, S, T, D]. A token that has reached level 0 is the token
            itself, not its last estimate.
        evaluations: network evaluations for each sequence.
    """

    level: torch.Tensor
    clean: torch.Tensor
    evaluations: int


@dataclass(frozen=True)
class Candidates(Record):
    """Plans to choose from.

    Attributes:
        states: in physical units, the position first; float [B, C, P, W].
        end: index of the last token, int [B, C].
        level: noise level of each point's token when sampling stopped, int [B, C, P].
        scores: higher is better, float [B, C].
    """

    states: torch.Tensor
    end: torch.Tensor
    level: torch.Tensor
    scores: torch.Tensor


def read_plan_query(
    arguments: PlanArguments, model: SequenceModel, settings: PlannerSettings
) -> PlanQuery:
    """Check the arguments of :meth:`~dfplan.planning.planner.BasePlanner.plan`.

    Raises:
        ObservationError: wrong shapes, values that are not finite, or a goal, or a start without
            noise, that is too far from the data.
        ConfigError: no goal and no reward, or a history that does not fit into the model.
    """
    layout = model.layout
    query = read_query(
        arguments.observation,
        arguments.goal,
        layout.observation,
        complete=layout.observed != layout.observation.position,
    )
    if arguments.history is not None:
        history = read_history(arguments.history, layout, model.schedule.max_level, len(query))
        query = query.with_history(history, layout.observed)
    query.require_near_data(
        model.statistics, settings.max_start_distance, settings.max_goal_distance
    )
    if arguments.goal is None and arguments.reward is None:
        raise ConfigError("A plan needs a goal, a reward, or both; got neither.")
    return query


def horizons(
    query: PlanQuery, model: SequenceModel, horizon: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The shortest and longest horizon of each query, in tokens after the present; int [B].

    Args:
        query: to plan for.
        model: to plan with.
        horizon: environment steps, if the plan must have this length.

    Raises:
        ConfigError: the model cannot plan over this horizon, or it is too short.
    """
    layout = model.layout
    token_steps = layout.token_steps
    before = 0 if query.history is None else query.history.tokens(layout) - 1
    limit = layout.longest_horizon - before * token_steps
    given = limit if horizon is None else horizon
    # As Python's int: NumPy's unsigned integers have no negative numbers.
    steps = int(given) if isinstance(given, int | np.integer) else 0
    if not 1 <= steps <= limit:
        raise ConfigError(
            f"The horizon must be a whole number from 1 to {limit} environment steps; got "
            f"{horizon!r}. Plan to a nearer goal first, or train with more tokens."
        )
    longest = torch.full((len(query),), -(-steps // token_steps))
    if query.goal is None:
        return longest, longest
    # A horizon in which not even a straight line at top speed arrives needs no candidate.
    away = (torch.from_numpy(query.goal) - query.start).abs().amax(1)
    max_step = model.statistics.motion.max_step
    shortest = (away / (max_step * token_steps)).ceil().clamp_min(1).long()
    if (shortest > longest).any():
        row = int(shortest.argmax())
        raise ConfigError(
            f"The goal{in_row(row, len(away))} is {float(away[row]):.3g} away, which takes at "
            f"least {int(shortest[row]) * token_steps} steps; got a horizon of {steps}, and the "
            f"model's longest is {limit}. Give a longer horizon, plan to a nearer goal first, "
            "or train with more tokens.",
            rows=first_then_others(row, (shortest > longest).numpy()),
        )
    return shortest if horizon is None else longest, longest


def start_frames(query: PlanQuery, model: SequenceModel) -> torch.Tensor:
    """Normalized frames [B, H, W] up to the present one; H is 1 without a history."""
    if query.history is None:
        observed = torch.from_numpy(query.observation[:, list(model.layout.observed)])[:, None]
    else:
        observed = torch.from_numpy(query.history.observed)
    return model.layout.known_frames(_normalized(observed, model))


def goal_tokens(query: PlanQuery, model: SequenceModel) -> torch.Tensor:
    """The clean tokens [B, D] of the goals, which must be known."""
    return model.layout.goal_token(_normalized(torch.from_numpy(query.goal), model))


def _normalized(values: torch.Tensor, model: SequenceModel) -> torch.Tensor:
    """Normalize the first columns of frames, [..., O]."""
    return model.statistics.normalizer.first(values.shape[-1]).normalize(values)


def partial_plan(
    query: PlanQuery, model: SequenceModel, ends: torch.Tensor, generator: torch.Generator
) -> PartialPlan:
    """Noise between each query's start and its goal at token ``ends`` [B, C]; S = B * C."""
    frames = start_frames(query, model)
    context = model.layout.to_tokens(frames)
    tokens = context.shape[1]
    count, end = ends.shape[1], ends.flatten() + tokens - 1
    index = torch.arange(int(end.max()) + 1)
    shape = len(end), len(index), model.layout.token_width
    x = torch.randn(shape, generator=generator, dtype=torch.float32)
    held = torch.where(index <= end[:, None], FREE, model.schedule.max_level)
    x[:, :tokens], held[:, :tokens] = context.repeat_interleave(count, 0), 0
    if query.goal is not None:
        row = torch.arange(len(end))
        x[row, end], held[row, end] = goal_tokens(query, model).repeat_interleave(count, 0), 0
    return PartialPlan(x, held, end, frames.shape[1] - 1)
