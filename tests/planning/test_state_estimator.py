"""State estimation, and policies with noisy or missing observations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dfplan.errors import ConfigError, ObservationError
from dfplan.observations import PLANAR
from dfplan.planning.policy import Policy
from dfplan.planning.rewards import Reach
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import StateEstimator, StateEstimatorSettings
from dfplan.planning.trackers import Pursuit, pursuit_gains
from dfplan.sampling.model import SequenceModel
from dfplan.tokens.normalizer import Normalizer

BODIES = 40


def filter_only(model: SequenceModel, noise: float = 0.0, tokens: int = 3) -> StateEstimator:
    """An estimator that does not call the network."""
    return StateEstimator(
        StateEstimatorSettings(noise, tokens, use_network=False), model.statistics, PLANAR, model
    )


def simulate(
    estimator: StateEstimator,
    steps: int,
    corridor: Any,
    noise: float,
    seen: slice = slice(None),
    seed: int = 0,
    *,
    speed_noise: float = np.nan,
    missing: float = 0.0,
    push: str = "",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulate bodies under slowly turning forces, and estimate their states.

    A push is another force than the action for 10 steps, a sudden change of velocity, or a
    displacement. Returns (true states, estimates, last received observations), [steps, B, 4].
    """
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (BODIES, 2))
    state = np.concatenate([rng.normal(size=(BODIES, 2)) * 9, np.zeros((BODIES, 2))], 1)
    held = state.copy()
    arrives = np.zeros(steps, dtype=bool)
    arrives[seen] = True
    scale = np.array([noise, noise, speed_noise, speed_noise])
    true, tracked, last = [], [], []
    for step in range(steps):
        observed = state + scale * rng.normal(size=(BODIES, 4))
        there = (rng.random(BODIES) >= missing) & arrives[step]
        estimator.observe(np.where(there[:, None], observed, np.nan), state[:, :2] * 0)
        held[there] = observed[there]
        true.append(state)
        tracked.append(estimator.states())
        last.append(held.copy())
        action = np.sin(phase + step / 15)
        estimator.send(action)
        if step % 10 == 0:
            pushed, way = rng.random((BODIES, 1)) < 0.2, rng.normal(size=(BODIES, 2))
        if push == "force":
            action = np.where(pushed, way.clip(-1, 1), action)
        state = corridor.advance(state, action)
        if push == "blow" and step % 10 == 0:
            state[:, 2:] += np.where(pushed, 2 * way, 0.0)
        if push == "displacement" and step % 40 == 0:
            state[:, :2] += np.where(pushed, 2 * noise * way, 0.0)
    return np.stack(true), np.stack(tracked), np.stack(last)


def rms(values: np.ndarray) -> float:
    return float(np.square(values).mean() ** 0.5)


@pytest.mark.parametrize("push", ["", "force", "blow", "displacement"])
@pytest.mark.parametrize("speed_noise", [0.0, np.nan])
def test_exact_positions_are_kept(
    planner: ForcingPlanner, corridor: Any, speed_noise: float, push: str
) -> None:
    estimator = StateEstimator(
        StateEstimatorSettings(), planner.model.statistics, PLANAR, planner.model
    )
    true, tracked, _ = simulate(estimator, 60, corridor, 0.0, speed_noise=speed_noise, push=push)
    assert np.abs(tracked - true)[..., :2].max() < 1e-3
    if speed_noise == 0 and push != "blow":  # which can be faster than any body of the data
        assert rms((tracked - true)[5:, :, 2:]) < 0.02


