"""Noise schedules: from an integer noise level to the shares of signal and noise.

A token at level k is ``alpha[k] * clean + sigma[k] * noise``. Level 0 is clean
(``alpha = 1, sigma = 0``) and level K is pure noise (``alpha = 0, sigma = 1``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dfplan.boundary import isolated
from dfplan.errors import ConfigError, require_numbers, unknown_name
from dfplan.record import Record

MOST_LEVELS = 10_000
"""The most noise levels that a recipe may have; published models have up to 4000."""


@dataclass(frozen=True)
class NoiseSchedule(Record):
    """Signal and noise of each level.

    Attributes:
        alpha: share of signal, falling from 1 to 0; float [K+1].
        sigma: share of noise, rising from 0 to 1; float [K+1].

    Raises:
        ConfigError: no two float tensors of equal length, or a level that is not noisier than the
            one before. One of the two shares may stay as it was: in single precision they do
            where they come near 1.
    """

    alpha: torch.Tensor
    sigma: torch.Tensor

    def __post_init__(self) -> None:
        alpha, sigma = self.alpha, self.sigma
        if not isinstance(alpha, torch.Tensor) or not isinstance(sigma, torch.Tensor):
            raise ConfigError(
                "A noise schedule needs alpha and sigma as float tensors [K+1]; got "
                f"{type(alpha).__name__} and {type(sigma).__name__}. Make them by torch.tensor()."
            )
        if (
            alpha.shape != sigma.shape
            or alpha.dim() != 1
            or len(alpha) < 2
            or not (alpha.is_floating_point() and sigma.is_floating_point())
        ):
            raise ConfigError(
                "A noise schedule needs alpha and sigma as float tensors [K+1] with K >= 1; got "
                f"{alpha.dtype} {list(alpha.shape)} and {sigma.dtype} {list(sigma.shape)}."
            )
        # NaN fails every comparison, so what must hold is compared, and then negated.
        wrong = ~((alpha >= 0) & (alpha <= 1) & (sigma >= 0) & (sigma <= 1))
        wrong[0] |= (alpha[0] != 1) | (sigma[0] != 0)
        wrong[-1] |= (alpha[-1] != 0) | (sigma[-1] != 1)
        less_signal = (alpha.double() / sigma.double()).diff() < 0
        wrong[1:] |= ~((alpha.diff() <= 0) & (sigma.diff() >= 0) & less_signal)
        if wrong.any():
            first = int(wrong.nonzero()[0])
            raise ConfigError(
                "A noise schedule must start clean (alpha 1, sigma 0), get noisier with every "
                "level (alpha never rising, sigma never falling, alpha / sigma falling) and end as "
                f"pure noise (alpha 0, sigma 1); level {first} of {self.max_level} is wrong, with "
                f"alpha {alpha[max(first - 1, 0) : first + 1].tolist()} and "
                f"sigma {sigma[max(first - 1, 0) : first + 1].tolist()} up to it."
            )

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

    def noise_of(self, level: torch.Tensor) -> torch.Tensor:
        """The noise of observations that are tokens of a level [...], once scaled by ``alpha``.

        ``alpha * (clean + s * noise)`` is a token at the level where ``s = sigma / alpha``: 0 at
        level 0, infinite at level K. Double precision, in units of the tokens.
        """
        return self.sigma.double()[level] / self.alpha.double()[level]

    def level_of(self, noise: torch.Tensor) -> torch.Tensor:
        """The least level at which observations with ``noise`` [...] are not trusted too far.

        Inverse of :meth:`noise_of`; between two levels it is the upper one.

        Args:
            noise: standard deviation in units of the tokens; infinite, or NaN, is level K.
        """
        levels = torch.arange(self.max_level + 1, device=self.alpha.device)
        found = torch.searchsorted(self.noise_of(levels), noise.double().contiguous())
        return found.clamp(max=self.max_level)


def interpolation_schedule(max_level: int) -> NoiseSchedule:
    """Straight interpolation between clean and noise, ``alpha = 1 - k/K, sigma = k/K``.

    The path of rectified flow (arXiv 2209.03003, equation 1) in K discrete levels.
    """
    sigma = _time(max_level, torch.float32)
    return NoiseSchedule(alpha=1.0 - sigma, sigma=sigma)


def cosine_schedule(max_level: int, offset: float = 0.008) -> NoiseSchedule:
    """Signal that falls as a cosine, ``alpha(t) = cos((t + s) / (1 + s) pi/2)``, ``t = k/K``.

    Scaled to ``alpha(0) = 1``; ``alpha ** 2 + sigma ** 2 = 1``. arXiv 2102.09672, equation 17. Its
    bound on the last step, which leaves a trace of signal at level K, is left out.

    Args:
        max_level: K.
        offset: s; keeps the first levels from being too nearly clean.
    """
    alpha = torch.cos((_time(max_level) + offset) / (1 + offset) * math.pi / 2)
    alpha = (alpha / alpha[0]).clamp_min(0.0)
    alpha[-1] = 0.0
    return _variance_preserving(alpha)


def linear_schedule(max_level: int) -> NoiseSchedule:
    """DDPM's noise rates, which rise linearly, for any K and down to no signal at all.

    DDPM has rates from 1e-4 to 0.02 in 1000 steps (arXiv 2006.11239, section 4). Their limit of
    many small steps (arXiv 2011.13456, appendix C) is sampled at ``t = k/K``::

        a(t) = exp(-(b0 t + (b1 - b0) t ** 2 / 2) / 2),  b0 = 0.1,  b1 = 20

    which leaves ``a(1) = 0.0066`` of signal. As in arXiv 2305.08891, algorithm 1, it is shifted and
    scaled, here so that level 0 stays clean: ``alpha(t) = (a(t) - a(1)) / (1 - a(1))`` and
    ``alpha ** 2 + sigma ** 2 = 1``.
    """
    first, last = 1000 * 1e-4, 1000 * 0.02
    time = _time(max_level)
    signal = torch.exp(-(first * time + (last - first) * time.square() / 2) / 2)
    return _variance_preserving((signal - signal[-1]) / (1 - signal[-1]))


def sigmoid_schedule(
    max_level: int, start: float = -3.0, end: float = 3.0, tau: float = 1.0
) -> NoiseSchedule:
    """Signal whose square falls as a sigmoid, fastest in the middle.

    arXiv 2212.11972; written out in arXiv 2301.10972. With ``s(t) = sigmoid((start + t (end -
    start)) / tau)`` and ``t = k/K``: ``alpha(t) ** 2 = (s(1) - s(t)) / (s(1) - s(0))`` and
    ``sigma ** 2 = 1 - alpha ** 2``.

    Args:
        max_level: K.
        start: argument of the sigmoid at level 0.
        end: argument of the sigmoid at level K.
        tau: temperature; a larger one is nearer to a straight line.
    """
    value = torch.sigmoid((start + _time(max_level) * (end - start)) / tau)
    return _variance_preserving(((value[-1] - value) / (value[-1] - value[0])).sqrt())


SCHEDULES: dict[str, Callable[[int], NoiseSchedule]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "sigmoid": sigmoid_schedule,
    "interpolation": interpolation_schedule,
}


@isolated()
def noise_schedule(name: str, max_level: int) -> NoiseSchedule:
    """The schedule called ``name`` with K = ``max_level``.

    Raises:
        ConfigError: an unknown name or no noise level.
    """
    if name not in SCHEDULES:
        raise unknown_name("noise schedule", name, SCHEDULES)
    return SCHEDULES[name](max_level)


def _time(max_level: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """``k/K`` of each level, [K+1]."""
    require_numbers({"max_level": max_level}, whole=True, least=1)
    return torch.linspace(0.0, 1.0, max_level + 1, dtype=dtype, device="cpu")


def _variance_preserving(alpha: torch.Tensor) -> NoiseSchedule:
    """The schedule in single precision with ``sigma = sqrt(1 - alpha ** 2)``."""
    return NoiseSchedule(alpha=alpha.float(), sigma=(1 - alpha.square()).sqrt().float())
