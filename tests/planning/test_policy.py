"""When a policy plans, and which observations it accepts."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from straight import straight_plan

import dfplan
from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.policy import Policy
from dfplan.planning.rewards import Reach, Short
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import Pursuit, TimedPD, pursuit_gains
from dfplan.tokens.motion import Motion
from dfplan.types import Plan, Reward

BODY = Motion(dt=0.01, drag=0.00238, gain=0.2382, limit=5.0)
STARTS = np.array([[1.0, 1.0, 0.0, 0.0], [2.0, 5.0, 0.0, 0.0], [4.0, 3.0, 0.0, 0.0]])
GOALS = np.array([[6.0, 1.0], [2.0, 2.0], [1.0, 6.0]])
AWAY = np.array([5.0, 6.0])


@dataclass
class Straight(BasePlanner):
    """Plans straight lines, by reward alone to ``AWAY``, and records its calls.

    Goals beyond 100 are errors.
    """

    calls: list[tuple[np.ndarray, np.ndarray, int | None]] = field(default_factory=list)
    rewards: list[Reward | None] = field(default_factory=list)

    def make_plan(self, arguments: PlanArguments) -> Plan:
        observation, goal = arguments.observation, arguments.goal
        if goal is None:
            assert arguments.reward is not None
            goal = np.tile(AWAY, (len(observation), 1))
        if (goal > 100).any():
            raise ObservationError("too far")
        self.calls.append((observation, goal, arguments.seed))
        self.rewards.append(arguments.reward)
        return straight_plan(observation, goal)

    def tracker(self) -> Pursuit:
        return Pursuit(pursuit_gains(BODY), BODY.max_step)


def follow(
    policy: Policy, states: np.ndarray, goals: np.ndarray | None, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run a policy on bodies: (last states, actions [steps, ...])."""
    actions = []
    for _ in range(steps):
        action = policy.act(states, goals)
        position, velocity = BODY.advance(states[..., :2], states[..., 2:], action)
        states = np.concatenate([position, velocity], -1)
        actions.append(action)
    return states, np.stack(actions)


def test_it_plans_once_and_reaches_the_goal() -> None:
    planner = Straight()
    policy = Policy(planner)
    assert policy.plan is None
    states, actions = follow(policy, STARTS, GOALS, 300)
    assert len(planner.calls) == 1
    np.testing.assert_allclose(planner.calls[0][0], STARTS)
    np.testing.assert_allclose(planner.calls[0][1], GOALS)
    assert policy.plan is not None and len(policy.plan) == 3
    assert np.linalg.norm(states[:, :2] - GOALS, axis=1).max() < 0.1
    assert actions.dtype == np.float32 and np.abs(actions).max() <= 1


@pytest.mark.parametrize("reward", [None, Short()])
def test_the_reward_is_passed_to_every_plan(reward: Reward | None) -> None:
    planner = Straight()
    follow(Policy(planner, reward=reward, replan_every=10), STARTS, GOALS, 25)
    assert planner.rewards == [reward] * 3


def test_by_reward_alone_it_plans_once_and_arrives() -> None:
    planner = Straight()
    states, _ = follow(Policy(planner, reward=Short()), STARTS, None, 300)
    assert [len(call[0]) for call in planner.calls] == [3]
    np.testing.assert_allclose(states[:, :2], np.tile(AWAY, (3, 1)), atol=0.1)
    follow(Policy(planner, reward=Short(), replan_every=10), STARTS, None, 25)
    assert len(planner.calls) == 4


def test_adding_or_removing_a_goal_is_a_new_goal() -> None:
    planner = Straight()
    policy = Policy(planner, reward=Short())
    for goals in (None, None, GOALS, GOALS, None):
        policy.act(STARTS, goals)
    np.testing.assert_allclose(
        [call[1] for call in planner.calls], [np.tile(AWAY, (3, 1)), GOALS, np.tile(AWAY, (3, 1))]
    )


def test_by_reward_alone_it_acts_in_an_environment() -> None:
    env = gymnasium.make("dfplan/maze2d-umaze-v1")
    observation, _ = env.reset(seed=0, options={"start": [3.0, 1.0]})
    place = torch.tensor([1.0, 1.0])
    policy = Policy(dfplan.load("maze2d-umaze"), reward=500.0 * Reach(place), seed=0)
    nearest = np.inf
    for _ in range(300):
        observation, *_ = env.step(policy.act(observation))
        nearest = min(nearest, float(np.linalg.norm(observation[:2] - place.numpy())))
    assert nearest < 0.5


