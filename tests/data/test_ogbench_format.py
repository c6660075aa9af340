"""OGBench's format: files as its generator writes them and as its loader returns them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfplan.data.formats.d4rl import read_d4rl, write_d4rl
from dfplan.data.formats.ogbench import read_ogbench, write_ogbench
from dfplan.errors import DataError
from dfplan.observations import ObservationLayout
from dfplan.types import Recording

LENGTHS = (5, 2, 8)
FIRST = [0, 5, 7]
COUNT = sum(LENGTHS)

FULL_DISK = """
import resource, sys
import numpy as np
from dfplan.data.formats.ogbench import write_ogbench
from dfplan.observations import ObservationLayout
from dfplan.types import Recording
noise = np.random.default_rng(0).normal(size=(100_000, 4))
recording = Recording(noise, noise[:, :2], np.array([0]), "noise")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_ogbench(recording, sys.argv[1])
except OSError as error:
    print(error)
"""


def rows(width: int = 2, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(width).normal(size=(count, width)).astype(np.float32)


def published() -> dict[str, np.ndarray]:
    """What OGBench's generator saves of three trajectories."""
    terminals = np.isin(np.arange(COUNT), np.cumsum(LENGTHS) - 1)
    return {
        "observations": rows(),
        "actions": rows(count=COUNT)[::-1].copy(),
        "terminals": terminals,
        "qpos": rows().astype(np.float32),
        "qvel": np.zeros((COUNT, 2), np.float32),
    }


def loaded(path: Path, compact: bool) -> dict[str, np.ndarray]:
    """What OGBench's own loader makes of a file."""
    utils = pytest.importorskip("ogbench.utils")
    return utils.load_dataset(str(path), compact_dataset=compact, add_info=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "pointmaze-giant-navigate-v0.npz", **published())
    return tmp_path / "pointmaze-giant-navigate-v0.npz"


def test_a_published_file_is_read_as_it_is(file: Path) -> None:
    read, fields = read_ogbench(file), published()
    np.testing.assert_array_equal(read.observations, fields["observations"], strict=True)
    np.testing.assert_array_equal(read.actions, fields["actions"], strict=True)
    np.testing.assert_array_equal(read.episodes, np.array(FIRST, np.int64), strict=True)
    assert (
        read.terminals
        is read.timeouts
        is read.rewards
        is read.goals
        is read.final_observations
        is None
    )
    assert read.maze == "ogbench-giant"
    assert read.source == file.name


def test_a_published_file_of_an_ant_says_where_its_position_is(tmp_path: Path) -> None:
    path = tmp_path / "antmaze-large-explore-v0.npz"
    np.savez_compressed(path, **{**published(), "observations": rows(29), "actions": rows(8)})
    read = read_ogbench(path)
    assert read.maze == "ogbench-antmaze-large"
    assert read.layout == ObservationLayout(29, (0, 1), (15, 16))
    again = read_ogbench(write_ogbench(read, tmp_path / "ants.npz"))
    with np.load(tmp_path / "ants.npz") as arrays:  # the whole configuration of the body
        np.testing.assert_array_equal(arrays["qpos"], rows(29)[:, :15])
        np.testing.assert_array_equal(arrays["qvel"], rows(29)[:, 15:])
    assert again.layout == read.layout and again.maze == read.maze
    other = read_ogbench(path, position=(3, 4))
    assert other.layout.position == (3, 4)


def test_terminals_may_be_numbers_and_end_before_the_rows_do(tmp_path: Path) -> None:
    fields = published()
    fields["terminals"] = fields["terminals"].astype(np.float32)[:, None]
    fields["terminals"][-1] = 0
    np.savez(tmp_path / "own.npz", **fields)
    read = read_ogbench(tmp_path / "own.npz")
    assert read.episodes.tolist() == FIRST
    assert read.maze is None


def test_the_compact_form_is_the_file(file: Path, tmp_path: Path) -> None:
    compact = loaded(file, compact=True)
    assert compact["terminals"].sum() == 2 * len(LENGTHS)
    np.savez(tmp_path / file.name.replace("-v0", "-compact-v0"), **compact)
    read = read_ogbench(tmp_path / "pointmaze-giant-navigate-compact-v0.npz")
    require_equal(read, read_ogbench(file))


