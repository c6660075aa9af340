from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest

from dfplan.data.formats.minari_read import read_minari
from dfplan.data.formats.minari_write import write_minari
from dfplan.errors import ConfigError, DataError, MissingPackageError
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.suites import GYMNASIUM
from dfplan.types import Recording

minari = pytest.importorskip("minari")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")

CUSTOM = "#######\n#OO#OO#\n#OOOOO#\n#######"
SPACE = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
FORCES = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Minari keeps its datasets, for this test."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that Minari's collector wants of jax, where there is none."""
    if importlib.util.find_spec("jax") is None:
        jax, tree_util = types.ModuleType("jax"), types.ModuleType("jax.tree_util")
        jax.tree_util = tree_util  # type: ignore[attr-defined]
        tree_util.tree_map = tree_map  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "jax", jax)
        monkeypatch.setitem(sys.modules, "jax.tree_util", tree_util)
    yield


def tree_map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    if isinstance(tree, dict):
        return {k: tree_map(function, v, *(other[k] for other in rest)) for k, v in tree.items()}
    return function(tree, *rest)


class StopAtSuccess(minari.StepDataCallback):
    """Ends an episode where the goal is reached, as the published PointMaze data does."""

    def __call__(self, env: Any, **step: Any) -> Any:
        data = super().__call__(env, **step)
        if data["info"].get("success") and data["truncated"] is not None:
            data["truncated"] = True
        return data


def drive(maze: Maze, observation: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """A force [2] towards the next cell on the way, in a frame whose forces follow its axes."""
    position, velocity = observation[:2], observation[2:]
    here, there = (tuple(maze.xy_to_cell(place)) for place in (position, goal))
    target = goal if here == there else maze.cell_to_xy(maze.shortest_path(here, there)[0])
    return np.clip(10 * (target - position) - velocity, -1, 1).astype(np.float32)


@pytest.fixture
def pointmaze(collecting: None, root: Path) -> Any:
    """Three walks, from goal to goal, of a ball in PointMaze_UMaze-v3."""
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    env = gymnasium.make(
        "PointMaze_UMaze-v3", continuing_task=True, reset_target=True, max_episode_steps=10_000
    )
    collector = minari.DataCollector(env, step_data_callback=StopAtSuccess, record_infos=True)
    maze = named_maze("pointmaze-umaze")
    observation, info = collector.reset(seed=3)
    arrivals = int(info["success"])
    while arrivals < 3:
        action = drive(maze, observation["observation"], observation["desired_goal"])
        observation, _, _, _, info = collector.step(action)
        arrivals += info["success"]
    dataset = collector.create_dataset("tests/pointmaze/umaze-v0")
    collector.close()
    return dataset


@pytest.fixture
def maze2d(collecting: None, root: Path) -> Any:
    """Three episodes of forces at random in dfplan/maze2d-umaze-v1."""
    env = gymnasium.make("dfplan/maze2d-umaze-v1", max_episode_steps=15)
    collector = minari.DataCollector(env, record_infos=True)
    collector.action_space.seed(0)
    for seed in range(3):
        collector.reset(seed=seed)
        over = False
        while not over:
            over = collector.step(collector.action_space.sample())[3]
    dataset = collector.create_dataset("tests/maze2d-v0")
    collector.close()
    return dataset


def require_same_as_minari(recording: Recording, dataset: Any) -> None:
    """Each row of the recording is what Minari iterates over."""
    edges = np.append(recording.episodes, len(recording))
    assert len(recording.episodes) == dataset.total_episodes
    assert recording.final_observations is not None and recording.final_observations.all()
    for episode, first, end in zip(dataset, edges[:-1], edges[1:], strict=True):
        nested = isinstance(episode.observations, dict)
        stored = episode.observations["observation"] if nested else episode.observations
        np.testing.assert_array_equal(recording.observations[first:end], stored)
        assert recording.observations.dtype == stored.dtype == np.float64
        for mine, theirs in (
            (recording.actions, episode.actions),
            (recording.rewards, episode.rewards),
            (recording.terminals, episode.terminations),
            (recording.timeouts, episode.truncations),
        ):
            assert mine is not None and mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine[first : end - 1], theirs)
            assert not mine[end - 1].any()
        assert recording.goals is not None
        goals = episode.observations["desired_goal"] if nested else episode.infos["goal"]
        np.testing.assert_array_equal(recording.goals[first:end], goals)


