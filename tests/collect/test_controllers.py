"""The controllers that collected the data: each suite's is the data's own."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from dfplan.collect.controllers import DataController
from dfplan.collect.minari import PointMazeController
from dfplan.collect.waypoint import WaypointController
from dfplan.envs.make import make
from dfplan.errors import MazeError, ObservationError
from dfplan.evaluation.bounds import steps_needed
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import named_task, problems
from dfplan.evaluation.statistics import mean

UMAZE = named_task("maze2d-umaze", "validation")


def test_scores_as_the_controller_of_the_data_does() -> None:
    drawn = problems(UMAZE, 100)
    played = run_episodes(DataController(UMAZE.maze), UMAZE, drawn, progress=False)
    assert played.success.all() and played.rewards[:, -1].all()
    assert mean(played.scores()[None]).value == pytest.approx(142.5, abs=15)  # three errors
    bound = UMAZE.upper_bound(steps_needed(UMAZE.maze, drawn.starts, drawn.goals))
    assert 0.78 < played.scores().mean() / bound.mean() < 0.89


@pytest.mark.parametrize("name", ["maze2d-large", "multi2d-medium"])
def test_d4rls_is_its_waypoint_controller(name: str) -> None:
    task = named_task(name)
    drawn = problems(task, 2)
    policy = DataController(task.maze)
    policy.reset(seed=11)
    drivers = [WaypointController(task.maze, np.random.default_rng(11 + row)) for row in (0, 1)]
    envs = [make(task.environment) for _ in drivers]
    states = np.array(
        [
            env.reset(options={"start": start, "goal": goal})[0]["observation"]
            for env, start, goal in zip(envs, drawn.starts, drawn.goals, strict=True)
        ]
    )
    for _ in range(300):
        actions = policy.act(states, drawn.goals)
        for row, driver in enumerate(drivers):
            q0, q1, v0, v1 = states[row].tolist()
            goal0, goal1 = drawn.goals[row].tolist()
            wanted = driver.act(q0, q1, v0, v1, (goal0, goal1))[:2]
            assert actions[row].tolist() == np.clip(wanted, -1, 1).tolist()
            states[row] = envs[row].step(actions[row])[0]["observation"]


@pytest.mark.parametrize("name", ["pointmaze-umaze", "pointmaze-large"])
def test_pointmazes_is_that_of_minaris_data(name: str) -> None:
    task = named_task(name)
    drawn = problems(task, 3)
    played = run_episodes(DataController(task.maze), task, drawn, seed=5, progress=False)
    assert drawn.seeds is not None
    for row in range(3):
        env, rng = make(task.environment), np.random.default_rng(5 + row)
        walker = PointMazeController(task.maze, rng)
        state = env.reset(seed=int(drawn.seeds[row]))[0]["observation"]
        goal0, goal1 = drawn.goals[row].tolist()
        rewards = []
        for _ in range(task.max_steps):
            action = np.clip(walker.act(*state.tolist(), (goal0, goal1)), -1, 1)
            observation, reward, *_ = env.step(action)
            state = observation["observation"]
            rewards.append(reward)
        env.close()
        assert played.rewards[row].tolist() == rewards and sum(rewards) > 50


@pytest.mark.parametrize("name", ["ogbench-medium-navigate", "ogbench-teleport-stitch"])
def test_ogbenchs_is_the_packages_oracle(name: str) -> None:
    task = named_task(name)
    env = make(task.environment)
    suite = cast(Any, env.unwrapped)
    policy, split = DataController(task.maze), 0
    cells = np.random.default_rng(0).permutation(task.maze.free_cells)
    free = task.maze.free_cells.tolist()
    for here in cells[:12]:
        for there in free[::5]:
            place, goal = task.maze.cell_to_xy(here) + 0.3, task.maze.cell_to_xy(there) - 0.2
            suite.set_goal(goal_xy=goal)
            subgoal, _ = suite.get_oracle_subgoal(place, goal)
            ahead = np.asarray(subgoal) - place
            wanted = ahead / (np.linalg.norm(ahead) + 1e-6)
            policy.reset()
            np.testing.assert_allclose(policy.act(place, goal), wanted, atol=1e-9)
            try:
                task.maze.shortest_path(here, there)
            except MazeError:
                split += 1
    env.close()
    # Cells that only a teleport leads to.
    assert (split > 0) == ("teleport" in name)


def test_rows_and_single_observations_agree() -> None:
    for name in ("multi2d-umaze", "pointmaze-umaze", "ogbench-medium-navigate"):
        task = named_task(name)
        drawn = problems(task, 3)
        together, alone = DataController(task.maze), DataController(task.maze)
        together.reset(seed=7)
        actions = together.act(drawn.starts, drawn.goals)
        assert actions.shape == (3, 2) and np.abs(actions).max() <= 1
        for row in range(3):
            alone.reset(seed=7 + row)
            action = alone.act(drawn.starts[row], drawn.goals[row])
            assert action.shape == (2,)
            assert np.array_equal(action, actions[row])


def test_misuse_is_an_error() -> None:
    drawn = problems(UMAZE, 3)
    policy = DataController(UMAZE.maze)
    with pytest.raises(ObservationError, match="needs a goal"):
        policy.act(drawn.starts)
    policy.act(drawn.starts, drawn.goals)
    with pytest.raises(ObservationError, match="Call reset"):
        policy.act(drawn.starts[:2], drawn.goals[:2])
    policy.reset()
    assert policy.act(drawn.starts[:2], drawn.goals[:2]).shape == (2, 2)
