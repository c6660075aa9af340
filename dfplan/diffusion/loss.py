"""The forcing loss: denoise every token from its own level."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import unknown_name
from dfplan.types import Denoiser

Weight = Callable[[NoiseSchedule, torch.Tensor], torch.Tensor]
"""Weight of each token's squared error of the clean estimate, whatever the network predicts:
(schedule, level int [B, T]) -> float [B, T], finite at every level."""


def uniform(schedule: NoiseSchedule, level: torch.Tensor) -> torch.Tensor:
    """1 at every level: the plain squared error of the clean estimate."""
    return torch.ones_like(schedule.alpha[level])


def min_snr(schedule: NoiseSchedule, level: torch.Tensor, cap: float = 5.0) -> torch.Tensor:
    """``min(SNR(k), cap)`` (arXiv 2303.09556, equation 9).

    The squared error of the noise, which has weight ``SNR(k)``, with the weight of nearly clean
    tokens bounded. Pure noise has weight 0: what a network says there is not trained.
    """
    return schedule.signal_to_noise(level).clamp(max=cap)


def clipped_snr(
    schedule: NoiseSchedule, level: torch.Tensor, low: float = 1.0, high: float = 5.0
) -> torch.Tensor:
    """``clip(SNR(k), low, high)``.

    The upper bound is min-SNR's (arXiv 2303.09556, equation 9), which keeps nearly clean tokens
    from taking over. The lower one is the truncated SNR of arXiv 2202.00512 (section 4): without
    it, pure noise, where every plan starts, would not be trained at all.
    """
    return schedule.signal_to_noise(level).clamp(low, high)


def fused_snr(
    schedule: NoiseSchedule, level: torch.Tensor, cap: float = 5.0, decay: float = 0.96
) -> torch.Tensor:
    """Min-SNR that counts the signal in the tokens before a token as well as its own.

    "Fused SNR reweighting" of arXiv 2407.01392 (appendix), as in its authors' code. With
    ``S[t] = min(SNR(level[t]), cap) / cap``, the signal that tokens before t hold is ::

        C[0] = 0,  C[1] = S[0],  C[t+1] = decay * C[t] + (1 - decay) * S[t]

    and the weight is ``cap * (1 - (1 - decay * C[t]) * (1 - S[t]))``: never less than min-SNR's,
    and more where a clean past tells what a noisy token must be.

    It assumes a causal order, in which a token is told by those before it. A network that also
    attends to later tokens, such as a planner's to a known goal, knows more than is counted here.

    Args:
        schedule: the noise schedule.
        level: noise level of each token, int [..., T], in the order of time.
        cap: bound on the ratio.
        decay: how long the past lasts, in [0, 1]; 0 leaves min-SNR. It is meant a token; the
            authors give theirs a frame and raise it to the power of the frames in a token.
    """
    signal = min_snr(schedule, level, cap) / cap
    past = torch.zeros_like(signal)
    for token in range(1, signal.shape[-1]):
        kept = decay if token > 1 else 0.0
        past[..., token] = kept * past[..., token - 1] + (1 - kept) * signal[..., token - 1]
    return cap * (1 - (1 - decay * past) * (1 - signal))


WEIGHTS: dict[str, Weight] = {
    "uniform": uniform,
    "min_snr": min_snr,
    "clipped_snr": clipped_snr,
    "fused_snr": fused_snr,
}


def named_weight(name: str) -> Weight:
    """The weight called ``name``.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in WEIGHTS:
        raise unknown_name("loss weight", name, WEIGHTS)
    return WEIGHTS[name]


def forcing_loss(
    denoiser: Denoiser,
    clean: torch.Tensor,
    level: torch.Tensor,
    counted: torch.Tensor,
    schedule: NoiseSchedule,
    noise: torch.Tensor,
    weight: Weight = clipped_snr,
) -> torch.Tensor:
    """Weighted mean squared error of the denoised tokens (arXiv 2407.01392, equation 3.1).

    Args:
        denoiser: ``(x, level) -> denoised``.
        clean: windows, [B, T, D].
        level: noise level of each token, int [B, T].
        counted: tokens that count, bool [B, T]; padding does not. Tokens at level 0 never do.
        schedule: the noise schedule.
        noise: standard normal, [B, T, D].
        weight: of each token's squared error.

    Returns:
        A scalar.
    """
    denoised = denoiser(schedule.add_noise(clean, noise, level), level)
    error = (denoised - clean).square().mean(-1)
    counted = counted & (level > 0)
    weights = torch.where(counted, weight(schedule, level), 0.0)
    return (weights * error).sum() / counted.sum().clamp_min(1)
