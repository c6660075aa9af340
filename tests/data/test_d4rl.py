"""Reading D4RL's layout and bare arrays, and fetching the published files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.data import download, from_arrays, load_d4rl
from dfplan.data.d4rl import PUBLISHED
from dfplan.errors import ConfigError, DataError

DT = 0.01


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


def test_fields_come_back_as_they_were_written(file: Path) -> None:
    rewards = np.arange(100, dtype=np.float32)
    goal = np.ones((100, 2), np.float32)
    write(file, observations=walk(100), actions=forces(100), rewards=rewards, goal=goal)
    read = load_d4rl(file)
    np.testing.assert_array_equal(read.observations, walk(100))
    np.testing.assert_array_equal(read.actions, forces(100))
    np.testing.assert_array_equal(read.rewards, rewards)
    np.testing.assert_array_equal(read.goals, goal)
    assert read.segments.tolist() == [[0, 100]]
    assert read.segments.dtype == np.int64
    assert read.source == file.name


def test_single_columns_other_types_and_missing_extras_are_taken(file: Path) -> None:
    write(
        file,
        observations=walk(100).astype(np.float64),
        actions=forces(100).astype(np.float64),
        rewards=np.ones((100, 1), np.int64),
        terminals=np.zeros((100, 1), bool),
    )
    read = load_d4rl(file)
    assert read.observations.dtype == read.actions.dtype == read.rewards.dtype == np.float32
    assert read.rewards.tolist() == [1.0] * 100
    assert read.goals is None
    write(file, observations=walk(100), actions=forces(100))
    assert load_d4rl(file).rewards.tolist() == [0.0] * 100


def test_the_stream_goes_on_at_timeouts(file: Path) -> None:
    write(file, observations=walk(100), actions=forces(100), timeouts=np.arange(100) % 10 == 9)
    assert load_d4rl(file).segments.tolist() == [[0, 100]]


def test_it_is_cut_at_jumps_joints_and_after_terminals(file: Path) -> None:
    observations = walk(1000)
    observations[300:, 0] += 0.3  # ten steps' way at most, along one axis
    terminals = np.arange(1000) == 499
    joints = np.array([0, 700])
    write(file, observations=observations, actions=forces(1000), terminals=terminals, joints=joints)
    assert load_d4rl(file).segments.tolist() == [[0, 300], [300, 500], [500, 700], [700, 1000]]


def test_no_step_of_the_motion_is_taken_for_a_jump(file: Path) -> None:
    """Resting most of the time, or standing still throughout, cuts nothing."""
    resting = np.repeat(walk(10), 100, axis=0)
    for observations in (resting, np.ones((1000, 4), np.float32)):
        write(file, observations=observations, actions=forces(1000))
        assert load_d4rl(file).segments.tolist() == [[0, 1000]]


def test_all_zero_rows_are_left_out_and_marks_on_them_kept(file: Path) -> None:
    observations = walk(100)
    observations[[20, 60]] = 0
    write(
        file,
        observations=observations,
        actions=forces(100),
        rewards=np.arange(100.0),
        goal=np.ones((100, 2)),
        joints=np.array([60]),
    )
    read = load_d4rl(file)
    kept = np.delete(np.arange(100), [20, 60])
    assert read.segments.tolist() == [[0, 59], [59, 98]]
    assert read.rewards.tolist() == kept.tolist()
    np.testing.assert_array_equal(read.actions, forces(100)[kept])
    assert len(read.goals) == len(read) == 98


def test_the_fingerprint_is_of_the_motion(file: Path, tmp_path: Path) -> None:
    write(file, observations=walk(100), actions=forces(100), rewards=np.ones(100))
    same = write(tmp_path / "same.hdf5", observations=walk(100), actions=forces(100))
    other = write(tmp_path / "other.hdf5", observations=walk(100, seed=1), actions=forces(100))
    cut = write(
        tmp_path / "cut.hdf5",
        observations=walk(100),
        actions=forces(100),
        terminals=np.arange(100) == 50,
    )
    prints = [load_d4rl(path).fingerprint for path in (file, same, other, cut)]
    assert prints[0] == prints[1] == from_arrays(walk(100), forces(100)).fingerprint
    assert len(set(prints)) == 3


NAN = walk(10)
NAN[7, 2] = np.nan


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"observations": walk(10)}, "no field 'actions'; it has observations"),
        ({"data": walk(10)}, "no field 'observations'; it has data"),
        ({}, "no field 'observations'; it has none"),
        (
            {"observations": walk(10)[:, :2], "actions": forces(10)},
            r"observations must have shape \[N, 4\]; got \[10, 2\]",
        ),
        (
            {"observations": walk(10), "actions": np.ones((10, 8))},
            r"actions must have shape \[10, 2\]; got \[10, 8\]",
        ),
        (
            {"observations": walk(10), "actions": forces(9)},
            r"actions must have shape \[10, 2\]; got \[9, 2\]",
        ),
        (
            {"observations": walk(10), "actions": forces(10), "rewards": np.ones(3)},
            r"rewards must have shape \[10\]; got \[3\]",
        ),
        (
            {"observations": NAN, "actions": forces(10)},
            r"observations must be finite; row 7 is .*nan.* \(1 such rows\)",
        ),
        (
            {"observations": walk(10), "actions": np.full((10, 2), np.inf)},
            r"actions must be finite; row 0 is \[inf, inf\] \(10 such rows\)",
        ),
        ({"observations": walk(1), "actions": forces(1)}, "at least 2 rows .* got 1"),
        ({"observations": np.zeros((5, 4)), "actions": forces(5)}, "at least 2 rows .* got 0"),
        ({"observations": walk(0), "actions": forces(0)}, "at least 2 rows .* got 0"),
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
        load_d4rl(file)


@pytest.mark.parametrize(
    ("noted", "maze"),
    [
        ("#####\n#OGO#\n#####", "#####\n#OGO#\n#####"),
        (np.bytes_("#####\\#OGO#\\#####"), "#####\n#OGO#\n#####"),
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
    assert load_d4rl(file).maze == maze


def test_a_missing_file_is_refused(file: Path) -> None:
    with pytest.raises(DataError, match=r"no data file at .*data.hdf5.*`dfplan data generate`"):
        load_d4rl(file)
    with pytest.raises(DataError, match="no data file at"):
        load_d4rl(file.parent)


def test_a_foreign_file_is_refused(file: Path) -> None:
    file.write_text("observations, actions\n")
    with pytest.raises(DataError, match="not a whole hdf5 file"):
        load_d4rl(file)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(file: Path, share: float) -> None:
    write(file, observations=walk(10_000), actions=forces(10_000))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="not a whole hdf5 file"):
        load_d4rl(file)


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
        load_d4rl(file)


def test_arrays_need_nothing_but_positions() -> None:
    positions = walk(100)[:, :2].astype(float)
    positions[60:] += 2
    read = from_arrays(positions, source="robot")
    assert read.segments.tolist() == [[0, 60], [60, 100]]
    velocity = read.observations[:, 2:]
    for first, end in read.segments:
        steps = np.diff(positions[first:end], axis=0)
        np.testing.assert_allclose(velocity[first + 1 : end], steps, atol=1e-6)
        np.testing.assert_array_equal(velocity[first], velocity[first + 1])
    assert read.source == "robot"
    assert not read.actions.any()
    assert read.goals is None


def test_arrays_are_cut_at_the_ends_that_are_given_and_only_there() -> None:
    observations = walk(100)
    observations[60:, 0] += 2
    ends = np.zeros(100, bool)
    ends[[39, 98, 99]] = True
    read = from_arrays(observations, forces(100), ends)
    assert read.segments.tolist() == [[0, 40], [40, 99], [99, 100]]
    np.testing.assert_array_equal(read.observations, observations)
    alone = from_arrays(observations[:, :2], ends=ends)
    assert not alone.observations[99, 2:].any()


def test_arrays_are_copied() -> None:
    observations = walk(10)
    read = from_arrays(observations)
    observations[:] = 0
    assert read.observations.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((walk(10)[:, :3],), r"\[N, 4\].* or \[N, 2\].*got shape \[10, 3\]"),
        ((walk(10)[0],), r"got shape \[4\]"),
        ((walk(1),), "at least 2 rows .* got 1"),
        (([["a", "b"]],), "observations must be an array of numbers"),
        ((NAN,), "row 7"),
        ((walk(10), forces(9)), r"actions must have shape \[10, 2\]; got \[9, 2\]"),
        ((walk(10), None, np.ones(9)), r"ends must have shape \[10\]; got \[9\]"),
    ],
)
def test_wrong_arrays_are_refused(arguments: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(*arguments)


NAME = "maze2d-umaze-v1"


class Server(BaseHTTPRequestHandler):
    """Serves ``bodies`` by the first folder of the path; ``short`` promises more than it sends."""

    body = b""

    def do_GET(self) -> None:
        kind, _, name = self.path.strip("/").partition("/")
        if kind == "gone" or name != PUBLISHED[NAME]:
            self.send_error(404)
            return
        body = b"<html>" if kind == "page" else self.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if kind == "short" else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    path = write(tmp_path / "served.hdf5", observations=walk(2000), actions=forces(2000))
    monkeypatch.setattr(Server, "body", path.read_bytes())
    for variable in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with HTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_published_file_is_fetched_once(server: str, tmp_path: Path) -> None:
    path = download(NAME, tmp_path / "kept", base_url=f"{server}/good/", progress=False)
    assert path == tmp_path / "kept" / "maze2d-umaze-sparse-v1.hdf5"
    assert len(load_d4rl(path)) == 2000
    assert list(path.parent.iterdir()) == [path]
    assert download(NAME, tmp_path / "kept", base_url=f"{server}/gone", progress=False) == path


def test_the_folder_is_d4rls_by_default(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "d4rl"))
    assert download(NAME, base_url=f"{server}/good").parent == tmp_path / "d4rl"
    assert "maze2d-umaze-sparse-v1.hdf5: 100%" in capsys.readouterr().err
    monkeypatch.delenv("D4RL_DATASET_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = download(NAME, base_url=f"{server}/good", progress=False)
    assert path.parent == tmp_path / ".d4rl" / "datasets"


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("gone", "404"),
        ("short", r"\d+"),
        ("page", "not an hdf5 file"),
    ],
)
def test_a_failed_fetch_leaves_nothing_and_names_the_ways_out(
    server: str, tmp_path: Path, kind: str, why: str
) -> None:
    with pytest.raises(DataError, match=f"{why}.*a copy that you have.*`dfplan data generate`"):
        download(NAME, tmp_path / "kept", base_url=f"{server}/{kind}", progress=False)
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "no address"])
def test_an_unreachable_server_is_reported(tmp_path: Path, address: str) -> None:
    with pytest.raises(DataError, match=r"Could not fetch .*base_url"):
        download(NAME, tmp_path, base_url=address, progress=False)


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'maze2d-umaze-v1'"):
        download("maze2d-umaze-v0", tmp_path)
