"""The forcing loss: denoise every token from its own noise level."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.registry import Registry
from dfplan.types import Denoiser

Weight = Callable[[NoiseSchedule, torch.Tensor], torch.Tensor]
"""Loss weight of each token: (schedule, level int [B, T]) -> float [B, T], finite at every level.

It multiplies the squared error of the clean estimate, whatever the network predicts.
"""


def uniform(schedule: NoiseSchedule, level: torch.Tensor) -> torch.Tensor:
    """Return 1 at every level: the plain squared error of the clean estimate."""
    return torch.ones_like(schedule.alpha[level])


def min_snr(schedule: NoiseSchedule, level: torch.Tensor, cap: float = 5.0) -> torch.Tensor:
    """Return ``min(SNR(k), cap)``: Min-SNR with gamma = cap (arXiv 2303.09556, equation 9).

    Weight ``SNR(k)`` on the clean estimate equals weight 1 on the noise estimate. The cap bounds
    the weight of nearly clean tokens. Pure noise has weight 0, so level K is not trained.
    """
    return schedule.signal_to_noise(level).clamp(max=cap)


def clipped_snr(
    schedule: NoiseSchedule, level: torch.Tensor, low: float = 1.0, high: float = 5.0
) -> torch.Tensor:
    """Return ``clip(SNR(k), low, high)``.

    The upper bound is that of :func:`min_snr`; it keeps nearly clean tokens from dominating. The
    lower bound is the truncated SNR, ``max(SNR, 1)``, of arXiv 2202.00512 (section 4). Without it,
    pure noise, from which every plan starts, would have weight 0.
    """
    return schedule.signal_to_noise(level).clamp(low, high)


def fused_snr(
    schedule: NoiseSchedule, level: torch.Tensor, cap: float = 5.0, decay: float = 0.96
) -> torch.Tensor:
    """Return the fused SNR weight of arXiv 2407.01392 (appendix), as in the authors' code.

    It is Min-SNR that also counts the signal in the earlier tokens. With the normalized SNR
    ``S[t] = min(SNR(level[t]), cap) / cap``, the earlier tokens of t hold the signal ::

        C[0] = 0,  C[1] = S[0],  C[t+1] = decay * C[t] + (1 - decay) * S[t]

    and the weight is ``cap * (1 - (1 - decay * C[t]) * (1 - S[t]))``. It is never less than that
    of Min-SNR, and larger where clean earlier tokens determine a noisy one.

    The weight assumes that information flows forward in time. A network that also attends to later
    tokens, such as a known goal, has more information than is counted here.

    Args:
        schedule: the noise schedule.
        level: noise level of each token in temporal order, int [..., T].
        cap: upper bound of the SNR.
        decay: in [0, 1], how slowly the signal of earlier tokens decays; 0 gives Min-SNR. It is
            applied once a token; the authors define it for a frame and raise it to the power of the
            frames in a token.
    """
    signal = min_snr(schedule, level, cap) / cap
    earlier = torch.zeros_like(signal)
    for token in range(1, signal.shape[-1]):
        kept = decay if token > 1 else 0.0
        earlier[..., token] = kept * earlier[..., token - 1] + (1 - kept) * signal[..., token - 1]
    return cap * (1 - (1 - decay * earlier) * (1 - signal))


WEIGHTS: Registry[Weight] = Registry(
    "loss weight",
    {
        "uniform": uniform,
        "min_snr": min_snr,
        "clipped_snr": clipped_snr,
        "fused_snr": fused_snr,
    },
)
"""Loss weights by name."""


def forcing_loss(
    denoiser: Denoiser,
    clean: torch.Tensor,
    level: torch.Tensor,
    mask: torch.Tensor,
    schedule: NoiseSchedule,
    noise: torch.Tensor,
    weight: Weight = clipped_snr,
) -> torch.Tensor:
    """Return the weighted mean squared error of the denoised tokens.

    arXiv 2407.01392, equation 3.1, which has the error of the noise; here it is the error of the
    clean estimate, and ``weight`` converts between the two.

    Args:
        denoiser: (noisy [B, T, D], level [B, T]) -> clean estimate [B, T, D].
        clean: windows [B, T, D].
        level: noise level of each token, int [B, T].
        mask: tokens that count, bool [B, T]; False for padding. Tokens at level 0 never count.
        schedule: the noise schedule.
        noise: standard normal [B, T, D].
        weight: loss weight of each token.

    Returns:
        A scalar.
    """
    denoised = denoiser(schedule.add_noise(clean, noise, level), level)
    error = (denoised - clean).square().mean(-1)
    mask = mask & (level > 0)
    weights = torch.where(mask, weight(schedule, level), 0.0)
    return (weights * error).sum() / mask.sum().clamp_min(1)
