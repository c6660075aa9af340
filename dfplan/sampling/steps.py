"""Steps of a sampler: from the levels of one row to those of the next, token by token."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, unknown_name
from dfplan.types import Step


def ddim(schedule: NoiseSchedule, eta: float = 0.0) -> Step:
    """The step of DDIM (arXiv 2010.02502, equations 12 and 16).

    The noise that the clean estimate implies is mixed in at the new level, a part of it drawn
    anew. Written with the signal-to-noise ratio alone, equation 16 holds for every schedule:
    ``std = eta * sigma_t * sqrt(1 - SNR_s / SNR_t)`` for a step from level s to level t.

    Args:
        schedule: the noise schedule.
        eta: 0 keeps all the noise and draws nothing; on the interpolation schedule this is an
            Euler step along the flow. 1 is :func:`ancestral`.

    Raises:
        ConfigError: ``eta`` outside 0 to 1.
    """
    if not 0 <= eta <= 1:
        raise ConfigError(f"DDIM needs eta between 0, no noise, and 1, DDPM's; got {eta}.")

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
            # A level that stays, be it at 0 / 0 or at inf / inf, draws nothing.
            older = torch.where(next_level == level, 1.0, ratio)[..., None]
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            kept, drawn = 1 - eta**2 + eta**2 * older, eta**2 * (1 - older)
            noise = kept.sqrt() * noise + drawn.sqrt() * fresh
        return schedule.add_noise(clean, noise, next_level)

    return step


def ancestral(schedule: NoiseSchedule) -> Step:
    """A draw from the posterior q(x_next | x, clean): the step of DDPM.

    arXiv 2006.11239, equations 6 and 7, for any two levels and not only for neighbors. The last
    step, to level 0, lands on the clean estimate.
    """
    return ddim(schedule, eta=1.0)


def second_order(schedule: NoiseSchedule) -> Step:
    """A deterministic step whose error falls with the square of the number of steps.

    DDIM takes the clean estimate as constant over a step. This one takes it as a straight line
    in ``cos(v)``, where ``tan(v) = sigma / alpha``, through this row's estimate and that of the
    row before; a row costs one network call all the same. From level s to level t, p before s,

        x_t = (sigma_t / sigma_s) x_s + (alpha_t - alpha_s sigma_t / sigma_s) D
        D = clean_s + sin(v_s) tan((v_s - v_t) / 2) / (cos(v_s) - cos(v_p)) (clean_s - clean_p)

    D is the mean of the line over the step, which weighs the estimate by the change of
    ``alpha / sigma``, so the step is exact on such lines. Compare DPM-Solver++(2M), arXiv
    2211.01095, algorithm 2, whose lines are in ``log(alpha / sigma)``, which is infinite at both
    ends; the estimate is smooth in ``cos(v)`` from pure noise to clean.

    In a token's first step, and in the first after a pause, in which other tokens may have changed
    its estimate, this is DDIM. So the order is 2 if a token's pauses are few, and if ``alpha``
    leaves pure noise in even steps, not as a square root (``sigmoid_schedule``), where the first
    step alone has an error of first order.
    """
    first_order = ddim(schedule)
    # In double precision: neighboring levels are so alike that little is left of a difference.
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


STEPS: dict[str, Callable[[NoiseSchedule], Step]] = {
    "ddim": ddim,
    "ddpm": ancestral,
    "second_order": second_order,
}


def sampling_step(name: str, schedule: NoiseSchedule) -> Step:
    """The step called ``name``.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in STEPS:
        raise unknown_name("sampling step", name, STEPS)
    return STEPS[name](schedule)