def require_equal(recording: Recording, other: Recording) -> None:
    """Every field but where they come from."""
    for field in fields(Recording):
        mine, theirs = getattr(recording, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            assert isinstance(theirs, np.ndarray), field.name
            assert mine.dtype == theirs.dtype, field.name
            np.testing.assert_array_equal(mine, theirs, field.name)
        elif field.name != "source":
            assert mine == theirs, field.name


def record(
    maze: str | None = None,
    lengths: tuple[int, ...] = (7, 1, 2, 12),
    bare: tuple[bool, ...] | None = None,
    width: int = 4,
    dtype: Any = np.float32,
    goals: bool = True,
    marks: bool = True,
    rewards: bool = True,
) -> Recording:
    """Rows at random, with marks wherever they may be."""
    rng = np.random.default_rng(0)
    count = sum(lengths)
    ends = np.cumsum(lengths) - 1
    actions = rng.uniform(-1, 1, (count, 2)).astype(dtype)
    pay = rng.normal(size=count).astype(dtype)
    terminals, timeouts = rng.random((2, count)) < 0.4
    if bare is not None:
        for array in (actions, pay, terminals, timeouts):
            array[ends[list(bare)]] = 0
    return Recording(
        observations=rng.normal(size=(count, width)).astype(dtype),
        actions=actions,
        episodes=(ends + 1 - lengths).astype(np.int64),
        source="a test",
        rewards=pay if rewards else None,
        goals=rng.normal(size=(count, 2)).astype(dtype) if goals else None,
        terminals=terminals if marks else None,
        timeouts=timeouts if marks else None,
        final_observations=None if bare is None else np.array(bare),
        maze=maze,
    )


def buffer(rows: int, steps: int, **others: Any) -> Any:
    from minari.data_collector import EpisodeBuffer

    rng = np.random.default_rng(rows)
    ends = np.arange(steps) == steps - 1
    given = {
        "observations": rng.normal(size=(rows, 4)),
        "actions": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
        "rewards": rng.normal(size=steps),
        "terminations": np.zeros(steps, bool),
        "truncations": ends,
    }
    return EpisodeBuffer(**{**given, **others})


def created(*buffers: Any, space: Any = SPACE, name: str = "tests/buffers-v0") -> Any:
    return minari.create_dataset_from_buffers(
        name, list(buffers), observation_space=space, action_space=FORCES
    )


def main_file(dataset: Any) -> Path:
    return Path(dataset.spec.data_path) / "main_data.hdf5"


def test_what_minaris_collector_writes_is_read_as_minari_reads_it(pointmaze: Any) -> None:
    recording = read_minari("tests/pointmaze/umaze-v0")
    require_same_as_minari(recording, pointmaze)
    assert recording.maze == "pointmaze-umaze"
    assert recording.source == "tests/pointmaze/umaze-v0"
    assert recording.timeouts is not None and recording.timeouts.sum() == 3


def test_a_dataset_of_flat_observations_has_its_goals_from_infos(maze2d: Any) -> None:
    recording = read_minari("tests/maze2d-v0")
    require_same_as_minari(recording, maze2d)
    assert recording.maze == "umaze"
    assert recording.episodes.tolist() == [0, 16, 32]


@pytest.mark.parametrize("part", ["", "data", "data/main_data.hdf5"])
def test_a_dataset_is_read_by_its_id_its_folders_and_its_file(root: Path, part: str) -> None:
    created(buffer(5, 4), buffer(9, 8))
    whole = read_minari("tests/buffers-v0")
    path = root / "tests" / "buffers-v0" / part
    for source in (path, str(path)):
        require_equal(read_minari(source), whole)
        assert read_minari(source).source == "tests/buffers-v0"


def test_a_file_alone_is_read(root: Path, tmp_path: Path) -> None:
    alone = shutil.copy(main_file(created(buffer(5, 4))), tmp_path / "copy.hdf5")
    recording = read_minari(alone)
    assert len(recording) == 5
    assert recording.maze is None
    assert recording.source == tmp_path.name


def test_datasets_are_looked_up_at_home_by_default(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    created(buffer(5, 4))
    (tmp_path / ".minari").mkdir()
    root.rename(tmp_path / ".minari" / "datasets")
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(read_minari("tests/buffers-v0")) == 5


def test_episodes_come_in_the_order_of_their_numbers() -> None:
    dataset = created(*(buffer(2 + i, 1 + i) for i in range(12)))
    recording = read_minari("tests/buffers-v0")
    lengths = np.diff(np.append(recording.episodes, len(recording)))
    assert lengths.tolist() == list(range(2, 14))
    np.testing.assert_array_equal(
        recording.observations, np.concatenate([episode.observations for episode in dataset])
    )
    assert recording.goals is None


def test_episodes_may_end_with_an_observation_or_with_an_action() -> None:
    created(buffer(5, 4), buffer(6, 6), buffer(3, 2))
    recording = read_minari("tests/buffers-v0")
    assert recording.final_observations is not None
    assert recording.final_observations.tolist() == [True, False, True]
    assert recording.episodes.tolist() == [0, 5, 11]
    assert recording.timeouts is not None
    assert np.flatnonzero(recording.timeouts).tolist() == [3, 10, 12]
    assert recording.actions[[4, 13]].any() == np.False_
    assert recording.actions[10].all()
    created(buffer(6, 6), name="tests/others-v0")
    assert read_minari("tests/others-v0").final_observations is None


def test_numbers_are_kept_as_they_are_and_whole_ones_become_float32() -> None:
    created(
        buffer(3, 2, observations=np.ones((3, 4), np.float32), rewards=np.array([0, 7])),
        buffer(3, 2, actions=np.full((2, 2), 0.1), rewards=np.array([1, 2])),
    )
    recording = read_minari("tests/buffers-v0")
    assert recording.observations.dtype == np.float64  # that of one episode
    assert recording.actions.dtype == np.float64
    np.testing.assert_array_equal(recording.actions[3:5], 0.1)
    assert recording.rewards is not None and recording.rewards.dtype == np.float32
    assert recording.rewards.tolist() == [0, 7, 0, 1, 2, 0]


def test_marks_that_are_numbers_are_read_as_marks() -> None:
    created(buffer(4, 3, terminations=[0, 0, 1], truncations=np.array([0.0, 0.5, 0.0])))
    recording = read_minari("tests/buffers-v0")
    assert recording.terminals is not None and recording.timeouts is not None
    assert recording.terminals.tolist() == [False, False, True, False]
    assert recording.timeouts.tolist() == [False, True, False, False]


def test_positions_alone_and_dictionaries_without_goals_are_read() -> None:
    flat = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    created(
        buffer(3, 2, observations={"observation": np.ones((3, 2))}),
        space=gymnasium.spaces.Dict(observation=flat),
    )
    recording = read_minari("tests/buffers-v0")
    assert recording.observations.shape == (3, 2)
    assert recording.goals is None


def test_infos_of_another_shape_are_not_goals() -> None:
    created(buffer(3, 2, infos={"goal": np.ones((3, 7))}), buffer(3, 2))
    assert read_minari("tests/buffers-v0").goals is None


def test_what_was_converted_by_minari_without_an_id_is_read(tmp_path: Path) -> None:
    from minari.dataset.minari_storage import MinariStorage

    old = created(buffer(3, 2), buffer(5, 4))
    new = MinariStorage.new(
        tmp_path / "new", old.observation_space, old.action_space, old.env_spec, "hdf5"
    )
    new.update_from_storage(old.storage)
    require_equal(read_minari(tmp_path / "new"), read_minari("tests/buffers-v0"))
    assert read_minari(tmp_path / "new").source == "new"


def spec(name: str, **arguments: Any) -> str:
    return json.dumps({"id": name, "entry_point": "nowhere:Env", "kwargs": arguments})


def cells(maze: str) -> list[list[int]]:
    return [[int(wall) for wall in row] for row in named_maze(maze).walls]


DIVERSE = [
    [
        "r" if (i, j) == (1, 1) else "g" if cell == 0 and i % 2 else cell
        for j, cell in enumerate(row)
    ]
    for i, row in enumerate(cells("pointmaze-large"))
]
ONE_GOAL = [[1, 1, 1, 1], [1, "r", "g", 1], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("environment", "maze"),
    [
        (spec("PointMaze_Large-v3", maze_map=cells("pointmaze-large")), "pointmaze-large"),
        (spec("PointMaze_Medium-v3", maze_map=cells("pointmaze-umaze")), "pointmaze-umaze"),
        (spec("PointMaze_Large_Diverse_GRDense-v3", maze_map=DIVERSE), "pointmaze-large"),
        (spec("PointMaze_UMaze-v3", maze_map=ONE_GOAL), "frame gymnasium\n####\n#OG#\n####"),
        (spec("PointMaze_UMaze-v3", maze_map=[[1, 0]]), None),
        (spec("PointMaze_UMaze-v3", maze_map=3), None),
        (spec("PointMaze_Large-v3"), "pointmaze-large"),
        (spec("PointMaze_MediumDense-v3"), "pointmaze-medium"),
        (spec("PointMaze_UMaze_Diverse_G-v3"), "pointmaze-umaze"),
        (spec("PointMaze_Larger-v3"), None),
        (spec("AntMaze_Large-v4", maze_map=cells("pointmaze-large")), None),
        (spec("dfplan/maze2d-v1", maze=CUSTOM), CUSTOM),
        (spec("dfplan/multi2d-large-v1", maze="large", goal="random"), "large"),
        (spec("dfplan/maze2d-v1", maze="nothing"), None),
        (spec("pointmaze-giant-v0"), "ogbench-giant"),
        (spec("pointmaze-teleport-singletask-task3-v0"), "ogbench-teleport"),
        (spec("antmaze-giant-v0"), "ogbench-antmaze-giant"),
        (spec("humanoidmaze-giant-v0"), None),
        ("no JSON", None),
        ("[1]", None),
        (None, None),
    ],
)
def test_the_maze_is_read_from_the_environment(environment: str | None, maze: str | None) -> None:
    path = main_file(created(buffer(3, 2))).with_name("metadata.json")
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "env_spec": environment}))
    assert read_minari("tests/buffers-v0").maze == maze


