"""Means, intervals and aggregates: worked examples, and coverage of intervals."""

from __future__ import annotations

import numpy as np
import pytest

from dfplan.errors import ConfigError
from dfplan.evaluation.statistics import (
    interquartile_mean,
    mean,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    required_episodes,
    wilson_interval,
)

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.random((5, 6)), RNG.random((4, 6)) - 0.15
THRESHOLDS = np.linspace(0, 1, 11)


@pytest.mark.parametrize(
    "seeds, starts, of_seed, of_start, noise",
    [(1, 30, 0, 1, 1), (3, 50, 1, 1, 1), (3, 50, 0, 1, 1), (5, 30, 1, 3, 3), (10, 30, 1, 1, 0)],
)
def test_intervals_have_their_coverage(
    seeds: int, starts: int, of_seed: float, of_start: float, noise: float
) -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(400):
        scores = (
            of_seed * rng.normal(size=(seeds, 1))
            + of_start * rng.normal(size=(1, starts))
            + noise * rng.normal(size=(seeds, starts))
        )
        estimate = mean(scores)
        assert estimate.low is not None and estimate.high is not None
        covered += estimate.low <= 0 <= estimate.high
    assert 0.92 <= covered / 400 <= 1.0


def test_intervals_of_paired_differences_have_their_coverage() -> None:
    rng, covered, width = np.random.default_rng(1), 0, []
    for _ in range(300):
        shared = 10 * rng.normal(size=(1, 40))
        first, second = (
            shared + rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, 40)) for seeds in (3, 4)
        )
        estimate = paired_difference(first, second)
        covered += estimate.includes_zero
        width.append(estimate.half_width)
    assert 0.92 <= covered / 300 <= 0.99
    assert np.mean(width) < 3  # without pairing it would be 6


def test_intervals_name_what_was_resampled() -> None:
    scores = RNG.random((3, 8))
    assert mean(scores).resampled == "starts and training seeds"
    assert mean(scores[:1]).resampled == "starts"
    assert mean(scores[:, :1]).resampled == "training seeds"
    single = mean(scores[:1, :1])
    assert (single.resampled, single.half_width, single.low) == (None, None, None)
    assert mean(np.full((2, 5), 7.0)).half_width == 0


def test_training_seeds_widen_the_interval_unless_they_agree() -> None:
    one = RNG.normal(size=(1, 100))
    same, different = mean(np.repeat(one, 3, axis=0)), mean(one + np.array([[-1.0], [0.0], [1.0]]))
    assert same.half_width == pytest.approx(mean(one).half_width, rel=0.1)
    assert (
        different.half_width is not None
        and same.half_width is not None
        and different.half_width > 5 * same.half_width
    )


def test_intervals_are_deterministic() -> None:
    scores = RNG.random((3, 20))
    assert mean(scores) == mean(scores) != mean(scores, seed=1)
    assert mean(scores).half_width == pytest.approx(mean(scores, seed=1).half_width, rel=0.1)


def test_pairing_removes_shared_variation() -> None:
    shared = RNG.normal(0, 50, size=(1, 200))
    first, second = shared + 1 + RNG.normal(0, 1, (1, 200)), shared + RNG.normal(0, 1, (1, 200))
    estimate = paired_difference(first, second)
    assert estimate.half_width is not None and estimate.half_width < 0.3
    assert estimate.value == pytest.approx(1.0, abs=0.3) and not estimate.includes_zero
    back = paired_difference(second, first)
    assert (back.value, back.half_width) == pytest.approx((-estimate.value, estimate.half_width))
    assert (
        paired_difference(first, first).half_width == 0
        and paired_difference(first, first).includes_zero
    )


def test_required_episodes_have_the_power() -> None:
    first, second = np.zeros((1, 400)), RNG.normal(0.5, 1.0, size=(1, 400))
    second = (second - second.mean()) / second.std(ddof=1) + 0.5
    needed = required_episodes(first, second)
    assert needed == 32  # (1.960 + 0.842)^2 (1 / 0.5)^2 = 31.4
    rng = np.random.default_rng(0)
    significant = [abs(x.mean()) > 1.96 / 32**0.5 for x in rng.normal(0.5, 1, (2000, 32))]
    assert np.mean(significant) == pytest.approx(0.8, abs=0.03)
    assert required_episodes(first, first) is None
    assert required_episodes(first[:, :1], second[:, :1]) is None
    assert required_episodes(first, first + 1) == 2


