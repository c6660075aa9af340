"""Partial plans: sequences in which some tokens are known, and the records made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import ConfigError
from dfplan.planning.observation_history import noise_to_level, read_history
from dfplan.planning.planner import PlanArguments
from dfplan.planning.query import PlanQuery, read_query
from dfplan.planning.route import TimedLine
from dfplan.planning.row_errors import first_then_others, in_row
from dfplan.planning.settings import PlannerSettings
from dfplan.record import Record
from dfplan.sampling.matrices import FREE
from dfplan.sampling.model import SequenceModel

_MAX_JOINED = 4096
"""Largest number of tokens in a plan that is longer than a window."""

EARLIEST, LATEST = 0.9, 1.2
"""Horizons of candidates, as multiples of the expected time to the goal."""


@dataclass(frozen=True)
class Surroundings(Record):
    """S plans, of which a segment is replaced.

    Attributes:
        states: in physical units, float [S, P, W].
        first: index of the first state of the segment, int [S].
        last: index of its last state, int [S].
    """

    states: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor

    def part(self, rows: slice) -> Surroundings:
        """The plans ``rows``."""
        return Surroundings(self.states[rows], self.first[rows], self.last[rows])

    def around(self, segment: torch.Tensor) -> torch.Tensor:
        """The plans with the states ``segment`` [S, Q, W] in their place; [S, P, W].

        With an S that is a multiple of the number of plans, these repeat.
        """
        repeats = len(segment) // len(self.first)
        states = self.states.repeat(repeats, 1, 1)
        first, last = self.first.repeat(repeats)[:, None], self.last.repeat(repeats)[:, None]
        index = torch.arange(states.shape[1])
        inside = (index >= first) & (index <= last)
        source = (index - first).clamp(0, segment.shape[1] - 1)
        source = source[..., None].expand(-1, -1, segment.shape[2])
        return torch.where(inside[..., None], segment.gather(1, source), states)


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
        start_level: the level of each token of ``x`` before denoising, int [S, T]; None for pure
            noise.
        surroundings: the plan that each sequence is a part of; None for whole plans.
    """

    x: torch.Tensor
    held: torch.Tensor
    end: torch.Tensor
    before: int = 0
    guidance_weight: torch.Tensor | None = None
    start_level: torch.Tensor | None = None
    surroundings: Surroundings | None = None

    def __len__(self) -> int:
        return len(self.end)

    def followed_by(self, others: PartialPlan) -> PartialPlan:
        """These sequences, and then ``others``, made in the same way and of the same length."""
        level = self.start_level
        if level is not None and others.start_level is not None:
            level = torch.cat([level, others.start_level])
        return replace(
            self,
            x=torch.cat([self.x, others.x]),
            held=torch.cat([self.held, others.held]),
            end=torch.cat([self.end, others.end]),
            start_level=level,
        )

    def part(self, rows: slice) -> PartialPlan:
        """The sequences ``rows``."""
        weight, level, around = self.guidance_weight, self.start_level, self.surroundings
        return replace(
            self,
            x=self.x[rows],
            held=self.held[rows],
            end=self.end[rows],
            guidance_weight=None if weight is None else weight[rows],
            start_level=None if level is None else level[rows],
            surroundings=None if around is None else around.part(rows),
        )


