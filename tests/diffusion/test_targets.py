from __future__ import annotations

import pytest
import torch

from dfplan.diffusion.schedules import (
    SCHEDULES,
    NoiseSchedule,
    interpolation_schedule,
    noise_schedule,
)
from dfplan.diffusion.targets import EPS, FLOW, TARGETS, X0, V

K = 25
each_target = pytest.mark.parametrize("target", TARGETS)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def drawn(
    max_level: int = K, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(two draws [4, K+1, 3], level [4, K+1] with every level)."""
    generator = torch.Generator().manual_seed(max_level)
    first, second = torch.randn(2, 4, max_level + 1, 3, generator=generator, dtype=dtype).unbind()
    return first, second, torch.arange(max_level + 1).expand(4, -1)


def invertible(target: str, level: torch.Tensor, max_level: int) -> torch.Tensor:
    """Where target and clean token determine each other: [4, K+1]."""
    return (level > 0) & ((level < max_level) | (target != "eps"))


@each_target
@each_schedule
@pytest.mark.parametrize("max_level", [1, 2, 25, 1000])
def test_the_two_functions_are_inverse(target: str, schedule: str, max_level: int) -> None:
    noisy, other, level = drawn(max_level)  # any noisy tokens, not only those that can occur
    made, convert = noise_schedule(schedule, max_level), TARGETS[target]
    inside = invertible(target, level, max_level)
    prediction = convert.from_clean(noisy, other, level, made)
    back = convert.to_clean(noisy, prediction, level, made)
    assert torch.allclose(back[inside], other[inside], atol=1e-6)
    clean = convert.to_clean(noisy, other, level, made)
    again = convert.from_clean(noisy, clean, level, made)
    error = (again - other).abs() * made.sigma[level][..., None]
    assert (error[inside] < 1e-6).all()


@each_target
@each_schedule
def test_targets_have_their_definitions(target: str, schedule: str) -> None:
    clean, noise, level = drawn()
    made = noise_schedule(schedule, K)
    alpha, sigma = made.alpha[level][..., None], made.sigma[level][..., None]
    wanted = {
        "x0": clean,
        "eps": noise,
        "v": alpha * noise - sigma * clean,
        "flow": noise - clean,
    }[target]
    noisy = made.add_noise(clean, noise, level)
    found = TARGETS[target].from_clean(noisy, clean, level, made)
    assert torch.allclose(found[:, 1:], wanted[:, 1:], atol=1e-6)
    denoised = TARGETS[target].to_clean(noisy, wanted, level, made)
    known = invertible(target, level, K) | (level == 0)
    assert torch.allclose(denoised[known], clean[known], atol=1e-6)


@each_target
@each_schedule
def test_clean_tokens_stay_unchanged_for_any_prediction(target: str, schedule: str) -> None:
    clean, wild, level = drawn(dtype=torch.float32)
    made = noise_schedule(schedule, K)
    assert torch.equal(TARGETS[target].to_clean(clean, 1e9 * wild, 0 * level, made), clean)


@each_target
@each_schedule
def test_each_token_is_converted_by_its_own_level(target: str, schedule: str) -> None:
    noisy, other, level = drawn()
    made = noise_schedule(schedule, K)
    for convert in (TARGETS[target].to_clean, TARGETS[target].from_clean):
        together = convert(noisy, other, level, made)
        for token in (0, 3, K):
            one = slice(token, token + 1)
            alone = convert(noisy[:, one], other[:, one], level[:, one], made)
            assert torch.equal(together[:, one], alone)


@each_schedule
def test_eps_at_pure_noise_gives_0_and_finite_gradients(schedule: str) -> None:
    noisy, eps, level = drawn()
    eps.requires_grad_()
    clean = EPS.to_clean(noisy, eps, level, noise_schedule(schedule, K))
    assert (clean[:, K] == 0).all() and (clean[:, 1:K] != 0).all()
    clean.sum().backward()
    assert eps.grad is not None and eps.grad.isfinite().all()
    assert (eps.grad[:, K] == 0).all()


def test_by_hand_when_the_coefficients_do_not_sum_to_1() -> None:
    # clean 2 and noise -1 at alpha 0.6, sigma 0.3
    schedule = NoiseSchedule(torch.tensor([1, 0.6, 0]), torch.tensor([0, 0.3, 1]))
    noisy, clean, level = torch.full((1, 1, 1), 0.9), torch.full((1, 1, 1), 2.0), torch.ones(1, 1)
    for target, wanted in ((X0, 2.0), (EPS, -1.0), (V, -1.2), (FLOW, -3.0)):
        prediction = target.from_clean(noisy, clean, level.long(), schedule)
        assert prediction.item() == pytest.approx(wanted, rel=1e-5)
        back = target.to_clean(noisy, torch.full_like(noisy, wanted), level.long(), schedule)
        assert back.item() == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("max_level", [1, 25, 100, 999])
def test_flow_on_the_interpolation_is_one_euler_step_bit_for_bit(max_level: int) -> None:
    noisy, flow, level = drawn(max_level, torch.float32)
    schedule = interpolation_schedule(max_level)
    step = noisy - schedule.sigma[level][..., None] * flow
    assert torch.equal(FLOW.to_clean(noisy, flow, level, schedule), step)
