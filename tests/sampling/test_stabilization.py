from __future__ import annotations

import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.sampling.stabilization import stabilized

K = 20


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [4, 7, 2] and levels [4, 7] of every kind, some of them 0."""
    generator = torch.Generator().manual_seed(0)
    level = torch.randint(0, K + 1, (4, 7), generator=generator)
    level[:, :2] = 0
    return torch.randn(4, 7, 2, generator=generator), level


def mixing(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """A denoiser in which every token hears of every other, and of all levels."""
    return torch.sin(x.mean(1, keepdim=True) + 0.5 * x + level[..., None] / K + level.sum() / K)


def test_level_0_is_the_denoiser_itself() -> None:
    assert stabilized(mixing, 0) is mixing


@pytest.mark.parametrize("told_level", [1, 3])
def test_clean_tokens_are_told_as_noisy_and_kept(told_level: int) -> None:
    x, level = drawn()
    given = x.clone(), level.clone()
    asked = []

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        asked.append((x, level))
        return mixing(x, level)

    estimate = stabilized(denoiser, told_level)(x, level)
    ((shown, told),) = asked
    assert torch.equal(shown, x), "no noise is added"
    known = level == 0
    assert torch.equal(told, torch.where(known, told_level, level))
    assert torch.equal(estimate[known], x[known])
    assert torch.equal(estimate[~known], mixing(x, told)[~known])
    assert torch.equal(x, given[0]) and torch.equal(level, given[1])


def test_levels_below_clean_are_refused() -> None:
    with pytest.raises(ConfigError, match="level of at least 0, where 0 is clean; got -1"):
        stabilized(mixing, -1)
