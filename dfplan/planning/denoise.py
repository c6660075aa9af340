"""Denoise partial plans along a sampling schedule, with guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch

from dfplan.blocks import blocks
from dfplan.diffusion.schedules import interpolation_schedule
from dfplan.planning.objective import PlanObjective
from dfplan.planning.partial_plan import Denoised, PartialPlan
from dfplan.planning.settings import PlannerSettings
from dfplan.sampling.guidance import GUIDANCES, Guidance, GuidanceSettings, monte_carlo
from dfplan.sampling.joint import join_windows, window_count
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import FREE, hold
from dfplan.sampling.model import SequenceModel
from dfplan.sampling.steps import sampling_step
from dfplan.types import Denoiser

RowCallback = Callable[[Sequence[tuple[torch.Tensor, torch.Tensor]], int], None]
"""Called after each row with all rows so far, (level [S, T], clean [S, T, D]) each, and with the
number of rows."""


def denoise(
    partial: PartialPlan,
    model: SequenceModel,
    objective: PlanObjective,
    generator: torch.Generator,
    callback: RowCallback | None = None,
) -> Denoised:
    """Denoise partial plans, in batches, guided by an objective.

    Args:
        partial: S sequences with known tokens and noise.
        model: denoises them.
        objective: its settings say how to sample, and guidance increases its reward.
        generator: draws the noise of steps and of Monte Carlo samples.
        callback: called after each row. All sequences are then one batch.
    """
    settings = objective.settings
    size = max(1, settings.largest_batch // settings.mc_samples)
    matrix = _matrix(partial, model, settings)
    parts = [
        _denoise_batch(partial.part(rows), matrix[:, rows], model, objective, generator, callback)
        for rows in blocks(len(partial), size if callback is None else len(partial))
    ]
    return Denoised(
        level=torch.cat([part.level for part in parts], 1),
        clean=torch.cat([part.clean for part in parts], 1),
        evaluations=parts[0].evaluations,
    )


def evaluations(settings: PlannerSettings, model: SequenceModel, length: int, known: int) -> int:
    """Network evaluations needed to denoise one sequence from pure noise.

    Args:
        settings: of the planner.
        model: denoises it.
        length: tokens of the sequence.
        known: how many of them are held.
    """
    rows = len(settings.sampling.rows(max(1, length - known), model.schedule.max_level)) - 1
    window = model.layout.tokens
    windows = window_count(length, window, _overlap(window))
    return rows * windows * _evaluations_per_row(settings.guidance, settings.mc_samples)


@cache
def _evaluations_per_row(settings: GuidanceSettings, mc_samples: int) -> int:
    """How many sequences the guidance denoises for one, counted on a stand-in for the network."""
    count = 0

    def counted(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += len(x)
        return x.clone()

    guidance = _guidance(settings, mc_samples, torch.Generator())
    token, schedule = torch.zeros(1, 1, 1), interpolation_schedule(1)
    guidance(counted, lambda clean: clean.sum((1, 2)), schedule, settings)(
        token, torch.ones(1, 1, dtype=torch.long)
    )
    return count


def _guidance(settings: GuidanceSettings, mc_samples: int, generator: torch.Generator) -> Guidance:
    guidance: Guidance = GUIDANCES[settings.method]
    if mc_samples == 1 and settings.mc_sample_steps == 1:
        return guidance
    return monte_carlo(guidance, mc_samples, settings.mc_sample_steps, generator=generator)


def _matrix(partial: PartialPlan, model: SequenceModel, settings: PlannerSettings) -> torch.Tensor:
    """The scheduling matrix of partial plans, int [M+1, S, T]."""
    free = (partial.held == FREE).sum(1).clamp_min(1)
    matrix = hold(settings.sampling.rows(free, model.schedule.max_level), partial.held)
    if partial.start_level is None:
        return matrix
    matrix = torch.where(partial.held == FREE, matrix.minimum(partial.start_level), matrix)
    changed = (matrix.diff(dim=0) != 0).flatten(1).any(1)
    changed[-1] = True  # without a free token, there is one row
    return torch.cat([matrix[:1], matrix[1:][changed]])


def _denoise_batch(
    partial: PartialPlan,
    matrix: torch.Tensor,
    model: SequenceModel,
    objective: PlanObjective,
    generator: torch.Generator,
    callback: RowCallback | None,
) -> Denoised:
    rows: list[tuple[torch.Tensor, torch.Tensor]] = []
    evaluations = 0

    def counted(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        nonlocal evaluations
        evaluations += len(x)
        return model.denoiser(x, level)

    def keep(x: torch.Tensor, clean: torch.Tensor, level: torch.Tensor) -> None:
        rows.append((level, torch.where((level == 0)[..., None], x, clean)))
        if callback is not None:
            callback(rows, len(matrix) - 1)

    denoiser: Denoiser = counted
    if partial.x.shape[1] > model.layout.tokens:
        window = model.layout.tokens
        denoiser = join_windows(
            counted, window, _overlap(window), model.schedule.max_level, generator
        )
    sample(
        _guided(denoiser, partial, model, objective, generator),
        partial.x,
        matrix,
        step=sampling_step(objective.settings.step, model.schedule),
        generator=generator,
        callback=keep,
    )
    return Denoised(
        level=torch.stack([level for level, _ in rows]),
        clean=torch.stack([clean for _, clean in rows]),
        evaluations=evaluations // len(partial),
    )


def _overlap(window: int) -> int:
    """Tokens that neighboring windows share."""
    return min(round(window / 2), window - 2)


def _guided(
    denoiser: Denoiser,
    partial: PartialPlan,
    model: SequenceModel,
    objective: PlanObjective,
    generator: torch.Generator,
) -> Denoiser:
    """The denoiser, guided toward a higher reward of the objective."""
    settings = objective.settings

    def value(clean: torch.Tensor) -> torch.Tensor:
        end = partial.end.repeat(len(clean) // len(partial))
        states = model.states(clean, end)[:, partial.before :]
        if partial.surroundings is not None:
            states = partial.surroundings.around(states)
        return objective.guidance_reward(states)

    guidance = _guidance(settings.guidance, settings.mc_samples, generator)
    return guidance(
        denoiser,
        value,
        model.schedule,
        objective.guidance,
        unit=_units(model),
        weight=partial.guidance_weight,
    )


def _units(model: SequenceModel) -> torch.Tensor:
    """The size of 1 of each number of a token in units of position, float [D].

    Other columns have other units. Guidance moves them by as many standard deviations.
    """
    layout, std = model.layout, model.statistics.normalizer.std
    unit = std[layout.position].mean().repeat(layout.width)
    unit[layout.position] = std[layout.position]
    return unit.repeat(layout.frame_stack)
