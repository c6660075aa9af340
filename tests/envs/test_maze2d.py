from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from scipy.stats import chisquare, kstest

import dfplan.envs
from dfplan.envs.maze2d import Maze2DEnv
from dfplan.errors import ConfigError, MazeError, ObservationError
from dfplan.mazes import named_maze
from dfplan.suites import D4RL

dfplan.envs.register_environments()

ASCII = """
    #######
    #G....#
    #.###.#
    #.....#
    #######
"""
IDS = [f"dfplan/{kind}-{maze}-v1" for kind in ("maze2d", "multi2d") for maze in D4RL.episode_steps]


def make(name: str, **arguments: Any) -> gymnasium.Env[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return gymnasium.make(name, **arguments)


@pytest.mark.parametrize("name", [*IDS, "dfplan/maze2d-v1"])
def test_gymnasiums_checker_passes(name: str) -> None:
    arguments = {"maze": ASCII} if name == "dfplan/maze2d-v1" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(name, **arguments).unwrapped)


def test_registering_twice_changes_nothing() -> None:
    before = dict(gymnasium.registry)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dfplan.envs.register_environments()
    assert dict(gymnasium.registry) == before


@pytest.mark.parametrize("maze", D4RL.episode_steps)
def test_episodes_have_the_published_length_and_do_not_end_at_the_goal(maze: str) -> None:
    env = make(f"dfplan/maze2d-{maze}-v1")
    goal = named_maze(maze).goal
    assert goal is not None
    env.reset(seed=0, options={"start": [*goal, 0.0, 0.0]})
    total, steps, truncated = 0.0, 0, False
    while not truncated:
        _, reward, terminated, truncated, info = env.step(np.zeros(2, dtype=np.float32))
        assert not terminated
        assert info["success"]
        total, steps = total + float(reward), steps + 1
    assert steps == D4RL.episode_steps[maze]
    assert total == steps


def test_the_length_of_episodes_in_a_custom_maze_is_an_argument() -> None:
    for steps in (3, 7):
        env = make("dfplan/maze2d-v1", maze=ASCII, max_episode_steps=steps)
        env.reset(seed=0)
        cut = [env.step(np.zeros(2, dtype=np.float32))[3] for _ in range(steps)]
        assert cut == [False] * (steps - 1) + [True]


@pytest.mark.parametrize("distance", [0.499, 0.501])
def test_success_is_within_half_a_unit_of_the_goal(distance: float) -> None:
    env = Maze2DEnv("large")
    for goal, direction in (
        ((7.0, 9.0), (-1, 0)),
        ((7.0, 9.0), (0, -1)),
        ((7.0, 1.6), (-0.6, 0.8)),
    ):
        start = np.array(goal) + distance * np.array(direction)
        _, info = env.reset(options={"start": [*start, 0.0, 0.0], "goal": goal})
        assert info["success"] is (distance <= D4RL.goal_radius)


def test_the_reward_is_for_the_state_after_the_step() -> None:
    env = Maze2DEnv("large")
    goal = np.array([7.0, 9.0])
    for offset, speed, before, reward in ((0.52, -5.0, False, 1.0), (0.48, 5.0, True, 0.0)):
        start = [7.0, 9.0 + offset, 0.0, speed]
        _, info = env.reset(options={"start": start})
        assert info["success"] is before
        state, paid, _, _, info = env.step(np.zeros(2))
        assert paid == reward
        assert info["success"] is bool(reward)
        assert (np.linalg.norm(state[:2] - goal) <= D4RL.goal_radius) == bool(reward)


@pytest.mark.parametrize("maze", D4RL.episode_steps)
def test_starts_have_the_published_distribution(maze: str) -> None:
    env = Maze2DEnv(maze)
    starts = [env.reset(seed=7)[0], *(env.reset()[0] for _ in range(2999))]
    positions, velocities = np.array(starts)[:, :2], np.array(starts)[:, 2:]
    cells = np.round(positions).astype(int)
    noise = positions - cells
    assert np.abs(noise).max() <= 0.1 + 1e-9
    counts = [(cells == cell).all(1).sum() for cell in env.maze.free_cells]
    assert sum(counts) == len(starts), "some start is not at a free cell"
    assert chisquare(counts).pvalue > 0.001, "cells are not drawn uniformly"
    for axis in (0, 1):
        assert kstest(noise[:, axis], "uniform", (-0.1, 0.2)).pvalue > 0.001
        assert kstest(velocities[:, axis], "norm", (0.0, 0.1)).pvalue > 0.001


