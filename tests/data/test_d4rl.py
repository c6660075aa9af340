"""D4RL's format: files as D4RL makes them, and files that are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.data.formats.d4rl import read_d4rl, write_d4rl
from dfplan.errors import DataError
from dfplan.types import Recording

DT = 0.01

FULL_DISK = """
import resource, sys
import numpy as np
from dfplan.data.formats.d4rl import write_d4rl
from dfplan.types import Recording
noise = np.random.default_rng(0).normal(size=(100_000, 4))
recording = Recording(noise, noise[:, :2], np.array([0]), "noise")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_d4rl(recording, sys.argv[1])
except OSError as error:
    print(error)
"""


def walk(count: int, seed: int = 0) -> np.ndarray:
    """A smooth stream of positions and velocities, float32 [count, 4]."""
    rng = np.random.default_rng(seed)
    velocity = 3 * np.sin(np.arange(count)[:, None] / 20 + rng.uniform(0, 6, 2))
    position = 5 + DT * np.cumsum(velocity, axis=0)
    return np.concatenate([position, velocity], axis=1).astype(np.float32)


def write(path: Path, **fields: np.ndarray) -> Path:
    """Write ``observations`` and so on; ``goal`` and ``joints`` go to their groups."""
    folders = {"goal": "infos/goal", "joints": "metadata/joints"}
    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            file[folders.get(name, name)] = values
    return path


def forces(count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, 2)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data.hdf5"


def test_a_published_file_of_an_ant_says_where_its_position_is(tmp_path: Path) -> None:
    path = tmp_path / "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5"
    noise = np.random.default_rng(0).normal(size=(50, 29)).astype(np.float32)
    ends = np.arange(50) % 25 == 24
    write(path, observations=noise, actions=noise[:, :8], timeouts=ends, terminals=0 * ends)
    read = read_d4rl(path)
    assert read.layout.position == (0, 1) and read.actions.shape == (50, 8)


def test_fields_come_back_as_they_were_written(file: Path) -> None:
    rewards = np.arange(100, dtype=np.float32)
    goal = np.ones((100, 2), np.float32)
    marks = np.arange(100) % 7 == 0
    write(
        file,
        observations=walk(100),
        actions=forces(100),
        rewards=rewards,
        goal=goal,
        terminals=np.zeros(100, bool),
        timeouts=marks,
    )
    read = read_d4rl(file)
    np.testing.assert_array_equal(read.observations, walk(100), strict=True)
    np.testing.assert_array_equal(read.actions, forces(100), strict=True)
    np.testing.assert_array_equal(read.rewards, rewards, strict=True)
    np.testing.assert_array_equal(read.goals, goal, strict=True)
    np.testing.assert_array_equal(read.timeouts, marks, strict=True)
    np.testing.assert_array_equal(read.terminals, np.zeros(100, bool), strict=True)
    np.testing.assert_array_equal(read.episodes, np.array([0], np.int64), strict=True)
    assert read.final_observations is None
    assert read.source == file.name


def test_single_columns_other_types_and_missing_fields_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "extras.hdf5",
        observations=walk(100).astype(np.float64),
        actions=np.ones((100, 2), np.int8),
        rewards=np.ones((100, 1), np.int64),
        terminals=np.zeros((100, 1), np.float32),
    )
    read = read_d4rl(path)
    assert read.observations.dtype == np.float64
    assert read.actions.dtype == read.rewards.dtype == np.float32
    assert read.rewards.tolist() == [1.0] * 100
    assert read.terminals.tolist() == [False] * 100
    path = write(tmp_path / "bare.hdf5", observations=walk(9)[:, :2], actions=forces(9))
    read = read_d4rl(path)
    assert read.observations.shape == (9, 2)
    assert read.rewards is read.goals is read.terminals is read.timeouts is read.maze is None


def test_the_stream_goes_on_at_timeouts(file: Path) -> None:
    write(file, observations=walk(100), actions=forces(100), timeouts=np.arange(100) % 10 == 9)
    assert read_d4rl(file).episodes.tolist() == [0]


def test_episodes_begin_at_joints_and_after_terminals(file: Path) -> None:
    terminals = np.isin(np.arange(1000), [499, 999])
    joints = np.array([0, 700])
    write(file, observations=walk(1000), actions=forces(1000), terminals=terminals, joints=joints)
    assert read_d4rl(file).episodes.tolist() == [0, 500, 700]


def test_reading_changes_no_values(file: Path) -> None:
    """Rows of zeros, NaN, infinite actions and jumps are for others to see to."""
    observations, actions = walk(100), forces(100)
    observations[20] = 0
    observations[30, 2] = np.nan
    observations[60:] += 9
    actions[5] = np.inf
    read = read_d4rl(write(file, observations=observations, actions=actions))
    np.testing.assert_array_equal(read.observations, observations)
    np.testing.assert_array_equal(read.actions, actions)
    assert read.episodes.tolist() == [0]


def test_files_without_rows_are_read(file: Path) -> None:
    read = read_d4rl(write(file, observations=walk(0), actions=forces(0)))
    assert len(read) == 0 and read.episodes.tolist() == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"observations": walk(10)}, "no field 'actions'; it has observations"),
        ({"data": walk(10)}, "no field 'observations'; it has data"),
        ({}, "no field 'observations'; it has none"),
        (
            {"observations": walk(10)[:, 0], "actions": forces(10)},
            r"observations must have shape \[N, S\]; got \[10\]",
        ),
        (
            {"observations": np.ones((10, 8, 8, 3)), "actions": forces(10)},
            "image",
        ),
        (
            {"observations": walk(10), "actions": np.ones((10, 2, 8))},
            r"actions must have shape \[10, A\]; got \[10, 2, 8\]",
        ),
        (
            {"observations": walk(10), "actions": forces(9)},
            r"10 observations for 9 actions",
        ),
        (
            {"observations": walk(10), "actions": forces(10), "rewards": np.ones(3)},
            r"rewards must have shape \[10\]; got \[3\]",
        ),
        (
            {"observations": walk(10), "actions": forces(10), "rewards": h5py.Empty("f")},
            r"rewards must have shape \[10\]; got \[\]",
        ),
        (
            {"observations": walk(10), "actions": forces(10), "timeouts": np.ones(11)},
            r"timeouts must have shape \[10\]; got \[11\]",
        ),
        (
            {"observations": np.full((10, 4), b"a"), "actions": forces(10)},
            "observations must hold numbers; got",
        ),
        (
            {"observations": walk(10), "actions": forces(10), "joints": np.array([10])},
            r"metadata/joints must be row numbers below 10; got array\(\[10\]\)",
        ),
    ],
)
def test_wrong_fields_are_refused(file: Path, fields: dict[str, np.ndarray], message: str) -> None:
    write(file, **fields)
    with pytest.raises(DataError, match=message):
        read_d4rl(file)


@pytest.mark.parametrize(
    ("noted", "maze"),
    [
        ("#####\n#OGO#\n#####", "#####\n#OGO#\n#####"),
        (np.bytes_("#####\\#OGO#\\#####"), "#####\n#OGO#\n#####"),
        ("ogbench-giant", "ogbench-giant"),
        ("frame ogbench\n###\n#O#\n###", "frame ogbench\n###\n#O#\n###"),
        ("a maze of mine", None),
        (np.arange(3), None),
    ],
)
def test_the_maze_is_taken_where_it_is_noted_as_one(
    file: Path, noted: object, maze: str | None
) -> None:
    write(file, observations=walk(10), actions=forces(10))
    with h5py.File(file, "a") as opened:
        opened.attrs["maze"] = noted
    assert read_d4rl(file).maze == maze


def test_a_missing_file_is_refused(file: Path) -> None:
    with pytest.raises(DataError, match=r"no data file at .*data.hdf5.*`dfplan data generate`"):
        read_d4rl(file)
    with pytest.raises(DataError, match="no data file at"):
        read_d4rl(file.parent)


def test_a_foreign_file_is_refused(file: Path) -> None:
    file.write_text("observations, actions\n")
    with pytest.raises(DataError, match="not a whole hdf5 file"):
        read_d4rl(file)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(file: Path, share: float) -> None:
    write(file, observations=walk(10_000), actions=forces(10_000))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="not a whole hdf5 file"):
        read_d4rl(file)


def test_a_damaged_field_is_refused(file: Path) -> None:
    with h5py.File(file, "w") as out:
        out.create_dataset("observations", data=walk(10_000), compression="gzip")
        out["actions"] = forces(10_000)
        chunk = out["observations"].id.get_chunk_info(1)
    whole = bytearray(file.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    whole[middle : middle + 64] = bytes(64)
    file.write_bytes(whole)
    with pytest.raises(DataError, match="cannot be read"):
        read_d4rl(file)


def test_what_d4rls_tools_look_for_is_always_written(tmp_path: Path) -> None:
    episodes = np.array([0, 30, 60])
    bare = Recording(
        walk(100), forces(100), episodes, "bare", final_observations=np.array([1, 1, 0], bool)
    )
    with h5py.File(write_d4rl(bare, tmp_path / "bare.hdf5")) as file:
        assert not file["rewards"][()].any() and not file["terminals"][()].any()
        assert np.flatnonzero(file["timeouts"]).tolist() == [29, 59, 99]
        np.testing.assert_array_equal(file["infos/qpos"], walk(100)[:, :2], strict=True)
        np.testing.assert_array_equal(file["infos/qvel"], walk(100)[:, 2:], strict=True)
        assert "infos/goal" not in file
        assert file["metadata/joints"][()].tolist() == [0, 30, 60]


def test_no_end_is_added_at_a_terminal(tmp_path: Path) -> None:
    ended = np.arange(100) == 29
    recording = Recording(walk(100), forces(100), np.array([0, 30]), "ended", terminals=ended)
    path = write_d4rl(recording, tmp_path / "ended.hdf5")
    with h5py.File(path) as file:
        assert np.flatnonzero(file["timeouts"]).tolist() == [99]
    assert read_d4rl(path).timeouts is None


def test_no_step_is_taken_from_a_final_observation(tmp_path: Path) -> None:
    """It is a timeout to D4RL's tools, and none to this reader; a terminal parts it from no row."""
    terminals = np.arange(100) == 28
    recording = Recording(
        walk(100),
        forces(100),
        np.array([0, 30]),
        "bare",
        terminals=terminals,
        timeouts=np.arange(100) == 98,
        final_observations=np.array([True, True]),
    )
    path = write_d4rl(recording, tmp_path / "bare.hdf5")
    with h5py.File(path) as file:
        assert np.flatnonzero(file["timeouts"]).tolist() == [29, 98, 99]
    read = read_d4rl(path)
    assert np.flatnonzero(read.timeouts).tolist() == [98]
    assert read.episodes.tolist() == [0, 30]


def test_a_full_disk_is_reported_and_leaves_no_file(tmp_path: Path) -> None:
    """The real thing, in a process whose files may not grow beyond 100 kB."""
    path = tmp_path / "walk.hdf5"
    path.write_bytes(b"what was there before")
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "No space left" in done.stdout, done
    assert done.stderr == ""
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"what was there before"]


def test_the_maze_is_read_from_a_published_name(tmp_path: Path) -> None:
    for name, maze in (
        ("maze2d-large-sparse-v1.hdf5", "large"),
        ("maze2d-umaze-dense-v1.hdf5", "umaze"),
        ("maze2d-eval-large-sparse-v1.hdf5", None),
        ("mine.hdf5", None),
    ):
        with h5py.File(tmp_path / name, "w") as file:
            file["observations"], file["actions"] = np.ones((3, 4)), np.ones((3, 2))
        assert read_d4rl(tmp_path / name).maze == maze