def test_reset_discards_plans() -> None:
    planner = Straight()
    policy = Policy(planner)
    follow(policy, STARTS, GOALS, 20)
    policy.reset()
    assert policy.plan is None
    follow(policy, STARTS, GOALS, 20)
    assert len(planner.calls) == 2 and len(planner.calls[1][0]) == 3


def test_a_new_goal_gives_its_row_a_new_plan() -> None:
    planner = Straight()
    policy = Policy(planner)
    states, _ = follow(policy, STARTS, GOALS, 20)
    other = GOALS.copy()
    other[1] += 0.5
    follow(policy, states, other, 20)
    assert len(planner.calls) == 2
    np.testing.assert_allclose(planner.calls[1][0], states[[1]], rtol=1e-6)
    np.testing.assert_allclose(planner.calls[1][1], other[[1]])


@pytest.mark.parametrize("tolerance", [0.3, 1.0])
def test_a_row_that_leaves_its_plan_gets_a_new_one(tolerance: float) -> None:
    planner = Straight()
    policy = Policy(planner, tolerance=tolerance)
    states, _ = follow(policy, STARTS, GOALS, 20)
    for off, calls in ((0.8 * tolerance, 1), (1.4 * tolerance, 2)):
        pushed = states.copy()
        pushed[0, 1] += off  # row 0 goes along the other axis
        policy.act(pushed, GOALS)
        assert len(planner.calls) == calls
    np.testing.assert_allclose(planner.calls[1][0], pushed[[0]], rtol=1e-6)
    policy.act(pushed, GOALS)
    assert len(planner.calls) == 2


def test_without_tolerance_a_push_gives_no_new_plan() -> None:
    planner = Straight()
    policy = Policy(planner, tolerance=None)
    follow(policy, STARTS, GOALS, 5)
    policy.act(STARTS + 50, GOALS)
    assert len(planner.calls) == 1


def test_a_body_that_is_not_at_the_end_of_its_plan_gets_a_new_one() -> None:
    still = np.array([STARTS[0], [*(GOALS[1] + np.array([0.3, 0.0])), 0.0, 0.0]])
    for tolerance, calls in ((1.0, 3), (None, 1)):
        planner = Straight()
        policy = Policy(planner, tolerance=tolerance, patience=None)
        for _ in range(250):  # two and a half times the plan's 100 steps
            policy.act(still, GOALS[:2])
        assert len(planner.calls) == calls
        assert all(len(call[0]) == 1 for call in planner.calls[1:]), (
            "a body at its goal needs no plan"
        )


