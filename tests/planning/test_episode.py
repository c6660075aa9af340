"""Episodes of a policy in an environment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dfplan
from dfplan.planning.episode import run_episode
from dfplan.planning.policy import Policy


@pytest.fixture(scope="module")
def planner() -> Any:
    return dfplan.load("maze2d-umaze")


def test_an_episode_equals_a_loop_by_hand(planner: Any) -> None:
    env = dfplan.make("multi2d-umaze")
    kept = run_episode(
        env, Policy(planner, replan_every=20), seed=3, stop_at_goal=False, max_steps=120
    )
    policy = Policy(planner, replan_every=20)
    observation, _ = env.reset(seed=3)
    policy.reset(3)
    positions, reached = [observation["observation"][:2]], None
    for step in range(1, 121):
        action = policy.act(observation)
        observation, _, _, _, info = env.step(action)
        positions.append(observation["observation"][:2])
        if reached is None and info["success"]:
            reached = step
    np.testing.assert_array_equal(kept.positions, positions)
    assert kept.reached == reached and len(kept.rewards) == 120
    np.testing.assert_array_equal(kept.goal, observation["desired_goal"])
    assert [step for step, _ in kept.plans][:3] == [0, 20, 40]
    for step, plan in kept.plans:
        np.testing.assert_allclose(plan.points[0, 0], kept.positions[step], atol=1e-3)


def test_it_stops_at_the_goal_or_at_the_end(planner: Any) -> None:
    env = dfplan.make("multi2d-umaze", max_steps=150)
    kept = run_episode(env, Policy(planner), seed=3)
    assert kept.reached == len(kept.rewards) == len(kept.positions) - 1
    whole = run_episode(env, Policy(planner), seed=3, stop_at_goal=False)
    assert len(whole.rewards) == 150
    np.testing.assert_array_equal(whole.positions[: len(kept.positions)], kept.positions)


def test_other_forms_of_an_environment(planner: Any) -> None:
    import gymnasium

    flat = gymnasium.make("dfplan/multi2d-umaze-v1")  # the goal is in info
    start = {"options": {"start": [1.0, 1.0], "goal": [3.0, 1.0]}}
    kept = run_episode(flat, Policy(planner), seed=0, **start)
    np.testing.assert_array_equal(kept.goal, [3.0, 1.0])
    assert kept.reached is not None and kept.maze == planner.maze
    with pytest.raises(dfplan.DfplanError, match="max_steps"):
        run_episode(flat, Policy(planner), max_steps=0)


def test_seeds_may_be_numpy_integers(planner: Any) -> None:
    import gymnasium

    class Strict(gymnasium.Wrapper[Any, Any, Any, Any]):
        def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            assert type(seed) is int
            return super().reset(seed=seed, options=options)

    env = Strict(dfplan.make("multi2d-umaze"))
    seed: Any = np.uint8(3)
    kept = run_episode(env, Policy(planner), seed=seed, max_steps=5)
    expected = run_episode(dfplan.make("multi2d-umaze"), Policy(planner), seed=3, max_steps=5)
    np.testing.assert_array_equal(kept.positions, expected.positions)
    wrong: Any
    for wrong in (1.5, -1, "3"):
        with pytest.raises(dfplan.DfplanError, match="seed"):
            run_episode(env, Policy(planner), seed=wrong)
