"""One bad row of a batch: it is named as the caller counts, or held on its last plan."""

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
from dfplan.planning.policy import Policy
from dfplan.planning.rewards import Reach
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import Pursuit, pursuit_gains
from dfplan.tokens.motion import Motion
from dfplan.types import Plan, Planner, Reward

BODY = Motion(dt=0.01, drag=0.00238, gain=0.2382, limit=5.0)
ROWS, STEPS = 8, 12
STARTS = np.concatenate([np.arange(2.0 * ROWS).reshape(ROWS, 2), np.zeros((ROWS, 2))], 1)
GOALS = STARTS[:, :2] + 3.0
AFAR = 1e5


@dataclass
class Straight:
    """Plans straight lines, draws nothing, and refuses what is farther than 100 off.

    Attributes:
        names: whether its errors say which rows they are about.
        planned: how many rows each plan was for.
    """

    names: bool = True
    planned: list[int] = field(default_factory=list)

    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Plan:
        goal = np.full((len(observation), 2), 20.0) if goal is None else goal
        for what, places in (("start", observation[:, :2]), ("goal", goal)):
            far = np.flatnonzero(~(np.abs(places).max(1) < 100))
            if len(far):
                message = f"The {what} of row {far[0]} is too far."
                raise ObservationError(message, rows=far if self.names else ())
        self.planned.append(len(observation))
        return straight_plan(observation, goal)

    def tracker(self) -> Pursuit:
        return Pursuit(pursuit_gains(BODY), BODY.max_step)


