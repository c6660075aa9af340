from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dfplan.diffusion.schedules import NoiseSchedule, cosine_schedule, interpolation_schedule
from dfplan.errors import ConfigError

MAKERS = [interpolation_schedule, cosine_schedule]
Maker = Callable[[int], NoiseSchedule]

pytestmark = pytest.mark.parametrize("make", MAKERS)


def noised(schedule: NoiseSchedule) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(clean, noise [5, K+1, 3], level [5, K+1]): every level, mixed up."""
    generator = torch.Generator().manual_seed(0)
    levels = schedule.max_level + 1
    level = torch.stack([torch.randperm(levels, generator=generator) for _ in range(5)])
    clean, noise = torch.randn(2, 5, levels, 3, generator=generator).unbind()
    return clean, noise, level


@pytest.mark.parametrize("max_level", [1, 2, 3, 10, 50, 100, 256, 1000])
def test_ends_are_exact_and_all_between_falls(make: Maker, max_level: int) -> None:
    schedule = make(max_level)
    assert schedule.max_level == max_level
    assert schedule.alpha.shape == schedule.sigma.shape == (max_level + 1,)
    assert (schedule.alpha[0], schedule.sigma[0]) == (1, 0)
    assert (schedule.alpha[-1], schedule.sigma[-1]) == (0, 1)
    assert (schedule.alpha.diff() < 0).all() and (schedule.sigma.diff() > 0).all()


@pytest.mark.parametrize("max_level", [1, 20, 1000])
def test_adding_noise_and_finding_it_are_inverse(make: Maker, max_level: int) -> None:
    schedule = make(max_level)
    clean, noise, level = noised(schedule)
    found = schedule.noise_in(schedule.add_noise(clean, noise, level), clean, level)
    known = (level > 0)[..., None]
    tolerance = 1e-5 / schedule.sigma[level][..., None].clamp_min(1e-3)
    assert ((found - torch.where(known, noise, 0)).abs() <= tolerance).all()


def test_level_0_is_clean_and_level_k_is_noise_bit_for_bit(make: Maker) -> None:
    schedule = make(30)
    clean, noise, level = noised(schedule)
    assert torch.equal(schedule.add_noise(clean, noise, 0 * level), clean)
    assert torch.equal(schedule.add_noise(clean, noise, 0 * level + 30), noise)
    assert (schedule.noise_in(noise, clean, 0 * level) == 0).all(), "no noise where none was added"


def test_each_token_is_noised_by_its_own_level(make: Maker) -> None:
    schedule = make(30)
    clean, noise, level = noised(schedule)
    together = schedule.add_noise(clean, noise, level)
    for token in range(level.shape[1]):
        one = slice(token, token + 1)
        alone = schedule.add_noise(clean[:, one], noise[:, one], level[:, one])
        assert torch.equal(together[:, one], alone)


def test_signal_to_noise_falls_from_infinite_to_none(make: Maker) -> None:
    schedule = make(40)
    ratio = schedule.signal_to_noise(torch.arange(41))
    assert ratio[0] == torch.inf and ratio[-1] == 0
    assert (ratio.diff() < 0).all()
    assert schedule.signal_to_noise(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3)


@pytest.mark.parametrize("max_level", [0, -4])
def test_a_schedule_needs_a_level(make: Maker, max_level: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 1 noise level; got {max_level}"):
        make(max_level)
