from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from dfplan.envs.make import NAMES, make
from dfplan.envs.maze_env import MazeEnv
from dfplan.errors import ConfigError, MazeError, MissingSimulatorError, ObservationError
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.suites import SUITES

ROWS = ["#######", "#G....#", "#.###.#", "#.....#", "#######"]
CUSTOM = [parse_maze(ROWS), parse_maze(ROWS, suite=SUITES["gymnasium"])]
ONE_EACH = ["maze2d-umaze", "multi2d-medium", "pointmaze-medium", "ogbench-medium"]
SOFT = 0.1  # share of the radius by which a ball pushed against a wall may sink in or stay off


def label(maze: Maze | str) -> str:
    return maze if isinstance(maze, str) else f"custom-{maze.suite.name}"


def actions(seed: int, steps: int, hold: int = 20) -> np.ndarray:
    rng = np.random.default_rng(seed)
    held = rng.uniform(-1.0, 1.0, size=(-(-steps // hold), 2)).astype(np.float32)
    return np.repeat(held, hold, axis=0)[:steps]


def play(env: MazeEnv, seed: int | None, steps: int = 60, **options: Any) -> np.ndarray:
    """States and goals of an episode, [steps + 1, ...]."""
    observation, _ = env.reset(seed=seed, options=options)
    rows = [np.concatenate([observation["observation"], observation["desired_goal"]])]
    for action in actions(0, steps):
        observation = env.step(action)[0]
        rows.append(np.concatenate([observation["observation"], observation["desired_goal"]]))
    return np.array(rows)


@pytest.mark.parametrize("maze", [*NAMES, *CUSTOM], ids=label)
def test_gymnasiums_checker_passes(maze: Any) -> None:
    env = make(maze, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*different from the unwrapped")
        warnings.filterwarnings("ignore", ".*value is -?infinity")  # as in the ant's own space
        check_env(env)


@pytest.mark.parametrize("name", NAMES)
def test_attributes_are_those_of_the_suite(name: str) -> None:
    suite, _, size = name.rpartition("-")
    ogbench, ant = suite.startswith("ogbench"), suite == "ogbench-antmaze"
    env = make(name)
    assert env.name == name
    assert env.maze == named_maze(size if suite.endswith("2d") else name)
    assert env.goal_radius == {"pointmaze": 0.45, "ogbench": 1.0}.get(suite, 0.5)
    assert env.terminates is ogbench
    assert env.suite.has_velocity is (suite != "ogbench")
    assert env.start_goal_pairs == (5 if ogbench else 0)
    lengths = {"umaze": 300, "medium": 600, "large": 800}
    assert env.max_steps == (1000 if ogbench else lengths[size])
    observation, info = env.reset(seed=0)
    assert observation["observation"].shape == (29 if ant else 2 if ogbench else 4,)
    np.testing.assert_array_equal(observation["achieved_goal"], observation["observation"][:2])
    assert isinstance(info["success"], bool)
    assert isinstance(env.step(np.zeros(8 if ant else 2, np.float32))[4]["success"], bool)


@pytest.mark.parametrize("maze", [*ONE_EACH, "ogbench-teleport", *CUSTOM], ids=label)
def test_episodes_depend_only_on_the_seed(maze: Any) -> None:
    env, other = make(maze), make(maze)
    np.random.seed(5)
    np.random.standard_normal()  # leaves a second value cached in the generator
    before = np.random.get_state()
    alone = [play(env, seed) for seed in (11, None, 11)]
    after = np.random.get_state()
    np.testing.assert_equal(after, before)
    interleaved = []
    for seed in (11, None):
        np.random.seed(0)
        interleaved.append(play(other, seed))
        env.reset()
    np.testing.assert_array_equal(alone[0], interleaved[0])
    np.testing.assert_array_equal(alone[1], interleaved[1])
    np.testing.assert_array_equal(alone[0], alone[2])
    assert not np.array_equal(alone[0], alone[1])


@pytest.mark.parametrize("maze", ONE_EACH)
def test_environments_without_a_seed_differ(maze: str) -> None:
    np.random.seed(0)
    first = make(maze).reset()[0]["observation"]
    np.random.seed(0)
    assert not np.array_equal(make(maze).reset()[0]["observation"], first)


@pytest.mark.parametrize("maze", ONE_EACH)
def test_the_seed_also_seeds_the_action_space(maze: str) -> None:
    env, other = make(maze), make(maze)
    samples = []
    for each in (env, other):
        each.reset(seed=2)
        each.reset()
        samples.append([each.action_space.sample() for _ in range(3)])
    np.testing.assert_array_equal(*samples)
    env.reset(seed=2**40)


@pytest.mark.parametrize("maze", [*ONE_EACH, "ogbench-teleport", *CUSTOM], ids=label)
def test_start_and_goal_are_exact_for_one_episode(maze: Any) -> None:
    env = make(maze)
    unit = env.maze.suite.cell_size
    first, last = env.maze.cell_to_xy(env.maze.free_cells[[0, -1]]) + 0.123 * unit
    drawn = play(env, 4)
    np.testing.assert_array_equal(play(env, 4, goal=last)[:, :-2], drawn[:, :-2])
    np.testing.assert_array_equal(play(env, 4, start=first)[:, -2:], drawn[:, -2:])
    start = np.append(first, [0.5, -4.0]) if env.suite.has_velocity else first
    runs = [play(env, seed, start=start, goal=last, steps=200) for seed in (5, 6)]
    np.testing.assert_array_equal(*runs)
    np.testing.assert_allclose(runs[0][0], [*start, *last], rtol=0, atol=1e-14)
    again = play(env, None)[0]
    assert not np.allclose(again[:2], first, atol=1e-3)
    if env.suite.has_velocity:
        assert np.abs(again[2:4]).max() < 1.0
    info = env.reset(options={"start": first, "goal": first})[1]
    assert info["success"] is True
    info = env.reset(options={"start": first, "goal": last})[1]
    assert info["success"] is False


@pytest.mark.parametrize("maze", ONE_EACH)
@pytest.mark.parametrize("distance", [0.999, 1.001])
def test_success_is_within_the_radius_and_rewarded(maze: str, distance: float) -> None:
    env = make(maze)
    goal = env.maze.cell_to_xy(env.maze.free_cells[0])
    start = goal + distance * env.goal_radius * np.array([0.6, 0.8])
    _, info = env.reset(options={"start": start, "goal": goal})
    within = distance <= 1
    assert info["success"] is within
    _, reward, terminated, _, info = env.step(np.zeros(2, dtype=np.float32))
    if not maze.endswith(("2d-umaze", "2d-medium")):  # those draw a velocity
        assert info["success"] is within
    assert reward == info["success"]
    assert terminated == (env.terminates and info["success"])


@pytest.mark.parametrize(
    "maze", ["maze2d-umaze", "pointmaze-umaze", "ogbench-medium", *CUSTOM], ids=str
)
def test_a_ball_pushed_against_a_wall_stops_at_its_radius(maze: Any) -> None:
    env = make(maze, max_steps=10**6)
    suite = env.maze.suite
    near, far = np.array([1 - SOFT, 1 + SOFT]) * suite.ball_radius
    for cell in env.maze.free_cells[::2]:
        for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            if not env.maze.walls[tuple(cell + direction)]:
                continue
            force = (
                np.array(direction)
                @ np.array([suite.row_step, suite.column_step])
                / suite.cell_size
            )
            observation, _ = env.reset(seed=0, options={"start": env.maze.cell_to_xy(cell)})
            place = observation["achieved_goal"]
            for _ in range(150):
                place = env.step(force.astype(np.float32))[0]["achieved_goal"]
            assert env.maze.is_free(place, near), (cell, direction, place)
            assert not env.maze.is_free(place, far), (cell, direction, place)
            np.testing.assert_array_equal(env.maze.xy_to_cell(place), cell)
            env.reset(options={"start": place})


@pytest.mark.parametrize("maze", ["maze2d-umaze", "pointmaze-umaze", "ogbench-medium"])
def test_every_reachable_position_can_be_a_start(maze: str) -> None:
    env = make(maze, max_steps=10**6)
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    for step in range(1500):
        if step % 30 == 0:
            force = rng.choice([-1.0, 1.0], size=2).astype(np.float32)
        observation = env.step(force)[0]
        assert observation in env.observation_space
        if step % 10 == 0:
            again, _ = env.reset(options={"start": observation["observation"]})
            np.testing.assert_allclose(
                again["observation"], observation["observation"], rtol=0, atol=1e-12
            )


@pytest.mark.parametrize("maze", ONE_EACH)
def test_actions_are_clipped(maze: str) -> None:
    env = make(maze)
    ends = []
    for action in (np.array([1.0, -1.0]), np.array([30.0, -1.2]), [1, -1]):
        env.reset(seed=0)
        ends.append(env.step(action)[0]["observation"])  # type: ignore[arg-type]
    np.testing.assert_array_equal(ends[1], ends[0])
    np.testing.assert_array_equal(ends[2], ends[0])
    for wrong in ([np.nan, 0.0], [0.0], 0.0, "ab"):
        with pytest.raises(ObservationError, match="action"):
            env.step(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("maze", ONE_EACH)
def test_arrays_are_not_shared_with_the_caller(maze: str) -> None:
    env, other = make(maze, render_mode="rgb_array"), make(maze, render_mode="rgb_array")
    start = env.maze.cell_to_xy(env.maze.free_cells[0])
    goal = env.maze.cell_to_xy(env.maze.free_cells[-1])
    other.reset(seed=0, options={"start": start.copy(), "goal": goal.copy()})
    observation, _ = env.reset(seed=0, options={"start": start, "goal": goal})
    for array in (start, goal, *observation.values()):
        array[:] = 77.0
    for _ in range(2):
        np.testing.assert_array_equal(env.render(), other.render())
        force = np.ones(2, dtype=np.float32)
        ours, theirs = env.step(force)[0], other.step(force)[0]
        np.testing.assert_equal(ours, theirs)
        for array in ours.values():
            array[:] = 77.0


@pytest.mark.parametrize("maze", [*ONE_EACH, *CUSTOM], ids=label)
def test_the_length_of_an_episode_is_an_argument(maze: Any) -> None:
    env = make(maze, max_steps=3)
    assert env.max_steps == 3
    ends = env.maze.cell_to_xy(env.maze.free_cells[[0, -1]])
    env.reset(seed=0, options={"start": ends[0], "goal": ends[1]})
    cut = [env.step(np.zeros(2, dtype=np.float32))[3] for _ in range(3)]
    assert cut == [False, False, True]


@pytest.mark.parametrize("maze", CUSTOM, ids=label)
def test_custom_mazes_may_be_mazes_or_text(maze: Maze) -> None:
    for spelling in (maze, maze.text):
        env = make(spelling)
        assert env.maze == maze
        assert env.max_steps == 1000
        goals = [env.reset(seed=seed)[0]["desired_goal"] for seed in range(5)]
        assert (env.maze.xy_to_cell(np.array(goals) + 0.01) == [1, 1]).all()
    assert make(ROWS).maze == CUSTOM[0]


@pytest.mark.parametrize(
    ("text", "name"),
    [("large", "maze2d-large"), ("pointmaze-umaze", "pointmaze-umaze")],
)
def test_a_suites_maze_gives_the_suites_environment(text: str, name: str) -> None:
    assert make(text).name == name
    assert make(named_maze(text)).name == name
    assert make(named_maze(text)).max_steps == make(name).max_steps


def test_pictures_show_ball_and_goal_in_every_suite() -> None:
    for maze in ONE_EACH:
        env = make(maze, render_mode="rgb_array")
        with pytest.raises(ResetNeeded, match="reset"):
            env.render()
        cells = env.maze.free_cells[[0, -1]]
        start, goal = env.maze.cell_to_xy(cells)
        env.reset(options={"start": start, "goal": goal})
        picture = env.render()
        assert picture is not None
        blue, red = (picture[tuple(40 * cell + 20)].astype(int) for cell in cells)
        assert blue[2] > blue[0] and red[0] > red[2]
        assert make(maze).reset(seed=0) and make(maze).render_mode is None


def test_no_file_or_descriptor_remains(tmp_path: Path, monkeypatch: Any) -> None:
    make("ogbench-medium"), make("pointmaze-umaze")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.listdir("/dev/fd")
    envs = [make(maze) for maze in (*NAMES, *CUSTOM)]
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/dev/fd")) == len(before)
    for env in envs:
        env.reset(seed=0)


@pytest.mark.parametrize(
    ("maze", "package", "extra"),
    [
        ("maze2d-umaze", "mujoco", "envs"),
        ("pointmaze-umaze", "mujoco", "envs"),
        ("pointmaze-umaze", "gymnasium_robotics", "envs"),
        ("ogbench-medium", "ogbench", "ogbench"),
    ],
)
def test_a_missing_package_error_tells_how_to_install_it(
    maze: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("dfplan.envs.maze2d", "dfplan.envs.dynamics"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingSimulatorError) as caught:
        make(maze)
    assert package.replace("_", "-") in str(caught.value)
    assert f"pip install 'dfplan[{extra}]'" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"maze": "maze2d-larg"}, ConfigError, "'maze2d-large'"),
        ({"maze": "ogbench-umaze"}, ConfigError, "ogbench-umaze"),
        ({"maze": ["###", "#O", "###"]}, MazeError, "one length"),
        ({"maze": "frame ogbench\n####\n#OO#\n####"}, ConfigError, "custom maze"),
        ({"maze": "frame gymnasium\n###\n#O#\n###"}, MazeError, "two free cells"),
        ({"maze": "large", "render_mode": "human"}, ConfigError, "human"),
        ({"maze": "large", "max_steps": 0}, ConfigError, "max_steps"),
        ({"maze": "large", "max_steps": 2.5}, ConfigError, "max_steps"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("maze", "options", "error", "message"),
    [
        ("pointmaze-umaze", {"start": [0.0, 0.0]}, MazeError, "start .*free space"),
        ("pointmaze-umaze", {"goal": [9.0, 0.0]}, MazeError, "goal .*free space"),
        ("ogbench-medium", {"start": [-1.5, 0.0]}, MazeError, "start .*free space"),
        ("ogbench-medium", {"goal": [-4.0, 0.0]}, MazeError, "goal .*free space"),
        ("ogbench-medium", {"start": [0, 0, 0, 0]}, ObservationError, "2 finite"),
        ("pointmaze-umaze", {"start": [0.0]}, ObservationError, "2 or 4 finite"),
        ("pointmaze-umaze", {"start": [-1, 1, 99, 0]}, ObservationError, "velocity"),
        ("pointmaze-umaze", {"goal": [np.nan, 0]}, ObservationError, "2 finite"),
        ("pointmaze-umaze", {"goal_cell": [1, 1]}, ConfigError, "goal_cell"),
        ("pointmaze-umaze", {"start_goal_pair": 1}, ConfigError, "'start_goal_pair'"),
        ("maze2d-umaze", {"start_goal_pair": 1}, ConfigError, "'start_goal_pair'"),
        ("ogbench-medium", {"start_goal_pair": 0}, ConfigError, "start_goal_pair"),
        ("ogbench-medium", {"start_goal_pair": 6}, ConfigError, "at most 5"),
        ("ogbench-medium", {"start_goal_pair": 1, "goal": [0, 0]}, ConfigError, "start_goal_pair"),
    ],
)
def test_a_wrong_option_is_refused_and_the_episode_continues(
    maze: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    env = make(maze)
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(2, dtype=np.float32))
    expected = env.reset(seed=1)[0]["desired_goal"]
    with pytest.raises(error, match=message):
        env.reset(options=options)
    observation = env.step(np.zeros(2, dtype=np.float32))[0]
    np.testing.assert_array_equal(observation["desired_goal"], expected)
