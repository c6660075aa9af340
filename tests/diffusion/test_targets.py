from __future__ import annotations

import pytest
import torch

from dfplan.diffusion.schedules import interpolation_schedule
from dfplan.diffusion.targets import clean_from_velocity, velocity_from_clean

SCHEDULE = interpolation_schedule(25)


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(clean, noise [4, 26, 3], level [4, 26] with every level)."""
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, 4, 26, 3, generator=generator).unbind()
    return clean, noise, torch.arange(26).expand(4, -1)


@pytest.mark.parametrize("seed", range(3))
def test_clean_and_velocity_are_inverse(seed: int) -> None:
    clean, noisy, level = drawn(seed)  # any noisy tokens, not only those that can occur
    velocity = velocity_from_clean(noisy, clean, level, SCHEDULE)
    back = clean_from_velocity(noisy, velocity, level, SCHEDULE)
    assert torch.allclose(back[:, 1:], clean[:, 1:], atol=1e-5)
    again = velocity_from_clean(noisy, back, level, SCHEDULE)
    assert torch.allclose(again[:, 1:], velocity[:, 1:], atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_velocity_leads_from_clean_to_noise(seed: int) -> None:
    clean, noise, level = drawn(seed)
    noisy = SCHEDULE.add_noise(clean, noise, level)
    velocity = velocity_from_clean(noisy, clean, level, SCHEDULE)
    assert torch.allclose(velocity[:, 1:], (noise - clean)[:, 1:], atol=1e-4)
    back = clean_from_velocity(noisy, noise - clean, level, SCHEDULE)
    assert torch.allclose(back, clean, atol=1e-5)


def test_clean_tokens_come_back_unchanged_whatever_is_predicted() -> None:
    clean, wild, level = drawn(0)
    assert torch.equal(clean_from_velocity(clean, 1e9 * wild, 0 * level, SCHEDULE), clean)
