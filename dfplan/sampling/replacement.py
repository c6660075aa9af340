"""Replacement: conditioning for a network that was trained with one common noise level."""

from __future__ import annotations

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.types import Denoiser


def replaced(denoiser: Denoiser, schedule: NoiseSchedule, generator: torch.Generator) -> Denoiser:
    """Wrap a denoiser so that known tokens, those at level 0, get the noise level of the others.

    A network trained on whole sequences with one common level
    (:data:`~dfplan.diffusion.levels.FULL_SEQUENCE`) has never seen clean and noisy tokens together.
    So at each sampling step the known tokens are replaced by a draw from the forward process at
    the step's level (the "replacement method", arXiv 2204.03458, section 3.1). The other tokens
    then agree with the known ones only approximately; more steps, and steps that draw noise,
    improve the agreement.

    For a rollout in chunks of C tokens with a sliding window of T tokens use
    ``RecomputedCache(replaced(denoiser, schedule, generator), tokens=T - C)``.

    Args:
        denoiser: the denoiser to wrap.
        schedule: the noise schedule that it was trained with.
        generator: draws the noise.

    Returns:
        A denoiser of sequences in which all tokens that are not known share one level. Its
        estimate of a known token is that token.
    """

    def wrapped(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        known = level[..., None] == 0
        common = level.amax(1, keepdim=True).expand_as(level)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        shown = torch.where(known, schedule.add_noise(x, noise, common), x)
        return torch.where(known, x, denoiser(shown, common))

    return wrapped
