"""Environments are equal to the ones that the suites ship, bit for bit."""

from __future__ import annotations

from typing import Any, cast

import gymnasium
import numpy as np
import pytest

from dfplan.envs.make import NAMES, make

SHIPPED = {
    "maze2d-large": "dfplan/maze2d-large-v1",
    "multi2d-umaze": "dfplan/multi2d-umaze-v1",
    "pointmaze-umaze": "PointMaze_UMaze-v3",
    "pointmaze-medium": "PointMaze_Medium-v3",
    "pointmaze-large": "PointMaze_Large-v3",
    "ogbench-medium": "pointmaze-medium-v0",
    "ogbench-large": "pointmaze-large-v0",
    "ogbench-giant": "pointmaze-giant-v0",
    "ogbench-teleport": "pointmaze-teleport-v0",
    "ogbench-antmaze-medium": "antmaze-medium-v0",
    "ogbench-antmaze-teleport": "antmaze-teleport-v0",
}


def actions(seed: int, steps: int, size: int, hold: int = 20) -> np.ndarray:
    rng = np.random.default_rng(seed)
    held = rng.uniform(-1.0, 1.0, size=(-(-steps // hold), size)).astype(np.float32)
    return np.repeat(held, hold, axis=0)[:steps]


def shipped(name: str) -> gymnasium.Env[Any, Any]:
    import gymnasium_robotics
    import ogbench  # noqa: F401

    gymnasium.register_envs(gymnasium_robotics)
    return gymnasium.make(SHIPPED[name], disable_env_checker=True)


def state_of(observation: Any) -> np.ndarray:
    return np.array(observation["observation"] if isinstance(observation, dict) else observation)


@pytest.mark.parametrize("name", SHIPPED)
def test_episodes_equal_those_of_the_shipped_environment(name: str) -> None:
    ours, theirs = make(name), shipped(name)
    forces = actions(1, 300, ours.suite.action_size)
    for episode in range(3):
        seed = 7 if episode == 0 else None
        caller = np.random.get_state()
        if seed is not None:
            np.random.seed(seed)
            mine = np.random.get_state()
        np.random.set_state(mine)  # continue the random numbers that the package draws
        expected, their_info = theirs.reset(seed=seed)
        mine = np.random.get_state()
        np.random.set_state(caller)
        observation, info = ours.reset(seed=seed)
        np.testing.assert_array_equal(observation["observation"], state_of(expected))
        goal = expected["desired_goal"] if isinstance(expected, dict) else their_info["goal"][:2]
        np.testing.assert_array_equal(observation["desired_goal"], goal)
        assert info["success"] == their_info.get("success", False)
        for force in forces:
            observation, *our_result, info = ours.step(force)
            expected, *their_result, their_info = theirs.step(force)
            np.testing.assert_array_equal(observation["observation"], state_of(expected))
            np.testing.assert_array_equal(observation["desired_goal"], goal)
            assert our_result == their_result
            assert info["success"] == bool(their_info["success"])
            if our_result[1]:
                break


def hugging(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Actions of all sizes, some for one step, some held until the ball slides along walls."""
    rows = []
    while len(rows) < steps:
        action = rng.choice([-1.0, 1.0], 2) * np.where(rng.random(2) < 0.5, 1.0, rng.random(2))
        rows += [action] * int(rng.choice([1, 3, 10, 40]))
    return np.array(rows[:steps], np.float32)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if SHIPPED.get(name, "").startswith("pointmaze")]
)
def test_omitted_simulation_does_not_change_any_step(name: str) -> None:
    ours, theirs = make(name), shipped(name)
    mine, suite = cast(Any, ours.unwrapped), cast(Any, theirs.unwrapped)
    rng = np.random.default_rng(4)
    pushed = steps = 0
    for pair in range(1, 6):
        options = {"task_id": pair}
        np.random.seed(pair)  # the package draws from NumPy's global generator
        expected, _ = theirs.reset(seed=pair, options=options)
        observation, _ = ours.reset(seed=pair, options={"start_goal_pair": pair})
        for action in hugging(rng, 1200):
            assert observation["observation"].tobytes() == expected.tobytes()
            expected, *their_result, their_info = theirs.step(action)
            observation, *our_result, info = ours.step(action)
            steps, pushed = steps + 1, pushed + suite.data.qvel.any()
            assert our_result == their_result
            assert info.keys() == their_info.keys()
            for key in their_info:
                assert (
                    np.array(info[key], float).tobytes()
                    == np.array(their_info[key], float).tobytes()
                )
            assert mine.data.qpos.tobytes() == suite.data.qpos.tobytes()
            assert mine.data.qvel.tobytes() == suite.data.qvel.tobytes()
            assert mine.data.qacc_warmstart.tobytes() == suite.data.qacc_warmstart.tobytes()
            if our_result[1] or our_result[2]:
                expected, _ = theirs.reset(options=options)
                observation, _ = ours.reset(options={"start_goal_pair": pair})
    assert 0.2 < pushed / steps < 0.7


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("pointmaze")])
def test_dynamics_computed_once_equal_those_computed_twice(name: str) -> None:
    ours, theirs = make(name), shipped(name)
    mine, suite = cast(Any, ours.unwrapped), cast(Any, theirs.unwrapped)
    rng = np.random.default_rng(5)
    touched = 0
    for seed in range(3):
        expected, _ = theirs.reset(seed=seed)
        observation, _ = ours.reset(seed=seed)
        # Faster than the suite allows, so that the first step must clip it.
        mine.data.qvel[:] = suite.data.qvel[:] = [7.0, -6.0]
        for action in hugging(rng, ours.max_steps):
            expected, *their_result, their_info = theirs.step(action)
            observation, *our_result, info = ours.step(action)
            touched += suite.data.ncon > 1
            assert our_result == their_result
            assert info == their_info
            for key in expected:
                assert observation[key].tobytes() == expected[key].tobytes()
            assert mine.data.qacc_warmstart.tobytes() == suite.data.qacc_warmstart.tobytes()
    assert touched > 0.2 * 3 * ours.max_steps


def test_success_at_the_radius_itself_equals_the_suites() -> None:
    ours, theirs = make("pointmaze-large"), shipped("pointmaze-large")
    mine, suite = cast(Any, ours.unwrapped), cast(Any, theirs.unwrapped)
    rng = np.random.default_rng(6)
    successes = []
    ours.reset(seed=0)
    theirs.reset(seed=0)
    for action in actions(2, 390, 2):  # the shipped environment makes two of its 800 steps for each
        initial = suite.data.qpos, suite.data.qvel, suite.data.qacc_warmstart
        before = [array.copy() for array in initial]
        after = theirs.step(action)[0]["achieved_goal"]
        for array, value in zip(initial, before, strict=True):
            array[:] = value
        angle = rng.uniform(0.0, 2.0 * np.pi)
        off = ours.goal_radius * np.array([np.cos(angle), np.sin(angle)])
        mine.goal = suite.goal = after + off * (1.0 + rng.choice([-3, -1, 0, 1, 3]) * 2.0**-53)
        expected, *their_result, info = theirs.step(action)
        observation, *our_result, ours_info = ours.step(action)
        assert observation["observation"].tobytes() == expected["observation"].tobytes()
        assert our_result == their_result
        assert ours_info == info
        successes.append(info["success"])
    assert 0.2 < np.mean(successes) < 0.8


def test_teleports_equal_the_suites_and_depend_only_on_the_seed() -> None:
    env, theirs = make("ogbench-teleport"), shipped("ogbench-teleport")
    suite: Any = theirs.unwrapped
    start, entrance = env.maze.cell_to_xy([3, 6]), env.maze.cell_to_xy([4, 6])
    np.random.seed(3)
    theirs.reset(seed=3)
    mine = np.random.get_state()
    np.random.seed(99)
    exits = set()
    for episode in range(12):
        env.reset(seed=3 if episode == 0 else None, options={"start": start})
        if episode:
            np.random.set_state(mine)
            theirs.reset()
            mine = np.random.get_state()
        suite.set_xy(start)
        for _ in range(25):
            force = np.sign(np.round(entrance - suite.get_xy(), 1)).astype(np.float32)
            np.random.set_state(mine)
            expected = theirs.step(force)[0]
            mine = np.random.get_state()
            np.random.seed(99)
            before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
            np.testing.assert_array_equal(env.step(force)[0]["observation"], expected)
            np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
            if np.linalg.norm(suite.get_xy() - entrance) > 4.5:
                exits.add(tuple(env.maze.xy_to_cell(suite.get_xy())))
                break
        else:
            raise AssertionError("no teleport was reached")
    assert exits == {(1, 7), (6, 1), (6, 10)}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ogbench")])
def test_start_goal_pairs_equal_ogbenchs_with_its_noise(name: str) -> None:
    env = make(name)
    suite: Any = env.unwrapped
    assert len(suite.task_infos) == env.start_goal_pairs
    for pair in range(1, env.start_goal_pairs + 1):
        cells = suite.task_infos[pair - 1]
        seen = [env.reset(seed=seed, options={"start_goal_pair": pair})[0] for seed in range(3)]
        for key, cell in (("achieved_goal", "init_ij"), ("desired_goal", "goal_ij")):
            offsets = [here[key] - env.maze.cell_to_xy(cells[cell]) for here in seen]
            assert np.abs(offsets).max() <= 1.0
            assert len(np.unique(offsets)) == 6


@pytest.mark.parametrize("name", NAMES)
def test_mazes_are_placed_as_in_the_package(name: str) -> None:
    env = make(name)
    suite: Any = env.unwrapped
    cells = np.argwhere(np.ones(env.maze.shape))
    if name.startswith("pointmaze"):
        grid, place = suite.maze.maze_map, suite.maze.cell_rowcol_to_xy
    elif name.startswith("ogbench"):
        grid, place = suite.maze_map, suite.ij_to_xy
        assert suite._goal_tol == env.goal_radius
    else:
        return  # tests/envs/test_dynamics.py compares these
    np.testing.assert_array_equal(env.maze.walls, np.array(grid) == 1)
    np.testing.assert_allclose(env.maze.cell_to_xy(cells), [place(cell) for cell in cells])
