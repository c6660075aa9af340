from __future__ import annotations

import numpy as np
import pytest

from dfplan.errors import ConfigError
from dfplan.evaluation.metrics import (
    estimate,
    first_touch,
    latched_returns,
    normalized,
    paired_difference,
    summarize,
)
from dfplan.evaluation.protocols import named_task

LARGE = named_task("maze2d-large")


def test_score_is_linear_between_the_reference_returns() -> None:
    assert normalized(LARGE, np.array([6.70, 273.99])) == pytest.approx([0.0, 100.0])
    # A return of every step, as listed with D4RL's references.
    full = {"umaze": 200.1, "medium": 222.1, "large": 296.8}
    for maze, expected in full.items():
        task = named_task(f"maze2d-{maze}")
        score = normalized(task, np.array([float(task.max_steps)]))
        assert score == pytest.approx([expected], abs=0.05)


def test_worked_example() -> None:
    rewards = np.zeros((3, 800), dtype=np.float32)
    rewards[0, 99:] = 1  # arrives at step 100 and stays
    rewards[1, 199:299] = 1  # arrives at step 200 and leaves
    result = summarize(LARGE, rewards, bounds=np.full(3, 700.0))
    assert first_touch(rewards).tolist() == [100, 200, 801]
    assert latched_returns(rewards).tolist() == [701, 601, 0]
    assert result.score.mean == pytest.approx(normalized(LARGE, np.array([801 / 3]))[0])
    assert result.latched.mean == pytest.approx(normalized(LARGE, np.array([1302 / 3]))[0])
    assert result.success_any == pytest.approx(2 / 3)
    assert result.success_last == pytest.approx(1 / 3)
    assert result.steps_to_touch == 150
    assert result.share_of_bound == pytest.approx((801 / 3 - 6.70) / (700 - 6.70))


def test_nobody_touched() -> None:
    result = summarize(LARGE, np.zeros((2, 800)), bounds=np.full(2, 700.0))
    assert result.steps_to_touch is None
    assert result.success_any == result.success_last == 0


@pytest.mark.parametrize("seed", range(5))
def test_latched_is_never_lower(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rewards = (rng.random((50, 30)) < rng.random((50, 1)) ** 3).astype(np.float32)
    assert (latched_returns(rewards) >= rewards.sum(axis=1)).all()


def test_intervals_cover_as_often_as_they_say() -> None:
    samples = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 12))
    estimates = [estimate(sample) for sample in samples]
    covered = [abs(each.mean - 3.0) <= (each.ci95 or 0.0) for each in estimates]
    assert 0.935 <= np.mean(covered) <= 0.965


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0.0, 50.0, size=200)
    first, second = shared + 1.0 + rng.normal(0, 1, 200), shared + rng.normal(0, 1, 200)
    difference = paired_difference(first, second)
    assert difference.ci95 is not None and difference.ci95 < 0.3
    assert abs(difference.mean - 1.0) < 2 * difference.ci95
    assert paired_difference(first, first).ci95 == 0


def test_too_few_or_unpaired_values() -> None:
    assert estimate(np.array([2.0])).ci95 is None
    with pytest.raises(ConfigError, match="at least one episode"):
        estimate(np.array([]))
    with pytest.raises(ConfigError, match="3 and 2 episodes"):
        paired_difference(np.zeros(3), np.zeros(2))
