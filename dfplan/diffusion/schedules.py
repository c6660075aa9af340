"""Noise schedules: the signal and noise coefficients of each noise level.

A token at level k is ``alpha[k] * clean + sigma[k] * noise``. Level 0 is clean
(``alpha = 1, sigma = 0``) and level K is pure noise (``alpha = 0, sigma = 1``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dfplan.boundary import isolated
from dfplan.errors import ConfigError, lookup, require_numbers
from dfplan.record import Record
from dfplan.registry import Registry

MAX_NOISE_LEVELS = 10_000
"""Upper bound of K in a recipe; published models have up to 4000 levels."""


@dataclass(frozen=True)
class NoiseSchedule(Record):
    """Signal and noise coefficients of each level.

    Attributes:
        alpha: signal coefficient, falling from 1 to 0; float [K+1].
        sigma: noise coefficient, rising from 0 to 1; float [K+1].

    Raises:
        ConfigError: they are not two float tensors of equal length, or a level is not noisier than
            the one before. One of the two coefficients may be equal at both levels, which happens
            near 1 in single precision.
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
        # NaN fails every comparison, so the valid case is tested and then negated.
        wrong = ~((alpha >= 0) & (alpha <= 1) & (sigma >= 0) & (sigma <= 1))
        wrong[0] |= (alpha[0] != 1) | (sigma[0] != 0)
        wrong[-1] |= (alpha[-1] != 0) | (sigma[-1] != 1)
        less_snr = (alpha.double() / sigma.double()).diff() < 0
        wrong[1:] |= ~((alpha.diff() <= 0) & (sigma.diff() >= 0) & less_snr)
        if wrong.any():
            first = int(wrong.nonzero()[0])
            raise ConfigError(
                "A noise schedule must start clean (alpha 1, sigma 0), get noisier with every "
                "level (alpha never rising, sigma never falling, alpha / sigma falling) and end as "
                f"pure noise (alpha 0, sigma 1); level {first} of {self.max_level} is wrong: up to "
                f"it, alpha is {alpha[max(first - 1, 0) : first + 1].tolist()} and "
                f"sigma is {sigma[max(first - 1, 0) : first + 1].tolist()}."
            )

    @property
    def max_level(self) -> int:
        """K, the level of pure noise."""
        return len(self.alpha) - 1

    def add_noise(
        self, clean: torch.Tensor, noise: torch.Tensor, level: torch.Tensor
    ) -> torch.Tensor:
        """Return ``alpha * clean + sigma * noise``.

        Args:
            clean: tokens [B, T, D].
            noise: standard normal [B, T, D].
            level: noise level of each token, int [B, T].
        """
        return self.alpha[level][..., None] * clean + self.sigma[level][..., None] * noise

    def noise_from_clean(
        self, noisy: torch.Tensor, clean: torch.Tensor, level: torch.Tensor
    ) -> torch.Tensor:
        """Return the noise that :meth:`add_noise` added, ``(noisy - alpha * clean) / sigma``.

        It is 0 at level 0, where no noise was added.
        """
        sigma = self.sigma[level][..., None]
        residual = noisy - self.alpha[level][..., None] * clean
        return torch.where(sigma > 0, residual / sigma.clamp_min(1e-8), 0.0)

    def signal_to_noise(self, level: torch.Tensor) -> torch.Tensor:
        """Return the SNR ``(alpha / sigma) ** 2`` of each level [...]; infinite at level 0."""
        return (self.alpha[level] / self.sigma[level]).square()

    def relative_noise(self, level: torch.Tensor) -> torch.Tensor:
        """Return ``sigma / alpha`` of each level [...], in double precision.

        This is the standard deviation s of the noise, in units of the tokens, for which
        ``alpha * (clean + s * noise)`` is a token at that level: 0 at level 0, infinite at level K.
        """
        return self.sigma.double()[level] / self.alpha.double()[level]

    def level_for_noise(self, noise: torch.Tensor) -> torch.Tensor:
        """Return the lowest level with at least this :meth:`relative_noise`.

        Args:
            noise: standard deviation [...] in units of the tokens; infinity and NaN give level K.

        Returns:
            int [...].
        """
        levels = torch.arange(self.max_level + 1, device=self.alpha.device)
        level = torch.searchsorted(self.relative_noise(levels), noise.double().contiguous())
        return level.clamp(max=self.max_level)


