"""Stabilization: a rollout that does not take its own samples for the truth."""

from __future__ import annotations

import torch

from dfplan.errors import ConfigError
from dfplan.types import Denoiser


def stabilized(denoiser: Denoiser, told_level: int) -> Denoiser:
    """Tell clean tokens to the network as slightly noisy ones.

    A token that was sampled earlier is a little wrong. Told as clean, it is believed, and a long
    rollout drifts away from the data; told at a small level, 0 < k << K, although no noise is
    added to it, it is believed less (arXiv 2407.01392, section 3.3, "Stabilizing autoregressive
    generation").

    Args:
        denoiser: what to wrap.
        told_level: k, the level that tokens at level 0 are told at; 0 is ``denoiser`` itself.

    Returns:
        A denoiser whose estimate of a token at level 0 is that token, unchanged.

    Raises:
        ConfigError: a level below 0.
    """
    if told_level < 0:
        raise ConfigError(
            f"Clean tokens must be told at a level of at least 0, where 0 is clean; got "
            f"{told_level}."
        )
    if told_level == 0:
        return denoiser

    def wrapped(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        known = level == 0
        estimate = denoiser(x, level.masked_fill(known, told_level))
        return torch.where(known[..., None], x, estimate)

    return wrapped