@pytest.mark.parametrize("maze", D4RL.episode_steps)
def test_goals_are_fixed_or_uniform_over_the_free_cells(maze: str) -> None:
    fixed, multi = make(f"dfplan/maze2d-{maze}-v1"), make(f"dfplan/multi2d-{maze}-v1")
    for seed in range(3):
        np.testing.assert_array_equal(fixed.reset(seed=seed)[1]["goal"], named_maze(maze).goal)
    goals = np.array([multi.reset(seed=k)[1]["goal"] for k in range(1500)])
    cells = np.round(goals).astype(int)
    counts = [(cells == cell).all(1).sum() for cell in named_maze(maze).free_cells]
    assert sum(counts) == len(goals)
    assert chisquare(counts).pvalue > 0.001
    assert 0.09 < np.abs(goals - cells).max() <= 0.1


def test_the_goal_is_an_argument_or_marked_in_the_maze_or_random() -> None:
    given = make("dfplan/maze2d-v1", maze=ASCII, goal=[3.0, 5.0])
    drawn = make("dfplan/maze2d-v1", maze=ASCII, goal="random")
    unmarked = make("dfplan/maze2d-v1", maze=ASCII.replace("G", "."))
    assert {tuple(given.reset(seed=k)[1]["goal"]) for k in range(5)} == {(3.0, 5.0)}
    for env in (drawn, unmarked):
        assert len({tuple(env.reset(seed=k)[1]["goal"]) for k in range(5)}) == 5


def test_options_set_start_and_goal_for_one_episode() -> None:
    env = Maze2DEnv("large")
    observation, info = env.reset(seed=0, options={"start": [1.0, 2.0, 0.5, -4.0], "goal": [2, 1]})
    np.testing.assert_allclose(observation, [1.0, 2.0, 0.5, -4.0], atol=1e-12)
    np.testing.assert_array_equal(info["goal"], [2.0, 1.0])
    observation, info = env.reset(options={"start": np.float32([1, 2])})
    np.testing.assert_allclose(observation[:2], [1.0, 2.0], atol=1e-12)
    assert 0.0 < np.abs(observation[2:]).max() < 1.0, "the velocity is not drawn"
    np.testing.assert_array_equal(info["goal"], [7.0, 9.0])


def test_a_given_start_does_not_change_the_drawn_goal() -> None:
    env = Maze2DEnv("medium", goal="random")
    drawn = env.reset(seed=11)[1]["goal"]
    np.testing.assert_array_equal(
        env.reset(seed=11, options={"start": [1.0, 1.0]})[1]["goal"], drawn
    )
    start = env.reset(seed=11)[0]
    np.testing.assert_array_equal(env.reset(seed=11, options={"goal": [1, 1]})[0], start)


def test_arrays_are_not_shared_with_the_caller() -> None:
    env = Maze2DEnv("large")
    goal, start = np.array([7.0, 8.0]), np.array([1.0, 1.0, 0.0, 0.0])
    first, info = env.reset(options={"start": start, "goal": goal})
    goal[:], start[:] = 1.0, 5.0
    info["goal"][:] = 1.0
    np.testing.assert_array_equal(env.step(np.zeros(2))[4]["goal"], [7.0, 8.0])
    first[:] = 9.0
    assert env.step(np.zeros(2))[0][0] == pytest.approx(1.0, abs=1e-3)


def test_every_reachable_state_can_be_a_start() -> None:
    env = Maze2DEnv("umaze")
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    for step in range(3000):
        if step % 40 == 0:
            force = rng.choice([-1.0, 1.0], size=2)
        observation = env.step(force)[0]
        assert observation in env.observation_space
        if step % 10 == 0:
            again, _ = env.reset(options={"start": observation})
            np.testing.assert_allclose(again, observation, atol=1e-12)


