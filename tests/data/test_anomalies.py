"""Anomalies of recordings, found block by block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dfplan.data.anomalies import (
    jump_rows,
    nonfinite_rows,
    sample_steps,
    step_limit,
    zero_padding_rows,
    zero_rows,
)
from dfplan.types import Recording

ONE = np.zeros(1, np.int64)


def recorded(observations: np.ndarray, episodes: np.ndarray = ONE) -> Recording:
    """A recording without actions."""
    return Recording(observations, np.zeros((len(observations), 2)), episodes, "a walk")


def walk(count: int, seed: int = 0) -> np.ndarray:
    """A smooth stream of positions and velocities, float32 [count, 4]."""
    rng = np.random.default_rng(seed)
    velocity = 3 * np.sin(np.arange(count)[:, None] / 20 + rng.uniform(0, 6, 2))
    position = 5 + 0.01 * np.cumsum(velocity, axis=0)
    return np.concatenate([position, velocity], axis=1).astype(np.float32)


def limit_of_the_whole(positions: np.ndarray) -> float:
    """The rule as it was before it went by blocks."""
    step = np.abs(np.diff(positions, axis=0)).max(axis=1)
    moved = step[step > 0]
    return float(3.0 * np.quantile(moved, 0.95))


@pytest.fixture(params=[1, 7, 64, 1 << 18], ids=lambda block: f"block{block}")
def block(request: pytest.FixtureRequest, limit_blocks: Callable[[int], None]) -> None:
    limit_blocks(request.param)


@pytest.mark.usefixtures("block")
def test_rows_that_are_not_finite_are_found() -> None:
    observations = walk(200)
    observations[[0, 63, 64, 199], [0, 1, 2, 3]] = [np.nan, np.inf, -np.inf, np.nan]
    assert nonfinite_rows(observations).tolist() == [0, 63, 64, 199]
    assert nonfinite_rows(observations[:, 0]).tolist() == [0]
    assert nonfinite_rows(walk(200)).tolist() == []


@pytest.mark.usefixtures("block")
def test_rows_of_zeros_are_found_and_rows_with_some_zeros_are_not() -> None:
    observations = walk(200)
    observations[[0, 7, 150]] = 0
    observations[80, :3] = 0
    observations[81] = np.nan
    assert zero_rows(observations).tolist() == [0, 7, 150]


@pytest.mark.usefixtures("block")
def test_jumps_are_found_only_inside_episodes_and_between_valid_rows() -> None:
    observations = walk(300)
    observations[50:, 0] += 0.5
    observations[64:, 1] -= 0.5
    observations[100:, :2] += 2  # a new episode
    observations[150:, 0] += 1  # over a row of zeros
    observations[149] = 0
    observations[200:, 1] += 1  # over a row that is not finite
    observations[199, 3] = np.nan
    observations[299, 0] += 0.5
    episodes = np.array([0, 100])
    limit = step_limit(recorded(observations, episodes))
    assert jump_rows(recorded(observations, episodes), limit).tolist() == [50, 64, 299]
    everywhere = jump_rows(recorded(observations), limit)
    assert everywhere.tolist() == [50, 64, 100, 299]
    for rows in (everywhere, zero_rows(observations), nonfinite_rows(observations)):
        assert rows.dtype == np.int64


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_limit_is_that_of_all_steps_at_once(dtype: type) -> None:
    observations = walk(500).astype(dtype)
    observations[100:200] = observations[100]  # resting counts for nothing
    observations[300:, 0] += 0.4
    assert step_limit(recorded(observations)) == limit_of_the_whole(observations[:, :2])


@pytest.mark.usefixtures("block")
def test_the_limit_takes_no_step_of_a_bad_row_or_into_an_episode() -> None:
    """Cutting the bad rows and the seams out of the data changes nothing."""
    observations = walk(400)
    episodes = np.array([0, 0, 120, 121, 300, 400])  # an empty episode in front and one behind
    pieces = [(0, 120), (121, 180), (181, 250), (252, 300), (300, 400)]
    steps = np.concatenate(
        [np.abs(np.diff(observations[a:b, :2], axis=0)).max(axis=1) for a, b in pieces]
    )
    observations[180] = 0
    observations[250] = np.inf
    observations[251, 0] = np.nan
    assert step_limit(recorded(observations, episodes)) == float(3.0 * np.quantile(steps, 0.95))


def test_nothing_moves_nothing_jumps() -> None:
    for rows in (0, 1, 2, 50):
        observations = np.ones((rows, 4), np.float32)
        assert step_limit(recorded(observations)) == 0.0
        assert jump_rows(recorded(observations), 0.0).tolist() == []


@pytest.mark.parametrize("length", [10, 11, 50, 101])
def test_sampled_steps_cover_episodes_of_any_length(length: int) -> None:
    """Evenly spaced rows alone could meet the same moment of every episode."""
    first = np.arange(0, 20_000 - length, length)
    inner = sample_steps(np.stack([first, first + length], 1), 2000)
    assert len(np.unique(inner)) == len(inner) == 2000
    moments = np.bincount(inner % length, minlength=length)
    assert moments[0] == 0 and moments[1:].min() > 0.5 * 2000 / length


def test_a_body_at_rest_at_the_origin_is_not_padding() -> None:
    along = np.linspace(-1.0, 1.0, 41)
    there = np.stack([along, along, 0 * along, 0 * along], 1)
    there[20] = 0.0
    limit = step_limit(recorded(there))
    assert zero_rows(there).tolist() == [20] and not len(zero_padding_rows(recorded(there), limit))
    far = there + np.array([5.0, 0.0, 0.0, 0.0])
    far[[0, 7, 8, 9, 40]] = 0.0
    assert zero_padding_rows(recorded(far), limit).tolist() == [0, 7, 8, 9, 40]
