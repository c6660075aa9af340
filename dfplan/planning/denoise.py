"""Denoise partial plans along a scheduling matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dfplan.blocks import blocks
from dfplan.planning.partial_plan import Denoised, PartialPlan
from dfplan.sampling.loop import sample
from dfplan.types import Denoiser, Step

Guide = Callable[[Denoiser, PartialPlan], Denoiser]
"""Wraps a denoiser so that it is guided on these partial plans."""

RowCallback = Callable[[Sequence[tuple[torch.Tensor, torch.Tensor]]], None]
"""Called after each row with all rows so far: (level [S, T], clean [S, T, D]) each."""


def denoise(
    denoiser: Denoiser,
    partial: PartialPlan,
    matrix: torch.Tensor,
    *,
    step: Step,
    guide: Guide,
    generator: torch.Generator,
    largest_batch: int,
    callback: RowCallback | None = None,
) -> Denoised:
    """Denoise partial plans, in batches.

    Args:
        denoiser: ``(x, level) -> clean estimate``.
        partial: S sequences with known tokens and noise.
        matrix: scheduling matrix, int [M+1, S, T].
        step: of the sampler.
        guide: adds guidance to the denoiser.
        generator: draws the noise of steps and of Monte Carlo samples.
        largest_batch: most sequences in one batch.
        callback: called after each row. All sequences are then one batch.
    """
    size = largest_batch if callback is None else len(partial)
    parts = [
        _denoise_batch(
            denoiser, partial.part(rows), matrix[:, rows], step, guide, generator, callback
        )
        for rows in blocks(len(partial), size)
    ]
    return Denoised(
        level=torch.cat([part.level for part in parts], 1),
        clean=torch.cat([part.clean for part in parts], 1),
        evaluations=parts[0].evaluations,
    )


def _denoise_batch(
    denoiser: Denoiser,
    partial: PartialPlan,
    matrix: torch.Tensor,
    step: Step,
    guide: Guide,
    generator: torch.Generator,
    callback: RowCallback | None,
) -> Denoised:
    rows: list[tuple[torch.Tensor, torch.Tensor]] = []
    evaluations = 0

    def counted(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        nonlocal evaluations
        evaluations += len(x)
        return denoiser(x, level)

    def keep(x: torch.Tensor, clean: torch.Tensor, level: torch.Tensor) -> None:
        rows.append((level, torch.where((level == 0)[..., None], x, clean)))
        if callback is not None:
            callback(rows)

    guided = guide(counted, partial)
    sample(guided, partial.x, matrix, step=step, generator=generator, callback=keep)
    return Denoised(
        level=torch.stack([level for level, _ in rows]),
        clean=torch.stack([clean for _, clean in rows]),
        evaluations=evaluations // len(partial),
    )