def test_without_observations_the_actions_predict_the_state(
    planner: ForcingPlanner, corridor: Any
) -> None:
    true, tracked, _ = simulate(filter_only(planner.model), 160, corridor, 0.0, slice(60))
    moved = np.linalg.norm(true[-1, :, :2] - true[60, :, :2], axis=-1)
    assert moved.min() > 5
    apart = np.abs(tracked - true)[-1]
    assert apart.mean() < 0.3 and apart.max() < 2.5


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_estimates_are_better_than_single_observations(
    planner: ForcingPlanner, corridor: Any, every: int, noise: float
) -> None:
    """Also of the velocity, which is not observed."""
    aware = filter_only(planner.model, noise)
    true, tracked, _ = simulate(aware, 200, corridor, noise, slice(0, None, every))
    assert rms((tracked - true)[60:, :, :2]) < (0.5 if every == 1 else 0.9) * noise
    assert rms((tracked - true)[60:, :, 2:]) < 0.6 * rms(true[60:, :, 2:])
    unaware = filter_only(planner.model)
    _, trusted, _ = simulate(unaware, 200, corridor, noise, slice(0, None, every))
    assert rms((trusted - true)[60:, :, :2]) > 1.1 * rms((tracked - true)[60:, :, :2])


@pytest.mark.parametrize("push", ["", "force", "blow", "displacement"])
@pytest.mark.parametrize(("noise", "missing"), [(0.1, 0.3), (0.25, 0.0), (0.25, 0.3), (1.0, 0.6)])
def test_exact_velocities_improve_the_estimate(
    planner: ForcingPlanner, corridor: Any, noise: float, missing: float, push: str
) -> None:
    estimator = StateEstimator(
        StateEstimatorSettings(noise), planner.model.statistics, PLANAR, planner.model
    )
    true, tracked, last = simulate(
        estimator, 100, corridor, noise, speed_noise=0.0, missing=missing, push=push
    )
    assert rms((tracked - true)[20:, :, :2]) < 0.6 * rms((last - true)[20:, :, :2])
    assert rms((tracked - true)[20:, :, 2:]) < 1.1 * rms((last - true)[20:, :, 2:]) + 0.2


@pytest.mark.parametrize("speed_noise", [0.0, 1.0, np.nan])
def test_more_noise_gives_a_larger_error(
    planner: ForcingPlanner, corridor: Any, speed_noise: float
) -> None:
    errors = []
    for noise in (0.0, 0.1, 0.3, 1.0, 3.0):
        estimator = filter_only(planner.model, noise)
        true, tracked, _ = simulate(
            estimator, 100, corridor, noise, speed_noise=speed_noise, missing=0.3
        )
        errors.append(rms((tracked - true)[20:, :, :2]))
    assert (np.diff(errors) > 0).all(), errors


@pytest.mark.parametrize("garbage", [0.0, 4.0, -1.0, 1e6])
def test_invalid_velocities_do_no_harm(
    planner: ForcingPlanner, corridor: Any, garbage: float
) -> None:
    """Constant velocities, or velocities with the wrong sign."""
    estimator = filter_only(planner.model, 0.3)
    observe = estimator.observe

    def with_garbage(observed: np.ndarray, default: np.ndarray) -> np.ndarray:
        velocity = -observed[:, 2:] if garbage == -1 else np.full((BODIES, 2), garbage)
        return observe(np.concatenate([observed[:, :2], velocity], 1), default)

    estimator.observe = with_garbage  # type: ignore[assignment, method-assign]
    true, tracked, last = simulate(estimator, 100, corridor, 0.3, speed_noise=0.0)
    assert rms((tracked - true)[20:, :, :2]) < rms((last - true)[20:, :, :2])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6, 1e30])
