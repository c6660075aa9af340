"""Samples of the clean tokens given noisy ones, for Monte Carlo guidance."""

from __future__ import annotations

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.sampling.loop import sample
from dfplan.sampling.steps import ancestral
from dfplan.types import Denoiser


def estimate_samples(
    denoiser: Denoiser,
    clean: torch.Tensor,
    level: torch.Tensor,
    schedule: NoiseSchedule,
    count: int,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """Approximate ``count`` samples by clean estimates, with ``count - 1`` network evaluations.

    The first sample is ``clean`` itself. For each of the others, ``clean`` is noised again to the
    levels that it was estimated at, and denoised once. They are estimates and not samples: if the
    data has two modes, an estimate at pure noise is their mean, whatever the noise was.

    Args:
        denoiser: ``(x, level) -> clean estimate``.
        clean: the clean estimate, [B, T, D].
        level: noise levels that it was estimated at, int [B, T].
        schedule: the noise schedule.
        count: N, at least 1.
        generator: draws the noise; may be None for N = 1.

    Returns:
        Float [N, B, T, D].
    """
    if count == 1:
        return clean[None]
    levels = level.repeat(count - 1, 1)
    shape = len(levels), *clean.shape[1:]
    noise = torch.randn(shape, generator=generator, dtype=clean.dtype, device=clean.device)
    noisy = schedule.add_noise(clean.repeat(count - 1, 1, 1), noise, levels)
    return torch.cat([clean[None], denoiser(noisy, levels).view(-1, *clean.shape)])


def draw_samples(
    denoiser: Denoiser,
    x: torch.Tensor,
    level: torch.Tensor,
    schedule: NoiseSchedule,
    count: int,
    steps: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Draw ``count`` samples of the clean tokens given ``x``, each in ``steps`` network calls.

    All tokens are denoised together by :func:`~dfplan.sampling.steps.ancestral`. With many steps
    these are draws from the model's distribution.

    Args:
        denoiser: ``(x, level) -> clean estimate``.
        x: noisy tokens, [B, T, D].
        level: their noise levels, int [B, T].
        schedule: the noise schedule.
        count: N, at least 1.
        steps: at least 1.
        generator: draws the noise of the steps.

    Returns:
        Float [N, B, T, D].
    """
    left = torch.arange(steps, -1, -1, device=x.device)[:, None, None]
    matrix = -(-level.repeat(count, 1) * left // steps)
    start, step = x.repeat(count, 1, 1), ancestral(schedule)
    drawn = sample(denoiser, start, matrix, step=step, generator=generator)
    return drawn.view(-1, *x.shape)
