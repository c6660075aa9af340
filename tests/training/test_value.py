"""Learned values: the returns of a chain, and plans that go where the data was rewarded."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dfplan
from dfplan.data import from_arrays, segmented
from dfplan.errors import CheckpointError, ConfigError, DataError
from dfplan.planning.single import ForcingPlanner
from dfplan.tokens.statistics import fit_statistics
from dfplan.training.loop import train
from dfplan.training.recipes.value import ValueConfig, discounted_returns
from dfplan.training.settings import TrainSettings
from dfplan.types import Trajectories

SETTINGS = TrainSettings(
    steps=400, batch_size=256, learning_rate=1e-2, warmup=10, ema_decay=0.95, save_every=400
)

WRONG = [np.nan, np.inf, -np.inf, 1e300]


def chain(walks: int) -> Trajectories:
    """``walks`` walks from place 0 to place 4, each a segment, with reward 8 at 4 and 2 at 2."""
    places = np.tile(np.arange(5.0), walks)
    # One place a step. Values ignore velocities, but these must fit the positions.
    still = 0 * places
    states = np.stack([places, still, still + 1, still], 1)
    data = segmented(from_arrays(states, ends=places == 4, source="a chain"))
    rewards = np.select([places == 4, places == 2], [8.0, 2.0], 0.0).astype(np.float32)
    return replace(data, rewards=rewards)


def rewards_of(data: Trajectories) -> np.ndarray:
    """The rewards, float64 [N], a copy."""
    return np.array(data.rewards, np.float64)


def values_of(data: Trajectories, discount: float) -> np.ndarray:
    assert data.rewards is not None
    return discounted_returns(data.rewards, data.segments, discount)


def test_returns_of_a_chain_by_hand() -> None:
    # Half of: 8; 8 / 2; 2 + 8 / 4; the next one's half each.
    by_hand = [0.5, 1.0, 2.0, 2.0, 4.0]
    assert values_of(chain(1), 0.5).tolist() == by_hand
    assert values_of(chain(3), 0.5).tolist() == 3 * by_hand, (
        "no return crosses the end of a segment"
    )
    assert values_of(chain(2), 0.0).tolist() == 2 * [0, 0, 2, 0, 8]


def test_a_constant_reward_is_its_own_return() -> None:
    constant = replace(
        chain(100), rewards=np.full(500, 3.0, np.float32), segments=np.array([[0, 500]])
    )
    assert values_of(constant, 0.9)[0] == pytest.approx(3.0)


def test_it_learns_the_values_and_they_survive_the_file(tmp_path: Path) -> None:
    config = ValueConfig(discount=0.5, width=64, layers=3)
    long = replace(SETTINGS, steps=1000, batch_size=32)
    train(config, chain(4), tmp_path, settings=long, progress=False)
    value = dfplan.load_value(tmp_path).value
    places = torch.stack([torch.arange(5.0), torch.zeros(5)], 1)
    np.testing.assert_allclose(value(places), [0.5, 1.0, 2.0, 2.0, 4.0], atol=0.1)
    assert ValueConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.fixture(scope="module")
def rewarded_at(trajectories: Trajectories, corridor: Any) -> Any:
    """The data of the corridor, with rewards near a place."""

    def rewarded(along: float) -> Trajectories:
        away = np.linalg.norm(trajectories.observations[:, :2] - corridor.at(along), axis=1)
        return replace(trajectories, rewards=(away < 4).astype(np.float32))

    return rewarded


@pytest.mark.parametrize("along", [3.0, 37.0])
def test_plans_without_a_goal_end_where_the_data_was_rewarded(
    rewarded_at: Any, planner: ForcingPlanner, corridor: Any, tmp_path: Path, along: float
) -> None:
    train(ValueConfig(width=32), rewarded_at(along), tmp_path, settings=SETTINGS, progress=False)
    value = dfplan.load_value(str(tmp_path / "checkpoint.safetensors"))
    starts = corridor.at(np.linspace(14.0, 26.0, 8))
    states = np.concatenate([starts, np.zeros((8, 2))], 1)

    def distances(reward: Any) -> np.ndarray:
        ends = planner.plan(states, reward=reward, seed=0).points[:, -1]
        return np.linalg.norm(ends - corridor.at(along), axis=1)

    unguided = distances(lambda points, steps: 0.0 * points.sum((1, 2)))
    guided = distances(1000.0 * value)
    assert (guided < unguided).all() and np.median(guided) < 0.6 * np.median(unguided)


def test_data_without_rewards_is_refused(trajectories: Trajectories, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"corridor holds no rewards, or all are 0"):
        train(ValueConfig(), trajectories, tmp_path, settings=SETTINGS, progress=False)
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, deadline=None)
@given(rows=st.sets(st.integers(0, 19), min_size=1), wrong=st.sampled_from(WRONG))
def test_a_reward_that_is_not_finite_is_refused_with_its_row(rows: set[int], wrong: float) -> None:
    data = chain(4)
    rewards = rewards_of(data)
    rewards[sorted(rows)] = wrong
    message = rf"row {min(rows)} is {re.escape(str(wrong))} \({len(rows)} such rows\)"
    with pytest.raises(DataError, match=message):
        ValueConfig().objective(replace(data, rewards=rewards), fit_statistics(data))


def test_rewards_outside_of_every_segment_do_not_matter() -> None:
    data = replace(chain(4), segments=np.array([[0, 5], [10, 20]]))
    rewards = rewards_of(data)
    rewards[5:10] = np.nan
    statistics = fit_statistics(data)
    losses = []
    for given_rewards in (data.rewards, rewards):
        objective = ValueConfig().objective(replace(data, rewards=given_rewards), statistics)
        torch.manual_seed(0)
        network = ValueConfig().untrained()
        losses.append(objective(network, 64, torch.Generator().manual_seed(0)).item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("lying", [1e25, -1e20])
def test_one_huge_reward_is_refused_with_its_row(unit: float, lying: float) -> None:
    data = chain(4)
    rewards = unit * rewards_of(data)
    rewards[13] = unit * lying
    with pytest.raises(DataError, match="the reward of row 13 is"):
        ValueConfig().objective(replace(data, rewards=rewards), fit_statistics(data))


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        (np.full(20, 3.0), "every reward is 3"),
        (np.full(20, -1e9), "every reward is -1e\\+09"),
        (np.zeros(20), "holds no rewards, or all are 0"),
        (np.ones(19), r"one reward for each of 20 rows; got rewards \[19\]"),
    ],
)
def test_constant_or_missing_rewards_are_refused(rewards: np.ndarray, message: str) -> None:
    data = chain(4)
    with pytest.raises(DataError, match=message):
        ValueConfig().objective(replace(data, rewards=rewards), fit_statistics(data))


def test_a_value_is_in_the_unit_of_the_rewards(tmp_path: Path) -> None:
    config = ValueConfig(discount=0.5, width=16, layers=2)
    places = torch.stack([torch.arange(5.0), torch.zeros(5)], 1)
    values = {}
    for unit in (2.0**-30, 1 / 8, 2.0**30):  # 1 / 8 makes the largest reward 1
        data = replace(chain(4), rewards=unit * rewards_of(chain(4)))
        run = replace(SETTINGS, steps=40)
        train(config, data, tmp_path / str(unit), settings=run, progress=False)
        values[unit] = dfplan.load_value(tmp_path / str(unit)).value(places) / unit
    assert torch.equal(values[2.0**-30], values[1 / 8])
    assert torch.equal(values[2.0**30], values[1 / 8])


def test_planners_and_values_have_their_own_loaders(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"value.*planner.*forcing"):
        dfplan.load_value(trained.folder)
    train(
        ValueConfig(width=8, layers=1),
        chain(4),
        tmp_path,
        settings=replace(SETTINGS, steps=1),
        progress=False,
    )
    with pytest.raises(CheckpointError, match=r"planner.*value.*dfplan\.load_value"):
        dfplan.load(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"discount": 1.0}, "discount must be .* at least 0, below 1; got 1.0"),
        ({"discount": -0.1}, "discount must be .* got -0.1"),
        ({"width": 0}, "width must .* at least 1; got 0"),
        ({"layers": 0}, "layers must .* at least 1; got 0"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ValueConfig(**wrong)
