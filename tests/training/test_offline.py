"""IQL and CQL by d3rlpy: what is goal_rewards, what is saved, and that it acts as d3rlpy would."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dfplan
from dfplan.errors import ConfigError, DataError, DfplanError, ObservationError
from dfplan.planning.learned import LearnedPolicy
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.recipes.offline import (
    ALGORITHMS,
    OfflineConfig,
    OfflineSettings,
    goal_rewards,
    train_offline,
)
from dfplan.types import Trajectories

GOAL = (0.0, 40.0)
RECIPE = OfflineConfig("iql", GOAL, 3.0)
SETTINGS = OfflineSettings(steps=3, batch_size=32, log_every=2)


@pytest.fixture(scope="module")
def d3rlpy() -> Any:
    return pytest.importorskip("d3rlpy", reason="d3rlpy trains IQL and CQL; `make` installs it")


def results_of(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """A list that will hold what each call of a function returns."""
    function, made = getattr(owner, name), []

    def kept(*arguments: Any, **more: Any) -> Any:
        made.append(function(*arguments, **more))
        return made[-1]

    monkeypatch.setattr(owner, name, kept)
    return made


def test_reaching_the_goal_in_the_next_row_is_rewarded(trajectories: Trajectories) -> None:
    rewards = goal_rewards(RECIPE, trajectories)
    assert rewards.dtype == np.float32 and 0 < rewards.mean() < 1
    near = np.linalg.norm(trajectories.observations[:, :2] - np.array(GOAL), axis=1) <= 3.0
    for first, last in trajectories.segments:
        assert rewards[first : last - 1].tolist() == near[first + 1 : last].tolist()
        assert rewards[last - 1] == 0
    blind = replace(trajectories, rewards=np.full(len(trajectories), 7.0))
    np.testing.assert_array_equal(goal_rewards(RECIPE, blind), rewards)


@pytest.mark.parametrize("algorithm", ["iql", "cql"])
def test_the_saved_policy_acts_as_in_d3rlpy(
    d3rlpy: Any,
    trajectories: Trajectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
) -> None:
    made = results_of(monkeypatch, getattr(d3rlpy.algos, ALGORITHMS[algorithm]), "create")
    recipe = replace(RECIPE, algorithm=algorithm)
    train_offline(recipe, trajectories, tmp_path, settings=SETTINGS, progress=False)
    policy = dfplan.load(tmp_path)
    assert isinstance(policy, LearnedPolicy)
    states = trajectories.observations[::17].astype(np.float32)
    predicted = made[0].predict(states)
    assert predicted.std() > 0.01
    np.testing.assert_allclose(policy.act(states, np.array(GOAL)), predicted, atol=1e-5)
    np.testing.assert_allclose(policy.act(states[0]), predicted[0], atol=1e-5)
    with pytest.raises(ObservationError, match="for the goal"):
        policy.act(states, trajectories.observations[0, :2])


def test_the_replay_buffer_holds_every_transition_within_segments(
    d3rlpy: Any, trajectories: Trajectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = results_of(monkeypatch, d3rlpy.dataset, "create_infinite_replay_buffer")
    train_offline(RECIPE, trajectories, tmp_path, settings=SETTINGS, progress=False)
    (data,) = made
    assert data.transition_count == len(trajectories) - len(trajectories.segments)
    batch = data.sample_transition_batch(2000)
    assert not batch.terminals.any() and (batch.intervals == 1).all()
    index = {
        row.tobytes(): place for place, row in enumerate(trajectories.observations.astype("f4"))
    }
    rewards = goal_rewards(RECIPE, trajectories)
    ends = set((trajectories.segments[:, 1] - 1).tolist())
    for row in range(200):
        place = index[batch.observations[row].tobytes()]
        assert place not in ends
        np.testing.assert_array_equal(
            batch.next_observations[row], trajectories.observations[place + 1].astype("f4")
        )
        np.testing.assert_allclose(batch.actions[row], trajectories.actions[place], atol=1e-6)
        assert batch.rewards[row] == rewards[place]


def test_the_seed_determines_the_checkpoint(
    d3rlpy: Any, trajectories: Trajectories, tmp_path: Path
) -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    runs = [
        train_offline(
            RECIPE,
            trajectories,
            tmp_path / str(place),
            settings=replace(SETTINGS, seed=seed),
            progress=False,
        )
        for place, seed in enumerate((1, 1, 2))
    ]
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    first, again, other = (run.network["stack.0.weight"] for run in runs)
    assert torch.equal(first, again) and not torch.equal(first, other)
    loaded = Checkpoint.load(tmp_path / "0" / "checkpoint.safetensors")
    assert loaded.recipe == "iql" and loaded.training["d3rlpy"] == d3rlpy.__version__
    assert OfflineConfig.from_json(json.loads(json.dumps(loaded.config))) == RECIPE
    assert (tmp_path / "0" / "checkpoint.safetensors").stat().st_size < 400_000
    lines = (tmp_path / "0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 3]
    assert all(np.isfinite(list(json.loads(line).values())).all() for line in lines)
    with pytest.raises(ConfigError, match="already holds a trained policy"):
        train_offline(RECIPE, trajectories, tmp_path / "0", settings=SETTINGS, progress=False)


def test_it_learns_to_go_to_the_goal(d3rlpy: Any, tmp_path: Path) -> None:
    """On a line where one action is rewarded and its opposite never is, it learns that one."""
    rng = np.random.default_rng(0)
    count = 4000
    position, action, before = rng.uniform(-1, 1, (3, count, 2))
    after = position + action
    states = np.stack([position, after], 1).reshape(-1, 2)
    velocities = np.stack([before, action], 1).reshape(-1, 2)
    actions = np.stack([action, 0 * action], 1).reshape(-1, 2)
    data = dfplan.data.segmented(
        dfplan.data.from_arrays(
            np.concatenate([states, velocities], 1), actions, np.arange(2 * count) % 2 == 1
        )
    )
    recipe = OfflineConfig("iql", (1.0, 0.0), 0.7)
    settings = OfflineSettings(steps=200, batch_size=128)
    train_offline(recipe, data, tmp_path, settings=settings, progress=False)
    starts = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.6, 0.0, 0.0], [0.0, -0.6, 0.0, 0.0]])
    found = dfplan.load(tmp_path).act(starts)
    assert (found[:, 0] > 0.15).all(), found
    assert found[1, 1] < found[0, 1] < found[2, 1], found


def test_data_without_a_contrast_of_rewards_is_refused(
    d3rlpy: Any, trajectories: Trajectories, tmp_path: Path
) -> None:
    far = replace(RECIPE, goal=(500.0, 0.0))
    with pytest.raises(DataError, match=r"is within 3.0 of the goal \[500.0, 0.0\]"):
        train_offline(far, trajectories, tmp_path, settings=SETTINGS, progress=False)
    wide = replace(RECIPE, radius=1e6)
    with pytest.raises(DataError, match=r"are within 1000000.0 of the goal .*unit"):
        train_offline(wide, trajectories, tmp_path, settings=SETTINGS, progress=False)
    bare = replace(trajectories, observations=trajectories.observations[:, :2])
    with pytest.raises(DataError, match="velocities"):
        train_offline(RECIPE, bare, tmp_path, settings=SETTINGS, progress=False)
    assert not list(tmp_path.iterdir())


def test_without_d3rlpy_the_error_names_the_extra(
    trajectories: Trajectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "d3rlpy":
            raise ImportError("No module named 'd3rlpy'", name="d3rlpy")
        return found(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DfplanError, match=r"needs d3rlpy.*pip install 'dfplan\[d3rlpy\]'"):
        train_offline(RECIPE, trajectories, tmp_path, settings=SETTINGS, progress=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"algorithm": "iqll"}, "Unknown algorithm 'iqll'. Did you mean 'iql'"),
        ({"goal": (1.0,)}, "position of two numbers"),
        ({"goal": (1.0, np.nan)}, r"goal\[1\] must be a finite number"),
        ({"radius": 0.0}, "radius must be .* above 0"),
    ],
)
def test_configs_that_mean_nothing_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(RECIPE, **wrong)
    with pytest.raises(ConfigError, match="steps must be a whole number"):
        OfflineSettings(steps=0)