@pytest.mark.parametrize("every", [1, 7, 20])
def test_replan_every_makes_plans_at_an_interval(every: int) -> None:
    planner = Straight()
    follow(Policy(planner, replan_every=every), STARTS, GOALS, 60)
    assert len(planner.calls) == -(-60 // every)


def test_the_interval_starts_with_the_plan_of_the_row() -> None:
    planner = Straight()
    policy = Policy(planner, replan_every=10)
    states, _ = follow(policy, STARTS, GOALS, 5)
    other = GOALS.copy()
    other[0] += 0.5
    follow(policy, states, other, 14)
    assert [len(call[0]) for call in planner.calls] == [3, 1, 2, 1]


def test_after_an_error_the_plan_is_tried_again() -> None:
    planner = Straight()
    policy = Policy(planner)
    bad = np.array([500.0, 1.0])
    for _ in range(2):
        with pytest.raises(ObservationError, match="too far"):
            policy.act(STARTS[0], bad)
    first = policy.act(STARTS[0], GOALS[0])
    for _ in range(2):
        with pytest.raises(ObservationError, match="too far"):
            policy.act(STARTS[0], bad)
    assert np.array_equal(policy.act(STARTS[0], GOALS[0]), first)
    assert len(planner.calls) == 1


def test_a_batch_equals_single_environments() -> None:
    together, _ = follow(Policy(Straight()), STARTS, GOALS, 50)
    for row in range(3):
        alone, actions = follow(Policy(Straight()), STARTS[row], GOALS[row], 50)
        assert actions.shape == (50, 2)
        np.testing.assert_allclose(alone, together[row], rtol=0, atol=1e-5)
        single, actions = follow(Policy(Straight()), STARTS[row : row + 1], GOALS[row], 50)
        assert actions.shape == (50, 1, 2)
        np.testing.assert_allclose(single[0], alone, rtol=0, atol=1e-12)


def test_dict_observations_contain_their_goal() -> None:
    flat, keyed = Straight(), Straight()
    policy = Policy(keyed)
    for states, goals in ((STARTS, GOALS), (STARTS[0], GOALS[0])):
        wanted = Policy(flat).act(states, goals)
        policy.reset()
        both = {"observation": states, "desired_goal": goals, "achieved_goal": states[..., :2]}
        np.testing.assert_array_equal(policy.act(both), wanted)
    policy.reset()
    policy.act(both, goal=GOALS[2])
    np.testing.assert_allclose(keyed.calls[-1][1], GOALS[[2]])
    fixed = Policy(keyed, goal=GOALS[1])
    fixed.act({"observation": STARTS[0]})
    np.testing.assert_allclose(keyed.calls[-1][1], GOALS[[1]])


def test_missing_arguments_are_errors() -> None:
    policy = Policy(Straight())
    with pytest.raises(ObservationError, match="needs a goal"):
        policy.act(STARTS)
    with pytest.raises(ObservationError, match="needs a goal"):
        policy.act({"observation": STARTS})
    with pytest.raises(ObservationError, match=r"keys observation.*got state"):
        policy.act({"state": STARTS})
    with pytest.raises(ObservationError, match="finite"):
        policy.act(STARTS * np.nan, GOALS)


def test_another_number_of_environments_needs_a_reset() -> None:
    policy = Policy(Straight())
    policy.act(STARTS, GOALS)
    with pytest.raises(ObservationError, match=r"Expected 3 environments.*got 2"):
        policy.act(STARTS[:2], GOALS[:2])
    policy.reset()
    assert policy.act(STARTS[:2], GOALS[:2]).shape == (2, 2)
    assert policy.act(STARTS[:2], GOALS[:2]).shape == (2, 2)


def test_seeds_of_plans_never_repeat() -> None:
    seeds = []
    for _ in range(2):
        planner = Straight()
        policy = Policy(planner, replan_every=1)
        policy.reset(seed=5)
        follow(policy, STARTS, GOALS, 4)
        seeds.append([call[2] for call in planner.calls])
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 4
    planner = Straight()
    Policy(planner, seed=5).act(STARTS, GOALS)
    Policy(planner, seed=6).act(STARTS, GOALS)
    Policy(planner).act(STARTS, GOALS)
    assert [call[2] for call in planner.calls[:1]] == seeds[0][:1]
    assert planner.calls[1][2] not in seeds[0] and planner.calls[2][2] is None


def test_a_seed_determines_every_action(planner: ForcingPlanner, corridor: Any) -> None:
    start = np.concatenate([corridor.at(np.array([3.0, 36.0])), np.zeros((2, 2))], 1)
    goal = corridor.at(np.array([30.0, 10.0]))
    runs = []
    for seed in (0, 0, 1):
        policy, states, actions = Policy(planner, tolerance=3.0), start, []
        policy.reset(seed)
        for _ in range(60):
            actions.append(policy.act(states, goal))
            states = corridor.advance(states, actions[-1])
        runs.append(np.stack(actions))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.fixture
def steered(planner: ForcingPlanner) -> ForcingPlanner:
    """A planner for a body without inertia that covers the same distance in a step."""
    step = planner.model.statistics.motion.max_step
    motion = Motion(dt=1.0, drag=1.0, gain=step, limit=step)
    statistics = replace(planner.model.statistics, motion=motion)
    return replace(planner, model=replace(planner.model, statistics=statistics))


def test_positions_are_enough_to_plan_without_inertia(
    steered: ForcingPlanner, corridor: Any
) -> None:
    starts, goal = corridor.at(np.array([3.0, 36.0])), corridor.at(np.array([30.0, 10.0]))
    states = np.concatenate([starts, np.zeros((2, 2))], 1)
    wanted = steered.plan(states, goal, seed=3)
    plan = steered.plan(starts, goal, seed=3)
    np.testing.assert_array_equal(plan.points, wanted.points)
    np.testing.assert_array_equal(plan.steps, wanted.steps)
    np.testing.assert_array_equal(plan.observation, states.astype(np.float32))
    alone = steered.plan(starts[0], goal[0], seed=3)
    np.testing.assert_array_equal(alone.points, steered.plan(states[0], goal[0], seed=3).points)
    assert alone.points.shape[0] == 1


def test_positions_are_enough_to_act_without_inertia(
    steered: ForcingPlanner, corridor: Any
) -> None:
    position, goal = corridor.at(np.array([3.0, 36.0])), corridor.at(np.array([30.0, 10.0]))
    step = steered.model.statistics.motion.max_step
    policy, with_velocity = (Policy(steered, tolerance=3.0, seed=0) for _ in range(2))
    for _ in range(200):
        action = policy.act({"observation": position, "desired_goal": goal})
        assert action.shape == (2, 2) and np.abs(action).max() <= 1
        state = np.concatenate([position, np.zeros((2, 2))], 1)
        np.testing.assert_array_equal(with_velocity.act(state, goal), action)
        position = position + step * action
    assert np.linalg.norm(position - goal, axis=1).max() < step
    assert corridor.away(position).max() < 3
    assert Policy(steered).act(position[0], goal[0]).shape == (2,)


def test_with_inertia_acting_needs_velocities_and_planning_does_not(
    planner: ForcingPlanner, corridor: Any
) -> None:
    start, goal = corridor.at(np.array([3.0]))[0], corridor.at(np.array([30.0]))[0]
    at_rest = planner.plan(np.append(start, [0.0, 0.0]), goal, seed=0)
    np.testing.assert_array_equal(planner.plan(start, goal, seed=0).points, at_rest.points)
    for observation in (start, np.stack([start] * 3)):
        with pytest.raises(ObservationError, match=r"velocities.*got 2 numbers"):
            Policy(planner).act(observation, goal)


def test_invalid_arguments_are_errors() -> None:
    class Bare:
        plan = Straight().plan

    with pytest.raises(ConfigError, match="Bare has no tracker"):
        Policy(Bare())
    assert Policy(Bare(), Straight().tracker()).act(STARTS, GOALS).shape == (3, 2)
    for every in (0, 1.5):
        with pytest.raises(ConfigError, match="replan_every must be"):
            Policy(Straight(), replan_every=every)  # type: ignore[arg-type]
    for tolerance in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="tolerance must be"):
            Policy(Straight(), tolerance=tolerance)


