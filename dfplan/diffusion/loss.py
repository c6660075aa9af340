"""The forcing loss: denoise every token from its own level."""

from __future__ import annotations

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.types import Denoiser


def clipped_snr(
    schedule: NoiseSchedule, level: torch.Tensor, low: float = 1.0, high: float = 5.0
) -> torch.Tensor:
    """Weight of the squared error of the clean estimate: ``clip(SNR(k), low, high)`` [...].

    The upper bound is min-SNR's (arXiv 2303.09556, equation 9), which keeps nearly clean tokens
    from taking over. The lower one is the truncated SNR of arXiv 2202.00512 (section 4): without
    it, pure noise, where every plan starts, would not be trained at all.
    """
    return schedule.signal_to_noise(level).clamp(low, high)


def forcing_loss(
    denoiser: Denoiser,
    clean: torch.Tensor,
    level: torch.Tensor,
    counted: torch.Tensor,
    schedule: NoiseSchedule,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Weighted mean squared error of the denoised tokens (arXiv 2407.01392, equation 3.1).

    Args:
        denoiser: ``(x, level) -> denoised``.
        clean: windows, [B, T, D].
        level: noise level of each token, int [B, T].
        counted: tokens that count, bool [B, T]; padding does not. Tokens at level 0 never do.
        schedule: the noise schedule.
        noise: standard normal, [B, T, D].

    Returns:
        A scalar.
    """
    denoised = denoiser(schedule.add_noise(clean, noise, level), level)
    error = (denoised - clean).square().mean(-1)
    counted = counted & (level > 0)
    weight = torch.where(counted, clipped_snr(schedule, level), 0.0)
    return (weight * error).sum() / counted.sum().clamp_min(1)