def test_old_datasets_keep_the_environment_in_the_file() -> None:
    path = main_file(created(buffer(3, 2)))
    path.with_name("metadata.json").unlink()
    with h5py.File(path, "a") as file:
        file.attrs["env_spec"] = spec("PointMaze_Large-v3")
    assert read_minari("tests/buffers-v0").maze == "pointmaze-large"


FRAMES = [None, "large", CUSTOM, "pointmaze-medium", f"frame gymnasium\n{CUSTOM}", "ogbench-giant"]


@pytest.mark.parametrize("maze", [*FRAMES, f"frame ogbench\n{CUSTOM}"])
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"dtype": np.float64, "bare": (True, True, True, True)},
        {"bare": (True, False, True, False), "width": 2},
        {"goals": False, "rewards": False, "marks": False},
        {"bare": (True, True, True, True), "marks": False, "goals": False},
    ],
)
def test_what_is_written_is_read_back_as_it_was(
    tmp_path: Path, maze: str | None, shape: dict[str, Any]
) -> None:
    recording = record(maze, **shape)
    folder = write_minari(recording, tmp_path / "kept-v0")
    assert folder == tmp_path / "kept-v0"
    require_equal(read_minari(folder), recording)


def test_flags_of_a_final_observation_are_kept(tmp_path: Path) -> None:
    recording = record(bare=(True, True, True, True))
    assert recording.terminals is not None
    recording.terminals[[6, 21]] = True
    require_equal(read_minari(write_minari(recording, tmp_path / "kept-v0")), recording)