def quiet(policy: Policy, *given_: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return policy.act(*given_)


def moved(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    return np.concatenate(BODY.advance(states[..., :2], states[..., 2:], actions), -1)


values = st.sampled_from([np.nan, np.inf, -np.inf, AFAR, -1e30])
glitches = st.dictionaries(
    st.tuples(st.integers(1, STEPS - 1), st.integers(0, ROWS - 1)),
    st.tuples(st.sampled_from(["observation", "goal"]), values),
    max_size=8,
)


@settings(deadline=None, max_examples=60)
@given(glitches=glitches, names=st.booleans(), replan_every=st.sampled_from([None, 3]))
def test_a_glitch_holds_its_row_for_its_time_and_no_other_row_notices(
    glitches: dict[tuple[int, int], tuple[str, float]], names: bool, replan_every: int | None
) -> None:
    policy = Policy(Straight(names), replan_every=replan_every, on_error="keep_plan")
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
        np.testing.assert_array_equal(seen, kept[0], "the caller's own")
        np.testing.assert_array_equal(goals, kept[1], "the caller's own")
        assert np.isfinite(actions).all() and np.abs(actions).max() <= 1
        wanted = alone.act(others, GOALS)
        well = np.isin(np.arange(ROWS), [row for _, row in glitches], invert=True)
        np.testing.assert_array_equal(actions[well], wanted[well])
        states, others = moved(states, actions), moved(others, wanted)
    assert np.abs(states - others).max() < 1.0, "a moment's glitch changes little"


@pytest.mark.parametrize("value", [np.nan, AFAR])
@pytest.mark.parametrize("single", [False, True])
def test_a_held_row_acts_from_its_last_good_observation(value: float, single: bool) -> None:
    row = 0 if single else 3
    states = STARTS[0] if single else STARTS
    goals = GOALS[0] if single else GOALS
    policy = Policy(Straight(), on_error="keep_plan")
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


def test_a_bad_goal_leaves_the_observation_in_use_and_the_old_goal_in_place() -> None:
    planner = Straight()
    policy, states = Policy(planner, on_error="keep_plan"), STARTS
    goals = GOALS.copy()
    for step in range(400):
        goals[3] = AFAR if step > 5 else GOALS[3]
        if step == 50:
            states = states.copy()
            states[3, :2] += 2.0  # pushed off its plan, it needs a new one
        states = moved(states, quiet(policy, states, goals))
    assert policy.failed.tolist() == [row == 3 for row in range(ROWS)]
    assert planner.planned == [ROWS, 1]
    np.testing.assert_allclose(states[:, :2], GOALS, atol=0.2)


def test_a_goal_that_becomes_good_is_gone_to() -> None:
    policy, states = Policy(Straight(), on_error="keep_plan"), STARTS
    later = GOALS + 2.0
    for step in range(400):
        goals = GOALS if step < 5 else later
        if 5 <= step < 9:
            goals = goals.copy()
            goals[[1, 6]] = np.nan
        states = moved(states, quiet(policy, states, goals))
        assert policy.failed.any() == (5 <= step < 9)
    np.testing.assert_allclose(states[:, :2], later, atol=0.2)


def test_a_row_that_is_bad_for_good_is_told_once() -> None:
    policy = Policy(Straight(), on_error="keep_plan")
    policy.act(STARTS, GOALS)
    bad = STARTS.copy()
    bad[[2, 5]] = np.nan
    with pytest.warns(UserWarning, match=r"8 .* these go on .*: 2, 5\. .*finite; row 2 is"):
        policy.act(bad, GOALS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.act(bad, GOALS)
        policy.act(STARTS, GOALS)
        policy.act(bad, GOALS)
    bad[0] = np.nan
    with pytest.warns(UserWarning, match=r": 0\. "):
        policy.act(bad, GOALS)


@pytest.mark.parametrize("on_error", ["raise", "keep_plan"])
@pytest.mark.parametrize("value", [np.nan, AFAR])
@pytest.mark.parametrize("what", ["observation", "goal"])
def test_a_first_plan_raises_and_names_the_row(on_error: str, value: float, what: str) -> None:
    policy = Policy(Straight(), on_error=on_error)
    given_ = {"observation": STARTS.copy(), "goal": GOALS.copy()}
    given_[what][[3, 6]] = value
    for _ in range(2):
        with pytest.raises(ObservationError, match="row 3 ") as caught:
            policy.act(**given_)
        assert caught.value.rows == (3, 6)
    policy.act(STARTS, GOALS)


@pytest.mark.parametrize("value", [np.nan, AFAR])
def test_a_first_plan_of_an_episode_raises_and_can_be_asked_for_again(value: float) -> None:
    policy = Policy(Straight(), goal=[8.0, 8.0], on_error="keep_plan")
    policy.predict(STARTS)
    bad = STARTS.copy()
    bad[[1, 4]] = value
    starts = np.arange(ROWS) == 4
    with pytest.raises(ObservationError, match=r"row [14] ") as caught:
        policy.predict(bad, episode_start=starts)
    assert 4 in caught.value.rows
    bad[4] = STARTS[4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy.predict(bad, episode_start=np.zeros(ROWS, dtype=bool))
    assert policy.failed.tolist() == [row == 1 for row in range(ROWS)]


def test_raising_names_the_callers_row_where_only_some_are_planned_for() -> None:
    for names, match in ((True, "start of row 5 is"), (False, r"plan for 5, 6 of 8 environ")):
        policy = Policy(Straight(names))
        policy.act(STARTS, GOALS)
        states = STARTS.copy()
        states[5], states[6, :2] = AFAR, STARTS[6, :2] + 5.0
        with pytest.raises(ObservationError, match=match) as caught:
            policy.act(states, GOALS)
        assert caught.value.rows == ((5,) if names else ())


def test_a_plan_that_is_not_finite_is_an_error_of_its_row() -> None:
    class Broken(Straight):
        def plan(self, observation: np.ndarray, *given_: Any, **more: Any) -> Plan:
            plan = super().plan(observation, *given_, **more)
            plan.points[np.abs(observation[:, 0] - 50) < 1] = np.nan
            return plan

    for on_error in ("raise", "keep_plan"):
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


def test_by_a_reward_alone_rows_are_held_too() -> None:
    policy = Policy(Straight(), reward=Reach([20.0, 20.0]), on_error="keep_plan")
    policy.act(STARTS)
    bad = STARTS.copy()
    bad[2], bad[4] = np.nan, AFAR
    quiet(policy, bad)
    assert np.flatnonzero(policy.failed).tolist() == [2, 4]
    goals = GOALS.copy()
    goals[[1, 2]] = np.nan, AFAR
    quiet(policy, STARTS, goals)
    assert np.flatnonzero(policy.failed).tolist() == [1, 2]
    quiet(policy, STARTS, GOALS)
    assert not policy.failed.any()


def test_an_error_in_the_planner_itself_is_never_held() -> None:
    class Faulty(Straight):
        def plan(self, observation: np.ndarray, *given_: Any, **more: Any) -> Plan:
            if self.planned:
                raise KeyError("a fault of the program")
            return super().plan(observation, *given_, **more)

    policy = Policy(Faulty(), replan_every=1, on_error="keep_plan")
    policy.act(STARTS, GOALS)
    with pytest.raises(KeyError):
        policy.act(STARTS, GOALS)


@pytest.mark.parametrize("wrong", ["ignore", "Hold", None, True, 1])
def test_other_ways_to_meet_errors_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="meet an error"):
        Policy(Straight(), on_error=wrong)


def tree(planner: ForcingPlanner) -> Planner:
    return dfplan.TreePlanner(planner, dfplan.TreeSettings(evaluations=48))


def diffuser(planner: ForcingPlanner) -> Planner:
    return DiffuserPlanner(lambda x, level: 0.5 * x, 8, cosine_schedule(3), planner.statistics)


@pytest.mark.parametrize("value", [np.nan, AFAR, 300.0])
@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("make", [lambda planner: planner, tree, diffuser])
def test_every_planner_can_be_held(
    planner: ForcingPlanner,
    corridor: Any,
    make: Callable[[ForcingPlanner], Planner],
    past: bool,
    value: float,
) -> None:
    made = make(planner)
    if past and made is not planner:
        return
    observed = dfplan.StateEstimatorSettings(noise=0.05) if past else None
    policy = Policy(made, seed=0, state_estimator=observed, on_error="keep_plan", tolerance=6.0)
    places = corridor.at(np.array([4.0, 10.0, 16.0]))
    states = np.concatenate([places, np.zeros((3, 2))], 1)
    goals = corridor.at(np.array([12.0, 18.0, 8.0]))
    for step in range(12):
        seen, asked = states.copy(), goals.copy()
        if 3 <= step < 6:
            seen[1, :2] = value
        if step == 8:
            asked[0] = value
        action = quiet(policy, seen, asked)
        assert np.isfinite(action).all()
        lost = past and np.isnan(value)  # a past knows what to do without
        wanted = [step == 8, 3 <= step < 6 and not lost, False]
        assert policy.failed.tolist() == wanted
        states = corridor.advance(states, action)
    assert corridor.away(states[:, :2]).max() < 4
