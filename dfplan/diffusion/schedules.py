"""Noise schedules: from an integer noise level to the shares of signal and noise.

A token at level k is ``alpha[k] * clean + sigma[k] * noise``. Level 0 is clean
(``alpha = 1, sigma = 0``) and level K is pure noise (``alpha = 0, sigma = 1``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dfplan.errors import ConfigError


@dataclass(frozen=True)
class NoiseSchedule:
    """Signal and noise of each level.

    Attributes:
        alpha: share of signal, falling from 1 to 0; float [K+1].
        sigma: share of noise, rising from 0 to 1; float [K+1].
    """

    alpha: torch.Tensor
    sigma: torch.Tensor

    @property
    def max_level(self) -> int:
        """K, the level that is pure noise."""
        return len(self.alpha) - 1

    def add_noise(
        self, clean: torch.Tensor, noise: torch.Tensor, level: torch.Tensor
    ) -> torch.Tensor:
        """``clean`` [B, T, D] brought to ``level`` [B, T] with ``noise`` [B, T, D]."""
        return self.alpha[level][..., None] * clean + self.sigma[level][..., None] * noise

    def noise_in(
        self, noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor
    ) -> torch.Tensor:
        """The noise that :meth:`add_noise` added; at level 0, where there is none, zero."""
        sigma = self.sigma[level][..., None]
        residual = noisy - self.alpha[level][..., None] * clean
        return torch.where(sigma > 0, residual / sigma.clamp_min(1e-8), 0.0)

    def signal_to_noise(self, level: torch.Tensor) -> torch.Tensor:
        """``(alpha / sigma) ** 2`` of each level [...]; infinite at level 0."""
        return (self.alpha[level] / self.sigma[level]).square()


def interpolation_schedule(max_level: int) -> NoiseSchedule:
    """Straight interpolation between clean and noise, ``alpha = 1 - k/K, sigma = k/K``.

    The path of rectified flow (arXiv 2209.03003, equation 1) in K discrete levels.
    """
    if max_level < 1:
        raise ConfigError(f"A schedule needs at least 1 noise level; got {max_level}.")
    sigma = torch.linspace(0.0, 1.0, max_level + 1)
    return NoiseSchedule(alpha=1.0 - sigma, sigma=sigma)


def cosine_schedule(max_level: int, offset: float = 0.008) -> NoiseSchedule:
    """Signal that falls as a cosine, ``alpha ** 2 + sigma ** 2 = 1``.

    arXiv 2102.09672, equation 17. Its bound on the last step, which leaves a trace of signal at
    level K, is left out.

    Args:
        max_level: K.
        offset: keeps the first levels from being too nearly clean.
    """
    if max_level < 1:
        raise ConfigError(f"A schedule needs at least 1 noise level; got {max_level}.")
    share = torch.linspace(0.0, 1.0, max_level + 1, dtype=torch.float64)
    alpha = torch.cos((share + offset) / (1 + offset) * math.pi / 2)
    alpha = (alpha / alpha[0]).clamp_min(0.0)
    alpha[-1] = 0.0
    return NoiseSchedule(alpha=alpha.float(), sigma=(1 - alpha.square()).sqrt().float())