def test_estimates_are_always_finite(planner: ForcingPlanner, corridor: Any, value: float) -> None:
    """If no observation arrives, or none at first, or impossible ones."""
    estimator = StateEstimator(
        StateEstimatorSettings(0.2), planner.model.statistics, PLANAR, planner.model
    )
    rng = np.random.default_rng(0)
    home = rng.normal(size=(4, 2))
    for step in range(60):
        observed = np.concatenate([home, np.zeros((4, 2))], 1)
        observed[0] = np.nan
        if step != 20:
            observed[1] = np.nan
        observed[2, step % 4] = value
        if step < 30 or step == 40:
            observed[3] = value
        estimator.observe(observed, home)
        assert np.isfinite(estimator.states()).all()
        assert np.isfinite(estimator.history().observed).all()
        estimator.send(rng.uniform(-1, 1, (4, 2)) * estimator.received[:, None])
        assert not estimator.received[0]
    np.testing.assert_array_equal(estimator.states()[0], [*home[0].astype(np.float32), 0, 0])


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_are_independent_and_can_be_reset(planner: ForcingPlanner, seed: int) -> None:
    rng = np.random.default_rng(seed)
    observed = rng.normal(size=(50, 3, 4))
    observed[rng.random((50, 3)) < 0.4] = np.nan
    observed[30, 1] = 1.0, 2.0, 0.0, 0.0
    actions, place = rng.uniform(-1, 1, (50, 3, 2)), np.zeros((3, 2))
    together = filter_only(planner.model, 0.3)
    alone, fresh = (filter_only(planner.model, 0.3) for _ in range(2))
    for step in range(50):
        together.observe(observed[step], place)
        alone.observe(observed[step, :1], place[:1])
        np.testing.assert_allclose(together.states()[:1], alone.states(), atol=1e-6)
        if step == 29:
            together.reset(np.array([False, True, False]))
        if step >= 30:
            fresh.observe(observed[step, 1:2], place[1:2])
            np.testing.assert_allclose(together.states()[1:2], fresh.states(), atol=1e-6)
            np.testing.assert_array_equal(together.history().level[1:2], fresh.history().level)
            fresh.send(actions[step, 1:2])
        together.send(actions[step])
        alone.send(actions[step, :1])


@pytest.mark.parametrize("unit", [1e-6, 1e3])
@pytest.mark.parametrize("drag", [0.0024, 1.0])
def test_estimates_do_not_depend_on_the_unit(
    planner: ForcingPlanner, unit: float, drag: float
) -> None:
    known = planner.model.statistics
    motion = replace(known.motion, drag=drag)
    scaled = replace(
        known,
        motion=replace(motion, dt=unit * motion.dt),
        normalizer=Normalizer(known.normalizer.mean * unit, known.normalizer.std * unit),
    )
    usual, other = (
        filter_only(replace(planner.model, statistics=statistics), noise)
        for statistics, noise in ((replace(known, motion=motion), 0.3), (scaled, 0.3 * unit))
    )
    rng = np.random.default_rng(0)
    place, velocity = np.zeros((9, 2)), np.zeros((9, 2))
    factor, apart, last = np.array([unit, unit, 1.0, 1.0]), [], []
    for _ in range(60):
        seen = np.concatenate([place + 0.3 * rng.normal(size=(9, 2)), velocity], 1)
        seen[rng.random(9) < 0.3] = np.nan
        usual.observe(seen, place * 0)
        other.observe(seen * factor, place * 0)
        np.testing.assert_allclose(other.states() / factor, usual.states(), rtol=1e-4, atol=1e-5)
        apart.append(usual.states()[:, :2] - place)
        last.append((seen[:, :2] - place)[np.isfinite(seen[:, 0])])
        action = rng.uniform(-1, 1, (9, 2))
        usual.send(action)
        other.send(action)
        place, velocity = motion.advance(place, velocity, action)
    assert rms(np.stack(apart[20:])) < 0.5 * rms(np.concatenate(last[20:]))


def test_the_network_counts_more_if_the_filter_is_uncertain(
    planner: ForcingPlanner, corridor: Any
) -> None:
    moved = []
    for noise in (0.0, 0.3, 3.0, 30.0):
        estimator = filter_only(planner.model, noise)
        simulate(estimator, 6, corridor, noise)
        before = estimator.states()
        estimator.correct(estimator.history().observed + 1)
        moved.append(float((estimator.states() - before)[:, :2].mean()))
    assert moved[0] < 1e-3 and (np.diff(moved) > 0).all() and moved[-1] > 0.5


