"""Checksum files: written, compared whenever the data is read, and updated with the data."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.cli import main
from dfplan.collect import generate
from dfplan.data import checksum, read, write
from dfplan.errors import DataError
from dfplan.types import Recording

ROWS = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
RECORDING = Recording(ROWS, ROWS[:, :2].copy(), np.array([0, 25]), "walk", maze="large")
FILES = ["walk.hdf5", "walk.npz", "a b.npz", "odd\\\n\rname.npz"]


def flip(path: Path, place: int) -> None:
    """Change one bit and no time."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def minari(tmp_path: Path) -> Path:
    """A folder as Minari writes it."""
    folder = tmp_path / "walk-v0"
    (folder / "data").mkdir(parents=True)
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        file["episode_0/observations"], file["episode_0/actions"] = ROWS, ROWS[:-1, :2]
    (folder / "data" / "metadata.json").write_text('{"dataset_id": "walk-v0"}')
    return folder


@pytest.mark.parametrize("name", FILES)
def test_changed_data_is_refused(tmp_path: Path, name: str) -> None:
    path = write(RECORDING, tmp_path / name)
    sidecar = checksum(path)
    assert sidecar == tmp_path / f"{name}.sha256"
    assert hashlib.sha256(path.read_bytes()).hexdigest() in sidecar.read_text()
    assert read(path) == read(str(path))
    for place in range(0, path.stat().st_size, path.stat().st_size // 7):
        flip(path, place)
        with pytest.raises(DataError, match="does not match its checksum"):
            read(path)
        flip(path, place)
        np.testing.assert_array_equal(read(path).observations, ROWS)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
def test_sha256sum_and_dfplan_take_each_others_files(tmp_path: Path, minari: Path) -> None:
    for path in [*(write(RECORDING, tmp_path / name) for name in FILES), minari]:
        sidecar = checksum(path)
        check = ["sha256sum", "-c", "--strict", sidecar.name]
        subprocess.run(check, cwd=tmp_path, check=True, capture_output=True)
    plain = [path for path in tmp_path.iterdir() if path.suffix == ".npz"]
    for path in plain:
        made = subprocess.run(["sha256sum", path], check=True, capture_output=True).stdout
        path.with_name(path.name + ".sha256").write_bytes(made)
        read(path)
        flip(path, 200)
        with pytest.raises(DataError, match="not match its checksum"):
            read(path)


@pytest.mark.parametrize("part", ["", "data", "data/main_data.hdf5"])
@pytest.mark.parametrize("damaged", ["main_data.hdf5", "metadata.json"])
def test_every_file_of_a_minari_folder_is_compared(minari: Path, part: str, damaged: str) -> None:
    checksum(minari)
    assert len(read(minari / part)) == 50
    flip(minari / "data" / damaged, 10)
    with pytest.raises(DataError, match=f"{damaged} does not match its checksum"):
        read(minari / part)
    flip(minari / "data" / damaged, 10)
    assert len(read(minari / part)) == 50
    (minari / "data" / damaged).unlink()
    with pytest.raises(DataError):
        read(minari / part)


def test_a_source_of_a_virtual_dataset_has_a_checksum_of_its_own(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "source.hdf5", "w") as file:
        file["actions"] = ROWS[:, :2]
    with h5py.File(tmp_path / "walk.hdf5", "w") as file:
        file["observations"] = ROWS
        layout = h5py.VirtualLayout((50, 2), np.float32)
        layout[:] = h5py.VirtualSource("source.hdf5", "actions", (50, 2))
        file.create_virtual_dataset("actions", layout)
    checksum(tmp_path / "source.hdf5")
    assert read(tmp_path / "walk.hdf5").actions.any()
    flip(tmp_path / "source.hdf5", (tmp_path / "source.hdf5").stat().st_size - 1)
    with pytest.raises(DataError, match=r"source\.hdf5 does not match its checksum"):
        read(tmp_path / "walk.hdf5")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no line for walk.npz"),
        (b"no checksum\n", "must have lines of sha256sum"),
        (b"0123  walk.npz\n", "must have lines of sha256sum"),
        (b"\xff\xfe\x00" * 30, "must have lines of sha256sum"),
        (b"%s  other.npz\n" % (b"0" * 64), "has no line for walk.npz"),
        (b"%s  walk.npz\n" % (b"0" * 64), "does not match its checksum"),
    ],
)
def test_an_invalid_checksum_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(RECORDING, tmp_path / "walk.npz")
    checksum(path).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", FILES[:2])
