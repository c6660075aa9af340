from __future__ import annotations

import pytest
import torch

from dfplan.diffusion.schedules import interpolation_schedule
from dfplan.errors import ConfigError
from dfplan.sampling.guidance import GuidanceSettings, climb, guided

BATCH, TOKENS, FEATURES, K = 4, 7, 2, 10
SCHEDULE = interpolation_schedule(K)
TARGET = torch.tensor([2.0, -1.0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [B, T, D] and levels [B, T], the first clean and the last pure noise."""
    x = torch.randn(BATCH, TOKENS, FEATURES, generator=generator())
    level = torch.randint(1, K, (BATCH, TOKENS), generator=generator())
    level[:, 0], level[:, -1] = 0, K
    return x, level


def shrink(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """A made-up denoiser: clean tokens are themselves, noisy ones shrink to the middle."""
    middle = 0.5 * x + 0.2 * x.mean(1, keepdim=True)
    return torch.where(level[..., None] > 0, middle, x)


def near(clean: torch.Tensor) -> torch.Tensor:
    """Reward: near the target, everywhere."""
    return -0.5 * (clean - TARGET).square().sum((-1, -2))


def uneven(clean: torch.Tensor) -> torch.Tensor:
    """Reward whose gradient differs from sample to sample."""
    return clean.pow(3).sum((-1, -2))


def test_scale_0_is_the_denoiser_itself() -> None:
    off = GuidanceSettings(scale=0)
    assert guided(shrink, near, SCHEDULE, off) is shrink
    alone = guided(shrink, near, SCHEDULE, off, futures=5, generator=generator())
    assert alone is shrink


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("futures", [1, 2, 8])
@pytest.mark.parametrize("reward", [near, uneven])
def test_estimates_move_up_the_reward(iterations: int, futures: int, reward) -> None:  # type: ignore[no-untyped-def]
    x, level = drawn()
    settings = GuidanceSettings(scale=0.05, iterations=iterations)
    wrapped = guided(shrink, reward, SCHEDULE, settings, futures=futures, generator=generator())
    assert (reward(wrapped(x, level)) > reward(shrink(x, level))).all()


@pytest.mark.parametrize("futures", [1, 3])
def test_clean_tokens_and_pure_noise_are_not_moved(futures: int) -> None:
    x, level = drawn()
    settings = GuidanceSettings(scale=1e6, iterations=3, max_move=10)
    wrapped = guided(shrink, near, SCHEDULE, settings, futures=futures, generator=generator())
    moved = wrapped(x, level) != shrink(x, level)
    assert torch.equal(moved.all(-1), (level > 0) & (level < K))
    assert torch.equal(moved.any(-1), moved.all(-1))


@pytest.mark.parametrize("max_move", [0.01, 0.3])
@pytest.mark.parametrize("iterations", [1, 5])
@pytest.mark.parametrize("scale", [0.1, 1e9])
def test_no_move_is_farther_than_max_move(max_move: float, iterations: int, scale: float) -> None:
    x, level = drawn()
    settings = GuidanceSettings(scale, iterations, max_move)
    move = guided(shrink, near, SCHEDULE, settings)(x, level) - shrink(x, level)
    assert move.abs().max() <= iterations * max_move + 1e-5
    if scale == 1e9 and iterations == 1:
        free = (level > 0) & (level < K)
        assert torch.allclose(move[free].abs(), torch.tensor(max_move), atol=1e-6)


def test_one_step_by_hand() -> None:
    x, level = drawn()
    move = guided(shrink, near, SCHEDULE, GuidanceSettings(0.3, 1, 100))(x, level) - shrink(
        x, level
    )
    pull = 0.3 * SCHEDULE.alpha[level][..., None] * (level > 0)[..., None]
    assert torch.allclose(move, pull * (TARGET - shrink(x, level)), atol=1e-6)


def test_guidance_of_rows_is_independent() -> None:
    x, level = drawn()
    wrapped = guided(shrink, uneven, SCHEDULE, GuidanceSettings(0.1, 3))
    together = wrapped(x, level)
    for row in range(BATCH):
        one = slice(row, row + 1)
        assert torch.allclose(wrapped(x[one], level[one])[0], together[row], atol=1e-6)


def test_one_future_is_plain_guidance_bit_for_bit() -> None:
    x, level = drawn()
    settings = GuidanceSettings(0.2, 3)
    plain = guided(shrink, uneven, SCHEDULE, settings)(x, level)
    one = guided(shrink, uneven, SCHEDULE, settings, futures=1, generator=generator())
    assert torch.equal(one(x, level), plain)


@pytest.mark.parametrize("futures", [2, 5])
def test_futures_are_the_estimate_noised_again_and_denoised(futures: int) -> None:
    x, level = drawn()
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        asked.append((x, level))
        return shrink(x, level)

    settings = GuidanceSettings(0.2, 1, 100)
    wrapped = guided(denoiser, uneven, SCHEDULE, settings, futures=futures, generator=generator())
    moved = wrapped(x, level)
    (first, at), (others, at_others) = asked
    assert torch.equal(first, x) and torch.equal(at, level)
    assert len(others) == (futures - 1) * BATCH
    assert torch.equal(at_others, level.repeat(futures - 1, 1))
    own = shrink(x, level)
    redrawn = others.view(futures - 1, *x.shape)
    assert torch.equal(redrawn[:, :, 0], own[:, 0].expand(futures - 1, -1, -1))
    noise = SCHEDULE.noise_in(redrawn, own.expand_as(redrawn), level)[..., 1:, :]
    assert noise.std() == pytest.approx(1, abs=0.25)
    samples = torch.cat([own[None], shrink(others, at_others).view(-1, *own.shape)])
    pull = 0.2 * SCHEDULE.alpha[level][..., None] * (level > 0)[..., None]
    assert torch.allclose(moved, own + pull * (3 * samples.square()).mean(0), atol=1e-5)


def test_variance_falls_as_one_over_the_number_of_futures() -> None:
    """The run's own sample is given, so of N gradients N - 1 vary: variance v (N - 1) / N**2."""
    copies = 6000
    x = torch.randn(1, 3, 1, generator=generator()).repeat(copies, 1, 1)
    level = torch.full((copies, 3), 4)
    settings = GuidanceSettings(1.0, 1, 1e6)
    variances = {}
    for futures in (2, 4, 8, 16):
        wrapped = guided(
            shrink, uneven, SCHEDULE, settings, futures=futures, generator=generator(futures)
        )
        moved = wrapped(x, level)
        variances[futures] = moved.var(0).mean().item() * futures**2 / (futures - 1)
    for variance in variances.values():
        assert variance == pytest.approx(variances[2], rel=0.15)


def test_rewards_work_where_gradients_are_off() -> None:
    x, level = drawn()
    with torch.no_grad():
        moved = guided(shrink, near, SCHEDULE, GuidanceSettings())(x, level)
    assert not moved.requires_grad
    assert (near(moved) > near(shrink(x, level))).all()


def test_climbing_finds_the_top() -> None:
    x = torch.randn(3, 5, 2, generator=generator())
    top = climb(near, x, torch.ones(3, 5, 1), 200, 0.1)
    assert torch.allclose(top, TARGET.expand_as(top), atol=1e-4)
    held = torch.ones(3, 5, 1)
    held[:, 2] = 0
    half = climb(near, x, held, 200, 0.1)
    assert torch.equal(half[:, 2], x[:, 2])
    assert torch.equal(climb(near, x, held, 0, 0.1), x)


@pytest.mark.parametrize(
    "wrong", [{"scale": -1.0}, {"iterations": 0}, {"max_move": 0.0}, {"max_move": -1.0}]
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Guidance needs"):
        GuidanceSettings(**wrong)  # type: ignore[arg-type]


def test_futures_need_a_number_and_a_generator() -> None:
    for futures, source in ((0, generator()), (2, None)):
        with pytest.raises(ConfigError, match=f"N >= 1 and a generator; got N={futures}"):
            guided(shrink, near, SCHEDULE, GuidanceSettings(), futures=futures, generator=source)
