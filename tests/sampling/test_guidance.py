from __future__ import annotations

import math

import pytest
import torch

from dfplan.diffusion.schedules import NoiseSchedule, cosine_schedule, interpolation_schedule
from dfplan.errors import ConfigError
from dfplan.sampling.guidance import (
    GUIDANCES,
    Guidance,
    GuidanceSettings,
    Value,
    gradient_ascent,
    guide,
    guide_through,
    monte_carlo,
)
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import scheduling_matrix
from dfplan.sampling.steps import ddim
from dfplan.types import Denoiser

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
    """A denoiser that returns clean tokens and shrinks noisy ones toward 0."""
    middle = 0.5 * x + 0.2 * x.mean(1, keepdim=True)
    return torch.where(level[..., None] > 0, middle, x)


def near(clean: torch.Tensor) -> torch.Tensor:
    """Reward for being near the target."""
    return -0.5 * (clean - TARGET).square().sum((-1, -2))


def uneven(clean: torch.Tensor) -> torch.Tensor:
    """Reward whose gradient differs from sample to sample."""
    return clean.pow(3).sum((-1, -2))


def guided(
    denoiser: Denoiser,
    value: Value,
    schedule: NoiseSchedule,
    settings: GuidanceSettings,
    mc_samples: int = 1,
    **arguments: torch.Tensor,
) -> Denoiser:
    """The denoiser guided as ``settings`` say, over so many Monte Carlo samples."""
    guidance, steps = GUIDANCES[settings.method], settings.mc_sample_steps
    if mc_samples > 1 or steps > 1:
        guidance = monte_carlo(guidance, mc_samples, steps, generator=generator(mc_samples))
    return guidance(denoiser, value, schedule, settings, **arguments)


both = pytest.mark.parametrize("method", GUIDANCES)
drawing = pytest.mark.parametrize(
    ("method", "mc_samples", "mc_sample_steps"),
    [
        ("estimate", 1, 1),
        ("estimate", 3, 1),
        ("estimate", 1, 4),
        ("estimate", 3, 4),
        ("denoiser", 1, 1),
        ("denoiser", 3, 1),
    ],
)


@both
def test_scale_0_returns_the_denoiser_itself(method: str) -> None:
    off = GuidanceSettings(scale=0, method=method)
    assert guided(shrink, near, SCHEDULE, off) is shrink
    assert guided(shrink, near, SCHEDULE, off, mc_samples=5) is shrink


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("mc_samples", [1, 2, 8])
@pytest.mark.parametrize("reward", [near, uneven])
def test_guidance_increases_the_reward(iterations: int, mc_samples: int, reward) -> None:  # type: ignore[no-untyped-def]
    x, level = drawn()
    settings = GuidanceSettings(scale=0.05, iterations=iterations)
    wrapped = guided(shrink, reward, SCHEDULE, settings, mc_samples=mc_samples)
    assert (reward(wrapped(x, level)) > reward(shrink(x, level))).all()


@drawing
def test_clean_tokens_and_pure_noise_are_not_moved(
    method: str, mc_samples: int, mc_sample_steps: int
) -> None:
    x, level = drawn()
    settings = GuidanceSettings(1e6, 3, 10, method, mc_sample_steps)
    wrapped = guided(shrink, near, SCHEDULE, settings, mc_samples=mc_samples)
    moved = wrapped(x, level) != shrink(x, level)
    assert torch.equal(moved.all(-1), (level > 0) & (level < K))
    assert torch.equal(moved.any(-1), moved.all(-1))


@drawing
@pytest.mark.parametrize("max_move", [0.01, 0.3])
@pytest.mark.parametrize("iterations", [1, 5])
@pytest.mark.parametrize("scale", [0.1, 1e9])
def test_no_move_is_farther_than_max_move(
    method: str,
    mc_samples: int,
    mc_sample_steps: int,
    max_move: float,
    iterations: int,
    scale: float,
) -> None:
    x, level = drawn()
    settings = GuidanceSettings(scale, iterations, max_move, method, mc_sample_steps)
    wrapped = guided(shrink, near, SCHEDULE, settings, mc_samples=mc_samples)
    move = wrapped(x, level) - shrink(x, level)
    assert move.abs().max() <= iterations * max_move + 1e-5
    if scale == 1e9 and iterations == 1:
        free = (level > 0) & (level < K)
        assert torch.allclose(move[free].abs(), torch.tensor(max_move), atol=1e-6)


