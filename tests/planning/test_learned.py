"""Learned policies: what they are shown, what they return, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import dfplan
from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.learned import LearnedPolicy, policy_inputs
from dfplan.planning.query import Vicinity
from dfplan.tokens.statistics import Statistics, fit_statistics
from dfplan.types import Trajectories


@pytest.fixture(scope="module")
def statistics(trajectories: Trajectories) -> Statistics:
    return fit_statistics(trajectories)


def first_and_last(inputs: torch.Tensor) -> torch.Tensor:
    """A law that gives away the first and the last number that it was shown."""
    return torch.tanh(inputs[:, [0, -1]])


@pytest.fixture
def policy(statistics: Statistics) -> LearnedPolicy:
    return LearnedPolicy(first_and_last, statistics, velocities=True)


STATES = np.array([[-12.0, 40.0, 1.0, -2.0], [0.0, 50.0, 0.0, 0.5]], np.float32)
GOALS = np.array([[0.0, 58.0], [-15.0, 41.0]], np.float32)


def test_what_the_network_is_shown(statistics: Statistics) -> None:
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
    told = {"observation": STATES, "desired_goal": GOALS, "achieved_goal": STATES[:, :2]}
    np.testing.assert_array_equal(policy.act(told), actions)
    np.testing.assert_array_equal(policy.act(told, GOALS[::-1])[:, 0], actions[:, 0])
    assert (policy.act(told, GOALS[::-1]) != actions).any()
    np.testing.assert_array_equal(policy.act(STATES, GOALS[0])[0], actions[0])


def test_a_position_alone_is_enough_where_velocities_are_not_told(policy: LearnedPolicy) -> None:
    blind = replace(policy, velocities=False)
    actions = blind.act(STATES[:, :2], GOALS)
    np.testing.assert_array_equal(blind.act(STATES, GOALS), actions)
    with pytest.raises(ObservationError, match=r"positions and velocities.*got 2 numbers"):
        policy.act(STATES[:, :2], GOALS)


def test_a_policy_for_one_goal_knows_it_and_takes_no_other(policy: LearnedPolicy) -> None:
    fixed = replace(policy, goal=(0.0, 58.0))
    actions = fixed.act(STATES)
    np.testing.assert_array_equal(fixed.act(STATES, np.array([0.0, 58.0])), actions)
    velocities = torch.tanh(torch.from_numpy(STATES[:, 3]) / policy.statistics.motion.limit)
    np.testing.assert_allclose(actions[:, 1], velocities, atol=1e-6)
    with pytest.raises(ObservationError, match=r"for the goal \[0.0, 58.0\] alone; that of row 1 "):
        fixed.act(STATES, GOALS)


@pytest.mark.parametrize(
    ("observation", "goal", "message"),
    [
        (STATES, None, "needs a goal"),
        ({"state": STATES}, GOALS, "keys observation and desired_goal; got state"),
        (STATES[:, :3], GOALS, r"observation must have shape \[4\]"),
        (STATES, GOALS[:, :1], r"goal must have shape \[2\]"),
        (STATES, np.zeros((3, 2)), "one for each of 2 observations; got 3"),
        (np.add(STATES, [0, 0, np.nan, 0]), GOALS, "observation must be finite; row 0"),
        (STATES, GOALS + np.inf, "goal must be finite"),
        (STATES, [500.0, 50.0], "goal must lie where"),
        (STATES * [1, 1, 100, 1], GOALS, "no axis is faster"),
    ],
)
def test_what_makes_no_sense_is_refused(
    policy: LearnedPolicy, observation: np.ndarray, goal: np.ndarray, message: str
) -> None:
    with pytest.raises(ObservationError, match=message):
        policy.act(observation, goal)


def test_where_it_has_gone_astray_it_goes_on(policy: LearnedPolicy) -> None:
    astray = np.add(STATES, [500, 0, 0, 0])
    assert np.abs(policy.act(astray, GOALS)).max() <= 1
    careful = replace(policy, vicinity=Vicinity())
    with pytest.raises(ObservationError, match="start must lie where"):
        careful.act(astray, GOALS)


def test_it_is_no_planner_and_its_seed_is_checked(policy: LearnedPolicy) -> None:
    with pytest.raises(ConfigError, match="is a policy and makes no plans"):
        dfplan.Policy(policy)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="A seed is a whole number"):
        policy.reset(-1)
