"""Reading and writing in any format: how the format of a source is detected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.data import read, write
from dfplan.data.formats.registry import FORMATS
from dfplan.errors import ConfigError, DataError
from dfplan.types import Recording

ROWS = np.random.default_rng(0).normal(size=(10, 4))
RECORDING = Recording(ROWS, ROWS[:, :2], np.array([0, 5]), "walk", maze="large")


@pytest.fixture
def minari() -> Iterator[list[object]]:
    """The arguments of Minari's reader and writer, which are replaced."""
    calls: list[object] = []
    replaced = dataclasses.replace(
        FORMATS["minari"],
        read=lambda path, **_: calls.append(path) or RECORDING,
        write=lambda _, path: calls.append(path) or path,
    )
    before = dict(FORMATS)
    for parts in ({**before, "minari": replaced}, before):
        FORMATS.clear()
        FORMATS.update(parts)
        if parts is not before:
            yield calls


@pytest.mark.parametrize("name", ["a.hdf5", "a.h5", "a.npz"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    path = write(RECORDING, tmp_path / name)
    assert path == tmp_path / name
    for source in (path, str(path)):
        again = read(source)
        np.testing.assert_array_equal(again.observations, ROWS, strict=True)
        assert again.episodes.tolist() == [0, 5]
        assert (again.maze, again.source) == ("large", name)


def test_a_format_is_detected_from_the_contents(tmp_path: Path) -> None:
    for name in ("d4rl", "ogbench"):
        path = write(RECORDING, tmp_path / f"{name}.data", format=name)
        assert len(read(path)) == len(read(path, format=name)) == 10
    with pytest.raises(DataError, match="not a whole npz file"):
        read(tmp_path / "d4rl.data", format="ogbench")


def test_minari_folders_files_and_ids_go_to_its_reader(
    tmp_path: Path, minari: list[object]
) -> None:
    (tmp_path / "folder").mkdir()
    main = tmp_path / "folder" / "main_data.hdf5"
    with h5py.File(main, "w") as file:
        file.create_group("episode_0")
    other = tmp_path / "copy.hdf5"
    other.write_bytes(main.read_bytes())
    ids = ["D4RL/pointmaze/umaze-v2", "pointmaze-large-dense-v1", "mine/walk-v0"]
    sources = [tmp_path / "folder", main, other, *ids]
    for source in sources:
        assert read(source) is RECORDING
    assert minari == [Path(source) for source in sources]
    assert read("anything", format="minari") is RECORDING
    assert write(RECORDING, tmp_path / "new") == tmp_path / "new"
    assert minari[-2:] == [Path("anything"), tmp_path / "new"]


@pytest.mark.parametrize(
    ("name", "variable", "file"),
    [
        ("maze2d-large-dense-v1", "D4RL_DATASET_DIR", "maze2d-large-dense-v1.hdf5"),
        ("pointmaze-large-stitch-v0", "OGBENCH_DATASET_DIR", "pointmaze-large-stitch-v0.npz"),
    ],
)
def test_a_published_name_is_read_from_where_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, variable: str, file: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    write(RECORDING, tmp_path / file)
    if file.endswith(".npz"):
        write(RECORDING, tmp_path / file.replace(".npz", "-val.npz"))
    assert read(name).source == file


def test_a_file_named_like_a_data_set_is_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(RECORDING, tmp_path / "maze2d-large-v1", format="d4rl")
    assert read("maze2d-large-v1").source == "maze2d-large-v1"


@pytest.mark.parametrize("name", ["maze2d-lage-v1", "maze2d-large-v3", "pointmaze-gaint-stitch-v0"])
def test_a_misspelled_name_of_published_data_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"Unknown data set .* Did you mean"):
        read(name)


def test_bare_arrays_need_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", obs=ROWS)
    with pytest.raises(DataError, match=r"arrays are obs\. .*keys=\{'observations': 'obs'"):
        read(tmp_path / "own.npz")
    keys = {"observations": "obs"}
    np.testing.assert_array_equal(read(tmp_path / "own.npz", keys=keys).observations, ROWS)
    with pytest.raises(ConfigError, match="format 'ogbench' and keys"):
        read(tmp_path / "own.npz", format="ogbench", keys=keys)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "walk.csv").write_text("x, y\n")
    with pytest.raises(DataError, match=r"no known format.*from_arrays"):
        read(tmp_path / "walk.csv")
    with pytest.raises(DataError, match=r"no data at .*none\.hdf5"):
        read(str(tmp_path / "none.hdf5"))
    with pytest.raises(DataError, match="no data at nothing of the kind"):
        read("nothing of the kind")
    (tmp_path / "cut.npz").write_bytes(write(RECORDING, tmp_path / "a.npz").read_bytes()[:500])
    with pytest.raises(DataError, match="not a whole npz file"):
        read(tmp_path / "cut.npz")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["obs"] = ROWS
    with pytest.raises(DataError, match="no field 'observations'; it has obs"):
        read(tmp_path / "other.hdf5")


def test_an_unknown_name_or_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'd4rl'"):
        read(tmp_path, format="drl")
    with pytest.raises(ConfigError, match=r"Unknown data format 'arrays'.*d4rl, minari"):
        write(RECORDING, tmp_path / "a.npz", format="arrays")
    with pytest.raises(ConfigError, match=r"\.hdf5 or \.h5 for D4RL.*got .*a\.csv"):
        write(RECORDING, tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_a_format_that_is_added_detects_files_before_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "robot.hdf5"
    with h5py.File(path, "w") as file:
        file["robot_state"] = np.zeros((5, 2))

    robot = dataclasses.replace(
        FORMATS["d4rl"],
        name="robot",
        detect=lambda contents: contents.hdf5 is not None and "robot_state" in contents.hdf5,
        read=lambda *_, **__: RECORDING,
    )
    monkeypatch.setitem(FORMATS, "robot", robot)
    assert read(path) is RECORDING