def test_one_step_worked_by_hand() -> None:
    x, level = drawn()
    move = guided(shrink, near, SCHEDULE, GuidanceSettings(0.3, 1, 100))(x, level) - shrink(
        x, level
    )
    scale = 0.3 * SCHEDULE.alpha[level][..., None] * (level > 0)[..., None]
    assert torch.allclose(move, scale * (TARGET - shrink(x, level)), atol=1e-6)


def test_with_a_unit_guidance_does_not_depend_on_the_normalization() -> None:
    x, level = drawn()
    unit = torch.tensor([2.0, 0.25])
    settings = GuidanceSettings(scale=0.05, iterations=3, max_move=0.04)

    def moved(unit: torch.Tensor) -> torch.Tensor:
        # The same tokens, denoiser and reward in other units.
        return unit * guided(
            lambda x, level: shrink(unit * x, level) / unit,
            lambda clean: uneven(unit * clean),
            SCHEDULE,
            settings,
            unit=unit,
        )(x / unit, level)

    torch.testing.assert_close(moved(unit), moved(torch.ones(2)))
    assert not torch.allclose(moved(unit), shrink(x, level))


@drawing
def test_a_weight_multiplies_the_scale_of_its_row(
    method: str, mc_samples: int, mc_sample_steps: int
) -> None:
    x, level = drawn()
    weight = torch.tensor([0.0, 0.5, 1.0, 3.0])

    def moved(scale: float, weight: torch.Tensor | None = None) -> torch.Tensor:
        settings = GuidanceSettings(scale, 2, 100.0, method, mc_sample_steps)
        return guided(
            mixing, uneven, SCHEDULE, settings,
            weight=weight, mc_samples=mc_samples,
        )(x, level)  # fmt: skip

    weighted = moved(0.02, weight)
    assert torch.equal(weighted[0], mixing(x, level)[0])
    for row in (1, 2, 3):
        torch.testing.assert_close(weighted[row], moved(0.02 * float(weight[row]))[row])
    assert not torch.allclose(weighted[1], weighted[0])


@both
def test_guidance_of_rows_is_independent(method: str) -> None:
    x, level = drawn()
    settings = GuidanceSettings(0.1, 3, method=method)
    wrapped = guided(shrink, uneven, SCHEDULE, settings)
    together = wrapped(x, level)
    for row in range(BATCH):
        one = slice(row, row + 1)
        assert torch.allclose(wrapped(x[one], level[one])[0], together[row], atol=1e-6)


def test_one_estimated_sample_is_plain_guidance() -> None:
    x, level = drawn()
    settings = GuidanceSettings(0.2, 3)
    plain = guided(shrink, uneven, SCHEDULE, settings)(x, level)
    one = monte_carlo(guide, 1, generator=generator())(shrink, uneven, SCHEDULE, settings)
    assert torch.equal(one(x, level), plain)


@pytest.mark.parametrize("mc_samples", [2, 5])
def test_estimated_samples_are_the_estimate_noised_again_and_denoised(mc_samples: int) -> None:
    x, level = drawn()
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        asked.append((x, level))
        return shrink(x, level)

    settings = GuidanceSettings(0.2, 1, 100)
    wrapped = guided(denoiser, uneven, SCHEDULE, settings, mc_samples=mc_samples)
    moved = wrapped(x, level)
    (first, at), (others, at_others) = asked
    assert torch.equal(first, x) and torch.equal(at, level)
    assert len(others) == (mc_samples - 1) * BATCH
    assert torch.equal(at_others, level.repeat(mc_samples - 1, 1))
    clean = shrink(x, level)
    redrawn = others.view(mc_samples - 1, *x.shape)
    assert torch.equal(redrawn[:, :, 0], clean[:, 0].expand(mc_samples - 1, -1, -1))
    noise = SCHEDULE.noise_from_clean(redrawn, clean.expand_as(redrawn), level)[..., 1:, :]
    assert noise.std() == pytest.approx(1, abs=0.25)
    samples = torch.cat([clean[None], shrink(others, at_others).view(-1, *clean.shape)])
    scale = 0.2 * SCHEDULE.alpha[level][..., None] * (level > 0)[..., None]
    assert torch.allclose(moved, clean + scale * (3 * samples.square()).mean(0), atol=1e-5)


