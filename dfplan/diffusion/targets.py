"""What a network predicts, and how the clean tokens follow from it.

Every target is a mixture of the clean token and the noise in it, so with the noisy token at hand
each tells the clean one. In all formulas ``noisy = alpha * clean + sigma * noise``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import unknown_name

Conversion = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, NoiseSchedule], torch.Tensor]
"""(noisy [B, T, D], clean or prediction [B, T, D], level int [B, T], schedule) -> [B, T, D]."""


@dataclass(frozen=True)
class Target:
    """What a network predicts; its two functions are inverse to one another at levels above 0.

    Attributes:
        to_clean: (noisy, prediction, level, schedule) -> clean tokens. A token at level 0 comes
            back unchanged, whatever is predicted.
        from_clean: (noisy, clean, level, schedule) -> what should be predicted. A token at level 0
            is taken to hold noise 0.
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
    # The division is by 1 where its result is dropped, so that no gradient turns NaN there.
    clean = (noisy - sigma * eps) / torch.where(alpha > 0, alpha, 1.0)
    return torch.where(alpha > 0, clean, 0.0)


def _eps_from_clean(
    noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    return schedule.noise_in(noisy, clean, level)


def _clean_from_v(
    noisy: torch.Tensor, v: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    alpha, sigma = _shares(level, schedule)
    return (alpha * noisy - sigma * v) / (alpha.square() + sigma.square())


def _v_from_clean(
    noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    alpha, sigma = _shares(level, schedule)
    return alpha * schedule.noise_in(noisy, clean, level) - sigma * clean


def _clean_from_flow(
    noisy: torch.Tensor, flow: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    alpha, sigma = _shares(level, schedule)
    return (noisy - sigma * flow) / (alpha + sigma)


def _flow_from_clean(
    noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor, schedule: NoiseSchedule
) -> torch.Tensor:
    return schedule.noise_in(noisy, clean, level) - clean


def _shares(level: torch.Tensor, schedule: NoiseSchedule) -> tuple[torch.Tensor, torch.Tensor]:
    """``alpha`` and ``sigma`` of each token, [B, T, 1]."""
    return schedule.alpha[level][..., None], schedule.sigma[level][..., None]


X0 = Target(_clean_from_x0, _x0_from_clean)
"""The clean token itself."""

EPS = Target(_clean_from_eps, _eps_from_clean)
"""The noise (arXiv 2006.11239, equation 12): ``clean = (noisy - sigma * eps) / alpha``.

Pure noise, where ``alpha = 0``, says nothing about the clean token; it is taken there to be 0, the
mean of normalized data, and the two functions are not inverse. Just below level K an error of the
prediction is blown up by ``sigma / alpha``.
"""

V = Target(_clean_from_v, _v_from_clean)
"""``v = alpha * noise - sigma * clean`` (arXiv 2202.00512, appendix D).

``clean = (alpha * noisy - sigma * v) / (alpha ** 2 + sigma ** 2)``, where the divisor is 1 on the
schedules of the paper and makes this right on all others.
"""

FLOW = Target(_clean_from_flow, _flow_from_clean)
"""``noise - clean``, the velocity of rectified flow (arXiv 2209.03003, equation 1).

``clean = (noisy - sigma * flow) / (alpha + sigma)``, where the divisor is 1 on the interpolation
schedule.
"""

TARGETS: dict[str, Target] = {"x0": X0, "eps": EPS, "v": V, "flow": FLOW}


def named_target(name: str) -> Target:
    """The target called ``name``.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS)
    return TARGETS[name]