@dataclass(frozen=True)
class Guess(Record):
    """Lines that plans may become. Denoising starts from them, with noise added.

    Attributes:
        lines: one for each query; None for a query that starts from pure noise.
        noise: standard deviation of the noise at the start and at the end of each line, in units of
            position, float [B, 2]; the noise level changes linearly between them.
    """

    lines: Sequence[TimedLine | None]
    noise: np.ndarray

    def levels(self, ends: torch.Tensor, model: SequenceModel) -> torch.Tensor:
        """The noise level of each token after the present, int [S, 1 + longest end].

        Args:
            ends: last token of each candidate, int [B, C].
            model: to plan with.
        """
        noise = np.where([[line is None] for line in self.lines], np.inf, self.noise)
        first, last = torch.from_numpy(noise_to_level(noise, model).clip(min=1)).T[..., None, None]
        token = torch.arange(int(ends.max()) + 1, dtype=torch.float32)
        share = (token / ends[..., None]).clamp(max=1)
        level: torch.Tensor = (first + (last - first) * share).round().long()
        return level.flatten(0, 1)


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

    def part(self, rows: slice) -> Denoised:
        """The sequences ``rows``."""
        return Denoised(self.level[:, rows], self.clean[:, rows], self.evaluations)


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

    def at(self, index: torch.Tensor) -> Candidates:
        """The candidates at ``index`` [B, C'] of each query."""
        place = torch.arange(len(index))[:, None], index
        return Candidates(
            self.states[place], self.end[place], self.level[place], self.scores[place]
        )

    def followed_by(self, others: Candidates) -> Candidates:
        """These candidates, and then those of ``others`` for the same queries."""
        length = max(self.states.shape[2], others.states.shape[2])
        parts = [each._with_length(length) for each in (self, others)]
        return Candidates(
            *(
                torch.cat([getattr(part, name) for part in parts], 1)
                for name in ("states", "end", "level", "scores")
            )
        )

    def _with_length(self, length: int) -> Candidates:
        """The same with P = ``length``, where the last states are repeated."""
        missing = length - self.states.shape[2]
        if not missing:
            return self
        states = torch.cat([self.states, self.states[:, :, -1:].expand(-1, -1, missing, -1)], 2)
        level = torch.cat([self.level, self.level[:, :, -1:].expand(-1, -1, missing)], 2)
        return replace(self, states=states, level=level)


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
    query: PlanQuery,
    model: SequenceModel,
    horizon: int | None,
    expected: Sequence[float | None] | None = None,
    *,
    joined: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The shortest and longest horizon of each query, in tokens after the present; int [B].

    Args:
        query: to plan for.
        model: to plan with.
        horizon: environment steps, if the plan must have this length.
        expected: environment steps that the plan of each query takes, if they are known and
            ``horizon`` is None.
        joined: whether a plan can be longer than a window of the model, which then needs at least
            3 tokens.

    Raises:
        ConfigError: the horizon is no possible number of steps, or too short.
    """
    layout = model.layout
    token_steps = layout.token_steps
    before = 0 if query.history is None else query.history.tokens(layout) - 1
    window = layout.longest_horizon - before * token_steps
    limit = (_MAX_JOINED - before) * token_steps if joined and layout.tokens > 2 else window
    given = window if horizon is None else horizon
    # As Python's int: NumPy's unsigned integers have no negative numbers.
    steps = int(given) if isinstance(given, int | np.integer) else 0
    if not 1 <= steps <= limit:
        raise ConfigError(
            f"The horizon must be a whole number from 1 to {limit} environment steps; got "
            f"{horizon!r}. Choose one in this range, plan to a nearer goal first, or train with "
            "more tokens."
        )
    longest = torch.full((len(query),), -(-steps // token_steps))
    if query.goal is None:
        return longest, longest
    # A horizon in which not even a straight line at top speed arrives needs no candidate.
    away = (torch.from_numpy(query.goal) - query.start).abs().amax(1)
    max_step = model.statistics.motion.max_step
    shortest = (away / (max_step * token_steps)).ceil().clamp_min(1).long()
    durations = [None] * len(query) if expected is None or horizon is not None else expected
    known = torch.tensor([duration is not None for duration in durations])
    tokens = torch.tensor([each or 0.0 for each in durations], dtype=torch.float64) / token_steps
    least = torch.maximum(shortest, (EARLIEST * tokens).ceil().long())
    shortest = torch.where(known, least, shortest)
    most = (LATEST * tokens).ceil().long().clamp(max=limit // token_steps)
    longest = torch.where(known, torch.maximum(shortest, most), longest)
    if (shortest > longest).any():
        row = int((shortest - longest).argmax())
        raise ConfigError(
            f"The goal{in_row(row, len(away))} is {float(away[row]):.3g} away, which takes at "
            f"least {int(shortest[row]) * token_steps} steps; the horizon is {steps}. Give a "
            "longer horizon, or plan to a nearer goal first.",
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
    query: PlanQuery,
    model: SequenceModel,
    ends: torch.Tensor,
    generator: torch.Generator,
    guess: Guess | None = None,
) -> PartialPlan:
    """Noise between each query's start and its goal at token ``ends`` [B, C]; S = B * C.

    Args:
        query: to plan for.
        model: to plan with.
        ends: last token of each candidate, int [B, C].
        generator: draws the noise.
        guess: where to start from; by default from pure noise.
    """
    frames = start_frames(query, model)
    context = model.layout.to_tokens(frames)
    tokens = context.shape[1]
    count, end = ends.shape[1], ends.flatten() + tokens - 1
    index = torch.arange(int(end.max()) + 1)
    shape = len(end), len(index), model.layout.token_width
    x = _noise(shape, generator)
    held = torch.where(index <= end[:, None], FREE, model.schedule.max_level)
    level = None
    if guess is not None:
        x, level = from_guess(x, held, guess, ends, model, before=tokens - 1)
    x[:, :tokens], held[:, :tokens] = context.repeat_interleave(count, 0), 0
    if query.goal is not None:
        row = torch.arange(len(end))
        x[row, end], held[row, end] = goal_tokens(query, model).repeat_interleave(count, 0), 0
    before = frames.shape[1] - 1
    return PartialPlan(x, held, end, before, start_level=level)


def from_guess(
    x: torch.Tensor,
    held: torch.Tensor,
    guess: Guess,
    ends: torch.Tensor,
    model: SequenceModel,
    before: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Start free tokens from a guess, with the noise ``x`` [S, T, D].

    Args:
        x: standard normal noise.
        held: level of held tokens, ``FREE`` for others, int [S, T].
        guess: one line for each query.
        ends: last token of each candidate, counted from the present one, int [B, C].
        model: to plan with.
        before: tokens before the present one.

    Returns:
        The tokens [S, T, D], and their levels [S, T].
    """
    level = F.pad(guess.levels(ends, model), (before, 0))
    clean = F.pad(tokens_of_lines(guess.lines, ends, model), (0, 0, before, 0))
    noised = model.schedule.add_noise(clean, x, level)
    return torch.where((held == FREE)[..., None], noised, x), level