def test_predict_makes_new_plans_for_new_episodes() -> None:
    planner = Straight()
    policy = Policy(planner, goal=GOALS[0])
    nobody, second = np.zeros(3, dtype=bool), np.array([False, True, False])
    for starts in (~nobody, nobody, second, nobody):
        action, state = policy.predict(STARTS, state=None, episode_start=starts)
        assert action.shape == (3, 2) and state is None
    assert [len(call[0]) for call in planner.calls] == [3, 1]
    policy.predict(STARTS[:2], episode_start=np.ones(2, dtype=bool))
    assert [len(call[0]) for call in planner.calls] == [3, 1, 2]


class GoalInside(gymnasium.ObservationWrapper):  # type: ignore[misc]
    """Adds the goal to the observation, as in goal-conditioned environments."""

    def __init__(self, env: gymnasium.Env) -> None:  # type: ignore[type-arg]
        super().__init__(env)
        plane = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "observation": env.observation_space,
                "achieved_goal": plane,
                "desired_goal": plane,
            }
        )
        self._goal = np.zeros(2)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**options)
        self._goal = info["goal"]
        return self.observation(observation), info

    def observation(self, observation: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "observation": observation,
            "achieved_goal": observation[:2],
            "desired_goal": self._goal,
        }


OPEN = "#######\n#OOOOO#\n#OOOOO#\n#OOOOO#\n#######"


def test_stable_baselines3_evaluates_flat_observations() -> None:
    planner = Straight()
    env = make_vec_env("dfplan/maze2d-umaze-v1", n_envs=2, seed=0)
    goal = np.array([1.0, 1.0])
    returns, lengths = evaluate_policy(
        Policy(planner, goal=goal), env, n_eval_episodes=4, return_episode_rewards=True, warn=False
    )
    assert lengths == [300] * 4 and len(returns) == 4
    # New episodes started, with new plans.
    assert sum(len(call[0]) for call in planner.calls) >= 4
    assert (np.concatenate([call[1] for call in planner.calls]) == goal).all()


@pytest.mark.parametrize("count", [1, 2])
def test_stable_baselines3_evaluates_dict_observations(count: int) -> None:
    planner = Straight()

    def make() -> gymnasium.Env:  # type: ignore[type-arg]
        made = gymnasium.make("dfplan/maze2d-v1", maze=OPEN, goal="random", max_episode_steps=200)
        return GoalInside(made)

    env = make_vec_env(make, n_envs=count, seed=1)
    policy = Policy(planner)
    returns, lengths = evaluate_policy(
        policy, env, n_eval_episodes=2, return_episode_rewards=True, warn=False
    )
    assert lengths == [200, 200]
    assert min(returns) > 80, "in an open room the straight line arrives"
    assert len({tuple(goal) for call in planner.calls for goal in call[1]}) >= 2
    again = make_vec_env(make, n_envs=3 - count, seed=1)
    evaluate_policy(policy, again, n_eval_episodes=1, warn=False)


