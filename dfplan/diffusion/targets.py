"""What a network predicts, and how the clean tokens follow from it."""

from __future__ import annotations

import torch

from dfplan.diffusion.schedules import NoiseSchedule


def clean_from_velocity(
    noisy: torch.Tensor, velocity: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    """The clean tokens [B, T, D] from ``velocity = noise - clean`` at ``level`` [B, T].

    Inverse of :func:`velocity_from_clean` on the interpolation schedule, where
    ``noisy = clean + sigma * velocity``. A token at level 0 comes back unchanged.
    """
    return noisy - schedule.sigma[level][..., None] * velocity


def velocity_from_clean(
    noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    """``noise - clean`` [B, T, D] of tokens whose noise is ``(noisy - alpha clean) / sigma``."""
    return schedule.noise_in(noisy, clean, level) - clean