def test_what_minari_wrote_is_copied_without_loss(
    pointmaze: Any, maze2d: Any, tmp_path: Path
) -> None:
    for name in ("tests/pointmaze/umaze-v0", "tests/maze2d-v0"):
        recording = read_minari(name)
        copy = write_minari(recording, tmp_path / "copies" / Path(name).name)
        require_equal(read_minari(copy), recording)
        mine, theirs = minari.MinariDataset(copy / "data"), minari.load_dataset(name)
        assert mine.total_steps == theirs.total_steps
        for one, other in zip(mine, theirs, strict=True):
            tree_map(np.testing.assert_array_equal, one.observations, other.observations)
            for key in ("actions", "rewards", "terminations", "truncations"):
                np.testing.assert_array_equal(getattr(one, key), getattr(other, key))
        assert type(mine.observation_space) is type(theirs.observation_space)


@pytest.mark.parametrize("maze", FRAMES)
def test_minari_loads_samples_and_iterates_what_is_written(root: Path, maze: str | None) -> None:
    recording = record(maze)
    write_minari(recording, root / "mine" / "walks-v3")
    assert [*minari.list_local_datasets()] == ["mine/walks-v3"]
    dataset = minari.load_dataset("mine/walks-v3")
    assert (dataset.total_episodes, dataset.total_steps) == (4, 18)
    assert len(dataset.sample_episodes(3)) == 3
    for episode, length in zip(dataset, (7, 1, 2, 12), strict=True):
        assert len(episode) == len(episode.actions) == length - 1
        for array in (episode.rewards, episode.terminations, episode.truncations):
            assert len(array) == length - 1
        assert f"total_steps={length - 1}" in repr(episode)
        for step in range(length):
            look = lambda rows, step=step: rows[step]  # noqa: E731
            assert dataset.observation_space.contains(tree_map(look, episode.observations))
        assert all(dataset.action_space.contains(action) for action in episode.actions)
        if length > 1:
            assert episode.terminations[-1] or episode.truncations[-1]
    if maze is not None and parse_maze(maze).suite is GYMNASIUM:
        assert set(dataset.observation_space) == {"observation", "achieved_goal", "desired_goal"}
    dataset.update_dataset_from_buffer([])
    assert minari.split_dataset(dataset, [2, 1])[0].total_episodes == 2


