from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dfplan.diffusion.schedules import cosine_schedule
from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.policy import Policy
from dfplan.planning.trackers import PlannedActions
from dfplan.tokens.statistics import fit_statistics
from dfplan.tokens.transitions import transition_limits
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train
from dfplan.training.recipes.diffuser import DiffuserConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Planner, Trajectories

TINY = DiffuserConfig(horizon=16, noise_levels=8, width=16, multiples=(1, 2))


@pytest.fixture(scope="module")
def diffuser(trajectories: Trajectories) -> DiffuserPlanner:
    """A tiny planner with an untrained network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TINY.untrained().eval()
    return DiffuserPlanner(network, 16, cosine_schedule(8), fit_statistics(trajectories))


@pytest.fixture(scope="module")
def states(trajectories: Trajectories) -> np.ndarray:
    return trajectories.observations[[100, 900, 1700, 2500, 3300]]


@pytest.fixture(scope="module")
def goals(trajectories: Trajectories) -> np.ndarray:
    return trajectories.observations[[500, 1300, 2100, 2900, 3700], :2]


def test_plans_keep_the_start_and_end_at_rest_at_the_goal(
    diffuser: DiffuserPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    plan = diffuser.plan(states, goals, seed=0)
    assert plan.points.shape == plan.velocities.shape == (5, 16, 2)
    assert plan.stride == 1
    assert plan.steps.tolist() == [15] * 5
    np.testing.assert_allclose(plan.points[:, 0], states[:, :2], atol=1e-5)
    np.testing.assert_allclose(plan.velocities[:, 0], states[:, 2:], atol=1e-5)
    np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-5)
    np.testing.assert_allclose(plan.velocities[:, -1], 0.0, atol=1e-5)


def test_plans_have_the_sampled_actions(
    diffuser: DiffuserPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    plan = diffuser.plan(states, goals, seed=0)
    transitions: list[torch.Tensor] = []

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        transitions.append(diffuser.denoiser(x, level).clamp(-1, 1))
        return transitions[-1]

    dataclasses.replace(diffuser, denoiser=denoiser).plan(states, goals, seed=0)
    # The last step is clean, and an action's limits are -1 and 1 in either unit.
    diffused = transitions[-1][:, :, :2].numpy()
    assert plan.actions.shape == (5, 15, 2) and plan.actions.dtype == np.float32
    np.testing.assert_allclose(plan.actions[:, 1:], diffused[:, 1:-1], atol=1e-5)
    assert np.array_equal(plan.actions[:, 0], plan.actions[:, 1]), "the first is not diffused"
    assert np.abs(plan.actions).max() <= 1 + 1e-6


def test_planned_actions_are_executed_in_order(
    diffuser: DiffuserPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    policy = Policy(diffuser, PlannedActions(), tolerance=None, seed=0)
    for step in range(15):
        action = policy.act(states, goal=goals)
        assert policy.plan is not None and policy.plan.actions is not None
        np.testing.assert_allclose(action, policy.plan.actions[:, step], atol=1e-6)
    assert (policy.act(states, goal=goals) == 0).all()


def test_every_level_is_sampled_with_clean_ends(
    diffuser: DiffuserPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        seen.append((x.clone(), level.clone()))
        return torch.full_like(x, 7.0)

    plan = dataclasses.replace(diffuser, denoiser=denoiser).plan(states, goals, seed=0)
    assert plan.evaluations == len(seen) == plan.max_level == 8
    for step, (x, level) in enumerate(seen):
        assert (level[:, 1:-1] == 8 - step).all()
        assert (level[:, [0, -1]] == 0).all()
        assert torch.equal(x[:, [0, -1]], seen[0][0][:, [0, -1]])
        assert (x[:, [0, -1], :2] == 0).all()
    high = transition_limits(diffuser.statistics).high.numpy()
    np.testing.assert_allclose(plan.points[:, 1:-1], np.broadcast_to(high[2:4], (5, 14, 2)))


def test_rows_of_a_batch_are_independent(
    diffuser: DiffuserPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    plan = diffuser.plan(states, goals, seed=0)
    moved = goals.copy()
    moved[1] = states[4, :2]
    other = diffuser.plan(states, moved, seed=0)
    np.testing.assert_allclose(other.points[[0, 2, 3, 4]], plan.points[[0, 2, 3, 4]], atol=1e-5)
    assert np.abs(other.points[1] - plan.points[1]).max() > 0.01


def test_a_seed_determines_the_plan(
    diffuser: DiffuserPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    first, again, other = (diffuser.plan(states[0], goals[0], seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.points, again.points)
    assert not np.array_equal(first.points, other.points)


def test_large_batches_are_planned_in_parts(
    diffuser: DiffuserPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    plan = dataclasses.replace(diffuser, largest_batch=2).plan(states, goals, seed=0)
    np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-5)
    assert plan.evaluations == 8


def test_unsupported_arguments_are_errors(
    diffuser: DiffuserPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    with pytest.raises(ConfigError, match="needs a goal"):
        diffuser.plan(states)
    with pytest.raises(ConfigError, match=r"15 environment steps.*horizon of 16"):
        diffuser.plan(states, goals, horizon=16)
    with pytest.raises(ObservationError, match="goal must be less than"):
        diffuser.plan(states, [50.0, 50.0])


def test_a_policy_uses_diffusers_controller(
    diffuser: DiffuserPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    assert isinstance(diffuser, Planner)
    policy = Policy(diffuser, tolerance=None, seed=0)
    actions = policy.act(states, goal=goals)
    plan = policy.plan
    by_hand = plan.points[:, 1] - states[:, :2] + plan.velocities[:, 1] - states[:, 2:]
    np.testing.assert_allclose(actions, np.clip(by_hand, -1, 1), atol=1e-5)
    policy.act(states, goal=goals)
    assert policy.plan is plan


def test_training_learns_and_a_checkpoint_gives_the_same_plans(
    trajectories: Trajectories, states: np.ndarray, goals: np.ndarray, tmp_path: Path
) -> None:
    settings = TrainSettings(
        steps=100, batch_size=32, learning_rate=3e-3, warmup=5, log_every=10, save_every=100
    )
    trained = train(TINY, trajectories, tmp_path, settings=settings, progress=False)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[-1] < 0.8 * losses[0]
    loaded = Checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert loaded.recipe == "diffuser"
    config = DiffuserConfig.from_json(loaded.config)
    assert config == TINY
    plans = [config.load(each).plan(states, goals, seed=3) for each in (trained, loaded)]
    assert np.array_equal(plans[0].points, plans[1].points)


def test_the_objective_repeats_with_the_seed(trajectories: Trajectories) -> None:
    objective = TINY.objective(trajectories, fit_statistics(trajectories))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TINY.untrained()
    first, again, other = (
        objective(network, 8, torch.Generator().manual_seed(seed)).detach() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_horizon_that_the_network_cannot_halve_is_an_error() -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        DiffuserConfig(horizon=130)
