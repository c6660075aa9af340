"""Sampling Gaussian data, whose optimal denoiser has a closed form.

Clean tokens are jointly normal, so given noisy ones each at a different level the expected clean
ones are an affine function of them. A run of a deterministic step is then one as well: its offset
and matrix, read off by sampling from zero and from unit vectors, say which distribution it samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from dfplan.diffusion.schedules import NoiseSchedule, cosine_schedule, interpolation_schedule
from dfplan.errors import ConfigError
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import FREE, MATRICES, hold, scheduling_matrix
from dfplan.sampling.steps import STEPS, ancestral, ddim, sampling_step, second_order
from dfplan.types import Step

TOKENS, K = 4, 256
MAKERS: dict[str, Callable[[int], NoiseSchedule]] = {
    "interpolation": interpolation_schedule,
    "cosine": cosine_schedule,
}

scheduled = pytest.mark.parametrize("schedule", [m(K) for m in MAKERS.values()], ids=list(MAKERS))

Maker = Callable[[NoiseSchedule], Step]
ORDERS: dict[str, tuple[Maker, float]] = {"ddim": (ddim, 1.0), "second_order": (second_order, 2.0)}
ordered = pytest.mark.parametrize(("step", "order"), ORDERS.values(), ids=ORDERS)
COUNTS = [16, 32, 64]
"""Steps over which an order of convergence is measured."""


def gaussian() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [T] and covariance [T, T] of a random walk: neighboring tokens are correlated."""
    index = torch.arange(TOKENS, dtype=torch.float64)
    covariance = 0.6 * 0.8 ** (index[:, None] - index).abs()
    return torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64), covariance


def optimal(schedule: NoiseSchedule, mean: torch.Tensor, covariance: torch.Tensor):  # type: ignore[no-untyped-def]
    """The expected clean tokens given noisy ones, [B, T, 1]; all rows at the first row's levels."""

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        alpha, sigma = schedule.alpha[level[0]].double(), schedule.sigma[level[0]].double()
        noisy = alpha[:, None] * covariance * alpha + torch.diag(sigma**2)
        gain = torch.linalg.solve(noisy, alpha[:, None] * covariance).T
        return mean[:, None] + gain @ (x - (alpha * mean)[:, None])

    return denoiser


