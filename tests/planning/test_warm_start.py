"""Plans that start from earlier ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from straight import straight_plan

from dfplan.errors import ConfigError
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.policy import Policy
from dfplan.planning.route import TimedLine
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import TimedPD
from dfplan.planning.warm_start import lines_of, rests
from dfplan.types import Plan

GOAL = np.array([10.0, 0.0])


def test_the_rest_of_a_plan_begins_at_the_body_and_ends_as_the_plan() -> None:
    plan = straight_plan(np.zeros((1, 4)), GOAL[None])
    (rest,) = rests(plan, np.array([[4.0, 0.5]]), 0.1)
    assert rest is not None
    np.testing.assert_allclose(rest.points[[0, 1, -1]], [[4.0, 0.5], [4.0, 0.0], GOAL])
    # Five steps back to the plan, then the 60 of 100 that are left of it.
    np.testing.assert_allclose([rest.steps[1], rest.duration], [5.0, 65.0])
    np.testing.assert_allclose(rest.at(np.array([35.0])), [[7.0, 0.0]])


def test_the_rest_of_a_finished_plan_is_the_way_to_its_end() -> None:
    (line,) = lines_of(straight_plan(np.zeros((1, 4)), GOAL[None]))
    (rest,) = rests([line], np.array([[12.0, 0.0]]), 0.1)
    assert rest is not None
    assert rest.duration == pytest.approx(20.0)


def test_a_body_far_from_its_plan_has_no_rest_of_it() -> None:
    plan = straight_plan(np.zeros((1, 4)), GOAL[None])
    assert rests(plan, np.array([[4.0, 2.1]]), 0.1) == [None]


def test_a_new_plan_keeps_the_near_part_of_the_one_it_starts_from(
    unguided: ForcingPlanner, corridor: Any
) -> None:
    """The line it starts from leaves the data, where no plan from noise goes."""
    start, goal = corridor.at(np.array([5.0, 35.0]))
    far = corridor.line[1]  # the corner
    detour = TimedLine(np.array([start, np.add(start, 3.0), far, goal]), np.array([0, 30, 80, 130]))
    planner = unguided.with_settings(candidates=1)
    warm = planner.plan(start, goal, seed=0, warm_start=[detour]).points[0]
    cold = planner.plan(start, goal, seed=0).points[0]

    def away(points: np.ndarray) -> float:
        return float(np.linalg.norm(points[:4] - detour.at(5 * np.arange(4.0)), axis=1).max())

    assert away(warm) < 0.5 * away(cold)
    np.testing.assert_allclose(warm[-1], goal, atol=1e-4)


def test_queries_without_an_earlier_plan_are_planned_as_without_warm_start(
    unguided: ForcingPlanner, corridor: Any
) -> None:
    start, goal = corridor.at(np.array([5.0, 35.0]))
    cold, warm = (
        unguided.plan(start, goal, seed=0, warm_start=lines).points for lines in (None, [None])
    )
    np.testing.assert_array_equal(warm, cold)


@pytest.mark.parametrize("wrong", [3, "plan", [1.0], [None, None]])
def test_a_wrong_warm_start_is_an_error(planner: ForcingPlanner, corridor: Any, wrong: Any) -> None:
    start, goal = corridor.at(np.array([5.0, 35.0]))
    with pytest.raises(ConfigError, match="warm_start"):
        planner.plan(start, goal, warm_start=wrong)


class Recording(BasePlanner):
    """Plans straight lines and records which queries had a warm start."""

    supports = BasePlanner.supports | {"warm_start"}

    def __init__(self) -> None:
        self.warm: list[list[bool]] = []

    def make_plan(self, arguments: PlanArguments) -> Plan:
        assert arguments.goal is not None
        lines = arguments.warm_start or [None] * len(arguments.observation)
        assert not isinstance(lines, Plan)
        self.warm.append([line is not None for line in lines])
        return straight_plan(arguments.observation, arguments.goal)


def act(policy: Policy, positions: list[list[float]], goals: list[list[float]]) -> None:
    states = np.concatenate([positions, np.zeros((len(positions), 2))], 1)
    policy.act(states, np.array(goals))


def test_a_policy_starts_from_plans_that_are_still_followed() -> None:
    """Row 0 is on its plan, row 1 far from it, and row 2 has another goal."""
    planner = Recording()
    policy = Policy(planner, TimedPD(1.0, 1.0), replan_every=1)
    act(policy, [[0, 0], [0, 0], [0, 0]], [[9, 0], [9, 0], [9, 0]])
    act(policy, [[1, 0], [1, 5], [1, 0]], [[9, 0], [9, 0], [0, 9]])
    assert planner.warm == [[False, False, False], [True, False, False]]
    policy.reset()
    act(policy, [[1, 0], [1, 0], [1, 0]], [[9, 0], [9, 0], [9, 0]])
    assert planner.warm[-1] == [False, False, False]


def test_without_warm_start_plans_are_new() -> None:
    planner = Recording()
    policy = Policy(planner, TimedPD(1.0, 1.0), replan_every=1, warm_start=False)
    act(policy, [[0, 0]], [[9, 0]])
    act(policy, [[1, 0]], [[9, 0]])
    assert planner.warm == [[False], [False]]