def interpolation_schedule(max_level: int) -> NoiseSchedule:
    """Build the linear interpolation between data and noise: ``alpha = 1 - k/K, sigma = k/K``.

    This is the path of rectified flow (arXiv 2209.03003, equation 1) in K discrete levels.
    """
    sigma = _time(max_level, torch.float32)
    return NoiseSchedule(alpha=1.0 - sigma, sigma=sigma)


def cosine_schedule(max_level: int, offset: float = 0.008) -> NoiseSchedule:
    """Build the cosine schedule of arXiv 2102.09672, equation 17.

    ``alpha(t) = cos((t + s) / (1 + s) * pi/2)`` with ``t = k/K``, divided by ``alpha(0)``, and
    ``alpha ** 2 + sigma ** 2 = 1``. The paper also clips the rate of the last step, which leaves
    some signal at level K; this clipping is left out.

    Args:
        max_level: K.
        offset: s; it keeps the first levels from having too little noise.
    """
    alpha = torch.cos((_time(max_level) + offset) / (1 + offset) * math.pi / 2)
    alpha = (alpha / alpha[0]).clamp_min(0.0)
    alpha[-1] = 0.0
    return _variance_preserving(alpha)


def linear_schedule(max_level: int) -> NoiseSchedule:
    """Build the linear beta schedule of DDPM, for any K and with zero terminal SNR.

    DDPM has betas from 1e-4 to 0.02 in 1000 steps (arXiv 2006.11239, section 4). Their continuous
    limit (arXiv 2011.13456, appendix C) is evaluated at ``t = k/K``::

        a(t) = exp(-(b0 t + (b1 - b0) t ** 2 / 2) / 2),  b0 = 0.1,  b1 = 20

    which leaves ``a(1) = 0.0066`` of signal. As in arXiv 2305.08891, algorithm 1, it is shifted and
    scaled to end at 0, here with level 0 at exactly 1: ``alpha(t) = (a(t) - a(1)) / (1 - a(1))``.
    ``alpha ** 2 + sigma ** 2 = 1``.
    """
    first, last = 1000 * 1e-4, 1000 * 0.02
    time = _time(max_level)
    signal = torch.exp(-(first * time + (last - first) * time.square() / 2) / 2)
    return _variance_preserving((signal - signal[-1]) / (1 - signal[-1]))


def sigmoid_schedule(
    max_level: int, start: float = -3.0, end: float = 3.0, tau: float = 1.0
) -> NoiseSchedule:
    """Build the sigmoid schedule of arXiv 2212.11972, in the form of arXiv 2301.10972.

    With ``s(t) = sigmoid((start + t * (end - start)) / tau)`` and ``t = k/K``:
    ``alpha(t) ** 2 = (s(1) - s(t)) / (s(1) - s(0))`` and ``sigma ** 2 = 1 - alpha ** 2``. The noise
    grows fastest in the middle.

    Args:
        max_level: K.
        start: argument of the sigmoid at level 0.
        end: argument of the sigmoid at level K.
        tau: temperature; a larger one makes ``alpha ** 2`` closer to linear.
    """
    value = torch.sigmoid((start + _time(max_level) * (end - start)) / tau)
    return _variance_preserving(((value[-1] - value) / (value[-1] - value[0])).sqrt())


SCHEDULES: Registry[Callable[[int], NoiseSchedule]] = Registry(
    "noise schedule",
    {
        "linear": linear_schedule,
        "cosine": cosine_schedule,
        "sigmoid": sigmoid_schedule,
        "interpolation": interpolation_schedule,
    },
)
"""Functions from K to a schedule, by name."""


@isolated()
def noise_schedule(name: str, max_level: int) -> NoiseSchedule:
    """Build the schedule ``name`` with K = ``max_level``.

    Raises:
        ConfigError: the name is unknown, or ``max_level`` is less than 1.
    """
    return lookup("noise schedule", name, SCHEDULES)(max_level)


def _time(max_level: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Return ``k/K`` of each level, [K+1]."""
    require_numbers({"max_level": max_level}, integer=True, minimum=1)
    return torch.linspace(0.0, 1.0, max_level + 1, dtype=dtype, device="cpu")


def _variance_preserving(alpha: torch.Tensor) -> NoiseSchedule:
    """Build the schedule with ``sigma = sqrt(1 - alpha ** 2)`` in single precision."""
    return NoiseSchedule(alpha=alpha.float(), sigma=(1 - alpha.square()).sqrt().float())
