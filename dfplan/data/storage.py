"""Arrays in files: copied from small files, mapped from large ones.

A data set may be larger than memory. Arrays that a file of at least :data:`LARGE` bytes holds
plainly are mapped from it; what must be unpacked or converted goes to :func:`allocate`, which maps
a temporary file where it is large. Everything else is copied into memory, so that a change of the
file does not change the data. float32 and float64 stay what they are, other numbers become float32.

:class:`Sink` is a file for HDF5 to write.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from dfplan.blocks import blocks
from dfplan.data.checksums import settled, stamp, verify
from dfplan.data.links import require_links
from dfplan.errors import DataError, DfplanError
from dfplan.types import FileStamp, Recording

LARGE = 256 << 20
"""Bytes from which on a data file is mapped, and :func:`allocate` maps a temporary file."""

_BLOCK = 4 << 20
_ZIP_HEADER = 30  # bytes of a member's local header before its name and its extra field
_PACKED = 1040  # bytes that one byte of deflate stands for at most, and some more

_sound: set[tuple[FileStamp, str]] = set()  # parts of files that were checked


def allocate(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A new array to fill: in memory, or from :data:`LARGE` bytes on in a temporary file.

    The file lies where :mod:`tempfile` puts it (``TMPDIR``) and is gone with the array. Its space
    is taken at once, since a disk that fills up under a map ends the process.

    Args:
        shape: of the array; a side may be 0.
        dtype: of its values, which are not set.

    Raises:
        DfplanError: the disk has no room for it.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise DfplanError(
            f"A temporary file of {size / 2**30:.1f} GiB was needed in {tempfile.gettempdir()}, "
            f"for data that is not to fill memory ({error}). Make room there, or set TMPDIR to a "
            "folder that has it."
        ) from error


def kept_type(dtype: np.dtype, flags: bool = False) -> np.dtype:
    """What values of ``dtype`` are read as: float32 and float64 stay, other numbers become float32.

    Args:
        dtype: as stored, in any byte order.
        flags: whether they only say yes or no: bool then.
    """
    if flags:
        return np.dtype(bool)
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return dtype.newbyteorder("=")
    return np.dtype(np.float32)


def row_blocks(count: int, row_bytes: int, chunk: int = 1) -> Iterator[slice]:
    """Slices that make up ``count`` rows, some MiB each, in whole multiples of ``chunk`` rows."""
    rows = -(-max(1, _BLOCK // max(1, row_bytes)) // chunk) * chunk
    return blocks(count, rows)


def copy_array(array: np.ndarray, *, flags: bool = False) -> np.ndarray:
    """A copy of an array of numbers, in the type of :func:`kept_type`."""
    return _filled(array, array.dtype, 1, flags)


def read_hdf5(dataset: h5py.Dataset, *, flags: bool = False) -> np.ndarray:
    """The numbers of a dataset, mapped where a file of :data:`LARGE` bytes holds them plainly.

    That is: in one piece, not compressed, in the type that is wanted and in this machine's byte
    order. Any other is read in blocks. A map is for reading alone.

    Args:
        dataset: of a file that lies on the disk; see
            :func:`dfplan.data.links.require_sources` for what it may take from others.
        flags: see :func:`kept_type`.

    Raises:
        OSError: the dataset is damaged.
        DfplanError: see :func:`allocate`.
    """
    # An offset is told of some that were never written, too.
    written = dataset.id.get_space_status() == h5py.h5d.SPACE_STATUS_ALLOCATED
    path = dataset.file.filename
    plain = written and dataset.dtype == kept_type(dataset.dtype, flags)
    if plain and os.path.getsize(path) >= LARGE:
        offset = dataset.id.get_offset()  # None where it is in chunks, elsewhere or in the header
        if offset is not None:
            return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    chunk = dataset.chunks[0] if dataset.chunks else 1
    return _filled(dataset, dataset.dtype, chunk, flags)


def _filled(stored: Any, dtype: np.dtype, chunk: int, flags: bool) -> np.ndarray:
    values = allocate(stored.shape, kept_type(dtype, flags))
    if values.size:
        for rows in row_blocks(len(values), values[:1].nbytes, chunk):
            values[rows] = stored[rows]
    return values


@contextmanager
def open_hdf5(path: Path, follow_links: bool = False) -> Iterator[h5py.File]:
    """The hdf5 file at ``path`` to read, its faults turned into :class:`DataError`.

    Args:
        path: of the file.
        follow_links: whether it may take values from files elsewhere; see
            :func:`dfplan.data.links.require_links`.
    """
    with _reading(path, "hdf5") as looked, h5py.File(path, "r") as file:
        width = file.id.get_create_plist().get_sizes()[1]
        _check_once(looked, "heaps", lambda: _require_heaps(path, width))
        require_links(file, follow_links)
        yield file


def read_text(item: h5py.HLObject, name: str) -> str | None:
    """An attribute that is one text; None where ``item`` has none such of that name."""
    value = _attribute(item, name, h5py.h5t.TypeStringID)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def read_flag(item: h5py.HLObject, name: str) -> bool | None:
    """An attribute that says yes or no; None where ``item`` has none such of that name."""
    value = _attribute(item, name, h5py.h5t.TypeEnumID, h5py.h5t.TypeIntegerID)
    return None if value is None else bool(value)


def _attribute(item: h5py.HLObject, name: str, *kinds: type) -> Any:
    if name not in item.attrs:
        return None
    # The type first: HDF5 crashes when it reads an attribute whose type is damaged.
    found = item.attrs.get_id(name)
    return item.attrs[name] if isinstance(found.get_type(), kinds) and found.shape == () else None


def _require_heaps(path: Path, width: int) -> None:
    """Refuse global heaps with objects of a wrong size, on which HDF5 hangs or crashes.

    A lost block leaves objects of no size, for example.

    Args:
        path: of the file.
        width: bytes of a length in this file.

    Raises:
        ValueError: there is such an object.
    """
    head = 8 + _eights(width)  # bytes of the header of a heap, and of an object in it
    most = path.stat().st_size
    with path.open("rb") as file:
        for begin in _places(file, b"GCOL\1\0\0\0"):
            file.seek(begin + 8)
            size = int.from_bytes(file.read(width), "little")
            file.seek(begin + head)
            heap = file.read(max(0, min(size, most) - head))
            place = 0
            while place + head <= len(heap):
                length = int.from_bytes(heap[place + 8 : place + 8 + width], "little")
                if any(heap[place : place + 2]):
                    length = head + _eights(length)
                if not 0 < length <= len(heap) - place:
                    raise ValueError(f"the heap at byte {begin} has an object of a wrong size")
                place += length


def _eights(size: int) -> int:
    return -(-size // 8) * 8


def _places(file: IO[bytes], mark: bytes) -> Iterator[int]:
    """Where ``mark`` begins in a file; the caller may move within the file."""
    begin, rest = 0, b""
    while block := file.read(_BLOCK):
        text = rest + block
        for found in re.finditer(re.escape(mark), text):
            yield begin + found.start()
        rest = text[1 - len(mark) :]
        begin += len(text) - len(rest)
        file.seek(begin + len(rest))


@dataclass(frozen=True)
class NpzArray:
    """An array of an npz file, not yet read.

    Attributes:
        file: the npz file when this was made.
        member: its file within that.
        shape: of the array.
        dtype: of the values as stored.
        columns_first: whether they lie column after column (Fortran's order).
        header: bytes of the member before its values.
        offset: first byte of the values within the npz file; None where they are compressed.
    """

    file: FileStamp
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype
    columns_first: bool
    header: int
    offset: int | None


def npz_arrays(path: Path) -> dict[str, NpzArray]:
    """The arrays of an npz file by name.

    Raises:
        DataError: no such file, or not a whole npz file.
    """
    arrays = {}
    with _reading(path, "npz") as looked, zipfile.ZipFile(path) as archive:
        begins = _begins(path, archive)
        for info in archive.infolist():
            with archive.open(info) as stream:  # compares its two names, too
                if not info.filename.endswith(".npy"):
                    continue
                version = np.lib.format.read_magic(stream)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }.get(version)
                if read is None:
                    raise ValueError(f"{info.filename} is of an unknown npy version {version}")
                shape, columns_first, dtype = read(stream)
                header = stream.tell()
            whole = header + prod(shape) * dtype.itemsize == info.file_size or dtype.hasobject
            if not whole or min(shape, default=0) < 0:
                raise ValueError(f"{info.filename} does not hold what it says")
            stored = info.compress_type == zipfile.ZIP_STORED
            offset = begins[info.filename] + header if stored else None
            name = info.filename.removesuffix(".npy")
            arrays[name] = NpzArray(
                looked, info.filename, shape, dtype, columns_first, header, offset
            )
    return arrays


def _begins(path: Path, archive: zipfile.ZipFile) -> dict[str, int]:
    """Where the content of each member begins, by name.

    Raises:
        ValueError: members of the same name, that overlap or are larger than can be; or the
            archive holds more than those.
    """
    members, begins = [], {}
    with path.open("rb") as file:
        for info in archive.infolist():
            # The local header's extra field need not be as long as the directory's.
            file.seek(info.header_offset + _ZIP_HEADER - 4)
            begin = info.header_offset + _ZIP_HEADER + int(np.frombuffer(file.read(4), "<u2").sum())
            members.append((info.header_offset, begin + info.compress_size))
            if info.filename in begins:
                raise ValueError(f"it holds {info.filename} twice")
            begins[info.filename] = begin
            largest = {
                zipfile.ZIP_STORED: info.compress_size,
                zipfile.ZIP_DEFLATED: _PACKED * (info.compress_size + 1),
            }.get(info.compress_type, info.file_size)
            if info.file_size > largest:
                raise ValueError(f"{info.filename} does not hold what it says")
    for (_, end), (first, _) in pairwise(sorted([(0, 0), *members, (archive.start_dir, 0)])):
        # Between two there may be a few bytes that describe the first.
        if not end <= first < end + _ZIP_HEADER:
            raise ValueError("its members overlap, or some are missing in its directory")
    return begins


def read_npz(array: NpzArray, *, flags: bool = False) -> np.ndarray:
    """The numbers of an array, mapped where a file of :data:`LARGE` bytes holds them plainly.

    That is: not compressed and in the type that is wanted. A map is for reading alone. The
    array's CRC-32 is compared in either case; of a map once while the file stays as it is.

    Args:
        array: one of :func:`npz_arrays`.
        flags: see :func:`kept_type`.

    Raises:
        DataError: the file is damaged, or another one than :func:`npz_arrays` looked into.
        DfplanError: see :func:`allocate`.
    """
    dtype = kept_type(array.dtype, flags)
    order = array.shape[::-1] if array.columns_first else array.shape
    plain = array.offset is not None and array.dtype == dtype and 0 not in array.shape
    values: np.ndarray
    with _values_of(array) as stream:
        if plain and array.file.size >= LARGE:
            _check_once(array.file, array.member, lambda: _require_sum(stream))
            values = np.memmap(array.file.path, dtype, "r", array.offset or 0, order)
        else:
            values = allocate(order, dtype)
            flat = values.reshape(-1)
            for part in row_blocks(len(flat), array.dtype.itemsize):
                block = stream.read((part.stop - part.start) * array.dtype.itemsize)
                flat[part] = np.frombuffer(block, array.dtype)
    return values.T if array.columns_first else values


def read_npz_text(array: NpzArray) -> str:
    """The text in an array of no dimensions whose type is text.

    Raises:
        DataError: the file is damaged, or another one than :func:`npz_arrays` looked into.
    """
    with _values_of(array) as stream:
        return str(np.frombuffer(stream.read(), array.dtype).reshape(array.shape)[()])


@contextmanager
def _values_of(array: NpzArray) -> Iterator[IO[bytes]]:
    """The npz file's member that holds an array, from its first value on."""
    path = array.file.path
    with (
        _reading(path, "npz", array.file),
        zipfile.ZipFile(path) as archive,
        archive.open(array.member) as stream,
    ):
        stream.read(array.header)
        yield stream


def _require_sum(stream: IO[bytes]) -> None:
    """Read a member of a zip file to its end, where zipfile compares the CRC-32."""
    while stream.read(_BLOCK):
        pass


def _check_once(file: FileStamp, part: str, check: Callable[[], None]) -> None:
    """Call ``check``, which raises if ``part`` is damaged; once while the file stays as it is."""
    if (file, part) not in _sound:
        check()
        if settled(file):
            _sound.add((file, part))


@contextmanager
def _reading(path: Path, kind: str, looked: FileStamp | None = None) -> Iterator[FileStamp]:
    """Turn faults of the file at ``path`` into :class:`DataError`; it must not change meanwhile."""
    now = require_file(path)
    try:
        yield now
    except DfplanError:
        raise
    except Exception as error:  # of a damaged file zipfile, NumPy and h5py raise various things
        raise _damaged(path, kind, error) from error
    require_unchanged([looked or now])


def require_file(path: Path) -> FileStamp:
    """The stamp of the file at ``path``.

    Raises:
        DataError: there is no file, it may not be read, or its checksum is another.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(
            f"There is no data file at {path}. Check the path, or make one: `dfplan data generate`."
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, pipe or socket"
        raise DataError(f"There is no data file at {path}: it is {kind}. Pass a file.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} cannot be read: you have no permission to.")
    verify(path)
    return stamp(path)


def mapped_files(recording: Recording) -> tuple[FileStamp, ...]:
    """The data files that arrays of ``recording`` are mapped from."""
    names = {
        str(values.filename)
        for values in vars(recording).values()
        if isinstance(values, np.memmap) and values.filename is not None
    }
    return tuple(stamp(name) for name in sorted(names))


def require_unchanged(files: Iterable[FileStamp]) -> None:
    """Raise :class:`DataError` if one of ``files`` is no longer what it was."""
    for file in files:
        try:
            same = stamp(file.path) == file
        except OSError:
            same = False
        if not same:
            raise DataError(
                f"{file.path} was changed, replaced or removed after it was read. Large data is "
                "read from its file all the time: leave the file as it is, and read it again."
            )


def _damaged(path: Path, kind: str, error: Exception) -> DataError:
    why = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"{path} is not a whole {kind} file, or cannot be read ({why}). If it was "
        "downloaded, delete it and fetch it again."
    )


class Sink(RawIOBase):
    """A new file whose first failure is kept in ``failure``, after which nothing is tried.

    HDF5 does not survive a write that fails, as on a full disk: it tries again whenever one of
    its objects goes, and may crash.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb+", buffering=0)
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._try(lambda: self._file.write(data), size)
        return size

    def truncate(self, size: int | None = None) -> int:
        return self._try(lambda: self._file.truncate(size), size)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()

    def _try(self, act: Callable[[], int], wanted: int | None) -> int:
        if self.failure is None:
            try:
                if act() != wanted:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self.failure = error
        return wanted or 0