def test_levels_of_a_history_depend_on_the_number_of_observations(
    planner: ForcingPlanner, corridor: Any
) -> None:
    def level(noise: float, seen: slice) -> np.ndarray:
        estimator = filter_only(planner.model, noise, tokens=4)
        simulate(estimator, 75, corridor, noise, seen)
        return np.asarray(estimator.history().level[0])

    often, seldom = level(2.0, slice(None)), level(2.0, slice(4, None, 10))
    assert (often <= seldom).all() and often[-1] < seldom[-1]
    assert level(2.0, slice(None)).max() < planner.model.schedule.max_level
    assert (level(0.0, slice(None)) == 0).all()
    gone = level(0.0, slice(50))
    assert gone[0] == 0 and gone[-1] > 0 and (np.diff(gone) >= 0).all(), "uncertainty must grow"


def test_bodies_rest_at_the_default_until_a_position_is_received(
    planner: ForcingPlanner,
) -> None:
    estimator = filter_only(planner.model, 0.1)
    place, missing = np.array([[1.0, 2.0], [3.0, 4.0]]), np.full((2, 2), np.nan)
    assert not estimator.observe(missing, place).any()
    estimator.send(np.ones((2, 2)))
    one = np.array([[7.0, 7.0], [np.nan, 7.0]])
    assert estimator.observe(one, place).tolist() == [True, False]
    np.testing.assert_array_equal(estimator.states(), [[7, 7, 0, 0], [3, 4, 0, 0]])
    assert not estimator.observe(one, place).any()
    estimator.reset(np.array([True, False]))
    assert estimator.received.tolist() == [False, False]
    assert estimator.observe(one + 1, place).tolist() == [True, False]
    np.testing.assert_array_equal(estimator.states()[0], [8, 8, 0, 0])


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_without_the_network_the_filter_estimates_and_plans_have_no_history(
    planner: ForcingPlanner, corridor: Any, noise: float
) -> None:
    def never(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the network was called")

    unused = replace(planner.model, denoiser=never)
    true, tracked, last = simulate(filter_only(unused, noise), 60, corridor, noise)
    assert rms((tracked - true)[20:, :, :2]) <= rms((last - true)[20:, :, :2]) + 1e-3
    start, goal = corridor.at(np.array([3.0, 30.0]))
    for use_network in (True, False):
        estimating = StateEstimatorSettings(0.3, use_network=use_network)
        policy = Policy(planner, seed=0, state_estimator=estimating)
        policy.act(start, goal)
        assert policy.plan is not None
        assert (policy.plan.history is not None) == use_network


@pytest.mark.parametrize("wrong", [{"noise": -0.1}, {"noise": np.inf}, {"noise": np.nan}])
def test_invalid_settings_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="noise must be a finite number"):
        StateEstimatorSettings(**wrong)


def test_a_history_that_fills_the_window_is_an_error(planner: ForcingPlanner) -> None:
    for tokens in (0, 1.5):
        with pytest.raises(ConfigError, match=f"tokens must be .* at least 1; got {tokens}"):
            StateEstimatorSettings(tokens=tokens)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one of the model's 14 tokens"):
        Policy(planner, state_estimator=StateEstimatorSettings(tokens=14))


