"""What is measured of a checkpoint's uncertainty."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import dfplan
from dfplan.calibrating import Disturbed, calibrate, followed, passages
from dfplan.errors import ConfigError
from dfplan.evaluation.protocols import named_task, problems
from dfplan.planning.disturbance import Disturbance
from dfplan.planning.rewards import PassThrough
from dfplan.planning.settings import MUCH_NOISE
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.success import Calibration
from dfplan.pretrained import checkpoint_path
from dfplan.training.checkpoint import Checkpoint


def test_what_was_measured_is_stored_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "planner.safetensors"
    shutil.copy(checkpoint_path("maze2d-umaze"), path)
    regions, calibration = calibrate(path, count=3)
    before, after = Checkpoint.load(checkpoint_path("maze2d-umaze")), Checkpoint.load(path)
    assert after.network.keys() == before.network.keys()
    planner = dfplan.load(path)
    assert isinstance(planner, ForcingPlanner) and planner.regions is not None
    assert planner.regions.to_json() == regions.to_json()
    assert planner.calibration == calibration
    query = np.array([1.0, 1, 0, 0]), np.array([3.0, 1])
    pyramid = planner.with_settings(matrix="pyramid", replans=0)
    much, pure = (pyramid.with_settings(route_noise=noise) for noise in (MUCH_NOISE, np.inf))
    assert much.plan(*query, seed=0).regions is planner.regions.way
    assert pure.plan(*query, seed=0).regions is planner.regions.noise
    reward = PassThrough(torch.tensor([[2.0, 1.0]]))
    for other in (pyramid, pure.with_settings(matrix="trapezoid")):
        assert other.plan(*query, seed=0).regions is None, "none were measured"
    assert much.plan(*query, reward=reward, seed=0).regions is None
    for arm in (much, pure):
        earlier = arm.plan(*query, seed=0)
        assert arm.plan(*query, seed=1, warm_start=earlier).regions is None
    for table in (regions.way, regions.noise):
        assert (np.diff(table.radii, axis=-1) >= 0).all(), "90% need more room than 50%"


def test_only_planners_by_diffusion_forcing_have_regions() -> None:
    with pytest.raises(ConfigError, match="ForcingPlanner"):
        calibrate(Path("benchmarks/checkpoints/diffuser-umaze.safetensors"))


def test_real_episodes_follow_one_plan_each() -> None:
    task = named_task("multi2d-umaze", "validation")
    planner = dfplan.load("maze2d-umaze")
    assert isinstance(planner, ForcingPlanner)
    drawn = problems(task, 3, seed=1)
    ((plan, batch),) = followed(planner, task, drawn, Disturbance(), seed=0)
    assert len(plan) == len(batch) == 3 and batch.success.all()
    np.testing.assert_allclose(plan.points[:, 0], drawn.starts[:, :2], atol=1e-4)
    wide = Calibration(tracking=0.5)
    for distance, radius in passages(planner, plan, batch, wide, Disturbance(), seed=0):
        assert (distance <= radius).all() and (radius >= 0.5).all()


def test_a_disturbed_policy_is_the_policy_with_noise_of_its_seed() -> None:
    class Still:
        def reset(self, seed: int | None = None) -> None:
            self.seed = seed

        def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
            return np.zeros((len(observation), 2), np.float32)

    policy = Still()
    actor = Disturbed(policy, Disturbance(action_noise=0.5))
    found = []
    for seed in (3, 3, 4):
        actor.reset(seed)
        assert policy.seed == seed
        found.append(actor.act(np.zeros((2, 4))))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