def _noise(shape: tuple[int, int, int], generator: torch.Generator) -> torch.Tensor:
    """Standard normal float [S, T, D], of which the first tokens do not depend on T."""
    count, tokens, width = shape
    return torch.stack(
        [
            torch.randn(count, width, generator=generator, dtype=torch.float32)
            for _ in range(tokens)
        ],
        1,
    )


def candidate_states(
    level: torch.Tensor,
    clean: torch.Tensor,
    *,
    partial: PartialPlan,
    model: SequenceModel,
    count: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Levels [B, C, P] and states [B, C, P, W] from the present on.

    Args:
        level: level of each token, int [S, T].
        clean: clean estimates, [S, T, D].
        partial: what was denoised.
        model: that denoised it.
        count: C, candidates of each query.
    """
    stack = model.layout.frame_stack
    frame = torch.arange(1 + (level.shape[1] - 1) * stack)
    token = torch.minimum((frame + stack - 1) // stack, partial.end[:, None])
    level = level.gather(1, token)[:, partial.before :]
    states = model.states(clean, partial.end)[:, partial.before :]
    shape = len(level) // count, count
    return level.view(*shape, -1), states.view(*shape, *states.shape[1:])


def tokens_of_lines(
    lines: Sequence[TimedLine | None], ends: torch.Tensor, model: SequenceModel
) -> torch.Tensor:
    """Tokens [S, 1 + longest end, D] of the lines, each walked in the time of its candidate.

    They are 0 for a query without a line.
    """
    stack = model.layout.frame_stack
    frame = np.arange(1 + int(ends.max()) * stack)
    points = [
        np.zeros((len(frame), 2))
        if line is None
        else line.at(frame * (line.duration / (int(end) * stack)))
        for line, own in zip(lines, ends, strict=True)
        for end in own
    ]
    positions = torch.from_numpy(np.stack(points).astype(np.float32))
    return model.layout.to_tokens(model.layout.known_frames(_normalized(positions, model)))