def maze_built(env: Any) -> np.ndarray:
    """The walls of the maze that an environment has built, bool [H, W]."""
    inner = env.unwrapped
    if hasattr(inner, "maze_map"):
        return np.asarray(inner.maze_map) == 1
    if isinstance(inner.maze, Maze):
        return inner.maze.walls
    return np.array([[cell == 1 for cell in row] for row in inner.maze.maze_map])


@pytest.mark.parametrize("maze", FRAMES[1:])
def test_minari_recovers_an_environment_with_the_maze_that_steps(tmp_path: Path, maze: str) -> None:
    write_minari(record(maze), tmp_path / "walks-v0")
    dataset = minari.MinariDataset(tmp_path / "walks-v0" / "data")
    env = dataset.recover_environment()
    np.testing.assert_array_equal(maze_built(env), parse_maze(maze).walls)
    observation, _ = env.reset(seed=0)
    assert type(env.observation_space) is type(dataset.observation_space)
    assert env.observation_space.contains(observation)
    env.step(env.action_space.sample())
    env.close()


def test_a_task_ends_at_the_goal_where_a_terminal_is_marked(tmp_path: Path) -> None:
    for marks in (True, False):
        folder = write_minari(record("pointmaze-umaze", marks=marks), tmp_path / f"{marks}-v0")
        known = minari.MinariDataset(folder / "data").env_spec
        assert known.kwargs["continuing_task"] is not marks


def test_without_a_maze_there_is_no_environment(tmp_path: Path) -> None:
    for index, maze in enumerate((None, f"frame ogbench\n{CUSTOM}")):
        folder = write_minari(record(maze), tmp_path / f"walks-v{index}")
        assert minari.MinariDataset(folder / "data").env_spec is None