def test_wilson_worked_example() -> None:
    success = np.arange(20)[None] < 18
    share = wilson_interval(success)
    assert (share.value, share.low, share.high) == pytest.approx((0.9, 0.699, 0.972), abs=5e-4)
    sure = wilson_interval(np.ones((1, 20), dtype=bool))
    assert (sure.low, sure.high) == (pytest.approx(0.839, abs=5e-4), 1.0)


def test_agreeing_seeds_do_not_narrow_wilsons_interval() -> None:
    one = np.arange(20)[None] < 18
    assert wilson_interval(np.repeat(one, 5, axis=0)).low == pytest.approx(
        wilson_interval(one).low, abs=0.02
    )
    different = np.stack([np.roll(one[0], 4 * seed) for seed in range(5)])
    assert (wilson_interval(different).low or 0) > (wilson_interval(one).low or 0)


def test_aggregates_agree_with_recorded_values_of_rliable() -> None:
    # rliable 1.2.0, the same matrices.
    assert interquartile_mean(FIRST).value == pytest.approx(0.5778855999797379, abs=1e-12)
    assert probability_of_improvement(FIRST, SECOND).value == pytest.approx(
        0.6833333333333333, abs=1e-12
    )


def test_aggregates_agree_with_rliable() -> None:
    library = pytest.importorskip("rliable.library")
    metrics = pytest.importorskip("rliable.metrics")
    np.random.seed(0)  # rliable draws from there

    def middle(scores: np.ndarray) -> np.ndarray:
        return np.array([metrics.aggregate_iqm(scores)])

    def better(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.array([metrics.probability_of_improvement(first, second)])

    values, ends = library.get_interval_estimates({"a": FIRST}, middle, reps=500)
    ours = interquartile_mean(FIRST)
    assert ours.value == pytest.approx(values["a"][0], abs=1e-12)
    assert (ours.low, ours.high) == pytest.approx(tuple(ends["a"][:, 0]), abs=0.015)

    values, ends = library.get_interval_estimates({"a": [FIRST, SECOND]}, better, reps=300)
    ours = probability_of_improvement(FIRST, SECOND)
    assert ours.value == pytest.approx(values["a"][0], abs=1e-12)
    assert (ours.low, ours.high) == pytest.approx(tuple(ends["a"][:, 0]), abs=0.03)

    shares, bands = library.create_performance_profile({"a": FIRST}, THRESHOLDS, reps=300)
    share, low, high = performance_profile(FIRST, THRESHOLDS)
    np.testing.assert_allclose(share, shares["a"], atol=1e-12)
    np.testing.assert_allclose([low, high], bands["a"], atol=0.05)


def test_improvement_laws() -> None:
    there, back = (
        probability_of_improvement(*pair).value for pair in ((FIRST, SECOND), (SECOND, FIRST))
    )
    assert there + back == pytest.approx(1.0)
    assert probability_of_improvement(FIRST, FIRST).value == pytest.approx(0.5)
    assert probability_of_improvement(FIRST + 2, SECOND).value == 1


def test_a_single_run_has_no_interval() -> None:
    assert interquartile_mean(FIRST[:1]).low is None
    assert probability_of_improvement(FIRST[:1], SECOND).low is None
    _, low, high = performance_profile(FIRST[:1], THRESHOLDS)
    assert np.isnan(low).all() and np.isnan(high).all()


def test_a_profile_falls_within_its_band() -> None:
    share, low, high = performance_profile(FIRST, THRESHOLDS)
    assert (np.diff(share) <= 0).all() and (low <= share).all() and (share <= high).all()


@pytest.mark.parametrize("scores", [np.zeros((0, 3)), np.zeros(3), np.array([[np.nan, 1.0]])])
def test_invalid_scores_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="Scores must be finite"):
        mean(scores)


def test_different_starts_or_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 and 2 episodes"):
        paired_difference(np.zeros((1, 3)), np.zeros((1, 2)))
    with pytest.raises(ConfigError, match="6 and 5"):
        probability_of_improvement(FIRST, SECOND[:, :5])
