from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.query import read_goal, read_observation, read_query
from dfplan.planning.settings import PlannerSettings
from dfplan.tokens.motion import Motion
from dfplan.tokens.normalizer import Normalizer
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.support import fit_support

STATE, GOAL = np.array([1.0, 2.0, 0.1, 0.2]), np.array([3.0, 1.0])


@pytest.mark.parametrize("kind", [np.float64, np.float32, list, tuple])
def test_one_observation_is_a_batch_of_one(kind: type) -> None:
    make = kind if kind in (list, tuple) else lambda values: np.asarray(values, dtype=kind)
    query = read_query(make(STATE), make(GOAL))
    assert len(query) == 1
    assert query.observation.dtype == query.goal.dtype == np.float32
    np.testing.assert_array_equal(query.observation, STATE[None].astype(np.float32))
    np.testing.assert_array_equal(query.goal, GOAL[None].astype(np.float32))
    np.testing.assert_array_equal(query.start.numpy(), query.observation[:, :2])


@pytest.mark.parametrize("goals", [np.arange(6.0).reshape(3, 2), GOAL, GOAL[None]])
def test_a_batch_has_one_goal_for_all_or_one_for_each(goals: np.ndarray) -> None:
    query = read_query(np.tile(STATE, (3, 1)), goals)
    np.testing.assert_array_equal(query.goal, np.broadcast_to(goals, (3, 2)))
    query.goal[0] = 9  # a copy
    assert query.goal[1, 0] != 9 and goals.max() < 9


def test_a_query_may_have_no_goal() -> None:
    assert read_query(STATE, None).goal is None
    assert read_query(STATE, None).part(slice(0, 1)).goal is None


def test_part_of_a_query() -> None:
    states, goals = np.arange(20.0).reshape(5, 4), np.arange(10.0).reshape(5, 2)
    part = read_query(states, goals).part(slice(1, 3))
    np.testing.assert_array_equal(part.observation, states[1:3])
    np.testing.assert_array_equal(part.goal, goals[1:3])


@pytest.mark.parametrize("shape", [(3,), (2, 5), (0, 4), (1, 2, 4)])
def test_wrong_shapes_are_errors(shape: tuple[int, ...]) -> None:
    with pytest.raises(ObservationError, match=re.escape(str(list(shape)))):
        read_observation(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_errors_with_their_row(value: float) -> None:
    states = np.tile(STATE, (4, 1))
    states[2, 1] = value
    with pytest.raises(ObservationError, match=r"observation.* \[1\.0.*row 2"):
        read_observation(states)
    with pytest.raises(ObservationError, match="goal must be finite"):
        read_goal(np.array([value, 0.0]), 4)


@pytest.mark.parametrize("wrong", ["north", {"observation": 1}, [[1, 2], [3]], None])
def test_what_is_no_array_of_numbers_is_an_error(wrong: object) -> None:
    with pytest.raises(ObservationError, match="observation must"):
        read_observation(wrong)  # type: ignore[arg-type]


def test_goals_must_fit_the_observations() -> None:
    with pytest.raises(ObservationError, match="one for each of 3 observations; got 2"):
        read_goal(np.zeros((2, 2)), 3)
    with pytest.raises(ObservationError, match=r"goal must have shape .*; got \[4\]"):
        read_goal(STATE, 1)


def test_positions_far_from_the_data_are_errors() -> None:
    support = fit_support([np.random.default_rng(0).uniform(0, 4, (20_000, 2))], 0.1)
    motion = Motion(dt=0.01, drag=0.0, gain=0.0, limit=10.0)  # 0.1 a step
    statistics = Statistics(Normalizer(torch.zeros(2), torch.ones(2)), support, motion)
    states = np.tile(STATE, (3, 1))

    def check(goal: np.ndarray | None) -> None:
        read_query(states, goal).require_near_data(statistics, 5.0, 3.0)

    for goal in (GOAL, GOAL + np.array([1.2, 0.0]), None):  # inside, 0.2 away, none
        check(goal)
    with pytest.raises(ObservationError, match=r"goal.*0\.30.* \[4\.4, 1.*row 0"):
        check(GOAL + np.array([1.4, 0.0]))
    states[1, 1] = -0.4
    check(None)
    states[1, 1] = -2
    with pytest.raises(ObservationError, match=r"start.* \[1\.0, -2\.0\] in row 1"):
        check(None)


@pytest.mark.parametrize("wrong", [{"max_start_distance": np.nan}, {"max_goal_distance": -1.0}])
def test_invalid_distances_are_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be a real number, at least 0"):
        PlannerSettings(**wrong)
    assert PlannerSettings(max_start_distance=np.inf).max_start_distance == np.inf
