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
    """A stochastic step: mix the clean estimate with fresh noise at the new level.

    Draws from q(x_next | clean) and forgets the present noise; the few-step sampler of
    consistency models (arXiv 2303.01469, algorithm 1).
    """

    def step(
        x: torch.Tensor,
        clean: torch.Tensor,
        level: torch.Tensor,
        next_level: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return schedule.add_noise(clean, noise, next_level)

    return step