def test_environments_in_other_processes_are_equal() -> None:
    name = "dfplan/multi2d-large-v1"
    runs = []
    for mode in ("sync", "async"):
        envs = gymnasium.make_vec(name, num_envs=2, vectorization_mode=mode)
        observation, info = envs.reset(seed=5)
        actions = np.random.default_rng(0).uniform(-1, 1, size=(50, 2, 2)).astype(np.float32)
        states = [envs.step(action)[0].copy() for action in actions]
        runs.append((observation, info["goal"], np.array(states)))
        envs.close()
    for left, right in zip(*runs, strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(runs[0][1][0], runs[0][1][1]), "both have the same goal"


def test_rendering_needs_a_render_mode() -> None:
    env = make("dfplan/maze2d-large-v1", render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert isinstance(frame, np.ndarray)
    assert frame.shape == (360, 480, 3)
    silent = Maze2DEnv("large")
    silent.reset(seed=0)
    assert silent.render() is None


WALL = [0.0, 0.0]
BAD_OPTIONS = [
    ({"start": WALL}, MazeError, "start .*free space"),
    ({"start": [1.0, 0.31]}, MazeError, "start .*free space"),
    ({"start": [-4.0, 90.0]}, MazeError, "start .* outside"),
    ({"start": [1.0, 1.0, 50.0, 0.0]}, ObservationError, "velocity"),
    ({"start": [1.0, np.nan]}, ObservationError, "start .*nan"),
    ({"start": [1.0, 1.0, np.inf, 0.0]}, ObservationError, "start .*2 or 4"),
    ({"start": [1.0, 1.0, 1.0]}, ObservationError, "start .*2 or 4"),
    ({"start": [[1.0, 1.0]]}, ObservationError, "start .*2 or 4"),
    ({"start": "here"}, ObservationError, "start .*here"),
    ({"goal": WALL}, MazeError, "goal .*free space"),
    ({"goal": [99.0, 1.0]}, MazeError, "goal .* outside"),
    ({"goal": [1.0, 1.0, 0.0, 0.0]}, ObservationError, "goal .*2 finite"),
    ({"goal": [None, 1.0]}, ObservationError, "goal .*2 finite"),
    ({"goals": [1.0, 1.0]}, ConfigError, "'goals'.*'goal'"),
    ({"reset_cell": [1, 1]}, ConfigError, "reset_cell"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_OPTIONS)
def test_a_wrong_option_is_refused_and_the_episode_continues(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    env, twin = Maze2DEnv("umaze", goal="random"), Maze2DEnv("umaze", goal="random")
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(error, match=message):
        env.reset(seed=9, options=options)
    left, right = env.step(np.ones(2)), twin.step(np.ones(2))
    np.testing.assert_array_equal(left[0], right[0])
    np.testing.assert_array_equal(left[4]["goal"], right[4]["goal"])
    np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])


@pytest.mark.parametrize(
    "action", [[1.0], [1.0, 0.0, 0.0], [[1.0, 0.0]], [np.nan, 0.0], "up", None]
)
def test_a_wrong_action_is_refused_without_motion(action: object) -> None:
    env = Maze2DEnv("umaze")
    start, _ = env.reset(seed=0)
    with pytest.raises(ObservationError, match="action"):
        env.step(action)  # type: ignore[arg-type]
    observation = env.step(np.zeros(2))[0]
    np.testing.assert_allclose(observation[:2], start[:2] + 0.01 * observation[2:], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"maze": "larg"}, ConfigError, "larg'.*'large'"),
        ({"maze": ["###", "#O", "###"]}, MazeError, "one length"),
        ({"maze": ASCII, "goal": WALL}, MazeError, "goal .*free space"),
        ({"maze": ASCII, "goal": [1.0]}, ObservationError, "goal .*2 finite"),
        ({"maze": ASCII, "goal": "rnadom"}, ConfigError, "rnadom"),
        ({"maze": ASCII, "render_mode": "human"}, ConfigError, "human"),
    ],
)
def test_a_wrong_argument_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Maze2DEnv(**arguments)


def test_a_step_before_the_first_reset_is_refused() -> None:
    env = Maze2DEnv("umaze", render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(np.zeros(2))
    with pytest.raises(ResetNeeded, match="reset"):
        env.render()