def affine(run: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Offset [T] and matrix [T, T] of an affine ``run`` on [B, T, 1]."""
    zero = torch.zeros(1, TOKENS, dtype=torch.float64)
    done = run(torch.cat([zero, torch.eye(TOKENS, dtype=torch.float64)])[..., None])[..., 0]
    return done[0], (done[1:] - done[0]).T


def sampled(
    schedule: NoiseSchedule,
    matrix: torch.Tensor,
    step: Maker = ddim,
    known: tuple[int, float] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of samples along ``matrix`` with the optimal denoiser.

    ``known``: a token and the value it has from the first row on.
    """
    mean, covariance = gaussian()

    def run(x: torch.Tensor) -> torch.Tensor:
        if known is not None:
            x[:, known[0]] = known[1]
        return sample(
            optimal(schedule, mean, covariance),
            x,
            matrix,
            step=step(schedule),
            generator=torch.Generator(),
        )

    offset, linear = affine(run)
    return offset, linear @ linear.T


def measured(errors: list[float]) -> float:
    """The order of convergence of ``errors`` after ``COUNTS`` steps."""
    return float(-np.polyfit(np.log(COUNTS), np.log(errors), 1)[0])


@scheduled
@ordered
@pytest.mark.parametrize(
    ("name", "scale"), [*((name, 1.0) for name in MATRICES), ("pyramid", 2.5), ("trapezoid", 2.5)]
)
def test_every_matrix_samples_the_data_with_the_error_of_the_order(
    schedule: NoiseSchedule, name: str, scale: float, step: Maker, order: float
) -> None:
    mean, covariance = gaussian()
    errors = []
    for count in COUNTS:
        matrix = scheduling_matrix(name, TOKENS, K, count, scale)
        offset, spread = sampled(schedule, matrix, step)
        assert torch.allclose(
            offset, mean, atol=1e-5
        )  # one step from the noise's mean to the data's
        errors.append(float((spread - covariance).norm() / covariance.norm()))
    assert errors[-1] < 0.05**order
    assert measured(errors) == pytest.approx(order, abs=0.15), errors


@scheduled
@ordered
def test_pauses_do_not_lower_the_order(schedule: NoiseSchedule, step: Maker, order: float) -> None:
    """Some tokens pause halfway until the others, which they depend on, are clean."""
    _, covariance = gaussian()
    errors = []
    for count in COUNTS:
        level = scheduling_matrix("full_sequence", 1, K, count)[:, 0]
        half = count // 2
        waits = torch.cat([level[:half], level[half].repeat(half), level[half:]])
        first = torch.cat([level, level[-1].repeat(half)])
        _, spread = sampled(schedule, torch.stack([waits, first, waits, first], 1), step)
        errors.append(float((spread - covariance).norm() / covariance.norm()))
    assert measured(errors) == pytest.approx(order, abs=0.15), errors


@scheduled
@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_second_order_is_closer_to_the_data_also_with_few_steps(
    schedule: NoiseSchedule, count: int
) -> None:
    _, covariance = gaussian()
    matrix = scheduling_matrix("full_sequence", TOKENS, K, count)
    first, second = (
        (sampled(schedule, matrix, step)[1] - covariance).norm() for step in (ddim, second_order)
    )
    assert second < 0.75 * first


@scheduled
@pytest.mark.parametrize("level", [0, 30, 150])
def test_samples_follow_held_tokens(schedule: NoiseSchedule, level: int) -> None:
    """Samples are from the distribution given the first token, clean or noisy."""
    mean, covariance = gaussian()
    held = torch.tensor([level, FREE, FREE, FREE])
    matrix = hold(scheduling_matrix("full_sequence", TOKENS - 1, K, 128), held)
    offset, spread = sampled(schedule, matrix, second_order, known=(0, 2.5))
    alpha, sigma = schedule.alpha[level].double(), schedule.sigma[level].double()
    gain = alpha * covariance[1:, 0] / (alpha**2 * covariance[0, 0] + sigma**2)
    conditional_mean = mean[1:] + gain * (2.5 - alpha * mean[0])
    conditional_covariance = covariance[1:, 1:] - alpha * gain[:, None] * covariance[0, 1:]
    assert torch.allclose(offset[1:], conditional_mean, atol=1e-3)
    assert torch.allclose(spread[1:, 1:], conditional_covariance, atol=1e-3)


@scheduled
def test_pure_noise_after_the_horizon_has_no_effect(schedule: NoiseSchedule) -> None:
    matrix = scheduling_matrix("full_sequence", TOKENS, K, 64)
    matrix[:, 2:] = K
    mean, covariance = gaussian()
    offset, spread = sampled(schedule, matrix)
    assert torch.allclose(offset[:2], mean[:2], atol=0.05)
    assert torch.allclose(spread[:2, :2], covariance[:2, :2], atol=0.05)
    assert torch.allclose(spread[:2, 2:], torch.zeros(()).double(), atol=1e-12)


@scheduled
def test_ddim_keeps_clean_and_noise_and_moves_between_levels(schedule: NoiseSchedule) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, K, 2, generator=generator).unbind()
    level = torch.arange(1, K + 1).expand(3, -1)
    below = (level * torch.rand(3, K, generator=generator)).long()
    x = schedule.add_noise(clean, noise, level)
    stepped = ddim(schedule)(x, clean, level, below, generator)
    assert torch.allclose(stepped, schedule.add_noise(clean, noise, below), atol=1e-3)


@scheduled
def test_ddim_without_noise_draws_none(schedule: NoiseSchedule) -> None:
    generator = torch.Generator().manual_seed(0)
    x, clean = torch.randn(2, 3, TOKENS, 2, generator=generator).unbind()
    level, below = torch.full((2, 3, TOKENS), 100).unbind()
    before = generator.get_state()
    stepped = ddim(schedule, eta=0.0)(x, clean, level, below - 60, generator)
    assert torch.equal(generator.get_state(), before)
    kept = schedule.add_noise(clean, schedule.noise_from_clean(x, clean, level), below - 60)
    assert torch.equal(stepped, kept)


