"""Steps of a sampler: from the levels of one row to those of the next, token by token."""

from __future__ import annotations

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.types import Step


def ddim(schedule: NoiseSchedule) -> Step:
    """The deterministic step of DDIM (arXiv 2010.02502, equation 12 with eta = 0).

    The noise that the clean estimate implies is kept and mixed in at the new level. On the
    interpolation schedule this is an Euler step along the flow.
    """

    def step(
        x: torch.Tensor,
        clean: torch.Tensor,
        level: torch.Tensor,
        next_level: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        return schedule.add_noise(clean, schedule.noise_in(x, clean, level), next_level)

    return step


def ancestral(schedule: NoiseSchedule) -> Step:
    """A draw from the posterior q(x_next | x, clean): the step of DDPM.

    arXiv 2006.11239, equations 6 and 7, written for any two levels and not only for neighbors.
    The last step, to level 0, lands on the clean estimate.
    """

    def step(
        x: torch.Tensor,
        clean: torch.Tensor,
        level: torch.Tensor,
        next_level: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        alpha, sigma = schedule.alpha[next_level], schedule.sigma[next_level]
        ratio = schedule.alpha[level] / alpha.clamp_min(1e-8)
        present = ratio * sigma.square() / schedule.sigma[level].square().clamp_min(1e-8)
        # The share of the noise at ``level`` that came after ``next_level``.
        later = (1 - ratio * present).clamp_min(0.0)
        mean = present[..., None] * x + (alpha * later)[..., None] * clean
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return mean + (sigma * later.sqrt())[..., None] * noise

    return step
