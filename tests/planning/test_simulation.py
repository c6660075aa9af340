"""Simulated episodes, pushes and noise, and the probability of success."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfplan.errors import ConfigError, PlanRefusedError
from dfplan.observations import PLANAR
from dfplan.planning.disturbance import Disturbance, Disturber
from dfplan.planning.policy import Policy
from dfplan.planning.refusing import RefusingPlanner
from dfplan.planning.simulation import SimulatedEpisodes, passing_distances, simulate
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.success import (
    Calibration,
    SuccessTest,
    simulated_share,
    success_probability,
    tracking_regions,
)
from dfplan.types import Plan


@pytest.fixture
def plan(planner: ForcingPlanner, corridor: Any) -> Plan:
    start, goal = corridor.at(np.array([[2.0, 36.0], [38.0, 5.0]]))
    states = np.concatenate([start, np.zeros((2, 2))], 1)
    return planner.plan(states, goal, seed=0)


def run(planner: ForcingPlanner, plan: Plan, **how: Any) -> SimulatedEpisodes:
    how = {"steps": 150, "episodes": 3, "seed": 0} | how
    return simulate(plan, planner.model.statistics, planner.tracker(), **how)


def test_an_undisturbed_episode_follows_the_motion_of_the_data(
    planner: ForcingPlanner, plan: Plan, corridor: Any
) -> None:
    """In the free, a simulated body moves as the true one does."""
    found = run(planner, plan, episodes=2).positions
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    tracker, states = planner.tracker(), plan.observation.astype(float)
    tracker.assign(np.arange(2), plan)
    for step in range(1, 6):
        states = corridor.advance(states, tracker.act(states))
        np.testing.assert_allclose(found[:, 0, step], states[:, :2], atol=0.05)
    assert (SimulatedEpisodes(found).steps_to(plan.goal, 2.0) <= 150).all()


def test_bodies_do_not_leave_the_visited_region(planner: ForcingPlanner, plan: Plan) -> None:
    wild = Disturbance(action_noise=1.0, push_chance=0.2)
    path = run(planner, plan, episodes=8, disturbance=wild).positions
    support = planner.model.statistics.support
    away = support.distance(path.reshape(-1, 2)).numpy()
    assert away.max() < 3 * support.resolution


def test_episodes_depend_on_the_seed_alone(planner: ForcingPlanner, plan: Plan) -> None:
    noisy = Disturbance(action_noise=0.3, push_chance=0.1, observation_noise=0.1)
    first, again, other = (
        run(planner, plan, disturbance=noisy, seed=seed).positions for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[:, 0], first[:, 1])


def test_a_disturbance_of_nothing_changes_nothing() -> None:
    calm = Disturber(Disturbance(), np.random.default_rng(0))
    actions = np.array([[0.5, -0.25], [1.0, 0.0]])
    np.testing.assert_array_equal(calm.acted(actions), actions.astype(np.float32))


def test_pushes_replace_actions_for_their_steps() -> None:
    always = Disturbance(push_chance=1.0, push_steps=4)
    disturber = Disturber(always, np.random.default_rng(0))
    acted = np.stack([disturber.acted(np.zeros((3, 2))) for _ in range(8)])
    np.testing.assert_allclose(np.linalg.norm(acted, axis=-1), 1, atol=1e-6)
    for first in (0, 4):
        assert (acted[first : first + 4] == acted[first]).all()
    assert (acted[3] != acted[4]).any()
    legs = Disturber(always, np.random.default_rng(0)).acted(np.zeros((5, 8)))
    assert legs.shape == (5, 8) and (np.abs(legs) == 1).all() and (legs != legs[0]).any()


def test_a_bias_is_the_same_in_each_step_of_an_episode() -> None:
    disturber = Disturber(Disturbance(action_bias=0.2), np.random.default_rng(0))
    acted = np.stack([disturber.acted(np.full((50, 8), 0.1)) for _ in range(3)])
    assert (acted == acted[0]).all()
    np.testing.assert_allclose(np.unique(acted), [-0.1, 0.3], atol=1e-6)


@pytest.mark.parametrize("delay", [1, 3])
def test_actions_act_late(delay: int) -> None:
    disturber = Disturber(Disturbance(action_delay=delay), np.random.default_rng(0))
    sent = np.random.default_rng(1).uniform(-1, 1, (9, 4, 8)).astype(np.float32)
    acted = np.stack([disturber.acted(each) for each in sent])
    np.testing.assert_array_equal(acted[delay:], sent[:-delay])
    assert not acted[:delay].any()


def test_observations_are_lost_whole() -> None:
    disturber = Disturber(Disturbance(observation_loss=0.3), np.random.default_rng(0))
    true = np.ones((4000, 4))
    lost = np.isnan(disturber.observed(true, PLANAR))
    assert (lost.all(1) == lost.any(1)).all() and abs(lost.mean() - 0.3) < 0.03
    assert not np.isnan(true).any(), "a copy"


@pytest.mark.parametrize(
    "wrong",
    [
        {"action_noise": -1},
        {"action_bias": -1},
        {"action_delay": 1.5},
        {"push_chance": 1.5},
        {"push_steps": 0},
        {"push_steps": 2.5},
        {"observation_loss": 1.5},
    ],
)
def test_impossible_disturbances_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Disturbance(**wrong)


def test_passing_distances_are_those_to_the_nearest_place() -> None:
    paths = np.array([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [1.0, 3.0], [2.0, 3.0]]])
    points = np.array([[1.0, 1.0], [5.0, 0.0]])
    expected = [[1.0, 3.0], [2.0, np.hypot(3, 3)]]
    np.testing.assert_allclose(passing_distances(points, paths), expected)


def test_more_disturbance_means_less_success(planner: ForcingPlanner, plan: Plan) -> None:
    shares = []
    for chance in (0.0, 0.3, 1.0):
        test = SuccessTest(2.0, 150, Disturbance(push_chance=chance), episodes=16)
        made = planner.model.statistics, planner.tracker()
        shares.append(simulated_share(plan, test, *made, seed=0).mean())
    assert shares[0] == 1.0 and shares[0] >= shares[1] >= shares[2] and shares[2] < 0.3


def test_the_probability_is_calibrated_and_counts_jumps(
    planner: ForcingPlanner, plan: Plan
) -> None:
    test = SuccessTest(2.0, 150, episodes=8)
    sure = success_probability(planner, plan, test, seed=0)
    assert (sure > 0.9).all()
    doubtful = replace(planner, calibration=Calibration(shift=-3.0))
    assert (success_probability(doubtful, plan, test, seed=0) < sure).all()
    risky = replace(plan, arrival=np.array([0.5, 1.0], np.float32))
    found = success_probability(planner, risky, test, seed=0)
    np.testing.assert_allclose(found, sure * [0.5, 1.0], rtol=1e-6)
    with pytest.raises(ConfigError, match="goal"):
        success_probability(planner, replace(plan, goal=None), test, seed=0)


def test_a_calibration_of_nothing_keeps_the_share() -> None:
    share = np.array([0.0, 0.25, 1.0])
    found = Calibration().probability(share, 1000)
    np.testing.assert_allclose(found, share, atol=1e-3)
    assert ((found > 0) & (found < 1)).all()
    some = Calibration(1.5, 0.1, 1.2, -0.3)
    assert Calibration.from_json(some.to_json()) == some


def test_tracking_regions_hold_their_share_of_the_episodes(
    planner: ForcingPlanner, plan: Plan
) -> None:
    noisy = Disturbance(action_noise=0.5, push_chance=0.05)
    episodes = run(planner, plan, episodes=40, disturbance=noisy)
    radii = tracking_regions(plan, episodes, Calibration(), coverage=0.9)
    others = run(planner, plan, episodes=40, disturbance=noisy, seed=1)
    inside = others.passing_distances(plan) <= radii[:, None] + 1e-6
    assert 0.85 <= inside.mean() <= 0.95
    wider = tracking_regions(plan, episodes, Calibration(stretch=2, tracking=0.3), coverage=0.9)
    np.testing.assert_allclose(wider, 2 * radii + 0.3, rtol=1e-5)


def test_unlikely_plans_are_refused(planner: ForcingPlanner, plan: Plan, corridor: Any) -> None:
    goals = np.stack([plan.observation[0, :2] + 0.5, plan.goal[1]])
    short = SuccessTest(2.0, 20, episodes=4, least=0.5)
    with pytest.raises(PlanRefusedError, match="row 1") as refused:
        RefusingPlanner(planner, short).plan(plan.observation, goals, seed=0)
    assert refused.value.rows == (1,)
    likely = RefusingPlanner(planner, replace(short, max_steps=150))
    made = likely.plan(plan.observation, goals, seed=0)
    np.testing.assert_array_equal(made.points, planner.plan(plan.observation, goals, seed=0).points)


def test_a_policy_holds_its_plan_when_the_next_one_is_refused(
    planner: ForcingPlanner, plan: Plan
) -> None:
    refusing = RefusingPlanner(planner, SuccessTest(2.0, 20, episodes=4, least=0.5))
    policy = Policy(refusing, on_error="hold", seed=0)
    start = plan.observation[:1]
    policy.act(start, start[:, :2] + 0.5)
    first = policy.plan
    with pytest.warns(UserWarning, match="probability"):
        policy.act(start, plan.goal[:1])
    assert policy.plan is first and policy.failed.all()
