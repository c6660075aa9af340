"""Learned inverse dynamics: actions that lead where the data went, and plans that are followed."""

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
from dfplan.errors import CheckpointError, ConfigError, DataError, ObservationError
from dfplan.planning.trackers import inverse_inputs
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train
from dfplan.training.recipes.inverse import InverseConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Plan, Trajectories

SETTINGS = TrainSettings(
    steps=800, batch_size=256, learning_rate=3e-3, warmup=10, ema_decay=0.97, save_every=800
)
STEPS = 5


@pytest.fixture(scope="module")
def held(corridor: Any) -> Trajectories:
    """Bodies in the corridor's units, each action of which is held for ``STEPS`` steps."""
    rng = np.random.default_rng(0)
    walks = 3000
    state = np.concatenate([rng.uniform(-5, 5, (walks, 2)), rng.uniform(-4, 4, (walks, 2))], 1)
    action = rng.uniform(-0.8, 0.8, (walks, 2))
    states = [state]
    for _ in range(STEPS):
        states.append(corridor.advance(states[-1], action))
    ends = np.arange(walks * (STEPS + 1)) % (STEPS + 1) == STEPS
    actions = np.repeat(action, STEPS + 1, 0)
    both = np.stack(states, 1).reshape(-1, 4)
    return segmented(from_arrays(both, actions, ends, source="held"))


@pytest.fixture(scope="module")
def folder(held: Trajectories, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where: Path = tmp_path_factory.mktemp("inverse")
    config = InverseConfig(steps=STEPS, width=64, layers=2)
    train(config, held, where, settings=SETTINGS, progress=False)
    return where


def line(points: np.ndarray, stride: int) -> Plan:
    batch, count = points.shape[:2]
    return Plan(
        points=points.astype(np.float32),
        steps=np.full(batch, (count - 1) * stride),
        stride=stride,
        level=np.zeros((batch, count), dtype=int),
        max_level=1,
        spread=np.zeros((batch, count), np.float32),
        candidates=points[:, None],
        scores=np.zeros((batch, 1), np.float32),
        observation=np.concatenate([points[:, 0], np.zeros((batch, 2))], 1),
        goal=points[:, -1],
        evaluations=1,
        seconds=0.0,
    )


def test_the_actions_of_a_point_mass_are_recovered(held: Trajectories, folder: Path) -> None:
    """The next point of the plan is the recorded position ``STEPS`` steps later."""
    starts, ends = (
        held.observations[:: STEPS + 1][:500],
        held.observations[STEPS :: STEPS + 1][:500],
    )
    tracker = dfplan.load_inverse(folder)
    tracker.assign(np.arange(500), line(np.stack([starts[:, :2], ends[:, :2]], 1), STEPS))
    actions = held.actions[:: STEPS + 1][:500]
    error = np.abs(tracker.act(starts) - actions)
    assert error.mean() < 0.05 and error.max() < 0.25
    np.testing.assert_allclose(tracker.deviation(starts), 0, atol=1e-5)


def test_inputs_are_scaled_by_the_limits_of_the_body(held: Trajectories, folder: Path) -> None:
    motion = Checkpoint.load(folder / "checkpoint.safetensors").statistics.motion
    shown = inverse_inputs(
        np.array([[STEPS * motion.max_step, 0.0]]), np.array([[0.0, motion.limit]]), motion, STEPS
    )
    assert shown.dtype == np.float32 and shown.tolist() == [[1, 0, 0, 1]]
    assert inverse_inputs(np.ones((3, 2)), None, motion, STEPS).shape == (3, 2)


def test_a_body_follows_a_plan_to_its_end(corridor: Any, folder: Path) -> None:
    along = np.linspace(2, 38, 31)
    plan = line(corridor.at(along)[None], 4)
    policy = dfplan.load_inverse(folder)
    policy.assign(np.array([0]), plan)
    state = np.concatenate([corridor.at(along[:1]), [[0.0, 0.0]]], 1)
    farthest = 0.0
    for _ in range(240):
        state = corridor.advance(state, policy.act(state))
        farthest = max(farthest, float(policy.deviation(state)[0]))
    assert np.linalg.norm(state[0, :2] - corridor.at(along[-1])) < 0.5
    assert farthest < 2


def test_config_and_json_are_inverse(folder: Path) -> None:
    config = InverseConfig(steps=3, velocities=False, width=16)
    assert InverseConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    loaded = Checkpoint.load(folder / "checkpoint.safetensors")
    assert loaded.recipe == "inverse" and loaded.config["steps"] == STEPS
    assert (folder / "checkpoint.safetensors").stat().st_size < 300_000


def test_velocities_are_needed_unless_it_was_trained_without(
    held: Trajectories, folder: Path, tmp_path: Path
) -> None:
    bare = replace(held, observations=held.observations[:, :2])
    with pytest.raises(DataError, match="velocities=False"):
        train(InverseConfig(steps=STEPS), bare, tmp_path, settings=SETTINGS, progress=False)
    config = InverseConfig(steps=STEPS, velocities=False, width=8, layers=1)
    train(config, bare, tmp_path, settings=replace(SETTINGS, steps=1), progress=False)
    plan = line(np.zeros((1, 2, 2)), STEPS)
    for where, fits in ((folder, False), (tmp_path, True)):
        tracker = dfplan.load_inverse(where)
        tracker.assign(np.array([0]), plan)
        assert tracker.act(np.zeros((1, 4))).shape == (1, 2)
        if fits:
            assert tracker.act(np.zeros((1, 2))).shape == (1, 2)
        else:
            with pytest.raises(ObservationError, match="velocit"):
                tracker.act(np.zeros((1, 2)))


def test_segments_too_short_for_its_steps_are_refused(held: Trajectories, tmp_path: Path) -> None:
    config = InverseConfig(steps=STEPS + 1)
    with pytest.raises(DataError, match="7 rows"):
        train(config, held, tmp_path, settings=SETTINGS, progress=False)


def test_other_checkpoints_are_refused(trained: Any, folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tracker.*planner.*forcing"):
        dfplan.load_inverse(trained.folder)
    with pytest.raises(CheckpointError, match=r"tracker.*inverse.*dfplan\.load_inverse"):
        dfplan.load(folder)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"width": 0}, {"layers": 1.5}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        InverseConfig(**wrong)


def test_batches_depend_only_on_the_generator(held: Trajectories) -> None:
    config = InverseConfig(steps=STEPS)
    objective = config.objective(held, dfplan.tokens.statistics.fit_statistics(held))
    draws = [objective.draw(8, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
