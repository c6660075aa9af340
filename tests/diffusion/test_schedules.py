from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from dfplan.diffusion.schedules import (
    SCHEDULES,
    NoiseSchedule,
    cosine_schedule,
    interpolation_schedule,
    linear_schedule,
    noise_schedule,
    sigmoid_schedule,
)
from dfplan.errors import ConfigError

Maker = Callable[[int], NoiseSchedule]

each = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)


def noised(schedule: NoiseSchedule) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(clean, noise [5, K+1, 3], level [5, K+1]): every level, mixed up."""
    generator = torch.Generator().manual_seed(0)
    levels = schedule.max_level + 1
    level = torch.stack([torch.randperm(levels, generator=generator) for _ in range(5)])
    clean, noise = torch.randn(2, 5, levels, 3, generator=generator).unbind()
    return clean, noise, level


@each
@pytest.mark.parametrize("max_level", [1, 2, 3, 10, 50, 100, 256, 1000])
def test_ends_are_exact_and_the_signal_falls(make: Maker, max_level: int) -> None:
    schedule = make(max_level)
    assert schedule.max_level == max_level
    assert schedule.alpha.shape == schedule.sigma.shape == (max_level + 1,)
    assert (schedule.alpha[0], schedule.sigma[0]) == (1, 0)
    assert (schedule.alpha[-1], schedule.sigma[-1]) == (0, 1)
    assert (schedule.alpha.diff() < 0).all()
    # Single precision has no number between some neighbors of sqrt(1 - alpha ** 2) near 1.
    rising = (schedule.sigma.diff() > 0) | (schedule.alpha[1:] < 1e-3)
    assert rising.all() and (schedule.sigma.diff() >= 0).all()


@each
@pytest.mark.parametrize("max_level", [1, 20, 1000])
def test_noise_from_clean_inverts_add_noise(make: Maker, max_level: int) -> None:
    schedule = make(max_level)
    clean, noise, level = noised(schedule)
    found = schedule.noise_from_clean(schedule.add_noise(clean, noise, level), clean, level)
    known = (level > 0)[..., None]
    tolerance = 1e-5 / schedule.sigma[level][..., None].clamp_min(1e-3)
    assert ((found - torch.where(known, noise, 0)).abs() <= tolerance).all()


@each
def test_level_0_is_clean_and_level_k_is_noise_bit_for_bit(make: Maker) -> None:
    schedule = make(30)
    clean, noise, level = noised(schedule)
    assert torch.equal(schedule.add_noise(clean, noise, 0 * level), clean)
    assert torch.equal(schedule.add_noise(clean, noise, 0 * level + 30), noise)
    assert (schedule.noise_from_clean(noise, clean, 0 * level) == 0).all()


@each
def test_each_token_is_noised_by_its_own_level(make: Maker) -> None:
    schedule = make(30)
    clean, noise, level = noised(schedule)
    together = schedule.add_noise(clean, noise, level)
    for token in range(level.shape[1]):
        one = slice(token, token + 1)
        alone = schedule.add_noise(clean[:, one], noise[:, one], level[:, one])
        assert torch.equal(together[:, one], alone)


@each
def test_snr_falls_from_infinity_to_0(make: Maker) -> None:
    schedule = make(40)
    ratio = schedule.signal_to_noise(torch.arange(41))
    assert ratio[0] == torch.inf and ratio[-1] == 0
    assert (ratio.diff() < 0).all()
    assert schedule.signal_to_noise(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3)


@each
@pytest.mark.parametrize("max_level", [1, 2, 30, 1000])
def test_level_and_noise_are_inverse(make: Maker, max_level: int) -> None:
    schedule, level = make(max_level), torch.arange(max_level + 1)
    noise = schedule.relative_noise(level)
    assert noise[0] == 0 and noise[-1] == torch.inf and (noise.diff() > 0).all()
    assert torch.equal(schedule.level_for_noise(noise), level)
    assert torch.equal(schedule.level_for_noise(noise[:-1] * 1.001)[1:], level[2:]), "rounded up"
    assert schedule.level_for_noise(torch.tensor([[torch.nan, torch.inf, 1e30]])).tolist() == [
        [max_level] * 3
    ]


@each
def test_a_scaled_noisy_observation_is_a_token_of_its_level(make: Maker) -> None:
    schedule = make(30)
    clean, noise, level = noised(schedule)
    known = level < 30
    seen = clean + schedule.relative_noise(level)[..., None].float() * noise
    token = schedule.alpha[level][..., None] * seen
    wanted = schedule.add_noise(clean, noise, level)
    assert torch.allclose(token[known], wanted[known], atol=1e-5)


@each
@pytest.mark.parametrize("max_level", [0, -4, 2.5])
def test_wrong_numbers_of_levels_are_refused(make: Maker, max_level: int) -> None:
    with pytest.raises(ConfigError, match=f"max_level .*{max_level}"):
        make(max_level)


@each
def test_a_schedule_has_a_name(make: Maker) -> None:
    (name,) = (name for name, known in SCHEDULES.items() if known is make)
    schedule, same = make(30), noise_schedule(name, 30)
    assert torch.equal(schedule.alpha, same.alpha) and torch.equal(schedule.sigma, same.sigma)
    with pytest.raises(ConfigError, match=f"'{name}s'.*'{name}'"):
        noise_schedule(name + "s", 30)


@pytest.mark.parametrize("max_level", [1, 2, 7, 100, 1000])
def test_coefficients_sum_to_1_or_are_variance_preserving(max_level: int) -> None:
    straight = interpolation_schedule(max_level)
    assert (straight.alpha + straight.sigma == 1).all(), "bit for bit"
    for name in SCHEDULES.keys() - {"interpolation"}:
        schedule = noise_schedule(name, max_level)
        squares = schedule.alpha.square() + schedule.sigma.square()
        assert torch.allclose(squares, torch.ones(()), atol=1e-6)


@pytest.mark.parametrize("max_level", [2, 10])
def test_middle_levels_by_hand(max_level: int) -> None:
    middle = max_level // 2
    assert interpolation_schedule(max_level).alpha[middle] == 0.5
    assert sigmoid_schedule(max_level).alpha[middle] == pytest.approx(math.sqrt(0.5))
    cosine = math.cos(0.508 / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)
    assert cosine_schedule(max_level).alpha[middle] == pytest.approx(cosine)
    # The rates of noise from 0 to 1/2 sum to (0.1 + 10.05) / 2 / 2, from 0 to 1 to (0.1 + 20) / 2.
    half, whole = math.exp(-10.15 / 8), math.exp(-20.1 / 4)
    linear = (half - whole) / (1 - whole)
    assert linear_schedule(max_level).alpha[middle] == pytest.approx(linear)


def test_linear_is_the_ddpm_schedule_with_zero_terminal_snr() -> None:
    rates = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    signal = (1 - rates).cumprod(0).sqrt()
    assert signal[-1] == pytest.approx(0.00635, abs=1e-5), "as the paper's schedule ends"
    rescaled = ((signal - signal[-1]) / (1 - signal[-1])).float()
    assert torch.allclose(linear_schedule(1000).alpha[1:], rescaled, atol=1e-3)


@pytest.mark.parametrize(("start", "end", "tau"), [(-3, 3, 1), (0, 3, 0.7), (-3, 1, 1.1)])
def test_sigmoid_is_its_formula(start: float, end: float, tau: float) -> None:
    def value(time: float) -> float:
        return 1 / (1 + math.exp(-(start + time * (end - start)) / tau))

    schedule = sigmoid_schedule(20, start, end, tau)
    for level in range(21):
        signal = (value(1) - value(level / 20)) / (value(1) - value(0))
        assert schedule.alpha[level] ** 2 == pytest.approx(signal, abs=1e-6)


def test_a_sigmoid_of_high_temperature_is_linear() -> None:
    schedule = sigmoid_schedule(50, tau=100)
    line = torch.linspace(1, 0, 51)
    assert torch.allclose(schedule.alpha.square(), line, atol=1e-3)
    assert not torch.allclose(sigmoid_schedule(50).alpha.square(), line, atol=1e-2)


def by_hand(alpha: list[float], sigma: list[float]) -> NoiseSchedule:
    return NoiseSchedule(torch.tensor(alpha), torch.tensor(sigma))


def test_schedules_can_be_made_by_hand() -> None:
    assert by_hand([1, 0.9, 0.2, 0.0], [0, 0.1, 0.5, 1.0]).max_level == 3
    # One of the two coefficients may stay equal.
    assert by_hand([1, 1.0, 0.3, 0.2, 0.0], [0, 0.1, 1.0, 1.0, 1.0]).max_level == 4


@pytest.mark.parametrize(
    ("alpha", "sigma", "level"),
    [
        ([0.99, 0.5, 0], [0.0, 0.5, 1], 0),
        ([1.0, 0.5, 0], [0.01, 0.5, 1], 0),
        ([1, 0.5, 0.1], [0.0, 0.5, 1], 2),
        ([1, 0.5, 0], [0.0, 0.5, 0.9], 2),
        ([1, 0.4, 0.5, 0], [0, 0.3, 0.6, 1], 2),  # signal rises
        ([1, 0.6, 0.5, 0], [0, 0.3, 0.2, 1], 2),  # noise falls
        ([1, 0.6, 0.6, 0.6, 0], [0, 0.3, 0.4, 0.4, 1], 3),  # nothing moves
        ([1, 1.0, 0.5, 0], [0, 0.0, 0.5, 1], 1),
        ([1, 0.9, 0.5, 0], [0, 0.0, 0.5, 1], 1),  # a level above 0 without noise
        ([1, 0.5, 0, 0], [0, 0.5, 0.9, 1], 3),  # a level below K without signal
        ([1, 1.5, 0.5, 0], [0, 0.2, 0.6, 1], 1),
        ([1, 0.5, -0.1, 0], [0, 0.5, 0.6, 1], 2),
        ([1, 0.5, math.nan, 0.1, 0], [0, 0.5, 0.6, 0.7, 1], 2),
        ([1, 0.5, 0.2, 0], [0, 0.5, math.inf, 1], 2),
        ([math.nan, 0.5, 0.2, 0], [0, 0.5, 0.7, 1], 0),
    ],
)
def test_the_first_wrong_level_is_named(alpha: list[float], sigma: list[float], level: int) -> None:
    with pytest.raises(ConfigError, match=f"; level {level} of {len(alpha) - 1} is wrong"):
        by_hand(alpha, sigma)


@pytest.mark.parametrize(
    ("alpha", "sigma"),
    [
        (torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.0, 1.0])),
        (torch.tensor([1.0]), torch.tensor([0.0])),
        (torch.tensor([]), torch.tensor([])),
        (torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])),
        (torch.tensor([1, 0]), torch.tensor([0, 1])),
        ([1.0, 0.0], [0.0, 1.0]),
        (torch.tensor([1.0, 0.0]), None),
    ],
)
def test_wrong_shapes_are_refused(alpha: torch.Tensor, sigma: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="as float tensors"):
        NoiseSchedule(alpha, sigma)


@pytest.mark.parametrize("wrong", [{"tau": 0.0}, {"start": 3.0}, {"end": math.nan}])
def test_constant_sigmoids_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"level [01] of 10 is wrong"):
        sigmoid_schedule(10, **wrong)
