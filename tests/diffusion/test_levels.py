from __future__ import annotations

import math

import pytest
import torch

from dfplan.diffusion.levels import (
    FULL_SEQUENCE,
    INDEPENDENT,
    TEACHER_FORCING,
    LevelMixture,
    draw_levels,
)
from dfplan.errors import ConfigError

BATCH, TOKENS, MAX_LEVEL = 4000, 9, 12
RISING = LevelMixture(0, 0, 1, known_start=0, known_goal=0)


def draw(mixture: LevelMixture, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(level [BATCH, TOKENS], known_goal [BATCH], horizon [BATCH]) with every horizon."""
    horizon = 1 + torch.arange(BATCH) % (TOKENS - 1)
    generator = torch.Generator().manual_seed(seed)
    level, known_goal = draw_levels(horizon, TOKENS, MAX_LEVEL, mixture, generator)
    return level, known_goal, horizon


def is_share(found: torch.Tensor, share: float) -> bool:
    """Whether the share of True is within five standard errors of ``share``."""
    error = math.sqrt(share * (1 - share) / found.numel())
    return abs(found.float().mean().item() - share) <= 5 * error


@pytest.mark.parametrize(
    "mixture", [LevelMixture(), INDEPENDENT, FULL_SEQUENCE, RISING, TEACHER_FORCING], ids=str
)
@pytest.mark.parametrize("seed", range(3))
def test_levels_are_levels_and_padding_is_pure_noise(mixture: LevelMixture, seed: int) -> None:
    level, known_goal, horizon = draw(mixture, seed)
    assert level.shape == (BATCH, TOKENS) and level.dtype == torch.long
    assert level.min() >= 0 and level.max() <= MAX_LEVEL
    assert (level[torch.arange(TOKENS) > horizon[:, None]] == MAX_LEVEL).all()
    assert (level[known_goal, horizon[known_goal]] == 0).all()


@pytest.mark.parametrize("known_start", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("known_goal", [0.0, 0.6, 1.0])
def test_ends_are_clean_with_their_probability(known_start: float, known_goal: float) -> None:
    # A common level is never 0, so a clean token is one that was made known.
    mixture = LevelMixture(0, 1, 0, known_start, known_goal)
    level, known, horizon = draw(mixture)
    last = level.gather(1, horizon[:, None])[:, 0]
    assert is_share(level[:, 0] == 0, known_start)
    assert is_share(known, known_goal) and torch.equal(known, last == 0)
    both = (level[:, 0] == 0) & known
    assert is_share(both, known_start * known_goal)
    inner = (torch.arange(TOKENS) > 0) & (torch.arange(TOKENS) < horizon[:, None])
    assert (level[inner] > 0).all()


def test_independent_levels_are_uniform_and_independent() -> None:
    level, _, horizon = draw(INDEPENDENT)
    inside = torch.arange(TOKENS) <= horizon[:, None]
    for wanted in range(MAX_LEVEL + 1):
        assert is_share(level[inside] == wanted, 1 / (MAX_LEVEL + 1))
    longest = level[horizon == TOKENS - 1].double()
    correlation = torch.corrcoef(longest.T) - torch.eye(TOKENS)
    assert correlation.abs().max() < 5 / math.sqrt(len(longest))


def test_a_common_level_is_the_same_for_all_tokens() -> None:
    level, _, horizon = draw(FULL_SEQUENCE)
    inside = torch.arange(TOKENS) <= horizon[:, None]
    assert (level == level[:, :1])[inside].all()
    for wanted in range(1, MAX_LEVEL + 1):
        assert is_share(level[:, 0] == wanted, 1 / MAX_LEVEL)


def test_rising_levels_never_fall_along_the_window() -> None:
    level, _, horizon = draw(RISING)
    assert (level.diff(dim=1) >= 0).all()
    longest = level[horizon == TOKENS - 1]
    assert (longest[:, -1] > longest[:, 0]).float().mean() > 0.5
    assert set(longest.unique().tolist()) == set(range(MAX_LEVEL + 1))


@pytest.mark.parametrize("seed", range(3))
def test_teacher_forcing_has_one_noisy_token_between_clean_and_pure_noise(seed: int) -> None:
    level, _, horizon = draw(TEACHER_FORCING, seed)
    current = (level > 0).long().argmax(1)
    index = torch.arange(TOKENS)
    assert (level[index < current[:, None]] == 0).all()
    assert (level[index > current[:, None]] == MAX_LEVEL).all()
    assert (current <= horizon).all()
    drawn = level[torch.arange(BATCH), current]
    for wanted in range(1, MAX_LEVEL + 1):
        assert is_share(drawn == wanted, 1 / MAX_LEVEL)
    longest = current[horizon == TOKENS - 1]
    for wanted in range(TOKENS):
        assert is_share(longest == wanted, 1 / TOKENS)


@pytest.mark.parametrize("horizon", range(64))
def test_teacher_forcing_reaches_every_token_of_every_horizon(horizon: int) -> None:
    generator = torch.Generator().manual_seed(horizon)
    ends = torch.full((2000,), horizon)
    level, _ = draw_levels(ends, 64, MAX_LEVEL, TEACHER_FORCING, generator)
    current = (level > 0).long().argmax(1)
    assert set(current.tolist()) == set(range(horizon + 1))


def test_teacher_forcing_can_have_clean_ends() -> None:
    mixture = LevelMixture(0, 0, 0, known_start=1, known_goal=1, teacher_forcing=1)
    level, known_goal, horizon = draw(mixture)
    assert known_goal.all() and (level[:, 0] == 0).all()
    assert (level.gather(1, horizon[:, None]) == 0).all()


def test_patterns_have_their_probability() -> None:
    # Only independent levels differ within a window.
    level, _, horizon = draw(LevelMixture(3, 7, 0, known_start=0, known_goal=0))
    rows = level[horizon == TOKENS - 1]
    assert is_share((rows != rows[:, :1]).any(1), 0.3)


def test_teacher_forcing_has_its_probability() -> None:
    mixture = LevelMixture(0, 3, 0, known_start=0, known_goal=0, teacher_forcing=1)
    level, _, horizon = draw(mixture)
    rows = level[horizon == TOKENS - 1]
    # 1 in 9 * 12 windows of teacher forcing is pure noise throughout.
    assert is_share((rows != rows[:, :1]).any(1), 0.25 * (1 - 1 / (TOKENS * MAX_LEVEL)))


@pytest.mark.parametrize("mixture", [LevelMixture(), TEACHER_FORCING], ids=str)
def test_the_seed_determines_the_levels(mixture: LevelMixture) -> None:
    first, again, other = (draw(mixture, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_later_draws_do_not_depend_on_the_pattern() -> None:
    """Batches of two runs differ only in their levels, so that mixtures can be compared."""
    after = set()
    for mixture in (INDEPENDENT, FULL_SEQUENCE, RISING, TEACHER_FORCING, LevelMixture()):
        generator = torch.Generator().manual_seed(0)
        draw_levels(torch.full((16,), 5), 6, MAX_LEVEL, mixture, generator)
        after.add(torch.rand((), generator=generator).item())
    assert len(after) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((-1, 1, 1, 0, 0), "independent must .*; got -1"),
        ((math.nan, 1, 1, 0, 0), "independent must .*; got nan"),
        ((1, 1, math.inf, 0, 0), "rising must .*; got inf"),
        ((0, 0, 0, 0, 0), "needs a weight above 0"),
        ((1, 1, 1, 1.1, 0), "known_start must .*, at most 1; got 1.1"),
        ((1, 1, 1, 0, -0.1), "known_goal must"),
        ((1, 1, 1, 0, 0, -1), "teacher_forcing must"),
    ],
)
def test_wrong_weights_and_probabilities_are_refused(
    wrong: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        LevelMixture(*wrong)


@pytest.mark.parametrize("weight", [1e-300, 1e300, 1e39])
def test_weights_beyond_float32_are_refused(weight: float) -> None:
    with pytest.raises(ConfigError):
        LevelMixture(weight, 0, 0)
