"""Files that are damaged, change during use, or are not regular files."""

from __future__ import annotations

import os
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.data import checksum, load_data, read, storage, write
from dfplan.data.formats.ogbench import write_ogbench
from dfplan.data.npz import npz_arrays, read_npz
from dfplan.data.storage import mapped_files, require_unchanged
from dfplan.errors import DataError, DfplanError
from dfplan.types import Recording

TIME = np.arange(90) * 0.05
ROWS = np.stack([np.sin(TIME), np.cos(TIME), np.cos(TIME), -np.sin(TIME)], 1).astype(np.float32)
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (90, 2)).astype(np.float32)
RECORDING = Recording(
    ROWS,
    ACTIONS,
    np.array([0, 30, 60]),
    "walk",
    rewards=np.ones(90, np.float32),
    goals=ACTIONS + 1,
    terminals=np.isin(np.arange(90), [29, 59]),
    timeouts=np.zeros(90, bool),
    maze="large",
)


def plain_hdf5(path: Path) -> Path:
    """D4RL's layout, not compressed."""
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"] = ROWS, ACTIONS
        file["terminals"] = RECORDING.terminals
    return path


def minari(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for number in range(3):
            rows = slice(30 * number, 30 * number + 30)
            group = file.create_group(f"episode_{number}")
            group["observations"], group["actions"] = ROWS[rows], ACTIONS[rows][:-1]
            group["rewards"] = np.ones(29)
    return path


FORMATS: dict[str, Callable[[Path], Path]] = {
    "d4rl.hdf5": lambda path: write(RECORDING, path),
    "plain.hdf5": plain_hdf5,
    "minari.hdf5": minari,
    "ogbench.npz": lambda path: write(RECORDING, path),
    "packed.npz": lambda path: write_ogbench(RECORDING, path, compress=True),
}


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """One of: a bit flipped, the end lost, a block zeroed, lost or taken for another one."""
    content, size = bytearray(whole), len(whole)
    block = int(rng.choice([8, 64, 512]))
    first, second = (int(place) * block for place in rng.integers(0, size // block, 2))
    kind = rng.integers(5)
    if kind == 0:
        content[rng.integers(size)] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del content[rng.integers(size) :]
    elif kind == 2:
        content[first : first + block] = bytes(block)
    elif kind == 3:
        del content[first : first + block]
    else:
        content[first : first + block] = content[second : second + block]
    return bytes(content)


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("name", FORMATS)
def test_with_a_checksum_damage_is_always_found(tmp_path: Path, name: str, seed: int) -> None:
    path = FORMATS[name](tmp_path / name)
    checksum(path)
    whole, expected = path.read_bytes(), read(path)
    rng = np.random.default_rng(seed)
    for _ in range(100):
        content = damaged(whole, rng)
        path.write_bytes(content)
        if content == whole:
            assert read(path) == expected
        else:
            with pytest.raises(DataError):
                read(path)


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("name", ["ogbench.npz", "packed.npz"])
def test_in_an_npz_file_damage_is_found_without_one(tmp_path: Path, name: str, seed: int) -> None:
    path = FORMATS[name](tmp_path / name)
    whole, expected = path.read_bytes(), read(path)
    rng = np.random.default_rng(seed)
    for _ in range(300):
        path.write_bytes(damaged(whole, rng))
        try:
            assert read(path) == expected
        except DataError as error:
            assert "\n" not in str(error)


def read_damaged(path: Path, seed: int, times: int) -> None:
    whole, rng = path.read_bytes(), np.random.default_rng(seed)
    for _ in range(times):
        path.write_bytes(damaged(whole, rng))
        try:
            read(path)
        except DfplanError as error:
            assert "\n" not in str(error)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a crash would end the tests")
@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("name", ["d4rl.hdf5", "plain.hdf5", "minari.hdf5"])
def test_damage_of_an_hdf5_file_is_an_error_of_dfplans(
    tmp_path: Path, name: str, seed: int
) -> None:
    """In a process of its own, which ends where HDF5 crashes or hangs."""
    path = FORMATS[name](tmp_path / name)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(120)
            read_damaged(path, seed, 200)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_a_heap_whose_block_was_lost_does_not_hang(tmp_path: Path) -> None:
    """HDF5 itself would read it without end."""
    path = write(RECORDING, tmp_path / "walk.hdf5")
    whole = path.read_bytes()
    heap = whole.index(b"GCOL") + 16
    for first in (heap, heap + 24):
        path.write_bytes(whole[:first] + bytes(64) + whole[first + 64 :])
        with pytest.raises(DataError, match="heap"):
            read(path)


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(text: str, size: int = 0, version: bytes = b"\1\0") -> bytes:
    head = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(head).to_bytes(2, "little") + head + bytes(size)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{",
        "'''",
        "(" * 100,
        "[1, 2]",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, -2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10**9, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9000000000000000000, 9), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 6), }",
        "{'descr': '<f4', 'fortran_order': 3, 'shape': (3, 2), }",
        "{'descr': 'nothing', 'fortran_order': False, 'shape': (3, 2), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3, 2), }",
        "{'descr': '<U0', 'fortran_order': False, 'shape': (3, 2), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 6, }",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': __import__, 'fortran_order': False, 'shape': (3, 2), }",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_an_npy_header_of_nonsense_is_refused(tmp_path: Path, header: str) -> None:
    good = npy("{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", 3)
    path = npz(tmp_path / "a.npz", observations=npy(header, 24), actions=good, terminals=good)
    for how in ({}, {"keys": {"observations": "observations"}}):
        with pytest.raises(DfplanError, match=r"a\.npz") as raised:
            read(path, **how)
        assert "\n" not in str(raised.value)


def test_members_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    path = write(RECORDING, tmp_path / "a.npz")
    whole = path.read_bytes()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("actions.npy", npy("{}"))
    with pytest.raises(DataError, match=r"actions\.npy twice"):
        read(path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        first, second, *_ = archive.infolist()
        directory = archive.start_dir
    entry = whole.index(second.filename.encode(), directory) - 4  # where its offset is
    moved = whole[:entry] + first.header_offset.to_bytes(4, "little") + whole[entry + 4 :]
    path.write_bytes(moved)
    with pytest.raises(DataError):
        read(path)


def test_a_member_that_unpacks_to_more_than_it_can_is_refused(tmp_path: Path) -> None:
    path = write_ogbench(RECORDING, tmp_path / "a.npz", compress=True)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        info, directory = archive.infolist()[0], archive.start_dir
    size = info.file_size.to_bytes(4, "little")
    entry = whole.index(size, directory)
    path.write_bytes(whole[:entry] + b"\xff\xff\xff\x7f" + whole[entry + 4 :])
    with pytest.raises(DataError, match="does not match its header"):
        read(path)


def test_a_wrong_checksum_of_hdf5s_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["actions"] = ACTIONS
        file.create_dataset("observations", data=ROWS, fletcher32=True)
        place = file["observations"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [1.0, 0.3])
def test_data_of_a_small_file_does_not_change_with_it(
    tmp_path: Path, name: str, size: float
) -> None:
    path = FORMATS[name](tmp_path / name)
    data, expected = load_data(path), load_data(path)
    content = np.random.default_rng(0).bytes(int(size * path.stat().st_size))
    with path.open("rb+") as file:  # the same file, not another one in its place
        file.write(content)
        file.truncate()
    assert data == expected
    require_unchanged(data.mapped)


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("rb+") as file:
        file.write(content)
    os.utime(path, ns=(0, 12345))


def replaced(path: Path) -> None:
    before = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.replace(path)


@pytest.mark.parametrize("name", ["plain.hdf5", "ogbench.npz"])
@pytest.mark.parametrize(
    "change", [changed, replaced, Path.unlink, lambda path: os.truncate(path, 9)]
)
def test_a_change_of_a_large_file_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(storage, "LARGE", 1)
    path = FORMATS[name](tmp_path / name)
    recording, data = read(path), load_data(path)
    assert mapped_files(recording) == recording.mapped == data.mapped
    assert [file.path for file in data.mapped] == [path]
    require_unchanged(data.mapped)
    monkeypatch.undo()
    assert data == load_data(path)  # wherever the rows lie
    change(path)
    with pytest.raises(DataError, match=name):
        require_unchanged(data.mapped)


@pytest.mark.parametrize("name", ["ogbench.npz", "packed.npz"])
def test_a_wrong_bit_of_a_large_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(storage, "LARGE", 1)
    path = FORMATS[name](tmp_path / name)
    assert read(path).actions.any()
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("actions.npy")
        end = info.header_offset + info.compress_size
    changed_at = bytearray(path.read_bytes())
    changed_at[end] ^= 1
    path.write_bytes(changed_at)
    with pytest.raises(DataError, match=r"actions\.npy"):
        read(path)


def test_arrays_of_one_npz_file_are_of_one_time(tmp_path: Path) -> None:
    path = write(RECORDING, tmp_path / "a.npz")
    arrays = npz_arrays(path)
    read_npz(arrays["observations"])
    write(Recording(-ROWS, -ACTIONS, np.array([0]), "back"), path)
    with pytest.raises(DataError, match="changed, replaced or removed"):
        read_npz(arrays["actions"])


def odd_paths(folder: Path) -> list[str | Path]:
    (folder / "folder.npz").mkdir()
    (folder / "folder.hdf5").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "deep").mkdir()
    for name in "abc":
        (folder / "deep" / name).symlink_to(folder / "deep")
    (folder / "empty.npz").touch()
    (folder / "empty.hdf5").touch()
    paths = [folder / name for name in ("folder.npz", "folder.hdf5", "loop", "deep")]
    paths += [folder / name for name in ("empty.npz", "empty.hdf5", "none.npz", "empty.npz/a")]
    if hasattr(os, "mkfifo"):
        for name in ("pipe", "pipe.npz", "main_data.hdf5"):
            os.mkfifo(folder / name)
            paths.append(folder / name)
        paths.append(Path("/dev/zero"))
    return [*paths, "", "a\0b", "x" * 5000, "x/" * 2500, "~nobody-of-that-name/a.npz"]


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    keys = {"observations": "obs"}
    for path in odd_paths(tmp_path):
        for how in ({}, {"keys": keys}, *({"format": n} for n in ("d4rl", "ogbench", "minari"))):
            with pytest.raises(DfplanError) as raised:
                read(path, **how)
            assert "\n" not in str(raised.value)


def test_a_file_without_read_permission_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process without the rights, whoever runs this."""
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.R_OK and allowed(path, mode))
    for name, make in FORMATS.items():
        with pytest.raises(DataError, match=rf"{name} cannot be read: .*permission"):
            read(make(tmp_path / name))


def test_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert write(RECORDING, "~/walk.npz") == tmp_path / "walk.npz"
    for path in ("~/walk.npz", Path("~/walk.npz")):
        np.testing.assert_array_equal(read(path).observations, ROWS)
        np.testing.assert_array_equal(read(path, format="ogbench").observations, ROWS)
    assert checksum("~/walk.npz") == tmp_path / "walk.npz.sha256"
    keys = {"observations": "observations"}
    np.testing.assert_array_equal(read("~/walk.npz", keys=keys).observations, ROWS)


@pytest.mark.parametrize(
    ("metadata", "good"),
    [
        (b"\xef\xbb\xbf{}", True),
        (b'{"dataset_id": "walk-v0", "env_spec": ' + b"[" * 5000 + b"]" * 5000 + b"}", None),
        (b"", False),
        (b"{", False),
        (b"[]", False),
        (b"\xff\xfe{\0}\0", False),
        (b"[" * 100_000, False),
    ],
)
def test_minaris_metadata_is_read_with_a_mark_and_refused_when_damaged(
    tmp_path: Path, metadata: bytes, good: bool | None
) -> None:
    minari(tmp_path / "main_data.hdf5")
    (tmp_path / "metadata.json").write_bytes(metadata)
    try:
        np.testing.assert_array_equal(read(tmp_path).observations, ROWS)
        assert good is not False
    except DataError as error:
        assert not good and "metadata.json" in str(error)
