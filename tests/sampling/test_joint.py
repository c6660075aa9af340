"""Joint denoising: windows of Gaussian data, whose optimal denoiser has a closed form."""

from __future__ import annotations

import pytest
import torch

from dfplan.diffusion.schedules import noise_schedule
from dfplan.errors import ConfigError
from dfplan.sampling.joint import join_windows
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import full_sequence
from dfplan.sampling.steps import sampling_step
from dfplan.types import Denoiser

LEVELS = 20
SCHEDULE = noise_schedule("cosine", LEVELS)
KEPT = 0.6  # correlation of neighboring tokens


def covariance(length: int) -> torch.Tensor:
    """Of a stationary Markov chain of variance 1, [L, L]."""
    index = torch.arange(length)
    return KEPT ** (index - index[:, None]).abs().double()


def optimal(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """The mean of the clean chain given its noisy tokens [B, L, 1], each with its own level."""
    alpha, sigma = SCHEDULE.alpha.double()[level], SCHEDULE.sigma.double()[level]
    joint = covariance(x.shape[1])
    observed = alpha[:, :, None] * joint * alpha[:, None, :] + torch.diag_embed(sigma**2 + 1e-9)
    weights = torch.linalg.solve(observed, x.double())
    return ((joint * alpha[:, None, :]) @ weights).float()


def joined(window: int, overlap: int) -> Denoiser:
    generator = torch.Generator().manual_seed(7)
    return join_windows(optimal, window, overlap, LEVELS, generator)


def draw(denoiser: Denoiser, matrix: torch.Tensor, count: int, seed: int = 0) -> torch.Tensor:
    """Samples [count, L]."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, matrix.shape[1], 1, generator=generator)
    step = sampling_step("ddpm", SCHEDULE)
    return sample(denoiser, x, matrix, step=step, generator=generator)[..., 0]


def error_of(samples: torch.Tensor) -> float:
    """Largest difference of the samples' covariance to that of the chain."""
    mixed = samples.double().T @ samples.double() / len(samples)
    return float((mixed - covariance(samples.shape[1])).abs().max())


def test_a_sequence_of_one_window_is_left_to_the_denoiser() -> None:
    x, level = torch.randn(3, 9, 1), torch.randint(0, LEVELS + 1, (3, 9))
    assert torch.equal(joined(9, 4)(x, level), optimal(x, level))


@pytest.mark.parametrize("length", [10, 13, 20, 41])
def test_every_token_has_the_estimate_of_one_long_window(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(50, length, 1, generator=generator)
    level = torch.randint(1, LEVELS, (50, length), generator=generator)
    errors = [
        float((joined(window, window - 3)(x, level) - optimal(x, level)).abs().mean())
        for window in (5, 9, 17)
    ]
    assert errors[0] < 0.06 and errors[1] < 0.02 and errors[2] < 0.005


def test_joined_windows_have_the_distribution_of_one_long_window() -> None:
    length, count = 14, 5000
    matrix = full_sequence(length, LEVELS, LEVELS)
    limit = error_of(draw(optimal, matrix, count))
    assert error_of(draw(joined(9, 6), matrix, count)) < limit + 0.04
    unjoined = torch.cat([draw(optimal, matrix[:, :7], count, seed) for seed in (1, 2)], 1)
    assert error_of(unjoined) > 0.5


@pytest.mark.parametrize("overlap", [0, -1, 8])
def test_impossible_overlaps_are_refused(overlap: int) -> None:
    with pytest.raises(ConfigError, match="7"):
        joined(9, overlap)