def test_variance_of_estimated_samples_decreases_with_their_number() -> None:
    """One of N gradients is fixed, the current estimate's: the variance is v (N - 1) / N**2."""
    copies = 6000
    x = torch.randn(1, 3, 1, generator=generator()).repeat(copies, 1, 1)
    level = torch.full((copies, 3), 4)
    settings = GuidanceSettings(1.0, 1, 1e6)
    variances = {}
    for mc_samples in (2, 4, 8, 16):
        wrapped = guided(
            shrink,
            uneven,
            SCHEDULE,
            settings,
            mc_samples=mc_samples,
        )
        moved = wrapped(x, level)
        variances[mc_samples] = moved.var(0).mean().item() * mc_samples**2 / (mc_samples - 1)
    for variance in variances.values():
        assert variance == pytest.approx(variances[2], rel=0.15)


@drawing
def test_gradients_off_guide_like_gradients_on(
    method: str, mc_samples: int, mc_sample_steps: int
) -> None:
    x, level = drawn()
    settings = GuidanceSettings(method=method, mc_sample_steps=mc_sample_steps)

    def moved() -> torch.Tensor:
        return guided(shrink, near, SCHEDULE, settings, mc_samples=mc_samples)(x, level)

    with torch.no_grad():
        off = moved()
    assert not off.requires_grad and not x.requires_grad
    assert torch.equal(off, moved())
    assert (near(off) > near(shrink(x, level))).all()


# Through the denoiser. Of Gaussian data everything has a closed form: with noisy tokens x of
# variance q = alpha**2 v + sigma**2, the clean ones have mean D(x) and variance w = v sigma**2 / q.

LONG = 256
MEAN, VARIANCE, PLACE = 0.5, 0.6, 2.0
scheduled = pytest.mark.parametrize(
    "schedule", [cosine_schedule(LONG), interpolation_schedule(LONG)], ids=["cosine", "straight"]
)


def gaussian(schedule: NoiseSchedule):  # type: ignore[no-untyped-def]
    """The optimal denoiser of independent tokens N(MEAN, VARIANCE)."""

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        alpha, sigma = schedule.alpha[level][..., None], schedule.sigma[level][..., None]
        gain = alpha * VARIANCE / (alpha.square() * VARIANCE + sigma.square())
        return MEAN + gain * (x - alpha * MEAN)

    return denoiser


def at_place(clean: torch.Tensor) -> torch.Tensor:
    return -0.5 * (clean - PLACE).square().sum((-1, -2))


def through(scale: float, iterations: int = 1) -> GuidanceSettings:
    return GuidanceSettings(scale, iterations, 1e9, method="denoiser")


