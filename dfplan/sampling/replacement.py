"""Replacement: known tokens for a network that only ever saw one noise level at a time."""

from __future__ import annotations

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.types import Denoiser


def replaced(denoiser: Denoiser, schedule: NoiseSchedule, generator: torch.Generator) -> Denoiser:
    """Show known tokens, those at level 0, with noise of the level of the others.

    A network trained on whole sequences at one common level
    (:data:`~dfplan.diffusion.levels.FULL_SEQUENCE`) has never seen a clean token beside noisy
    ones. So at each step of sampling, what is known is drawn anew from the forward process at the
    step's level (the "replacement method", arXiv 2204.03458, section 3.1). The others then follow
    what is known only in part; steps that draw noise, and many of them, bring them nearer.

    Rollouts through a sliding window of T tokens in chunks of C do so by
    ``RecomputedCache(replaced(denoiser, schedule, generator), tokens=T - C)``.

    Args:
        denoiser: what to wrap.
        schedule: the noise schedule that it was trained with.
        generator: draws the noise.

    Returns:
        A denoiser of sequences whose tokens are known or at one level that they share; its
        estimate of a known token is that token.
    """

    def wrapped(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        known = level[..., None] == 0
        common = level.amax(1, keepdim=True).expand_as(level)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        shown = torch.where(known, schedule.add_noise(x, noise, common), x)
        return torch.where(known, x, denoiser(shown, common))

    return wrapped
