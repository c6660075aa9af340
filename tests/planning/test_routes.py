"""Plans along the expected way: lengths, errors and other rewards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from walks import STEP, statistics_of, walk

from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.policy import Policy
from dfplan.planning.rewards import Short
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import StateEstimatorSettings
from dfplan.planning.warm_start import lines_of

# There and back around a wall: the ends are near each other, and the way between them is long.
AROUND = [(0, 0), (8, 0), (8, 3), (0, 3)]
START, GOAL = np.array([0.0, 0.0]), np.array([0.0, 3.0])
LENGTH = 8 + 3 + 8


@pytest.fixture
def around(unguided: ForcingPlanner) -> ForcingPlanner:
    """A planner whose data goes around the wall; its network knows nothing of it."""
    statistics = statistics_of(*[walk(*AROUND) + off for off in (-0.05, 0.0, 0.05)])
    return replace(unguided, model=replace(unguided.model, statistics=statistics))


def test_a_plan_takes_about_the_time_of_the_way(around: ForcingPlanner) -> None:
    steps = around.plan(START, GOAL, seed=0).steps[0]
    assert 0.8 * LENGTH / STEP < steps < 1.5 * LENGTH / STEP


def test_with_a_reward_the_length_comes_from_the_way_too(around: ForcingPlanner) -> None:
    steps = around.plan(START, GOAL, reward=Short(), seed=0).steps[0]
    assert 0.8 * LENGTH / STEP < steps < 1.5 * LENGTH / STEP


def test_a_horizon_in_which_no_body_arrives_is_an_error(around: ForcingPlanner) -> None:
    assert around.plan(START, GOAL, horizon=180, seed=0).steps[0] == 180
    with pytest.raises(ConfigError, match="The way to the goal"):
        around.plan(START, GOAL, horizon=150, seed=0)
    with pytest.raises(ConfigError, match="The way to the goal in row 1 takes about"):
        around.plan(np.stack([GOAL, START]), GOAL, horizon=60, seed=0)


@pytest.mark.parametrize("reward", [None, Short()])
def test_a_goal_without_a_way_is_an_error_that_names_its_row(
    around: ForcingPlanner, reward: Any
) -> None:
    with pytest.raises(ObservationError, match=r"No recorded way.*row 1") as error:
        around.plan(np.stack([START, GOAL]), np.stack([GOAL, START]), reward=reward, seed=0)
    assert error.value.rows == (1,)


def test_an_earlier_plan_to_elsewhere_is_not_used(around: ForcingPlanner) -> None:
    (elsewhere,) = lines_of(around.plan(START, np.array([8.0, 0.0]), seed=0))
    new = around.plan(START, GOAL, seed=0, warm_start=[elsewhere])
    np.testing.assert_array_equal(new.points, around.plan(START, GOAL, seed=0).points)


def test_long_plans_do_not_depend_on_the_default_type(around: ForcingPlanner) -> None:
    plan = around.plan(START, GOAL, seed=0)
    assert plan.steps[0] > around.model.layout.longest_horizon
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(around.plan(START, GOAL, seed=0).points, plan.points)
    finally:
        torch.set_default_dtype(torch.float32)


def test_no_plan_starts_from_that_of_a_placeholder(planner: ForcingPlanner, corridor: Any) -> None:
    """Until its first position comes, a body is assumed to be at its goal."""
    start, goal = corridor.at(np.array([5.0, 35.0]))

    def second_plan(warm_start: bool) -> np.ndarray:
        policy = Policy(
            planner,
            seed=0,
            tolerance=None,
            state_estimator=StateEstimatorSettings(noise=0.2),
            warm_start=warm_start,
        )
        policy.act(np.full(4, np.nan), goal)
        policy.act(np.append(start, [0.0, 0.0]), goal)
        assert policy.plan is not None
        return policy.plan.points

    np.testing.assert_array_equal(second_plan(True), second_plan(False))
