"""Behavior cloning: hindsight goals, a known policy that it recovers, and its checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dfplan
from dfplan.data import from_arrays, segmented
from dfplan.errors import ConfigError, DataError
from dfplan.planning.learned import LearnedPolicy
from dfplan.tokens.statistics import fit_statistics
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Trajectories

SETTINGS = TrainSettings(
    steps=600, batch_size=256, learning_rate=3e-3, warmup=10, ema_decay=0.97, save_every=600
)


def draw_goals(discount: float | None, lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(rows, goal rows) of 20,000 draws; the first coordinate of each position is its row."""
    count = sum(lengths)
    row = np.arange(float(count))
    ends = np.isin(row, np.cumsum(lengths) - 1)
    states = np.stack([row, 0 * row, 0 * row + 1, 0 * row], 1)
    data = segmented(from_arrays(states, 0 * states[:, :2], ends))
    config = CloningConfig(discount=discount)
    drawn = config.objective(data, fit_statistics(data)).draw(
        20_000, torch.Generator().manual_seed(0)
    )
    return drawn[0][:, 0].numpy().astype(int), drawn[1][:, 0].numpy().astype(int)


@pytest.mark.parametrize("discount", [None, 0.5, 0.99])
def test_goals_are_later_rows_of_the_same_segment(discount: float | None) -> None:
    lengths = [5, 1, 60, 2, 17]
    rows, goals = draw_goals(discount, lengths)
    segment = np.repeat(np.arange(len(lengths)), lengths)
    assert (segment[rows] == segment[goals]).all()
    assert (goals > rows).all()
    # All rows are drawn except the last of each segment, which has no successor.
    last = np.cumsum(lengths) - 1
    assert set(rows) == set(range(sum(lengths))) - set(last)


def test_goal_distances_follow_the_discount() -> None:
    rows, goals = draw_goals(0.8, [4000])
    later = (goals - rows)[rows < 3900]
    np.testing.assert_allclose(later.mean(), 1 / (1 - 0.8), rtol=0.03)
    np.testing.assert_allclose((later == 1).mean(), 0.2, atol=0.01)
    np.testing.assert_allclose((later == 3).mean(), 0.2 * 0.8**2, atol=0.01)


def test_without_a_discount_goals_are_uniform_over_the_rest_of_the_segment() -> None:
    rows, goals = draw_goals(None, [4])
    for row in range(3):
        share = [(goals[rows == row] == goal).mean() for goal in range(row + 1, 4)]
        np.testing.assert_allclose(share, 1 / (3 - row), atol=0.02)


def hops(count: int) -> Trajectories:
    """Bodies whose displacement in one step equals their action."""
    rng = np.random.default_rng(0)
    position, action, before = rng.uniform(-0.6, 0.6, (3, count, 2))
    first, second = np.concatenate([position, before], 1), np.concatenate([position, action], 1)
    second[:, :2] += action
    states = np.stack([first, second], 1).reshape(-1, 4)
    actions = np.stack([action, 0 * action], 1).reshape(-1, 2)
    return segmented(from_arrays(states, actions, np.arange(2 * count) % 2 == 1, source="hops"))


def test_a_linear_policy_is_recovered_and_survives_the_file(tmp_path: Path) -> None:
    # The only goal of a first row is the second; its action is the displacement to it.
    data = hops(4000)
    config = CloningConfig(width=64, layers=2)
    trained = train(config, data, tmp_path, settings=SETTINGS, progress=False)
    policy = dfplan.load(tmp_path)
    assert isinstance(policy, LearnedPolicy) and policy.maze is None
    first = data.observations[::2][:500].astype(np.float32)
    goals = data.observations[1::2][:500, :2].astype(np.float32)
    actions = policy.act(first, goals)
    np.testing.assert_allclose(actions, goals - first[:, :2], atol=0.06)
    assert np.abs(actions - (goals - first[:, :2])).mean() < 0.01

    loaded = Checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert loaded.recipe == "policy"
    assert CloningConfig.from_json(json.loads(json.dumps(loaded.config))) == config
    np.testing.assert_array_equal(config.load(trained).act(first, goals), actions)


def test_the_seed_determines_the_weights(trajectories: Trajectories, tmp_path: Path) -> None:
    config, short = CloningConfig(width=8, layers=1), replace(SETTINGS, steps=3)
    runs = [
        train(
            config,
            trajectories,
            tmp_path / str(place),
            settings=replace(short, seed=seed),
            progress=False,
        )
        for place, seed in enumerate((1, 1, 2))
    ]
    first, again, other = (run.network["stack.0.weight"] for run in runs)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_velocities_that_were_not_recorded_are_refused(
    trajectories: Trajectories, tmp_path: Path
) -> None:
    bare = replace(trajectories, observations=trajectories.observations[:, :2])
    with pytest.raises(DataError, match=r"velocities=False"):
        train(CloningConfig(), bare, tmp_path, settings=SETTINGS, progress=False)
    config = CloningConfig(velocities=False, width=8, layers=1)
    train(config, bare, tmp_path, settings=replace(SETTINGS, steps=1), progress=False)
    policy = dfplan.load(tmp_path)
    assert policy.act(bare.observations[:3], bare.observations[9, :2]).shape == (3, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"discount": 1.0}, "discount must be .* below 1; got 1.0"),
        ({"discount": 0.0}, "discount must be .* above 0"),
        ({"width": 0}, "width must .* at least 1; got 0"),
        ({"layers": 0}, "layers must .* at least 1; got 0"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CloningConfig(**wrong)
