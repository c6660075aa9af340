"""Arrays from files: mapped, or read in blocks, with little memory."""

from __future__ import annotations

import errno
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.data import storage
from dfplan.data.hdf5 import open_hdf5, read_hdf5
from dfplan.data.npz import npz_arrays, read_npz
from dfplan.data.storage import allocate
from dfplan.errors import DataError, DfplanError

VALUES = {
    "float32": np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32),
    "float64": np.random.default_rng(1).normal(size=(1000, 2)),
    "float16": np.arange(300).astype(np.float16),
    "big": np.arange(300).astype(">f4"),
    "int": np.arange(-50, 50),
    "byte": np.arange(200, dtype=np.uint8)[:, None],
    "bool": np.arange(77) % 3 == 0,
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(2.5),
}
IN_PLACE = {"float32", "float64"}


def kept(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64 if values.dtype == np.float64 else np.float32)


def mapped(values: np.ndarray) -> bool:
    while values is not None and not isinstance(values, np.memmap):
        values = values.base
    return values is not None


def in_place(values: np.ndarray) -> bool:
    """Whether they are mapped from a file that has a name."""
    return isinstance(values, np.memmap) and values.filename is not None


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as a large one."""
    monkeypatch.setattr(storage, "LARGE", 1)


def from_hdf5(path: Path, values: np.ndarray, packed: bool, flags: bool = False) -> np.ndarray:
    with h5py.File(path, "w") as file:
        file["before"] = np.arange(7, dtype=np.uint8)
        packing = {"compression": "gzip", "chunks": (64, *values.shape[1:])} if packed else {}
        file.create_dataset("values", data=values, **packing)
    with open_hdf5(path) as file:
        return read_hdf5(file["values"], flags=flags)


def from_npz(path: Path, values: np.ndarray, packed: bool, flags: bool = False) -> np.ndarray:
    path = path.with_suffix(".npz")
    save = np.savez_compressed if packed else np.savez
    save(path, before=np.arange(7, dtype=np.uint8), values=values)
    return read_npz(npz_arrays(path)["values"], flags=flags)


Reader = Callable[..., np.ndarray]
readers = pytest.mark.parametrize("read", [from_hdf5, from_npz])


@readers
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    ("name", "packed"),
    [(name, False) for name in VALUES] + [(name, True) for name in VALUES if VALUES[name].size > 1],
)
def test_values_come_back_and_plain_ones_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Reader, name: str, packed: bool
) -> None:
    monkeypatch.setattr(storage, "BLOCK", 1000)
    values = VALUES[name]
    got = read(tmp_path / "a", values, packed)
    assert got.dtype == kept(values).dtype and got.dtype.isnative
    np.testing.assert_array_equal(got, kept(values), strict=True)
    assert in_place(got) == (not packed and (name in IN_PLACE or name == "scalar"))


@readers
@pytest.mark.usefixtures("large")
def test_flags_become_bool_and_plain_ones_stay_in_place(tmp_path: Path, read: Reader) -> None:
    flags = VALUES["bool"]
    for number, kind in enumerate((bool, np.float32, np.int64)):
        got = read(tmp_path / str(number), flags.astype(kind), False, flags=True)
        np.testing.assert_array_equal(got, flags, strict=True)
        assert in_place(got) == (kind is bool)


@readers
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_large_and_cannot_stay_in_place_goes_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Reader, packed: bool
) -> None:
    monkeypatch.setattr(storage, "LARGE", 1000)
    values = VALUES["float32"].astype(np.float32 if packed else ">f4")
    got = read(tmp_path / "a", values, packed)
    assert mapped(got) and not in_place(got)
    np.testing.assert_array_equal(got, VALUES["float32"], strict=True)


@readers
@pytest.mark.parametrize("name", sorted(IN_PLACE))
def test_a_small_file_is_copied(tmp_path: Path, read: Reader, name: str) -> None:
    got = read(tmp_path / "a", VALUES[name], False)
    assert not mapped(got)
    for path in tmp_path.iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    np.testing.assert_array_equal(got, VALUES[name], strict=True)


@pytest.mark.usefixtures("large")
def test_an_array_in_columns_is_read_in_rows(tmp_path: Path) -> None:
    values = np.asfortranarray(VALUES["float32"])
    for packed in (False, True):
        got = from_npz(tmp_path / "a", values, packed)
        np.testing.assert_array_equal(got, values, strict=True)
        assert in_place(got) != packed


def test_a_dataset_with_values_in_other_files_is_read_in_blocks(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["values"] = VALUES["float32"]
        layout = h5py.VirtualLayout((1000, 4), np.float32)
        layout[:] = h5py.VirtualSource(file["values"])
        file.create_virtual_dataset("virtual", layout)
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        few = h5py.h5s.create_simple((3,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_FLOAT, few, compact)
        file["compact"][:] = [1, 2, 3]
        outside = [(str(tmp_path / "raw"), 0, VALUES["float32"].nbytes)]
        file.create_dataset("external", (1000, 4), np.float32, external=outside)
        file["external"][:] = VALUES["float32"]
    with open_hdf5(tmp_path / "a.hdf5") as file:
        for name in ("virtual", "external"):
            np.testing.assert_array_equal(read_hdf5(file[name]), VALUES["float32"])
        assert read_hdf5(file["compact"]).tolist() == [1, 2, 3]


@pytest.mark.usefixtures("large")
def test_a_dataset_is_found_behind_a_user_block_and_in_a_linked_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "inner.hdf5", "w", userblock_size=512) as file:
        file["values"] = VALUES["float32"]
        file.create_dataset("unwritten", (5, 2), np.float32, fillvalue=3)
    with h5py.File(tmp_path / "outer.hdf5", "w") as file:
        file["link"] = h5py.ExternalLink("inner.hdf5", "/values")
    with open_hdf5(tmp_path / "outer.hdf5", follow_links=True) as file:
        got = read_hdf5(file["link"])
    np.testing.assert_array_equal(got, VALUES["float32"])
    assert in_place(got)
    with open_hdf5(tmp_path / "inner.hdf5") as file:
        assert read_hdf5(file["unwritten"]).tolist() == [[3, 3]] * 5


def test_new_arrays_are_of_the_shape_and_type_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LARGE", 64)
    for shape in ((4, 4), (3, 1), (), (0,), (0, 4), (4, 0)):
        for kind in (np.float32, np.float64, bool):
            new = allocate(shape, kind)
            new[...] = 1
            assert new.shape == shape and new.dtype == kind and (new == 1).all()
            assert mapped(new) == (new.nbytes >= 64)


def test_a_full_disk_is_reported_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "LARGE", 1000)
    monkeypatch.setattr(storage.os, "posix_fallocate", full)
    with pytest.raises(DfplanError, match=r"No space left.*TMPDIR"):
        allocate((1000,), np.float32)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_truncated_npz_file_is_refused(tmp_path: Path, save: Reader, share: float) -> None:
    path = tmp_path / "a.npz"
    save(path, values=VALUES["float32"])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"not a whole npz file.*fetch it again"):
        npz_arrays(path)


def test_a_damaged_npz_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, values=VALUES["float32"])
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 :][:64] = bytes(64)
    whole[len(whole) // 2 : len(whole) // 2 + 64] = bytes(64)
    path.write_bytes(whole)
    with pytest.raises(DataError, match="not a whole npz file, or cannot be read"):
        read_npz(npz_arrays(path)["values"])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_array_with_a_wrong_checksum_is_refused(tmp_path: Path, save: Reader) -> None:
    path = tmp_path / "a.npz"
    save(path, values=np.arange(100_000))
    with zipfile.ZipFile(path) as archive:
        sum_of_values = archive.infolist()[0].CRC.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(sum_of_values, bytes(4)))
    with pytest.raises(DataError, match="Bad CRC-32"):
        read_npz(npz_arrays(path)["values"])


def test_an_npz_array_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", VALUES["float32"])
    whole = (tmp_path / "values.npy").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("values.npy", whole[:-16])
    with pytest.raises(DataError, match=r"values\.npy does not match"):
        npz_arrays(tmp_path / "a.npz")


def test_other_files_within_an_npz_file_are_left_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values=VALUES["int"])
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("notes.txt", "a note")
    assert list(npz_arrays(tmp_path / "a.npz")) == ["values"]


def test_a_text_file_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("observations, actions\n")
    with pytest.raises(DataError, match="not a whole npz file"):
        npz_arrays(tmp_path / "a.npz")
    with pytest.raises(DataError, match="no data file at"):
        npz_arrays(tmp_path / "b.npz")


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from dfplan.data import storage
from dfplan.data.formats.d4rl import read_d4rl
from dfplan.data.formats.ogbench import read_ogbench

storage.LARGE = 16 << 20  # not the whole of it in memory, at any rate

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

for path in map(Path, sys.argv[1:]):
    before = anonymous()
    recording = read_ogbench(path) if path.suffix == ".npz" else read_d4rl(path)
    total = sum(float(recording.observations[row : row + 100_000].sum(dtype=float))
                for row in range(0, len(recording), 100_000))
    print((anonymous() - before) / 1024, total)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_large_file_takes_no_memory_of_its_size(tmp_path: Path) -> None:
    """100 MB of observations are read and summed in a process that grows by less than a quarter."""
    block = np.random.default_rng(0).normal(size=(50_000, 4)).astype(np.float32)
    repeats = 125
    count = repeats * len(block)
    others = {"actions": ((count, 2), np.float32), "terminals": ((count,), bool)}
    paths = [tmp_path / name for name in ("plain.hdf5", "packed.hdf5", "plain.npz", "packed.npz")]
    for path in paths[:2]:
        with h5py.File(path, "w") as file:
            packing = {"compression": "lzf", "chunks": block.shape} if path == paths[1] else {}
            written = file.create_dataset("observations", (count, 4), np.float32, **packing)
            for row in range(0, count, len(block)):
                written[row : row + len(block)] = block
            for name, (shape, kind) in others.items():
                file.create_dataset(name, data=np.zeros(shape, kind))
    for path, method in zip(paths[2:], (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), strict=True):
        with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
            with archive.open("observations.npy", "w") as out:
                head = {"descr": "<f4", "fortran_order": False, "shape": (count, 4)}
                np.lib.format.write_array_header_1_0(out, head)
                for _ in range(repeats):
                    out.write(block.tobytes() if path == paths[2] else np.zeros_like(block))
            for name, (shape, kind) in others.items():
                with archive.open(f"{name}.npy", "w") as out:
                    np.lib.format.write_array(out, np.zeros(shape, kind))
    command = [sys.executable, "-c", MEMORY, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown, totals = zip(
        *(map(float, line.split()) for line in done.stdout.splitlines()), strict=True
    )
    assert max(grown) < 25
    total = repeats * block.sum(dtype=float)
    assert totals == pytest.approx([total, total, total, 0], rel=1e-6)
