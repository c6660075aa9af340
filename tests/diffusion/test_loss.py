from __future__ import annotations

import pytest
import torch

from dfplan.diffusion import schedules
from dfplan.diffusion.levels import FULL_SEQUENCE, draw_levels
from dfplan.diffusion.loss import (
    WEIGHTS,
    Weight,
    clipped_snr,
    forcing_loss,
    fused_snr,
    min_snr,
)
from dfplan.diffusion.schedules import NoiseSchedule, interpolation_schedule

K = 20
SCHEDULES = [make(K) for make in schedules.SCHEDULES.values()]
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=schedules.SCHEDULES)
each_weight = pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(clean, noise [6, 10, 4], level with some 0 and some K, counted) of a batch."""
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, 6, 10, 4, generator=generator).unbind()
    level = torch.randint(0, K + 1, (6, 10), generator=generator)
    level[:, 0], level[:, 9] = 0, K
    return clean, noise, level, torch.rand(6, 10, generator=generator) < 0.7


@each_schedule
def test_weight_is_the_clipped_signal_to_noise(schedule: NoiseSchedule) -> None:
    weight = clipped_snr(schedule, torch.arange(K + 1))
    ratio = (schedule.alpha / schedule.sigma) ** 2
    assert weight[0] == 5 and weight[-1] == 1
    assert torch.equal(weight, torch.minimum(torch.maximum(ratio, torch.ones(())), torch.tensor(5)))
    assert clipped_snr(schedule, torch.arange(K + 1), 0, 2).max() == 2
    assert set(weight.tolist()) > {1.0, 5.0}


@each_weight
@each_schedule
def test_weights_are_finite_and_of_each_window_alone(
    schedule: NoiseSchedule, weight: Weight
) -> None:
    level = drawn()[2]
    together = weight(schedule, level)
    assert together.shape == level.shape and together.dtype == torch.float32
    assert together.isfinite().all() and (together >= 0).all() and (together <= 5).all()
    for row in range(len(level)):
        assert torch.equal(together[row : row + 1], weight(schedule, level[row : row + 1]))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("uniform", [1, 1, 1, 1, 1]),
        ("min_snr", [5, 5, 1, 1 / 9, 0]),
        ("clipped_snr", [5, 5, 1, 1, 1]),
        ("fused_snr", [5, 5, 5, 5, 4.8]),  # each after nearly clean tokens, as worked out below
    ],
)
def test_weights_by_hand(name: str, wanted: list[float]) -> None:
    # The SNR is infinite, 9, 1, 1/9 and 0.
    level = torch.arange(5)
    if name == "fused_snr":  # past 0, 1, 1, 0.968, ...
        level = torch.tensor([[0, 0, 0, 1, 4]])
    weight = WEIGHTS[name](interpolation_schedule(4), level)
    assert weight.flatten().tolist() == pytest.approx(wanted, abs=1e-5)


def test_fused_weight_by_hand() -> None:
    """The normalized SNR is 1/5, 1/45, 1, 0; that of the earlier tokens is 0, 1/5, 1/9, 5/9."""
    level = torch.tensor([[2, 3, 0, 4]])
    found = fused_snr(interpolation_schedule(4), level, decay=0.5)
    wanted = [5 * (1 / 5), 5 * (1 - 9 / 10 * 44 / 45), 5, 5 * (5 / 18)]
    assert found[0].tolist() == pytest.approx(wanted, rel=1e-5)


@each_schedule
@pytest.mark.parametrize("decay", [0.3, 0.96])
@pytest.mark.parametrize("tokens", [1, 2, 3, 64])
def test_fused_weight_sums_earlier_tokens_with_exponential_decay(
    schedule: NoiseSchedule, decay: float, tokens: int
) -> None:
    generator = torch.Generator().manual_seed(tokens)
    level = torch.randint(0, K + 1, (5, tokens), generator=generator)
    own = min_snr(schedule, level) / 5
    found = fused_snr(schedule, level, decay=decay)
    for token in range(tokens):
        # The first token also counts for all tokens before the window.
        shares = [(1 - decay) * decay ** (token - 1 - s) for s in range(token)]
        if token:
            shares[0] = decay ** (token - 1)
        past = (own[:, :token] * torch.tensor(shares)).sum(1)
        wanted = 5 * (1 - (1 - decay * past) * (1 - own[:, token]))
        assert torch.allclose(found[:, token], wanted, atol=1e-5)


@each_schedule
def test_limits_of_the_fused_weight(schedule: NoiseSchedule) -> None:
    level = drawn()[2]
    alone, fused = min_snr(schedule, level), fused_snr(schedule, level)
    assert torch.allclose(fused_snr(schedule, level, decay=0), alone, atol=1e-5)
    assert torch.allclose(fused[:, 0], alone[:, 0]), "there is nothing before the first token"
    assert (fused >= alone - 1e-5).all() and (fused > alone + 0.1).any()
    assert (fused_snr(schedule, 0 * level) == 5).all()
    assert (fused_snr(schedule, 0 * level + K) == 0).all()
    after_clean = fused_snr(schedule, torch.tensor([[0] * 9 + [K]]))
    assert after_clean[0, -1] == pytest.approx(5 * 0.96)


@each_schedule
def test_fused_weight_is_causal_and_grows_with_the_signal_before(schedule: NoiseSchedule) -> None:
    level = drawn()[2].clamp_min(1)
    before = fused_snr(schedule, level)
    for token in range(level.shape[1]):
        cleaner = level.clone()
        cleaner[:, token] = 0
        after = fused_snr(schedule, cleaner)
        assert torch.equal(after[:, :token], before[:, :token])
        assert (after[:, token:] >= before[:, token:]).all()


@each_weight
@each_schedule
def test_loss_is_the_weighted_mean_over_noisy_counted_tokens(
    schedule: NoiseSchedule, weight: Weight
) -> None:
    clean, noise, level, counted = drawn()
    wrong = torch.randn(clean.shape, generator=torch.Generator().manual_seed(9))
    loss = forcing_loss(lambda x, k: clean + wrong, clean, level, counted, schedule, noise, weight)
    parts = (weight(schedule, level), level, wrong.square().mean(-1), counted)
    terms = [
        w * e for w, k, e, c in zip(*(part.flatten() for part in parts), strict=True) if c and k > 0
    ]
    assert loss == pytest.approx(float(sum(terms)) / len(terms), rel=1e-5)


def test_the_default_weight_is_clipped_snr() -> None:
    clean, noise, level, counted = drawn()
    arguments = (lambda x, k: x, clean, level, counted, SCHEDULES[0], noise)
    assert torch.equal(forcing_loss(*arguments), forcing_loss(*arguments, clipped_snr))
    assert not torch.equal(forcing_loss(*arguments), forcing_loss(*arguments, min_snr))


@pytest.mark.parametrize("name", sorted(WEIGHTS.keys() - {"fused_snr"}))
@each_schedule
@pytest.mark.parametrize("seed", range(3))
def test_under_common_levels_it_is_the_loss_of_full_sequence_diffusion(
    schedule: NoiseSchedule, name: str, seed: int
) -> None:
    """Bit for bit the textbook's loss: one level a window, its noise, the mean squared error."""
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, 16, 10, 4, generator=generator).unbind()
    mixing = torch.randn(4, 4, generator=generator)
    horizon = torch.full((16,), 9)
    level, _ = draw_levels(horizon, 10, K, FULL_SEQUENCE, generator)

    def network(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """``x`` [B, T, D] and one level a window [B, 1]."""
        return torch.tanh(x @ mixing + level[..., None] / K)

    window = level[:, 0]
    assert window.unique().numel() > 5
    alpha, sigma = schedule.alpha[window], schedule.sigma[window]
    noisy = alpha[:, None, None] * clean + sigma[:, None, None] * noise
    error = (network(noisy, window[:, None]) - clean) ** 2
    ratio = (alpha / sigma) ** 2
    weight = {
        "uniform": torch.ones(16),
        "min_snr": ratio.clamp(max=5),
        "clipped_snr": ratio.clamp(1, 5),
    }[name]
    textbook = (weight[:, None] * error.mean(-1)).mean()

    counted = torch.ones(16, 10, dtype=torch.bool)
    loss = forcing_loss(network, clean, level, counted, schedule, noise, WEIGHTS[name])
    assert torch.equal(loss, textbook)


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