@scheduled
def test_through_the_denoiser_is_the_posterior_to_first_order(schedule: NoiseSchedule) -> None:
    """Data times exp(scale * value) is Gaussian: D(x) + w scale / (1 + w scale) (PLACE - D(x))."""
    level = torch.arange(1, LONG)[None]
    x = torch.randn(1, LONG - 1, 1, generator=generator(), dtype=torch.float64)
    denoiser = gaussian(schedule)
    alpha, sigma = (share.double()[1:-1, None] for share in (schedule.alpha, schedule.sigma))
    left = VARIANCE * sigma.square() / (alpha.square() * VARIANCE + sigma.square())
    away = PLACE - denoiser(x, level)
    errors = []
    for scale in (0.02, 0.01):
        move = guided(denoiser, at_place, schedule, through(scale))(x, level) - denoiser(x, level)
        assert torch.allclose(move, scale * left * away, rtol=1e-4, atol=1e-9)
        exact = scale * left / (1 + scale * left) * away
        errors.append((move - exact)[0, LONG // 2 :].norm())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)


@scheduled
def test_sampling_through_the_denoiser_reaches_the_reweighted_mean(schedule: NoiseSchedule) -> None:
    """The mean moves by scale * VARIANCE * (PLACE - MEAN), to first order in the scale."""
    scale, denoiser = 0.01, gaussian(schedule)
    start = torch.zeros(1, 1, 1, dtype=torch.float64)  # the mean, as every step is affine
    matrix = scheduling_matrix("full_sequence", 1, LONG, LONG)

    def end(settings: GuidanceSettings) -> float:
        wrapped = guided(denoiser, at_place, schedule, settings)
        done = sample(wrapped, start, matrix, step=ddim(schedule), generator=generator())
        return float(done)

    assert end(through(0)) == pytest.approx(MEAN, abs=1e-5)
    moved = (end(through(scale)) - MEAN) / scale
    assert moved == pytest.approx(VARIANCE * (PLACE - MEAN), rel=0.03)


def mixing(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """A denoiser in which each estimate depends on all tokens and levels."""
    heard = torch.sin(x.mean(1, keepdim=True) + 0.5 * x + level[..., None] / K)
    return torch.where(level[..., None] > 0, heard, x)


def test_gradient_through_the_denoiser_equals_finite_differences() -> None:
    x, level = drawn()
    x, small = x.double(), 1e-5
    move = guided(mixing, uneven, SCHEDULE, through(0.7))(x, level) - mixing(x, level)
    for token in range(TOKENS):
        for feature in range(FEATURES):
            aside = torch.zeros_like(x)
            aside[:, token, feature] = small
            ahead, behind = (uneven(mixing(x + way * aside, level)) for way in (1, -1))
            slope = (ahead - behind) / (2 * small)
            alpha, sigma = SCHEDULE.alpha[level[:, token]], SCHEDULE.sigma[level[:, token]]
            expected = torch.where(alpha > 0, 0.7 * sigma**2 / alpha * slope, 0.0)
            assert torch.allclose(move[:, token, feature], expected, rtol=1e-5, atol=1e-6)


def test_through_the_denoiser_is_the_guided_noise() -> None:
    x, level = drawn()
    free = (level > 0) & (level < K)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(near(mixing(leaf, level)).sum(), leaf)
    noise = SCHEDULE.noise_from_clean(
        x, guided(mixing, near, SCHEDULE, through(0.3))(x, level), level
    )
    plain = SCHEDULE.noise_from_clean(x, mixing(x, level), level)
    sigma = SCHEDULE.sigma[level][..., None]
    assert torch.allclose(noise[free], (plain - 0.3 * sigma * slope)[free], atol=1e-4)


def test_another_iteration_uses_the_jacobian_of_the_same_call() -> None:
    x, level = drawn()
    asked = []

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        asked.append(level)
        return mixing(x, level)

    twice = guided(denoiser, near, SCHEDULE, through(0.2, iterations=2))(x, level)
    assert len(asked) == 1
    once = guided(mixing, near, SCHEDULE, through(0.2))(x, level)
    leaf = x.clone().requires_grad_()
    (back,) = torch.autograd.grad(mixing(leaf, level), leaf, TARGET - once)
    alpha = SCHEDULE.alpha[level][..., None]
    share = torch.where(alpha > 0, SCHEDULE.sigma[level][..., None] ** 2 / alpha, 0.0)
    assert torch.allclose(twice, once + 0.2 * share * back, atol=1e-5)


def test_samples_through_the_denoiser_average_gradients_at_their_noisy_tokens() -> None:
    x, level = drawn()
    asked: list[torch.Tensor] = []

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        asked.append(x.detach())
        return mixing(x, level)

    many = guided(denoiser, uneven, SCHEDULE, through(0.2), mc_samples=4)
    moved = many(x, level)
    first, others = asked
    alone = guided(mixing, uneven, SCHEDULE, through(0.2))
    starts = [first, *others.view(3, *x.shape)]
    moves = torch.stack([alone(start, level) - mixing(start, level) for start in starts])
    assert torch.allclose(moved, mixing(x, level) + moves.mean(0), atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_parameters_get_no_gradient(frozen: bool) -> None:
    network = torch.nn.Linear(FEATURES, FEATURES).requires_grad_(not frozen)

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return torch.where(level[..., None] > 0, network(x), x)

    x, level = drawn()
    settings = GuidanceSettings(method="denoiser")
    wrapped = guided(denoiser, near, SCHEDULE, settings, mc_samples=2)
    assert not wrapped(x, level).requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_denoiser_without_a_gradient_is_an_error() -> None:
    wrapped = guided(torch.no_grad()(shrink), near, SCHEDULE, through(1.0))
    with pytest.raises(ConfigError, match="differentiable in the noisy tokens"):
        wrapped(*drawn())


# A corridor that forks. The near token tells where across the corridor the body is; the future
# goes right, +1, with probability 0.4 and left, -1, else. Going right pays 3 for each unit that
# the near token is to the right, going left 1 for each unit to the left; no future stays between,
# which pays next to nothing. So a future to the right pulls the near token by +3 and one to the
# left by -1: 0.4 * 3 - 0.6 * 1 = 0.6 on average, to the right, with variance
# 4**2 * 0.4 * 0.6 = 3.84. The mean future, 0.4 - 0.6 = -0.2, pulls by -0.2**2: to the wrong side.

RIGHT, MOVE, SPREAD = 0.4, 0.6, 3.84
FORK = interpolation_schedule(64)
FORK_LEVEL = torch.tensor([4, 64])
COUNTS = [1, 4, 16, 64]


def fork(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """The expected near token, N(0, 1), and the expected future, +1 or -1."""
    alpha, sigma = FORK.alpha[level][..., None], FORK.sigma[level][..., None]
    near_token = alpha * x / (alpha**2 + sigma**2)
    odds = alpha * x / sigma.clamp_min(1e-3) ** 2 + 0.5 * math.log(RIGHT / (1 - RIGHT))
    estimate = torch.stack([near_token[:, 0], torch.tanh(odds)[:, 1]], 1)
    return torch.where(level[..., None] > 0, estimate, x)


def pays(clean: torch.Tensor) -> torch.Tensor:
    near_token, future = clean[:, 0, 0], clean[:, 1, 0]
    return near_token * (3 * future.relu() ** 2 - (-future).relu() ** 2)


def moves(mc_samples: int, mc_sample_steps: int, copies: int = 2000) -> torch.Tensor:
    """The move of the near token in so many runs that differ in the noise of samples; [copies]."""
    x = torch.randn(1, 2, 1, generator=generator()).repeat(copies, 1, 1)
    level = FORK_LEVEL.repeat(copies, 1)
    settings = GuidanceSettings(1.0, 1, 1e9, mc_sample_steps=mc_sample_steps)
    wrapped = guided(fork, pays, FORK, settings, mc_samples=mc_samples)
    return (wrapped(x, level) - fork(x, level))[:, 0, 0] / FORK.alpha[FORK_LEVEL[0]]


def test_a_single_drawn_sample_guides_to_one_mode() -> None:
    move = moves(1, 64)
    right = move > 0
    assert right.float().mean() == pytest.approx(RIGHT, abs=0.04)
    assert torch.allclose(move[right], torch.tensor(3.0), atol=0.1)
    assert torch.allclose(move[~right], torch.tensor(-1.0), atol=0.1)


@pytest.mark.parametrize("mc_samples", COUNTS)
def test_the_mean_of_drawn_samples_finds_the_better_mode(mc_samples: int) -> None:
    """It points right if more than a quarter of the samples do."""
    chance = sum(
        math.comb(mc_samples, count) * RIGHT**count * (1 - RIGHT) ** (mc_samples - count)
        for count in range(mc_samples // 4 + 1, mc_samples + 1)
    )
    move = moves(mc_samples, 64)
    assert (move > 1e-2).float().mean() == pytest.approx(chance, abs=0.06)
    assert move.mean() == pytest.approx(MOVE, abs=0.2)
    if mc_samples == 64:
        assert (move > 0).float().mean() > 0.97


def test_variance_of_drawn_samples_is_inverse_to_their_number() -> None:
    for mc_samples in COUNTS:
        assert moves(mc_samples, 64).var() * mc_samples == pytest.approx(SPREAD, rel=0.1)


@pytest.mark.parametrize("mc_samples", COUNTS)
def test_estimated_samples_never_leave_the_mean_of_two_modes(mc_samples: int) -> None:
    move = moves(mc_samples, 1)
    assert torch.allclose(move, torch.tensor(-0.04), atol=1e-4)


def test_gradient_ascent_finds_the_maximum() -> None:
    x = torch.randn(3, 5, 2, generator=generator())
    top = gradient_ascent(near, x, torch.ones(3, 5, 1), 200, 0.1)
    assert torch.allclose(top, TARGET.expand_as(top), atol=1e-4)
    held = torch.ones(3, 5, 1)
    held[:, 2] = 0
    half = gradient_ascent(near, x, held, 200, 0.1)
    assert torch.equal(half[:, 2], x[:, 2])
    assert torch.equal(gradient_ascent(near, x, held, 0, 0.1), x)


def test_annealed_ascent_ends_at_a_maximum_too_steep_for_its_scale() -> None:
    x = torch.randn(3, 5, 2, generator=generator())
    scale = torch.full((3, 5, 1), 40.0)  # the curvature of near is 1

    def miss(anneal: bool) -> float:
        top = gradient_ascent(near, x, scale, 100, 0.15, anneal=anneal)
        return float((top - TARGET).abs().max())

    assert miss(anneal=False) > 0.05
    # Once across the top it is never farther off than the bound of the move before.
    assert miss(anneal=True) <= 2 * 0.15 / 100 + 1e-6


def test_the_last_move_of_an_annealed_ascent_has_the_smallest_bound() -> None:
    far = torch.full((1, 1, 2), -1e3)
    moved = gradient_ascent(near, far, torch.ones(1, 1, 1), 4, 0.1, anneal=True) - far
    assert torch.allclose(moved, torch.full_like(moved, 0.1 * (4 + 3 + 2 + 1) / 4), atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": -1.0},
        {"scale": math.nan},
        {"iterations": 0},
        {"iterations": 1.5},
        {"max_move": 0.0},
        {"max_move": -1.0},
        {"max_move": math.nan},
        {"mc_sample_steps": 0},
        {"mc_sample_steps": 2.5},
    ],
)
def test_invalid_settings_are_errors(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"{name} must be a .* number"):
        GuidanceSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["one for all", "one a token"])
def test_a_value_of_another_shape_is_an_error(kind: str) -> None:
    def value(clean: torch.Tensor) -> torch.Tensor:
        return clean.sum() if kind == "one for all" else clean.sum(-1)

    denoiser = guided(shrink, value, SCHEDULE, GuidanceSettings())
    with pytest.raises(ConfigError, match=r"one number per sequence, \[2\]"):
        denoiser(torch.zeros(2, 3, 1), torch.ones(2, 3, dtype=torch.long))


def test_drawn_samples_are_not_differentiated_through() -> None:
    with pytest.raises(ConfigError, match="mc_sample_steps=1; got 4"):
        GuidanceSettings(method="denoiser", mc_sample_steps=4)


def test_an_unknown_guidance_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="denoiser, estimate"):
        GuidanceSettings(method="network")


@pytest.mark.parametrize("guidance", [guide, guide_through])
def test_guidance_without_a_sample_is_an_error(guidance: Guidance) -> None:
    with pytest.raises(ConfigError, match="got N=0"):
        monte_carlo(guidance, 0, generator=generator())