@pytest.mark.parametrize("block", [1 << 20, 16])
def test_the_regular_form_gets_its_last_rows_back(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("dfplan.data.storage.BLOCK", block)
    regular = loaded(file, compact=False)
    rewards = np.arange(COUNT - len(LENGTHS), dtype=np.float32) + 1
    np.savez(tmp_path / "regular.npz", **regular, rewards=rewards)
    read, whole = read_ogbench(tmp_path / "regular.npz"), read_ogbench(file)
    np.testing.assert_array_equal(read.observations, whole.observations, strict=True)
    np.testing.assert_array_equal(read.episodes, whole.episodes, strict=True)
    assert read.final_observations.tolist() == [True] * len(LENGTHS)
    last = published()["terminals"]
    np.testing.assert_array_equal(read.actions[~last], whole.actions[~last], strict=True)
    np.testing.assert_array_equal(read.rewards[~last], rewards, strict=True)
    assert not read.actions[last].any() and not read.rewards[last].any()


def test_shuffled_transitions_are_refused(file: Path, tmp_path: Path) -> None:
    regular = loaded(file, compact=False)
    order = np.random.default_rng(0).permutation(len(regular["observations"]))
    np.savez(tmp_path / "a.npz", **{name: values[order] for name, values in regular.items()})
    with pytest.raises(DataError, match=r"shuffled transitions.*row \d+"):
        read_ogbench(tmp_path / "a.npz")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("width", [2, 4])
def test_ogbenchs_loader_takes_what_is_written(tmp_path: Path, compress: bool, width: int) -> None:
    recording = Recording(
        rows(width),
        rows(),
        np.array(FIRST),
        "walks",
        rewards=np.ones(COUNT, np.float32),
        goals=rows(),
        terminals=np.zeros(COUNT, bool),
        timeouts=np.zeros(COUNT, bool),
        final_observations=np.array([True, False, True]),
        maze="ogbench-large",
    )
    path = write_ogbench(recording, tmp_path / "a.npz", compress=compress)
    assert list(tmp_path.iterdir()) == [path]
    whole, regular = loaded(path, compact=True), loaded(path, compact=False)
    np.testing.assert_array_equal(whole["observations"], recording.observations)
    np.testing.assert_array_equal(whole["valids"], 1 - published()["terminals"])
    assert len(regular["next_observations"]) == COUNT - len(LENGTHS)
    np.testing.assert_array_equal(whole["qpos"], recording.observations[:, :2])
    assert ("qvel" in whole) == (width == 4)


def test_what_is_written_can_be_mapped_and_is_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfplan.data.storage.LARGE", 1)
    recording = Recording(rows(4), rows().astype(float), np.array(FIRST), "walks", rows()[:, 0])
    first = write_ogbench(recording, tmp_path / "1.npz")
    assert first.read_bytes() == write_ogbench(recording, tmp_path / "2.npz").read_bytes()
    read = read_ogbench(first)
    for values in (read.observations, read.actions, read.rewards):
        assert isinstance(values, np.memmap)
        assert values.flags.aligned


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"observations": np.zeros((15, 64, 64, 3), np.uint8)}, "image"),
        ({"observations": rows(0)}, r"observations must have shape \[N, S\]"),
        ({"actions": rows(8)[:9]}, r"actions must have shape \[15, A\]; got \[9, 8\]"),
        ({"actions": None}, "no field 'actions'; it has observations, qpos"),
        ({"terminals": None}, r"no field 'terminals'.*OGBench's format"),
        ({"terminals": np.zeros(14)}, r"terminals must have shape \[15\]; got \[14\]"),
        ({"terminals": np.full(15, "no")}, "terminals must hold numbers"),
        ({"bare_ends": np.ones(2, bool)}, r"bare_ends must have shape \[3\]; got \[2\]"),
        (dict.fromkeys(published()), "no field 'observations'; it has none"),
    ],
)
def test_wrong_files_are_refused(
    tmp_path: Path, fields: dict[str, np.ndarray | None], message: str
) -> None:
    given = {**published(), **fields}
    path = tmp_path / "a.npz"
    np.savez(path, **{name: values for name, values in given.items() if values is not None})
    with pytest.raises(DataError, match=message):
        read_ogbench(path)


def test_a_full_disk_is_reported_and_leaves_no_file(tmp_path: Path) -> None:
    """The real thing, in a process whose files may not grow beyond 100 kB."""
    path = tmp_path / "walk.npz"
    path.write_bytes(b"what was there before")
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "File too large" in done.stdout, done
    assert done.stderr == ""
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"what was there before"]


def recordings() -> list[Recording]:
    """One of each kind: many fields and few, both precisions, one row and none."""
    flags = np.arange(COUNT) % 4 == 3
    bare = np.array([False, True, True])
    every = Recording(
        observations=rows(4),
        actions=rows().astype(float),
        episodes=np.array(FIRST),
        source="",
        rewards=rows()[:, 0].astype(float),
        goals=rows(),
        terminals=flags,
        timeouts=flags[::-1] | (np.arange(COUNT) == 6),
        final_observations=bare,
        maze="frame ogbench\n#####\n#OOO#\n#####",
    )
    few = Recording(rows().astype(float), rows(), np.array(FIRST), "")
    spoilt = rows(4)
    spoilt[3], spoilt[4:6] = np.nan, 0
    return [
        every,
        few,
        Recording(spoilt, rows(), np.array(FIRST), "", terminals=flags, maze="large"),
        Recording(rows(), rows(), np.array(FIRST), "", timeouts=flags, final_observations=bare),
        Recording(rows(4), rows(), np.array(FIRST), "", final_observations=np.zeros(3, bool)),
        Recording(
            rows(count=1), rows(count=1), np.array([0]), "", final_observations=np.array([True])
        ),
        Recording(rows(4, 0), rows(2, 0), np.zeros(0, np.int64), "", rewards=np.zeros(0)),
    ]


def require_equal(one: Recording, other: Recording) -> None:
    for name in set(Recording.__dataclass_fields__) - {"source"}:
        first, second = getattr(one, name), getattr(other, name)
        if isinstance(first, np.ndarray):
            np.testing.assert_array_equal(second, first, err_msg=name, strict=True)
        else:
            assert first == second, name


@pytest.mark.parametrize("recording", recordings())
def test_conversion_between_formats_loses_nothing(tmp_path: Path, recording: Recording) -> None:
    one = read_d4rl(write_d4rl(recording, tmp_path / "a.hdf5"))
    require_equal(recording, one)
    two = read_ogbench(write_ogbench(one, tmp_path / "b.npz"))
    require_equal(recording, two)
    three = read_d4rl(write_d4rl(two, tmp_path / "c.hdf5"))
    require_equal(recording, three)
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "c.hdf5").read_bytes()
    assert (one.source, two.source) == ("a.hdf5", "b.npz")
