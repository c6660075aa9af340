from __future__ import annotations

import pytest
import torch

from dfplan.diffusion.loss import clipped_snr, forcing_loss
from dfplan.diffusion.schedules import NoiseSchedule, cosine_schedule, interpolation_schedule

K = 20
SCHEDULES = [interpolation_schedule(K), cosine_schedule(K)]


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(clean, noise [6, 10, 4], level with some 0 and some K, counted) of a batch."""
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, 6, 10, 4, generator=generator).unbind()
    level = torch.randint(0, K + 1, (6, 10), generator=generator)
    level[:, 0], level[:, 9] = 0, K
    return clean, noise, level, torch.rand(6, 10, generator=generator) < 0.7


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["interpolation", "cosine"])
def test_weight_is_the_clipped_signal_to_noise(schedule: NoiseSchedule) -> None:
    weight = clipped_snr(schedule, torch.arange(K + 1))
    ratio = (schedule.alpha / schedule.sigma) ** 2
    assert weight[0] == 5 and weight[-1] == 1
    assert torch.equal(weight, torch.minimum(torch.maximum(ratio, torch.ones(())), torch.tensor(5)))
    assert clipped_snr(schedule, torch.arange(K + 1), 0, 2).max() == 2
    assert set(weight.tolist()) > {1.0, 5.0}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["interpolation", "cosine"])
def test_loss_is_the_weighted_mean_over_noisy_counted_tokens(schedule: NoiseSchedule) -> None:
    clean, noise, level, counted = drawn()
    wrong = torch.randn(clean.shape, generator=torch.Generator().manual_seed(9))
    loss = forcing_loss(lambda x, k: clean + wrong, clean, level, counted, schedule, noise)
    terms = [
        min(max(float(schedule.alpha[k] / schedule.sigma[k]) ** 2, 1.0), 5.0) * (e**2).mean()
        for k, e, c in zip(level.flatten(), wrong.flatten(0, 1), counted.flatten(), strict=True)
        if c and k > 0
    ]
    assert loss == pytest.approx(float(sum(terms)) / len(terms), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_clean_and_uncounted_tokens_do_not_count(seed: int) -> None:
    clean, noise, level, counted = drawn(seed)
    guess = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed + 100))
    guess.requires_grad_()
    schedule = SCHEDULES[0]
    forcing_loss(lambda x, k: guess, clean, level, counted, schedule, noise).backward()
    used = (guess.grad != 0).any(-1)
    assert torch.equal(used, counted & (level > 0))


def test_denoiser_is_asked_about_the_noised_tokens_and_their_levels() -> None:
    clean, noise, level, counted = drawn()
    schedule = SCHEDULES[0]
    asked = []

    def denoiser(x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        asked.append((x, told))
        return clean

    assert forcing_loss(denoiser, clean, level, counted, schedule, noise) == 0
    ((x, told),) = asked
    assert torch.equal(x, schedule.add_noise(clean, noise, level)) and torch.equal(told, level)


def test_nothing_to_count_is_no_loss() -> None:
    clean, noise, level, counted = drawn()
    for none in (counted & False, counted):
        told = level if none is not counted else 0 * level
        loss = forcing_loss(lambda x, k: x + 1, clean, told, none, SCHEDULES[0], noise)
        assert loss == 0
