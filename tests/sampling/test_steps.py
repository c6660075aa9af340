"""Sampling Gaussian data, whose optimal denoiser has a closed form.

Clean tokens are jointly normal, so given noisy ones each at a level of its own the expected clean
ones are an affine function of them. A run of DDIM is then one as well: its offset and matrix,
read off by sampling from zero and from unit vectors, say which distribution it samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from dfplan.diffusion.schedules import NoiseSchedule, cosine_schedule, interpolation_schedule
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import MATRICES, scheduling_matrix
from dfplan.sampling.steps import ancestral, ddim

TOKENS, K = 4, 256
MAKERS: dict[str, Callable[[int], NoiseSchedule]] = {
    "interpolation": interpolation_schedule,
    "cosine": cosine_schedule,
}

scheduled = pytest.mark.parametrize("schedule", [m(K) for m in MAKERS.values()], ids=list(MAKERS))


def gaussian() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [T] and covariance [T, T] of tokens that wander: neighbors are alike."""
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


def sampled(schedule: NoiseSchedule, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of what DDIM samples along ``matrix`` with the optimal denoiser."""
    mean, covariance = gaussian()

    def run(x: torch.Tensor) -> torch.Tensor:
        return sample(
            optimal(schedule, mean, covariance),
            x,
            matrix,
            step=ddim(schedule),
            generator=torch.Generator(),
        )

    offset, linear = affine(run)
    return offset, linear @ linear.T


@scheduled
@pytest.mark.parametrize("name", sorted(MATRICES))
def test_every_matrix_samples_the_data_and_the_error_is_of_first_order(
    schedule: NoiseSchedule, name: str
) -> None:
    mean, covariance = gaussian()
    steps = [16, 32, 64, 128]
    errors = []
    for count in steps:
        offset, spread = sampled(schedule, scheduling_matrix(name, TOKENS, K, count))
        assert torch.allclose(offset, mean, atol=1e-5)  # straight from the noise's mean to its own
        errors.append(float((spread - covariance).norm() / covariance.norm()))
    assert errors[-1] < 0.03
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order == pytest.approx(1.0, abs=0.15), errors


@scheduled
def test_known_tokens_make_the_others_follow(schedule: NoiseSchedule) -> None:
    """A clean first token: what is sampled is the distribution given that token."""
    mean, covariance = gaussian()
    known = torch.tensor(2.5, dtype=torch.float64)
    matrix = scheduling_matrix("full_sequence", TOKENS, K, K)
    matrix[:, 0] = 0

    def run(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, 0] = known
        return sample(
            optimal(schedule, mean, covariance),
            x,
            matrix,
            step=ddim(schedule),
            generator=torch.Generator(),
        )

    offset, linear = affine(run)
    gain = covariance[1:, 0] / covariance[0, 0]
    given_mean = mean[1:] + gain * (known - mean[0])
    given_covariance = covariance[1:, 1:] - gain[:, None] * covariance[0, 1:]
    assert torch.allclose(offset[1:], given_mean, atol=0.02)
    assert torch.allclose((linear @ linear.T)[1:, 1:], given_covariance, atol=0.02)


@scheduled
def test_pure_noise_past_the_horizon_says_nothing(schedule: NoiseSchedule) -> None:
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
@pytest.mark.parametrize(("level", "below"), [(K, 200), (K, 1), (200, 150), (200, 0), (2, 1)])
def test_ancestral_draws_the_level_below(schedule: NoiseSchedule, level: int, below: int) -> None:
    """Given the true clean tokens, noisy ones at a level become noisy ones at the level below."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.full((1, 40_000, 1), 1.5), torch.randn(1, 40_000, 1, generator=generator)
    levels, next_levels = torch.full((1, 40_000), level), torch.full((1, 40_000), below)
    x = schedule.add_noise(clean, noise, levels)
    drawn = ancestral(schedule)(x, clean, levels, next_levels, generator)
    middle, wanted = 1.5 * float(schedule.alpha[below]), float(schedule.sigma[below])
    error = wanted / math.sqrt(40_000)
    assert float(drawn.mean()) == pytest.approx(middle, abs=5 * error + 1e-5)
    assert float(drawn.std()) == pytest.approx(wanted, rel=0.02, abs=1e-5)
    if below == 0:
        assert torch.allclose(drawn, clean, atol=1e-6)


@scheduled
def test_ancestral_samples_the_data(schedule: NoiseSchedule) -> None:
    mean, covariance = gaussian()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, TOKENS, 1, generator=generator, dtype=torch.float64)
    done = sample(
        optimal(schedule, mean, covariance),
        x,
        scheduling_matrix("pyramid", TOKENS, K, 128),
        step=ancestral(schedule),
        generator=generator,
    )[..., 0]
    assert torch.allclose(done.mean(0), mean, atol=0.05)
    assert torch.allclose(torch.cov(done.T), covariance, atol=0.05)
