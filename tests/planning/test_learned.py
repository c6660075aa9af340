"""Learned policies: their inputs, actions and errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import dfplan
from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.learned import LearnedPolicy, policy_inputs
from dfplan.planning.query import MAX_START_DISTANCE
from dfplan.tokens.statistics import Statistics, fit_statistics
from dfplan.types import Trajectories


@pytest.fixture(scope="module")
def statistics(trajectories: Trajectories) -> Statistics:
    return fit_statistics(trajectories)


def first_and_last(inputs: torch.Tensor) -> torch.Tensor:
    """A network that returns its first and its last input."""
    return torch.tanh(inputs[:, [0, -1]])


@pytest.fixture
def policy(statistics: Statistics) -> LearnedPolicy:
    return LearnedPolicy(first_and_last, statistics, velocities=True)


STATES = np.array([[-12.0, 40.0, 1.0, -2.0], [0.0, 50.0, 0.0, 0.5]], np.float32)
GOALS = np.array([[0.0, 58.0], [-15.0, 41.0]], np.float32)


def test_inputs_of_the_network(statistics: Statistics) -> None:
    states, goals = torch.from_numpy(STATES), torch.from_numpy(GOALS)
    normalizer, limit = statistics.normalizer, statistics.motion.limit
    inputs = policy_inputs(states, goals, statistics, velocities=True)
    assert torch.equal(inputs[:, :2], (states[:, :2] - normalizer.mean) / normalizer.std)
    assert torch.equal(inputs[:, 2:4], states[:, 2:] / limit)
    assert torch.equal(inputs[:, 4:], (goals - normalizer.mean) / normalizer.std)
    blind = policy_inputs(states, goals, statistics, velocities=False)
    assert torch.equal(blind, inputs[:, [0, 1, 4, 5]])
    assert torch.equal(policy_inputs(states, None, statistics, velocities=True), inputs[:, :4])


def test_one_is_a_batch_of_one_and_rows_are_independent(policy: LearnedPolicy) -> None:
    policy.reset(3)
    actions = policy.act(STATES, GOALS)
    assert actions.shape == (2, 2) and actions.dtype == np.float32
    for row in range(2):
        alone = policy.act(STATES[row], GOALS[row])
        assert alone.shape == (2,)
        np.testing.assert_array_equal(alone, actions[row])
    both = {"observation": STATES, "desired_goal": GOALS, "achieved_goal": STATES[:, :2]}
    np.testing.assert_array_equal(policy.act(both), actions)
    np.testing.assert_array_equal(policy.act(both, GOALS[::-1])[:, 0], actions[:, 0])
    assert (policy.act(both, GOALS[::-1]) != actions).any()
    np.testing.assert_array_equal(policy.act(STATES, GOALS[0])[0], actions[0])


def test_a_position_is_enough_without_velocities(policy: LearnedPolicy) -> None:
    blind = replace(policy, velocities=False)
    actions = blind.act(STATES[:, :2], GOALS)
    np.testing.assert_array_equal(blind.act(STATES, GOALS), actions)
    with pytest.raises(ObservationError, match=r"positions and velocities.*got 2 numbers"):
        policy.act(STATES[:, :2], GOALS)


def test_a_policy_for_one_goal_accepts_no_other(policy: LearnedPolicy) -> None:
    fixed = replace(policy, goal=(0.0, 58.0))
    actions = fixed.act(STATES)
    np.testing.assert_array_equal(fixed.act(STATES, np.array([0.0, 58.0])), actions)
    velocities = torch.tanh(torch.from_numpy(STATES[:, 3]) / policy.statistics.motion.limit)
    np.testing.assert_allclose(actions[:, 1], velocities, atol=1e-6)
    with pytest.raises(ObservationError, match=r"goal \[0.0, 58.0\].*row 1"):
        fixed.act(STATES, GOALS)


@pytest.mark.parametrize(
    ("observation", "goal", "message"),
    [
        (STATES, None, "needs a goal"),
        ({"state": STATES}, GOALS, "keys observation and desired_goal; got state"),
        (STATES[:, :3], GOALS, r"observation must have shape \[4\]"),
        (STATES, GOALS[:, :1], r"goal must have shape \[2\]"),
        (STATES, np.zeros((3, 2)), "one for each of 2 observations; got 3"),
        (np.add(STATES, [0, 0, np.nan, 0]), GOALS, "observation must be finite"),
        (STATES, GOALS + np.inf, "goal must be finite"),
        (STATES, [500.0, 50.0], "goal must be less than"),
        (STATES * [1, 1, 100, 1], GOALS, "no axis is faster"),
    ],
)
def test_invalid_arguments_are_errors(
    policy: LearnedPolicy, observation: np.ndarray, goal: np.ndarray, message: str
) -> None:
    with pytest.raises(ObservationError, match=message):
        policy.act(observation, goal)


def test_it_acts_also_far_from_the_data(policy: LearnedPolicy) -> None:
    far_away = np.add(STATES, [500, 0, 0, 0])
    assert np.abs(policy.act(far_away, GOALS)).max() <= 1
    limited = replace(policy, max_start_distance=MAX_START_DISTANCE)
    with pytest.raises(ObservationError, match="start must be less than"):
        limited.act(far_away, GOALS)


def test_a_learned_policy_is_no_planner(policy: LearnedPolicy) -> None:
    with pytest.raises(ConfigError, match="learned policy"):
        dfplan.Policy(policy)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="seed"):
        policy.reset(-1)