@scheduled
@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize(("level", "below"), [(K, 200), (K, 1), (200, 150), (200, 0), (2, 1)])
def test_any_eta_draws_the_level_below(
    schedule: NoiseSchedule, level: int, below: int, eta: float
) -> None:
    """Given the true clean tokens, noisy ones at a level become noisy ones at the level below."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.full((1, 40_000, 1), 1.5), torch.randn(1, 40_000, 1, generator=generator)
    levels, next_levels = torch.full((1, 40_000), level), torch.full((1, 40_000), below)
    x = schedule.add_noise(clean, noise, levels)
    drawn = ddim(schedule, eta)(x, clean, levels, next_levels, generator)
    middle, wanted = 1.5 * float(schedule.alpha[below]), float(schedule.sigma[below])
    error = wanted / math.sqrt(40_000)
    assert float(drawn.mean()) == pytest.approx(middle, abs=5 * error + 1e-5)
    assert float(drawn.std()) == pytest.approx(wanted, rel=0.02, abs=1e-5)
    if below == 0:
        assert torch.equal(drawn, clean)


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_has_eta_times_the_deviation_of_the_posterior(
    make: Callable[[int], NoiseSchedule], eta: float
) -> None:
    """Between any two levels; the posterior here is Bayes' rule, from noisy to noisier."""
    schedule = make(30)
    level, below = torch.tril_indices(31, 31, -1)
    level, below = level[below > 0], below[below > 0]
    generator = torch.Generator().manual_seed(0)
    x, clean = torch.randn(2, 1, len(level), 5, generator=generator, dtype=torch.float64).unbind()
    alpha, sigma = schedule.alpha.double()[:, None], schedule.sigma.double()[:, None]
    ratio = alpha[level] / alpha[below]
    later = sigma[level] ** 2 - ratio**2 * sigma[below] ** 2
    precision = 1 / sigma[below] ** 2 + ratio**2 / later
    mean = (alpha[below] * clean / sigma[below] ** 2 + ratio * x / later) / precision
    stepped = ddim(schedule, eta)(x, clean, level[None], below[None], generator.manual_seed(1))
    fresh = torch.randn(x.shape, generator=generator.manual_seed(1), dtype=x.dtype)
    if eta == 1:
        assert torch.allclose(stepped, mean + precision.rsqrt() * fresh, atol=2e-4)
    std = eta * precision.rsqrt()
    noise = (x - alpha[level] * clean) / sigma[level]
    kept = (sigma[below] ** 2 - std**2).clamp_min(0).sqrt()
    assert torch.allclose(stepped, alpha[below] * clean + kept * noise + std * fresh, atol=2e-4)


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_outside_0_to_1_is_an_error(eta: float) -> None:
    with pytest.raises(ConfigError, match=f"eta .*; got {eta}"):
        ddim(interpolation_schedule(K), eta)


@scheduled
def test_ancestral_samples_the_data(schedule: NoiseSchedule) -> None:
    mean, covariance = gaussian()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8_000, TOKENS, 1, generator=generator, dtype=torch.float64)
    done = sample(
        optimal(schedule, mean, covariance),
        x,
        scheduling_matrix("pyramid", TOKENS, K, 128),
        step=ancestral(schedule),
        generator=generator,
    )[..., 0]
    assert torch.allclose(done.mean(0), mean, atol=0.05)
    assert torch.allclose(torch.cov(done.T), covariance, atol=0.05)


@scheduled
@pytest.mark.parametrize("below", [0, 1, 60, 100])
def test_second_order_is_exact_for_linear_estimates(schedule: NoiseSchedule, below: int) -> None:
    """A clean estimate ``a + b cos(v)``, for which the flow of x is an integral in closed form."""
    a, b, x = torch.randn(
        3, 1, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    alpha, sigma = schedule.alpha.double(), schedule.sigma.double()
    norm = (alpha**2 + sigma**2).sqrt()

    def line(level: int) -> torch.Tensor:
        return a + b * alpha[level] / norm[level]

    for level, before in [(below + 1, below + 2), (110, 140), (200, K), (K - 1, K)]:
        stepped = second_order(schedule)(
            x,
            line(level),
            torch.tensor([[level]]),
            torch.tensor([[below]]),
            torch.Generator(),
            (line(before), torch.tensor([[before]])),
        )
        exact = line(0)
        if below > 0:
            # The integral of (a + b cos v) d(cot v) from ``level`` to ``below``.
            cot = alpha[below] / sigma[below] - alpha[level] / sigma[level]
            cosecant = norm[below] / sigma[below] - norm[level] / sigma[level]
            exact = sigma[below] * (x / sigma[level] + a * cot + b * cosecant)
        assert torch.allclose(stepped, exact, atol=1e-4)


@scheduled
def test_second_order_is_ddim_in_the_first_step(schedule: NoiseSchedule) -> None:
    generator = torch.Generator().manual_seed(0)
    x, clean, before = torch.randn(3, 1, TOKENS, 2, generator=generator).unbind()
    level, below = torch.tensor([[K, K, 100, 100]]), torch.tensor([[K, 90, 40, 0]])
    first = ddim(schedule)(x, clean, level, below, generator)
    step = second_order(schedule)
    assert torch.equal(step(x, clean, level, below, generator), first)
    assert torch.equal(step(x, clean, level, below, generator, (before, level)), first)
    same = step(x, clean, level, below, generator, (clean, torch.full_like(level, K)))
    assert torch.equal(same, first), "an estimate that does not change is a constant"


def test_steps_by_name() -> None:
    schedule = interpolation_schedule(K)
    x, clean = torch.randn(2, 1, TOKENS, 2, generator=torch.Generator().manual_seed(0)).unbind()
    level, below = torch.full((1, TOKENS), 100), torch.full((1, TOKENS), 40)
    previous = (0 * clean, level + 60)
    for name, make in {"ddim": ddim, "ddpm": ancestral, "second_order": second_order}.items():
        named, made = (
            step(x, clean, level, below, torch.Generator().manual_seed(0), previous)
            for step in (sampling_step(name, schedule), make(schedule))
        )
        assert torch.equal(named, made) and name in STEPS
    with pytest.raises(ConfigError, match="Did you mean 'ddpm'"):
        sampling_step("dpm", schedule)
