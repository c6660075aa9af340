"""Errors of single rows: they name the caller's row, or the row keeps its last plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from straight import straight_plan

import dfplan
from dfplan.diffusion.schedules import cosine_schedule
from dfplan.errors import ConfigError, DfplanError, ObservationError
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.policy import Policy
from dfplan.planning.rewards import Reach
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import Pursuit, pursuit_gains
from dfplan.tokens.motion import Motion
from dfplan.types import Plan, Planner

BODY = Motion(dt=0.01, drag=0.00238, gain=0.2382, limit=5.0)
ROWS, STEPS = 8, 12
STARTS = np.concatenate([np.arange(2.0 * ROWS).reshape(ROWS, 2), np.zeros((ROWS, 2))], 1)
GOALS = STARTS[:, :2] + 3.0
FAR = 1e5


@dataclass
class Straight(BasePlanner):
    """Plans straight lines without noise; positions beyond 100 are errors.

    Attributes:
        names: whether errors have the rows that they are about.
        planned: number of rows of each plan.
    """

    names: bool = True
    planned: list[int] = field(default_factory=list)

    def make_plan(self, arguments: PlanArguments) -> Plan:
        observation, goal = arguments.observation, arguments.goal
        goal = np.full((len(observation), 2), 20.0) if goal is None else goal
        for name, places in (("start", observation[:, :2]), ("goal", goal)):
            far = np.flatnonzero(~(np.abs(places).max(1) < 100))
            if len(far):
                message = f"The {name} of row {far[0]} is too far."
                raise ObservationError(message, rows=far if self.names else ())
        self.planned.append(len(observation))
        return straight_plan(observation, goal)

    def tracker(self) -> Pursuit:
        return Pursuit(pursuit_gains(BODY), BODY.max_step)


def quiet(policy: Policy, *args: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return policy.act(*args)


def moved(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    return np.concatenate(BODY.advance(states[..., :2], states[..., 2:], actions), -1)


values = st.sampled_from([np.nan, np.inf, -np.inf, FAR, -1e30])
glitches = st.dictionaries(
    st.tuples(st.integers(1, STEPS - 1), st.integers(0, ROWS - 1)),
    st.tuples(st.sampled_from(["observation", "goal"]), values),
    max_size=8,
)


@settings(deadline=None, max_examples=30)
@given(glitches=glitches, names=st.booleans(), replan_every=st.sampled_from([None, 3]))
def test_an_invalid_value_affects_its_row_and_no_other(
    glitches: dict[tuple[int, int], tuple[str, float]], names: bool, replan_every: int | None
) -> None:
    policy = Policy(Straight(names), replan_every=replan_every, on_error="hold")
    alone = Policy(Straight(), replan_every=replan_every)
    states = others = STARTS
    for step in range(STEPS):
        seen, goals = states.copy(), GOALS.copy()
        bad = {row: glitch for (at, row), glitch in glitches.items() if at == step}
        for row, (what, value) in bad.items():
            (seen if what == "observation" else goals)[row] = value
        kept = seen.copy(), goals.copy()
        actions = quiet(policy, seen, goals)
        np.testing.assert_array_equal(np.flatnonzero(policy.failed), sorted(bad))
        np.testing.assert_array_equal(seen, kept[0], "the caller's arrays changed")
        np.testing.assert_array_equal(goals, kept[1], "the caller's arrays changed")
        assert np.isfinite(actions).all() and np.abs(actions).max() <= 1
        wanted = alone.act(others, GOALS)
        unaffected = np.isin(np.arange(ROWS), [row for _, row in glitches], invert=True)
        np.testing.assert_array_equal(actions[unaffected], wanted[unaffected])
        states, others = moved(states, actions), moved(others, wanted)
    assert np.abs(states - others).max() < 1.0, "a short failure changes little"


@pytest.mark.parametrize("value", [np.nan, FAR])
@pytest.mark.parametrize("single", [False, True])
def test_a_failed_row_acts_from_its_last_valid_observation(value: float, single: bool) -> None:
    row = 0 if single else 3
    states = STARTS[0] if single else STARTS
    goals = GOALS[0] if single else GOALS
    policy = Policy(Straight(), on_error="hold")
    for _ in range(4):
        before = policy.act(states, goals)
        states = moved(states, before)
    last = policy.states
    bad = np.full(4, value) if single else states.copy()
    if not single:
        bad[row] = value
    action = quiet(policy, bad, goals)
    assert action.shape == before.shape and policy.failed[row]
    assert last is not None and policy.states is not None
    np.testing.assert_array_equal(policy.states[row], last[row])
    np.testing.assert_allclose(np.atleast_2d(action)[row], np.atleast_2d(before)[row], atol=1e-5)


def test_with_an_invalid_goal_the_old_goal_is_kept() -> None:
    planner = Straight()
    policy, states = Policy(planner, on_error="hold"), STARTS
    goals = GOALS.copy()
    for step in range(400):
        goals[3] = FAR if step > 5 else GOALS[3]
        if step == 50:
            states = states.copy()
            states[3, :2] += 2.0  # off its plan, it needs a new one
        states = moved(states, quiet(policy, states, goals))
    assert policy.failed.tolist() == [row == 3 for row in range(ROWS)]
    assert planner.planned == [ROWS, 1]
    np.testing.assert_allclose(states[:, :2], GOALS, atol=0.2)


def test_a_goal_that_becomes_valid_is_reached() -> None:
    policy, states = Policy(Straight(), on_error="hold"), STARTS
    later = GOALS + 2.0
    for step in range(400):
        goals = GOALS if step < 5 else later
        if 5 <= step < 9:
            goals = goals.copy()
            goals[[1, 6]] = np.nan
        states = moved(states, quiet(policy, states, goals))
        assert policy.failed.any() == (5 <= step < 9)
    np.testing.assert_allclose(states[:, :2], later, atol=0.2)


def test_each_failed_row_is_warned_about_once() -> None:
    policy = Policy(Straight(), on_error="hold")
    policy.act(STARTS, GOALS)
    bad = STARTS.copy()
    bad[[2, 5]] = np.nan
    with pytest.warns(UserWarning, match=r"8 .*: 2, 5\. .*finite.*row 2"):
        policy.act(bad, GOALS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.act(bad, GOALS)
        policy.act(STARTS, GOALS)
        policy.act(bad, GOALS)
    bad[0] = np.nan
    with pytest.warns(UserWarning, match=r": 0\. "):
        policy.act(bad, GOALS)


@pytest.mark.parametrize("on_error", ["raise", "hold"])
@pytest.mark.parametrize("value", [np.nan, FAR])
@pytest.mark.parametrize("what", ["observation", "goal"])
def test_an_error_in_the_first_plan_names_the_row(on_error: str, value: float, what: str) -> None:
    policy = Policy(Straight(), on_error=on_error)
    args = {"observation": STARTS.copy(), "goal": GOALS.copy()}
    args[what][[3, 6]] = value
    for _ in range(2):
        with pytest.raises(ObservationError, match=r"row 3\b") as caught:
            policy.act(**args)
        assert caught.value.rows == (3, 6)
    policy.act(STARTS, GOALS)


@pytest.mark.parametrize("value", [np.nan, FAR])
def test_an_error_in_the_first_plan_of_an_episode_can_be_corrected(value: float) -> None:
    policy = Policy(Straight(), goal=[8.0, 8.0], on_error="hold")
    policy.predict(STARTS)
    bad = STARTS.copy()
    bad[[1, 4]] = value
    starts = np.arange(ROWS) == 4
    with pytest.raises(ObservationError, match=r"row [14]\b") as caught:
        policy.predict(bad, episode_start=starts)
    assert 4 in caught.value.rows
    bad[4] = STARTS[4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy.predict(bad, episode_start=np.zeros(ROWS, dtype=bool))
    assert policy.failed.tolist() == [row == 1 for row in range(ROWS)]


def test_errors_name_the_callers_row_if_only_some_are_planned_for() -> None:
    for names, match in ((True, "start of row 5 is"), (False, r"plan for 5, 6 of 8 environ")):
        policy = Policy(Straight(names))
        policy.act(STARTS, GOALS)
        states = STARTS.copy()
        states[5], states[6, :2] = FAR, STARTS[6, :2] + 5.0
        with pytest.raises(ObservationError, match=match) as caught:
            policy.act(states, GOALS)
        assert caught.value.rows == ((5,) if names else ())


def test_errors_name_the_row_of_a_batch_alone(planner: ForcingPlanner, corridor: Any) -> None:
    states = np.concatenate([corridor.at(np.array([4.0, 10.0])), np.zeros((2, 2))], 1)
    goals = corridor.at(np.array([12.0, 4.0]))
    with pytest.raises(ObservationError) as caught:
        planner.plan([FAR, 1.0, 0.0, 0.0], goals[0])
    assert "row" not in str(caught.value)
    policy = Policy(planner, seed=0)
    policy.act(states, goals)
    states[1, :2] = FAR  # only row 1 needs a new plan
    with pytest.raises(ObservationError, match="row 1") as caught:
        policy.act(states, goals)
    assert caught.value.rows == (1,)


def test_a_plan_that_is_not_finite_is_an_error_of_its_row() -> None:
    class Broken(Straight):
        def make_plan(self, arguments: PlanArguments) -> Plan:
            plan = super().make_plan(arguments)
            plan.points[np.abs(arguments.observation[:, 0] - 50) < 1] = np.nan
            return plan

    for on_error in ("raise", "hold"):
        policy = Policy(Broken(), on_error=on_error)
        policy.act(STARTS, GOALS)
        states = STARTS.copy()
        states[[2, 7], :2] = 50.0
        if on_error == "raise":
            with pytest.raises(DfplanError, match="row 2") as caught:
                policy.act(states, GOALS)
            assert caught.value.rows == (2, 7)
        else:
            quiet(policy, states, GOALS)
            assert np.flatnonzero(policy.failed).tolist() == [2, 7]


def test_rows_without_a_goal_can_fail_too() -> None:
    policy = Policy(Straight(), reward=Reach([20.0, 20.0]), on_error="hold")
    policy.act(STARTS)
    bad = STARTS.copy()
    bad[2], bad[4] = np.nan, FAR
    quiet(policy, bad)
    assert np.flatnonzero(policy.failed).tolist() == [2, 4]
    goals = GOALS.copy()
    goals[[1, 2]] = np.nan, FAR
    quiet(policy, STARTS, goals)
    assert np.flatnonzero(policy.failed).tolist() == [1, 2]
    quiet(policy, STARTS, GOALS)
    assert not policy.failed.any()


def test_other_exceptions_of_the_planner_are_raised() -> None:
    class Faulty(Straight):
        def make_plan(self, arguments: PlanArguments) -> Plan:
            if self.planned:
                raise KeyError("a bug")
            return super().make_plan(arguments)

    policy = Policy(Faulty(), replan_every=1, on_error="hold")
    policy.act(STARTS, GOALS)
    with pytest.raises(KeyError):
        policy.act(STARTS, GOALS)


@pytest.mark.parametrize("wrong", ["ignore", "Hold", None, True, 1])
def test_unknown_values_of_on_error_are_errors(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="on_error"):
        Policy(Straight(), on_error=wrong)


def tree(planner: ForcingPlanner) -> Planner:
    return dfplan.TreePlanner(planner, dfplan.TreeSettings(evaluations=48))


def diffuser(planner: ForcingPlanner) -> Planner:
    return DiffuserPlanner(
        lambda x, level: 0.5 * x, 8, cosine_schedule(3), planner.model.statistics
    )


@pytest.mark.parametrize("value", [np.nan, FAR, 300.0])
@pytest.mark.parametrize("estimated", [False, True])
@pytest.mark.parametrize("make", [lambda planner: planner, tree, diffuser])
def test_every_planner_can_fail_for_a_row(
    planner: ForcingPlanner,
    corridor: Any,
    make: Callable[[ForcingPlanner], Planner],
    estimated: bool,
    value: float,
) -> None:
    made = make(planner)
    if estimated and made is not planner:
        return
    observed = dfplan.StateEstimatorSettings(noise=0.05) if estimated else None
    policy = Policy(made, seed=0, state_estimator=observed, on_error="hold", tolerance=6.0)
    places = corridor.at(np.array([4.0, 10.0, 16.0]))
    states = np.concatenate([places, np.zeros((3, 2))], 1)
    goals = corridor.at(np.array([12.0, 18.0, 8.0]))
    for step in range(12):
        seen, wanted_goals = states.copy(), goals.copy()
        if 3 <= step < 6:
            seen[1, :2] = value
        if step == 8:
            wanted_goals[0] = value
        action = quiet(policy, seen, wanted_goals)
        assert np.isfinite(action).all()
        missing = estimated and np.isnan(value)  # an estimator needs no observation
        wanted = [step == 8, 3 <= step < 6 and not missing, False]
        assert policy.failed.tolist() == wanted
        states = corridor.advance(states, action)
    assert corridor.away(states[:, :2]).max() < 4
