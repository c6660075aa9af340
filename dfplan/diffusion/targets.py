"""Prediction targets of a network: x0, eps, v and flow.

Each target is a linear combination of the clean token and the noise, so together with the noisy
token it determines the clean one. In all formulas ``noisy = alpha * clean + sigma * noise``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.registry import Registry

Conversion = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, NoiseSchedule], torch.Tensor]
"""(noisy [B, T, D], clean or prediction [B, T, D], level int [B, T], schedule) -> [B, T, D]."""


@dataclass(frozen=True)
class Target:
    """What a network predicts.

    At levels above 0 the two functions are inverse to each other.

    Attributes:
        to_clean: (noisy, prediction, level, schedule) -> clean tokens. A token at level 0 is
            returned unchanged, whatever the prediction.
        from_clean: (noisy, clean, level, schedule) -> the correct prediction. The noise of a token
            at level 0 is 0.
    """

    to_clean: Conversion
    from_clean: Conversion


def _clean_from_x0(
    noisy: torch.Tensor, x0: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    return torch.where((level > 0)[..., None], x0, noisy)


def _x0_from_clean(
    noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    return clean


def _clean_from_eps(
    noisy: torch.Tensor, eps: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    alpha, sigma = _shares(level, schedule)
    # At level K the quotient is not used; dividing by 1 keeps its gradient from being NaN.
    clean = (noisy - sigma * eps) / torch.where(alpha > 0, alpha, 1.0)
    return torch.where(alpha > 0, clean, 0.0)


def _eps_from_clean(
    noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    return schedule.noise_from_clean(noisy, clean, level)


def _clean_from_v(
    noisy: torch.Tensor, v: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    alpha, sigma = _shares(level, schedule)
    return (alpha * noisy - sigma * v) / (alpha.square() + sigma.square())


def _v_from_clean(
    noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    alpha, sigma = _shares(level, schedule)
    return alpha * schedule.noise_from_clean(noisy, clean, level) - sigma * clean


def _clean_from_flow(
    noisy: torch.Tensor, flow: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    alpha, sigma = _shares(level, schedule)
    return (noisy - sigma * flow) / (alpha + sigma)


def _flow_from_clean(
    noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    return schedule.noise_from_clean(noisy, clean, level) - clean


def _shares(level: torch.Tensor, schedule: NoiseSchedule) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``alpha`` and ``sigma`` of each token, [B, T, 1]."""
    return schedule.alpha[level][..., None], schedule.sigma[level][..., None]


X0 = Target(_clean_from_x0, _x0_from_clean)
"""The clean token itself."""

EPS = Target(_clean_from_eps, _eps_from_clean)
"""The noise (arXiv 2006.11239, equation 12): ``clean = (noisy - sigma * eps) / alpha``.

At level K, where ``alpha = 0``, the clean token is not determined. It is set to 0, the mean of
normalized data, so there the two functions are not inverse. Just below level K, ``sigma / alpha``
multiplies the error of the prediction.
"""

V = Target(_clean_from_v, _v_from_clean)
"""``v = alpha * noise - sigma * clean`` (arXiv 2202.00512, appendix D).

``clean = (alpha * noisy - sigma * v) / (alpha ** 2 + sigma ** 2)``. The divisor is 1 for
variance-preserving schedules, as in the paper; it makes the formula correct for all others.
"""

FLOW = Target(_clean_from_flow, _flow_from_clean)
"""``noise - clean``: the velocity of rectified flow (arXiv 2209.03003, equation 1).

Its direction is from data to noise.

``clean = (noisy - sigma * flow) / (alpha + sigma)``. The divisor is 1 for the interpolation
schedule.
"""

TARGETS: Registry[Target] = Registry(
    "target",
    {"x0": X0, "eps": EPS, "v": V, "flow": FLOW},
)
"""Targets by name."""
