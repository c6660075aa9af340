"""Sampling steps: from the noise levels of one row of a scheduling matrix to those of the next."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, lookup
from dfplan.registry import Registry
from dfplan.types import Step


def ddim(schedule: NoiseSchedule, eta: float = 0.0) -> Step:
    """The step of DDIM (arXiv 2010.02502, equations 12 and 16).

    The noise that the clean estimate implies is added at the new level, and part of it is replaced
    by new noise. Written with the signal-to-noise ratio, equation 16 holds for every schedule:
    ``std = eta * sigma_t * sqrt(1 - SNR_s / SNR_t)`` for a step from level s to level t.

    Args:
        schedule: the noise schedule.
        eta: 0 draws no new noise; on the interpolation schedule this is an Euler step along the
            flow. 1 is :func:`ancestral`.

    Raises:
        ConfigError: ``eta`` outside 0 to 1.
    """
    if not 0 <= eta <= 1:
        raise ConfigError(f"DDIM needs eta from 0 (no noise) to 1 (DDPM); got {eta}.")

    def step(
        x: torch.Tensor,
        clean: torch.Tensor,
        level: torch.Tensor,
        next_level: torch.Tensor,
        generator: torch.Generator,
        previous: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        noise = schedule.noise_from_clean(x, clean, level)
        if eta > 0:
            ratio = schedule.signal_to_noise(level) / schedule.signal_to_noise(next_level)
            # A level that stays the same draws nothing, also where the ratio is 0 / 0.
            older = torch.where(next_level == level, 1.0, ratio)[..., None]
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            kept, drawn = 1 - eta**2 + eta**2 * older, eta**2 * (1 - older)
            noise = kept.sqrt() * noise + drawn.sqrt() * fresh
        return schedule.add_noise(clean, noise, next_level)

    return step


def ancestral(schedule: NoiseSchedule) -> Step:
    """The step of DDPM: a draw from the posterior q(x_next | x, clean).

    arXiv 2006.11239, equations 6 and 7, for any two levels instead of neighbors. The step to level
    0 returns the clean estimate.
    """
    return ddim(schedule, eta=1.0)


def second_order(schedule: NoiseSchedule) -> Step:
    """A deterministic step whose error decreases with the square of the number of steps.

    DDIM assumes that the clean estimate is constant over a step. This step assumes that it is
    linear in ``cos(v)``, where ``tan(v) = sigma / alpha``, through the estimates of this row and
    the previous one. A row still costs one network call. For a step from level s to level t, after
    level p:

        x_t = (sigma_t / sigma_s) x_s + (alpha_t - alpha_s sigma_t / sigma_s) D
        D = clean_s + sin(v_s) tan((v_s - v_t) / 2) / (cos(v_s) - cos(v_p)) (clean_s - clean_p)

    D is the mean of the linear function over the step, weighted by the change of
    ``alpha / sigma``, so the step is exact for linear estimates. Compare DPM-Solver++(2M) (arXiv
    2211.01095, algorithm 2), which is linear in ``log(alpha / sigma)``. That is infinite at both
    ends, while the estimate is smooth in ``cos(v)`` from pure noise to clean.

    In a token's first step, and in its first step after a pause, during which other tokens may
    have changed its estimate, this is DDIM. The order is therefore 2 if tokens pause rarely. It
    also requires that ``alpha`` is linear in the level near pure noise. If it grows like a square
    root (``sigmoid_schedule``), the first step has an error of first order.
    """
    first_order = ddim(schedule)
    # Double precision, since the differences of neighboring levels are small.
    angle = torch.atan2(schedule.sigma.double(), schedule.alpha.double())

    def step(
        x: torch.Tensor,
        clean: torch.Tensor,
        level: torch.Tensor,
        next_level: torch.Tensor,
        generator: torch.Generator,
        previous: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        if previous is not None:
            clean_before, level_before = previous
            here = angle[level]
            ahead = here.sin() * ((here - angle[next_level]) / 2).tan()
            behind = here.cos() - angle[level_before].cos()
            share = torch.where(level < level_before, ahead / behind, 0.0).to(clean.dtype)
            clean = clean + share[..., None] * (clean - clean_before)
        return first_order(x, clean, level, next_level, generator)

    return step


STEPS: Registry[Callable[[NoiseSchedule], Step]] = Registry(
    "sampling step",
    {
        "ddim": ddim,
        "ddpm": ancestral,
        "second_order": second_order,
    },
)


def sampling_step(name: str, schedule: NoiseSchedule) -> Step:
    """Make the step with this name; raises :class:`ConfigError` for an unknown name."""
    return lookup("sampling step", name, STEPS)(schedule)