@pytest.mark.parametrize(("noise", "missing"), [(0.0, 0.0), (0.5, 0.0), (0.2, 0.7)])
def test_a_policy_reaches_the_goal_with_noisy_observations(
    planner: ForcingPlanner, corridor: Any, noise: float, missing: float
) -> None:
    rng = np.random.default_rng(0)
    starts, goals = corridor.at(np.array([3.0, 36.0, 17.0])), corridor.at(np.array([30.0, 8, 33]))
    states = np.concatenate([starts, np.zeros((3, 2))], 1)
    policy = Policy(planner, tolerance=6.0, seed=0, state_estimator=StateEstimatorSettings(noise))
    for _ in range(200):
        seen = states + noise * rng.normal(size=states.shape)
        seen[:, 2:] = np.nan
        seen[rng.random(3) < missing] = np.nan
        states = corridor.advance(states, policy.act(seen, goals))
        assert corridor.away(states[:, :2]).max() < 8
    assert np.linalg.norm(states[:, :2] - goals, axis=1).max() < 1.5
    assert policy.states is not None and rms(policy.states[:, :2] - states[:, :2]) < 1


@pytest.mark.parametrize(("noise", "tokens"), [(0.5, 3), (500.0, 3), (500.0, 1)])
def test_a_seed_determines_states_and_actions(
    planner: ForcingPlanner, corridor: Any, noise: float, tokens: int
) -> None:
    goals = corridor.at(np.array([30.0, 8.0]))
    start = np.concatenate([corridor.at(np.array([3.0, 36.0])), np.zeros((2, 2))], 1)
    runs = []
    for seed in (0, 0, 1):
        policy, states, actions = (
            Policy(planner, state_estimator=StateEstimatorSettings(noise, tokens)),
            start,
            [],
        )
        policy.reset(seed)
        for step in range(11):
            seen = states if step % 5 == 0 else states * np.nan
            action = policy.act(seen, goals)
            assert policy.states is not None
            actions.append(np.concatenate([policy.states, action], 1))
            states = corridor.advance(states, action)
        runs.append(np.stack(actions))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_without_a_goal_bodies_get_action_0_until_a_position_is_received(
    planner: ForcingPlanner, corridor: Any
) -> None:
    goals = corridor.at(np.array([30.0, 8.0]))
    reward = 20.0 * Reach(torch.from_numpy(goals[0]).float())
    policy = Policy(
        planner, tolerance=6.0, seed=0, reward=reward, state_estimator=StateEstimatorSettings(0.1)
    )
    states = np.append(corridor.at(np.array(5.0)), [0.0, 0.0])[None]
    for _ in range(6):
        assert (policy.act(states * np.nan) == 0).all()
    assert (policy.act(states) != 0).any()


def test_bodies_get_action_0_until_a_position_is_received(
    planner: ForcingPlanner, corridor: Any
) -> None:
    goals = corridor.at(np.array([30.0, 8.0]))
    policy = Policy(planner, tolerance=6.0, seed=0, state_estimator=StateEstimatorSettings(0.1))
    missing = np.full((2, 4), np.nan)
    for _ in range(15):
        assert (policy.act(missing, goals) == 0).all()
    half = np.stack([np.append(corridor.at(np.array(5.0)), [0, 0]), missing[0]])
    action = policy.act(half, goals)
    assert (action[0] != 0).any() and (action[1] == 0).all()
    assert policy.plan is not None and len(policy.plan) == 1, "the one that was located"
    policy.reset()
    assert (policy.act(missing[:1], goals[:1]) == 0).all()


def test_without_an_estimator_no_observation_may_be_missing(
    planner: ForcingPlanner, corridor: Any
) -> None:
    goals = corridor.at(np.array([30.0]))
    with pytest.raises(ObservationError, match="must be finite"):
        Policy(planner).act(np.full((1, 4), np.nan), goals)


def test_planners_without_a_body_are_errors(planner: ForcingPlanner) -> None:
    class Other:
        plan = planner.plan

    tracker = Pursuit(pursuit_gains(planner.model.statistics.motion), 1.0)
    with pytest.raises(ConfigError, match="Other has no statistics"):
        Policy(Other(), tracker, state_estimator=StateEstimatorSettings())
    with pytest.raises(ConfigError, match=r"StateEstimatorSettings.*got 0"):
        Policy(planner, state_estimator=0.2)  # type: ignore[arg-type]