def test_writing_renews_the_checksum_of_what_it_replaces(tmp_path: Path, name: str) -> None:
    path = write(RECORDING, tmp_path / name)
    write(RECORDING, path)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    sidecar = checksum(path)
    before = sidecar.read_text()
    write(Recording(-ROWS, ROWS[:, :2], np.array([0]), "back"), path)
    assert sidecar.read_text() != before
    np.testing.assert_array_equal(read(path).observations, -ROWS)
    flip(path, 300)
    with pytest.raises(DataError):
        read(path)


def test_collecting_renews_the_checksum_of_what_it_replaces(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    path = tmp_path / "walk.hdf5"
    for seed in (0, 1):
        generate("umaze", 50, seed=seed, path=path, workers=1, progress=False)
        assert len(read(path)) == 50
        checksum(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, f"{path.name}.sha256"]


def test_the_checksum_of_a_removed_folder_is_replaced(tmp_path: Path) -> None:
    pytest.importorskip("minari")
    folder = write(RECORDING, tmp_path / "walk-v0")
    checksum(folder)
    shutil.rmtree(folder)
    write(Recording(-ROWS, ROWS[:, :2], np.array([0]), "back"), folder)
    np.testing.assert_array_equal(read(folder).observations, -ROWS)
    flip(folder / "data" / "main_data.hdf5", 100)
    with pytest.raises(DataError):
        read(folder)


def test_writing_that_fails_keeps_data_and_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(RECORDING, tmp_path / "walk.npz")
    checksum(path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "open", full)
    with pytest.raises(OSError, match="No space left"):
        write(RECORDING, path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_command_writes_and_reading_compares(
    tmp_path: Path, minari: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (write(RECORDING, tmp_path / "walk.npz"), minari):
        assert main(["data", "checksum", str(path)]) == 0
        assert capsys.readouterr().out == f"{path}.sha256\n"
        assert main(["data", "info", str(path)]) == 0
        capsys.readouterr()
    flip(tmp_path / "walk.npz", 100)
    capsys.readouterr()
    assert main(["data", "check", str(tmp_path / "walk.npz")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dfplan: error: ") and error.count("\n") == 1


def test_missing_data_has_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="not a Minari data set"):
        checksum(tmp_path / "folder")
    for name in ("none.npz", "x" * 5000):
        with pytest.raises(DataError, match="no file or Minari data set"):
            checksum(tmp_path / name)


PARTS = ("virtual", "raw", "link")


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("own", [False, True])
def test_a_checksum_covers_the_files_that_values_come_from(
    kind: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checksum of the whole, or of the part alone."""
    monkeypatch.chdir(tmp_path)
    actions = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    part, whole = tmp_path / "part", tmp_path / "main.hdf5"
    if kind == "raw":
        part.write_bytes(actions.tobytes())
    else:
        with h5py.File(part, "w") as file:
            file["actions"] = actions
    with h5py.File(whole, "w") as file:
        file["observations"] = np.cumsum(actions, 0)
        if kind == "raw":
            external = [("part", 0, actions.nbytes)]
            file.create_dataset("actions", actions.shape, actions.dtype, external=external)
        elif kind == "link":
            file["actions"] = h5py.ExternalLink("part", "actions")
        else:
            layout = h5py.VirtualLayout(actions.shape, actions.dtype)
            layout[:] = h5py.VirtualSource("part", "actions", actions.shape)
            file.create_virtual_dataset("actions", layout)
    checksum(part if own else whole)
    assert (read(whole, follow_links=True).actions == actions).all()
    raw = bytearray(part.read_bytes())
    raw[raw.index(actions[100].tobytes())] ^= 1
    part.write_bytes(raw)
    with pytest.raises(DataError, match="part does not match its checksum"):
        read(whole, follow_links=True)


def test_a_symbolic_link_is_compared_with_the_checksum_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    target = tmp_path / "store" / "a.npz"

    def save(count: int) -> None:
        moves, ends = np.ones((count, 2), np.float32), np.arange(count) == count - 1
        np.savez(target, observations=np.cumsum(moves, 0), actions=moves, terminals=ends)

    save(50)
    checksum(target)
    (tmp_path / "a.npz").symlink_to(target)
    read(tmp_path / "a.npz")
    save(60)
    with pytest.raises(DataError, match="checksum"):
        read(tmp_path / "a.npz")
