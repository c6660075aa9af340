"""Arrays of the caller: all types are accepted, and later changes have no effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dfplan
from dfplan.errors import ConfigError, DfplanError, ObservationError
from dfplan.planning.objective import reward_gradient
from dfplan.planning.observation_history import ObservationHistory
from dfplan.planning.rewards import Box, Disc, KeepOut, PassThrough, Reach, Short
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import estimate_positions
from dfplan.planning.trackers import TimedPD

STATES = np.array([[-15.0, 41.0, 0.5, 0.0], [0.0, 55.0, 0.0, -0.5]])
GOALS = np.array([[-4.0, 42.0], [-10.0, 40.0]])


def misaligned(array: np.ndarray) -> np.ndarray:
    buffer = bytearray(b"\0" + array.tobytes())
    return np.ndarray(array.shape, array.dtype, buffer, offset=1)


def read_only(array: np.ndarray) -> np.ndarray:
    kept = array.astype(np.float32)
    kept.flags.writeable = False
    return kept


def in_inference_mode(array: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return torch.tensor(array)


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "single": lambda array: array.astype(np.float32),
    "half": lambda array: array.astype(np.float16),
    "long": lambda array: array.astype(np.longdouble),
    "other byte order": lambda array: array.astype(">f4"),
    "reversed": lambda array: array.astype(np.float32)[..., ::-1].copy()[..., ::-1],
    "strided": lambda array: np.repeat(array, 2, -1)[..., ::2],
    "columns first": np.asfortranarray,
    "misaligned": misaligned,
    "read-only": read_only,
    "objects": lambda array: array.astype(object),
    "unmasked": np.ma.array,
    "matrix": lambda array: np.matrix(array) if array.ndim == 2 else array,
    "list": lambda array: array.tolist(),
    "tuple": lambda array: tuple(array.tolist()),
    "list of rows": list,
    "tensor": lambda array: torch.tensor(array, dtype=torch.float32),
    "with gradient": lambda array: torch.tensor(array, requires_grad=True) * 1,
    "parameter": lambda array: torch.nn.Parameter(torch.tensor(array)),
    "brain": lambda array: torch.tensor(array, dtype=torch.bfloat16),
    "transposed": lambda array: torch.tensor(array.T.copy()).permute(*reversed(range(array.ndim))),
    "inference": in_inference_mode,
}

BAD: dict[str, Callable[[np.ndarray], Any]] = {
    "masked": lambda array: np.ma.array(
        array, mask=np.arange(array.size).reshape(array.shape) == 1
    ),
    "complex": lambda array: array.astype(complex),
    "complex tensor": lambda array: torch.tensor(array).to(torch.complex64),
    "text": lambda array: array.astype(str),
    "records": lambda array: np.zeros(array.shape, dtype=[("x", "f4")]),
    "times": lambda array: array.astype("datetime64[s]"),
    "not finite": lambda array: array * np.nan,
    "too large": lambda array: np.full(array.shape, -np.inf),
    "nothing": lambda array: None,
    "a scalar": lambda array: np.float32(1.0),
    "empty": lambda array: [],
    "deeper": lambda array: array[None, None],
    "ragged": lambda array: [[1.0, 2.0], [1.0]],
    "a dict": lambda array: {"x": 1.0},
}

Read = Callable[[ForcingPlanner, Any], np.ndarray]


def tracked(make: Callable[[ForcingPlanner], Any]) -> Read:
    def read(planner: ForcingPlanner, states: Any) -> np.ndarray:
        tracker = make(planner)
        tracker.assign([0, 1], planner.plan(STATES, GOALS, seed=0))
        return np.concatenate([tracker.act(states).ravel(), tracker.deviation(states)])

    return read


def gradient(planner: ForcingPlanner, reward: Any) -> np.ndarray:
    points = STATES[:, None, :2].repeat(4, 1)
    return reward_gradient(points, planner.model, planner.settings, reward)


def gradient_with(make: Callable[[Any], Any]) -> Read:
    return lambda planner, values_: gradient(planner, make(values_))


def acted(planner: ForcingPlanner, states: Any, **options: Any) -> np.ndarray:
    return dfplan.Policy(planner, seed=0, **options).act(states, GOALS)


LEVEL = np.full((2, 1), 2)
ENTRIES: dict[str, tuple[Read, np.ndarray]] = {
    "plan from": (lambda planner, x: planner.plan(x, GOALS, seed=0).points, STATES),
    "plan from positions": (
        lambda planner, x: planner.plan(x, GOALS, seed=0).points,
        STATES[:, :2],
    ),
    "plan to": (lambda planner, x: planner.plan(STATES, x, seed=0).points, GOALS),
    "act on": (acted, STATES),
    "act in noise on": (
        lambda planner, x: acted(planner, x, state_estimator=dfplan.StateEstimatorSettings(0.1)),
        STATES,
    ),
    "act to": (lambda planner, x: dfplan.Policy(planner, seed=0).act(STATES, x), GOALS),
    "predict": (
        lambda planner, x: dfplan.Policy(planner, goal=GOALS[0], seed=0).predict(
            {"observation": x}, episode_start=[True, True]
        )[0],
        STATES,
    ),
    "a policy's goal": (
        lambda planner, x: dfplan.Policy(planner, goal=x, seed=0).act(STATES),
        GOALS[0],
    ),
    "history": (
        lambda planner, x: estimate_positions(ObservationHistory(x, LEVEL), planner.model, seed=0),
        STATES[:, None, :2],
    ),
    "reward gradient": (
        lambda planner, x: reward_gradient(x, planner.model, planner.settings),
        STATES[:, None, :2].repeat(4, 1),
    ),
    "reach": (gradient_with(Reach), GOALS[0]),
    "pass through": (gradient_with(PassThrough), GOALS),
    "disc": (gradient_with(lambda x: KeepOut([Disc(x, 30.0, x)])), GOALS[0]),
    "box": (gradient_with(lambda x: KeepOut([Box(x, [99.0, 99.0])])), GOALS[0]),
    "pursuit": (tracked(ForcingPlanner.tracker), STATES),
    "timed": (tracked(lambda planner: TimedPD(1.0, 1.0)), STATES),
}
VALID = {
    "act in noise on": {"not finite", "too large"},
    **{entry: {"too large"} for entry in ("disc", "dense", "box")},
}
"""Bad forms that are valid for these entries."""


@pytest.fixture(scope="module")
def quick(planner: ForcingPlanner) -> ForcingPlanner:
    return replace(planner, settings=dfplan.PlannerSettings(candidates=2, refine_steps=2))


def contents(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().double().numpy().copy()
    return np.array(values, dtype=np.float64)


@pytest.mark.filterwarnings("error", "ignore:the matrix subclass")
@pytest.mark.parametrize("entry", ENTRIES)
def test_numbers_of_any_type_are_accepted_and_not_changed(
    entry: str, quick: ForcingPlanner
) -> None:
    read, numbers = ENTRIES[entry]
    wanted = read(quick, numbers)
    for form, make in FORMS.items():
        values_ = make(numbers)
        kept = contents(values_)
        found = read(quick, values_)
        # The numbers are multiples of 0.25, which no type rounds.
        np.testing.assert_array_equal(found, wanted, f"{entry}: {form}")
        np.testing.assert_array_equal(contents(values_), kept)
        assert not (isinstance(values_, np.ndarray) and np.shares_memory(found, values_))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("entry", ENTRIES)
def test_other_values_are_errors(entry: str, quick: ForcingPlanner) -> None:
    read, numbers = ENTRIES[entry]
    for form, make in BAD.items():
        if form not in VALID.get(entry, ()):
            with pytest.raises(DfplanError) as caught:
                read(quick, make(numbers))
            assert isinstance(caught.value, ObservationError | ConfigError), form


def test_integers_are_accepted(quick: ForcingPlanner) -> None:
    wanted = quick.plan([-15.0, 41.0], [-4.0, 42.0], seed=0).points
    for kind in (int, np.int8, np.int64, ">i4", object):
        found = quick.plan(np.array([-15, 41], kind), np.array([-4, 42], kind), seed=0)
        np.testing.assert_array_equal(found.points, wanted)


def test_rewards_can_be_called_with_arrays(quick: ForcingPlanner) -> None:
    plan = quick.plan(STATES, GOALS, seed=0)
    disc, box = Disc((-9.75, 41.25), 2.5, (0.125, 0.0)), Box((-10.5, 40.0), (-3.5, 43.0))
    reward = 0.5 * Reach(GOALS[0]) + KeepOut((disc, box)) + Short() + PassThrough(GOALS)
    steps = np.arange(plan.points.shape[1]) * plan.stride
    tensors = torch.from_numpy(plan.points), torch.from_numpy(steps).float()
    wanted = reward(*tensors)
    for points in (plan.points, plan.points.astype(np.float64), plan.points.tolist()):
        torch.testing.assert_close(reward(points, steps).float(), wanted)
    whole = np.round(plan.points)
    for points in (whole.astype(int), torch.from_numpy(whole).long()):
        torch.testing.assert_close(reward(points, steps), reward(whole, steps))
    with pytest.raises(ObservationError, match=r"states \[B, P, W\].*got \[2\]"):
        reward(GOALS[0], steps)


def test_weights_may_be_numpy_numbers(quick: ForcingPlanner) -> None:
    wanted = gradient(quick, 0.5 * Reach(GOALS[0]))
    for weight in (np.float32(0.5), np.float64(0.5), np.float16(0.5)):
        for reward in (weight * Reach(GOALS[0]), Reach(GOALS[0]) * weight):
            np.testing.assert_array_equal(gradient(quick, reward), wanted)


def test_plans_do_not_change_with_the_callers_arrays(quick: ForcingPlanner) -> None:
    states, goals = STATES.astype(np.float32), GOALS.astype(np.float32)
    positions, level = states[:, None, :2].copy(), LEVEL.copy()
    plans = [
        quick.plan(states, goals, seed=0),
        dfplan.TreePlanner(quick, dfplan.TreeSettings(evaluations=48)).plan(states, goals, seed=0),
        quick.plan(states, goals, seed=0, history=ObservationHistory(positions, level)),
    ]
    names = ("observation", "goal", "points", "history")
    kept = [[np.copy(getattr(plan, name)) for name in names if name] for plan in plans]
    for buffer in (states, goals, positions):
        buffer += 1.0
    for plan, before in zip(plans, kept, strict=True):
        for name, array in zip(names, before, strict=True):
            np.testing.assert_array_equal(getattr(plan, name), array)


def test_rewards_do_not_change_with_the_callers_arrays(quick: ForcingPlanner) -> None:
    array, tensor = GOALS[0].astype(np.float32), torch.tensor(GOALS, dtype=torch.float32)
    regions = [Disc(array, 30.0)]
    rewards = [
        Reach(array),
        PassThrough(tensor),
        KeepOut(regions),
        KeepOut([Box(array, [99.0, 99.0])]),
    ]
    wanted = [gradient(quick, reward) for reward in rewards]
    array += 5.0
    tensor += 5.0
    regions.clear()
    for reward, before in zip(rewards, wanted, strict=True):
        np.testing.assert_array_equal(gradient(quick, reward), before)


@pytest.mark.parametrize("on_error", ["raise", "hold"])
@pytest.mark.parametrize("estimator", [None, dfplan.StateEstimatorSettings(noise=0.1)])
def test_arguments_and_results_of_a_policy_may_be_overwritten(
    quick: ForcingPlanner,
    corridor: Any,
    on_error: str,
    estimator: dfplan.StateEstimatorSettings | None,
) -> None:
    def run(overwrite: bool) -> np.ndarray:
        goal = GOALS[0].astype(np.float32)
        policy = dfplan.Policy(
            quick, goal=goal, seed=0, state_estimator=estimator, on_error=on_error, replan_every=4
        )
        states, actions = STATES.astype(np.float32), []
        for _ in range(10):
            seen = states.copy()
            action = policy.act(seen)
            actions.append(action.copy())
            states = corridor.advance(states, action).astype(np.float32)
            if overwrite:
                assert policy.plan is not None and policy.states is not None
                plan = policy.plan
                for array in (seen, goal, action, policy.states, policy.failed, plan.points):
                    array[...] = 7
                plan.candidates[...] = plan.observation[...] = plan.steps[...] = 7
        return np.stack(actions)

    np.testing.assert_array_equal(run(overwrite=True), run(overwrite=False))


BOOLS = st.sampled_from([bool, np.bool_, int, float, np.float32])


@settings(deadline=None, max_examples=25)
@given(data=st.data(), kind=BOOLS)
def test_episode_starts_of_any_type(
    data: st.DataObject, kind: Callable[[bool], Any], quick: ForcingPlanner
) -> None:
    rows = data.draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=3))
    forms: list[Callable[[list[bool]], Any]] = [
        lambda starts: [kind(start) for start in starts],
        lambda starts: tuple(kind(start) for start in starts),
        lambda starts: np.array([kind(start) for start in starts]),
        lambda starts: torch.tensor([kind(start) for start in starts]),
    ]
    form = data.draw(st.sampled_from(forms))
    policies = [dfplan.Policy(quick, goal=GOALS[0], seed=0) for _ in range(2)]
    for starts in rows:
        wanted = policies[0].predict(STATES, episode_start=np.array(starts))[0]
        found = policies[1].predict(STATES, episode_start=form(list(starts)))[0]
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", [bool, np.bool_, np.array, int, lambda start: [start]])
def test_the_start_of_one_episode_may_be_a_bool(
    quick: ForcingPlanner, kind: Callable[[bool], Any]
) -> None:
    plans = []
    policy = dfplan.Policy(quick, goal=GOALS[0], seed=0)
    for start in (True, False, True, False):
        action, state = policy.predict(STATES[0], state=None, episode_start=kind(start))
        assert action.shape == (2,) and state is None
        plans.append(policy.plan)
    assert plans[0] is plans[1] is not plans[2] is plans[3]


def test_one_bool_applies_to_all_environments(quick: ForcingPlanner) -> None:
    policy = dfplan.Policy(quick, goal=GOALS[0], seed=0)
    for start, count in ((True, 2), (False, 2), (True, 1)):
        policy.predict(STATES[:count], episode_start=start)
        assert policy.plan is not None and len(policy.plan) == count
    with pytest.raises(ObservationError, match="Expected 1 environments"):
        policy.predict(STATES, episode_start=False)


@pytest.mark.parametrize(
    "wrong", [[True], [False] * 3, [], [2, 0], [np.nan, 0], "no", [None, None]]
)
def test_invalid_episode_starts_are_errors(quick: ForcingPlanner, wrong: Any) -> None:
    policy = dfplan.Policy(quick, goal=GOALS[0], seed=0)
    with pytest.raises(ObservationError, match="episode_start"):
        policy.predict(STATES, episode_start=wrong)