def test_many_short_episodes_are_read(tmp_path: Path) -> None:
    recording = record(lengths=(6,) * 500, bare=(True,) * 500)
    require_equal(read_minari(write_minari(recording, tmp_path / "short-v0")), recording)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on a file's size")
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
        import errno, resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import minari, test_minari
        from dfplan.data.formats.minari_write import write_minari
        for size in (0, 3_000, 100_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            try:
                write_minari(test_minari.record(lengths=(9,) * 200), {str(tmp_path / "w-v0")!r})
            except OSError as error:
                print(error.errno in (errno.EFBIG, errno.ENOSPC), file=sys.stderr)
    """
    code = textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "True\n" * 3)
    assert not [*tmp_path.iterdir()]


def test_existing_data_is_not_overwritten(tmp_path: Path) -> None:
    folder = write_minari(record(), tmp_path / "walks-v0")
    before = (folder / "data" / "main_data.hdf5").read_bytes()
    with pytest.raises(ConfigError, match=r"walks-v0 exists already"):
        write_minari(record(), folder)
    assert (folder / "data" / "main_data.hdf5").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "given", "dataset_id"),
    [
        ("walks-v3", None, "walks-v3"),
        ("walks", None, "walks-v0"),
        ("walks.2", None, "walks-2-v0"),
        ("my walks.v2", None, "my-walks-v2"),
        ("datasets/mine/walks-v1", None, "mine/walks-v1"),
        ("walks", "ours/walks-v2", "ours/walks-v2"),
    ],
)
def test_a_dataset_has_an_id(tmp_path: Path, name: str, given: str | None, dataset_id: str) -> None:
    folder = write_minari(record(), tmp_path / name, dataset_id=given)
    assert minari.MinariDataset(folder / "data").id == dataset_id


@pytest.mark.parametrize(
    ("name", "given"), [("datasets/walks", None), ("datasets/my walks-v0", None), ("a-v0", "b")]
)
def test_an_id_that_minari_would_not_take_is_refused(
    tmp_path: Path, name: str, given: str | None
) -> None:
    refused = given or Path(name).name
    with pytest.raises(ConfigError, match=rf"'maze/large-v0'; got '{refused}'.*dataset_id"):
        write_minari(record(), tmp_path / name, dataset_id=given)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("episodes", [[], [1, 4], [0, 4, 4], [0, 22]])
def test_recordings_of_empty_episodes_are_refused(tmp_path: Path, episodes: list[int]) -> None:
    recording = replace(record(), episodes=np.array(episodes, np.int64))
    with pytest.raises(DataError, match=r"a test: .*every episode must have a row.*22 rows"):
        write_minari(recording, tmp_path / "walks-v0")


def test_minari_is_asked_for_where_it_is_needed_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_minari(record(), tmp_path / "walks-v0")
    for name in [name for name in sys.modules if name.split(".")[0] == "minari"]:
        monkeypatch.setitem(sys.modules, name, None)
    require_equal(read_minari(folder), record())
    with pytest.raises(MissingPackageError, match=r"pip install 'dfplan\[minari\]'"):
        write_minari(record(), tmp_path / "more-v0")
    with pytest.raises(DataError, match=r"download failed: .*minari.*dfplan data generate"):
        read_minari("D4RL/pointmaze/large-v2")


@pytest.mark.parametrize("error", [OSError("no network.\nmore"), ValueError("no network")])
def test_a_failed_download_names_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, error: Exception, root: Path
) -> None:
    created(buffer(3, 2), name="tests/pointmaze/large-v0")

    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(minari, "download_dataset", fail)
    with pytest.raises(DataError) as caught:
        read_minari("tests/pointmaze/larger-v0")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "'tests/pointmaze/larger-v0'",
        "'tests/pointmaze/large-v0'",
        str(root),
        "no network",
    ):
        assert part in message
    assert "pip install 'minari[hdf5,hf]'" in message and "`dfplan data generate`" in message


def test_a_missing_data_set_is_downloaded(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    asked = []

    def fetch(name: str) -> None:
        asked.append(name)
        created(buffer(3, 2), name=name)

    monkeypatch.setattr(minari, "download_dataset", fetch)
    for _ in range(2):
        assert len(read_minari("D4RL/pointmaze/large-v2")) == 3
    assert asked == ["D4RL/pointmaze/large-v2"]


@pytest.mark.parametrize("source", ["no/such", "/no/such-v0", "my data-v0", Path("data.hdf5")])
def test_an_invalid_id_is_refused(source: str | Path) -> None:
    with pytest.raises(DataError, match=r"no Minari data set at .*D4RL/pointmaze/large-v2"):
        read_minari(source)


def test_a_folder_of_datasets_is_refused_with_their_names(root: Path) -> None:
    created(buffer(3, 2), name="tests/one-v0")
    created(buffer(3, 2), name="tests/deep/two-v0")
    with pytest.raises(DataError, match=r"contains the data sets deep/two-v0, one-v0\."):
        read_minari(root / "tests")


def test_another_format_is_refused_with_the_way_to_convert_it() -> None:
    path = main_file(created(buffer(3, 2)))
    metadata = json.loads(path.with_name("metadata.json").read_text())
    path.with_name("metadata.json").write_text(json.dumps({**metadata, "data_format": "arrow"}))
    path.unlink()
    with pytest.raises(DataError, match=r"'arrow'; expected 'hdf5'.*update_from_storage"):
        read_minari("tests/buffers-v0")


@pytest.mark.parametrize(
    ("text", "message"), [("{", r"metadata.json is not JSON"), ("[1]", "JSON object; got list")]
)
def test_damaged_metadata_is_refused(text: str, message: str) -> None:
    main_file(created(buffer(3, 2))).with_name("metadata.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_minari("tests/buffers-v0")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(share: float) -> None:
    path = main_file(created(buffer(200, 199)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="not a whole hdf5 file") as caught:
        read_minari("tests/buffers-v0")
    assert "\n" not in str(caught.value)


def test_a_dataset_without_its_file_is_refused() -> None:
    main_file(created(buffer(3, 2))).unlink()
    with pytest.raises(DataError, match=r"neither .* contains main_data.hdf5\."):
        read_minari("tests/buffers-v0")


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        file["observations"], file["actions"] = np.ones((3, 4)), np.ones((3, 2))
    with pytest.raises(DataError, match=r"no episodes.*got actions, observations"):
        read_minari(tmp_path / "d4rl.hdf5")
    (tmp_path / "text.hdf5").write_text("observations")
    with pytest.raises(DataError, match="not a whole hdf5 file"):
        read_minari(tmp_path / "text.hdf5")


def change(name: str, value: object) -> Callable[[h5py.File], None]:
    def act(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return act


def nest(name: str) -> Callable[[h5py.File], None]:
    """Put a group in an array's place."""
    return lambda file: file.move(name, "kept") or file.move("kept", f"{name}/x")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("episode_1/actions", None), "episode_1 must have the arrays .* actions,"),
        (change("episode_0/observations", None), r"episode_0 has no such array among .*rewards"),
        (change("episode_0/observations", np.ones((3, 8, 8))), r"episode_0 has \[3, 8, 8\]"),
        (change("episode_0/actions", None), "episode_0 has no such array among .*rewards"),
        (change("episode_1/observations", np.ones((5, 2))), r"shape \[5, 4\]; got \[5, 2\]"),
        (change("episode_0/actions", np.ones((2, 8))), r"shape \[4, 8\]; got \[4, 2\]"),
        (
            change("episode_1/actions", np.ones((2, 2))),
            "episode_1 has 5 observations and 2 actions",
        ),
        (
            change("episode_1/actions", np.ones((6, 2))),
            "episode_1 has 5 observations and 6 actions",
        ),
        (change("episode_1/rewards", np.ones(5)), r"rewards must have shape \[4\]; got \[5\]"),
        (change("episode_1/rewards", [b"a"] * 4), "episode_1/rewards must hold numbers; got"),
        (change("episode_1/observations", np.ones((0, 4))), "episode_1 has no observation; leave"),
        (change("episode_1/observations", 3.0), "episode_1 has no observation"),
        (change("episode_1/actions", 3.0), "5 observations and 0 actions"),
        (change("episode_1", 3), "episode_1 must have the arrays"),
        (nest("episode_1/observations"), "episode_1 must have the arrays"),
        (nest("episode_0/observations"), r"episode_0 has no such array among .*observations/x"),
        (change("episode_0", 3), "episode_0 must be a group"),
    ],
)
def test_damaged_episodes_are_named(damage: Callable[[h5py.File], None], message: str) -> None:
    path = main_file(created(buffer(3, 2), buffer(5, 4)))
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(DataError, match=message):
        read_minari("tests/buffers-v0")


def test_a_relative_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recording = record("pointmaze-umaze")
    require_equal(read_minari(write_minari(recording, "sub/out-v0")), recording)