@pytest.mark.parametrize("name", [n for n in dfplan.pretrained_names() if n == "maze2d-umaze"])
def test_stable_baselines3_evaluates_a_shipped_planner(name: str) -> None:
    env = make_vec_env("dfplan/maze2d-umaze-v1", n_envs=4, seed=3)
    policy = Policy(dfplan.load(name), goal=np.array([1.0, 1.0]), seed=0)
    mean, _ = evaluate_policy(policy, env, n_eval_episodes=4, warn=False)
    assert mean > 150


@dataclass
class Slow(Straight):
    """Makes a plan when a test releases it."""

    ready: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def make_plan(self, arguments: PlanArguments) -> Plan:
        assert self.ready.acquire(timeout=30)
        return super().make_plan(arguments)


def act_until_planned(policy: Policy, goal: np.ndarray) -> tuple[int, np.ndarray]:
    """(Steps until there is another plan, the action of the last one)."""
    before, steps = policy.plan, 0
    while policy.plan is before:
        action, steps = policy.act(STARTS[0], goal), steps + 1
    return steps, action


def test_with_a_deadline_no_step_waits_for_a_plan() -> None:
    planner = Slow()
    policy = Policy(planner, deadline_ms=20)
    for _ in range(3):
        assert (policy.act(STARTS[0], GOALS[0]) == 0).all(), "at rest before the first plan"
    assert policy.plan is None
    planner.ready.release()
    assert act_until_planned(policy, GOALS[0])[1][0] > 0.5
    first, behind = policy.plan, np.array([-4.0, 1.0])
    for _ in range(3):
        assert policy.act(STARTS[0], behind)[0] > 0.5, "as planned before"
    assert policy.plan is first
    planner.ready.release()
    assert act_until_planned(policy, behind)[1][0] < -0.5
    assert len(planner.calls) == 2, "each plan is ordered once"


def test_a_plan_that_comes_late_is_followed_from_the_present_step_on() -> None:
    planner = Slow()
    policy = Policy(planner, TimedPD(1.0, 0.0), deadline_ms=20)
    for _ in range(10):
        policy.act(STARTS[0], GOALS[0])
    planner.ready.release()
    steps, action = act_until_planned(policy, GOALS[0])
    timely = Policy(Straight(), TimedPD(1.0, 0.0), tolerance=None)
    expected = [timely.act(STARTS[0], GOALS[0]) for _ in range(10 + steps)]
    np.testing.assert_array_equal(action, expected[-1])


def test_a_reset_forgets_the_plan_that_is_being_made() -> None:
    planner = Slow()
    policy = Policy(planner, deadline_ms=20)
    policy.act(STARTS[1], GOALS[1])
    policy.reset()
    planner.ready.release(2)
    act_until_planned(policy, GOALS[0])
    assert policy.plan is not None
    np.testing.assert_array_equal(policy.plan.points[0, 0], STARTS[0, :2])


@pytest.mark.parametrize("on_error", ["raise", "hold"])
def test_errors_of_the_thread_are_those_of_the_policy(on_error: str) -> None:
    policy = Policy(Straight(), on_error=on_error, deadline_ms=10_000)
    policy.act(STARTS[0], GOALS[0])
    if on_error == "raise":
        with pytest.raises(ObservationError, match="too far"):
            policy.act(STARTS[0], np.array([500.0, 1.0]))
    else:
        with pytest.warns(UserWarning, match="too far"):
            policy.act(STARTS[0], np.array([500.0, 1.0]))
        assert policy.failed.all()


def test_with_time_to_spare_a_deadline_changes_nothing(planner: ForcingPlanner) -> None:
    start, goal = np.array([-20.0, 40.0, 0.0, 0.0]), np.array([-10.0, 40.0])
    first, second = (
        Policy(planner, seed=0, replan_every=4, deadline_ms=deadline) for deadline in (None, 60_000)
    )
    for _ in range(10):
        np.testing.assert_array_equal(first.act(start, goal), second.act(start, goal))


@pytest.mark.parametrize("deadline", [0, -1, np.nan, "soon"])
def test_a_deadline_is_a_positive_number(deadline: Any) -> None:
    with pytest.raises(ConfigError, match="deadline_ms"):
        Policy(Straight(), deadline_ms=deadline)
