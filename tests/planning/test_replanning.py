"""When a body gets a new plan, in terms of its place and its plan alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from straight import straight_plan

from dfplan.errors import ConfigError
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.policy import Policy
from dfplan.planning.trackers import TimedPD
from dfplan.types import Plan

GOAL = np.array([100.0, 0.0])


class Straight(BasePlanner):
    """Plans straight lines."""

    def make_plan(self, arguments: PlanArguments) -> Plan:
        assert arguments.goal is not None
        return straight_plan(arguments.observation, arguments.goal)


def plans_of(path: np.ndarray, **options: Any) -> list[int]:
    """The steps at which a body on ``path`` [S, 2] got a new plan."""
    policy = Policy(Straight(), TimedPD(1.0, 1.0, dt=0.01), **options)
    made, steps = None, []
    for step, position in enumerate(path):
        policy.act(np.append(position, [0.0, 0.0]), GOAL)
        if policy.plan is not made:
            made, steps = policy.plan, [*steps, step]
    return steps


def test_a_body_that_makes_no_progress_gets_a_new_plan() -> None:
    path = np.repeat([[0.0, 0.0]], 35, axis=0)
    assert plans_of(path, patience=10) == [0, 10, 20, 30]
    assert plans_of(path, patience=None) == [0]


def test_small_moves_are_no_progress_but_large_ones_are() -> None:
    jitter = 0.15 * np.random.default_rng(0).uniform(-1, 1, (25, 2))
    assert plans_of(jitter, patience=10, tolerance=1.0) == [0, 10, 20]
    walk = np.stack([0.06 * np.arange(40), np.zeros(40)], 1)
    assert plans_of(walk, patience=10, tolerance=1.0) == [0]


def test_a_body_does_not_wait_at_the_end_of_a_plan_that_ends_before_the_goal() -> None:
    """Such as where a jump is likely, which may not come."""

    class Halfway(Straight):
        def make_plan(self, arguments: PlanArguments) -> Plan:
            assert arguments.goal is not None
            plan = straight_plan(arguments.observation, arguments.goal / 2)
            return replace(plan, goal=arguments.goal)

    policy = Policy(Halfway(), TimedPD(1.0, 1.0, dt=0.01), patience=10)
    made: list[Plan | None] = [None]
    for _ in range(25):
        policy.act(np.append(GOAL / 2, [0.0, 0.0]), GOAL)
        if policy.plan is not made[-1]:
            made.append(policy.plan)
    assert len(made) == 1 + 3


def test_a_body_waits_at_the_end_of_its_plan() -> None:
    path = np.repeat(GOAL[None], 30, axis=0)
    assert plans_of(path, patience=10) == [0]


@pytest.mark.parametrize("patience", [0, -1, 1.5, "soon"])
def test_impossible_patience_is_refused(patience: Any) -> None:
    with pytest.raises(ConfigError, match="patience"):
        plans_of(GOAL[None], patience=patience)
