"""Arrays in files: mapped where they lie if they can be, else read in blocks.

A data set may be larger than memory. Arrays that a file holds plainly are mapped from it; what
must be unpacked or converted goes to :func:`allocate`, which maps a temporary file where it is
large. float32 and float64 stay what they are, other numbers become float32.

:class:`Sink` is a file for HDF5 to write.
"""

from __future__ import annotations

import errno
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dfplan.errors import DataError, DfplanError

LARGE = 256 << 20
"""Bytes from which on :func:`allocate` maps a file instead of taking memory."""

_BLOCK = 4 << 20
_ZIP_HEADER = 30  # bytes of a member's local header before its name and its extra field


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
    for first in range(0, count, rows):
        yield slice(first, min(first + rows, count))


def copy_array(array: np.ndarray, *, flags: bool = False) -> np.ndarray:
    """A copy of an array of numbers, in the type of :func:`kept_type`."""
    return _filled(array, array.dtype, 1, flags)


def read_hdf5(dataset: h5py.Dataset, *, flags: bool = False) -> np.ndarray:
    """The numbers of a dataset, mapped from the file where it holds them plainly.

    That is: in one piece, not compressed, in the type that is wanted and in this machine's byte
    order. Any other is read in blocks. A map is for reading alone.

    Args:
        dataset: of a file that lies on the disk.
        flags: see :func:`kept_type`.

    Raises:
        OSError: the dataset is damaged.
        DfplanError: see :func:`allocate`.
    """
    # An offset is told of some that were never written, too.
    written = dataset.id.get_space_status() == h5py.h5d.SPACE_STATUS_ALLOCATED
    if written and dataset.dtype == kept_type(dataset.dtype, flags):
        offset = dataset.id.get_offset()  # None where it is in chunks, elsewhere or in the header
        if offset is not None:
            return np.memmap(dataset.file.filename, dataset.dtype, "r", offset, dataset.shape)
    chunk = dataset.chunks[0] if dataset.chunks else 1
    return _filled(dataset, dataset.dtype, chunk, flags)


def _filled(stored: Any, dtype: np.dtype, chunk: int, flags: bool) -> np.ndarray:
    values = allocate(stored.shape, kept_type(dtype, flags))
    if values.size:
        for rows in row_blocks(len(values), values[:1].nbytes, chunk):
            values[rows] = stored[rows]
    return values


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """The hdf5 file at ``path`` to read, its faults turned into :class:`DataError`."""
    require_file(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(path, "hdf5", error) from error


@dataclass(frozen=True)
class NpzArray:
    """An array of an npz file, not yet read.

    Attributes:
        path: the npz file.
        member: its file within that.
        shape: of the array.
        dtype: of the values as stored.
        columns_first: whether they lie column after column (Fortran's order).
        header: bytes of the member before its values.
        offset: first byte of the values within the npz file; None where they are compressed.
    """

    path: Path
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
    require_file(path)
    arrays = {}
    with _unzipped(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            with archive.open(info) as stream:
                version = np.lib.format.read_magic(stream)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }.get(version)
                if read is None:
                    raise ValueError(f"{info.filename} is of an unknown npy version {version}")
                shape, columns_first, dtype = read(stream)
                header = stream.tell()
            if header + prod(shape) * dtype.itemsize != info.file_size and not dtype.hasobject:
                raise ValueError(f"{info.filename} does not hold what it says")
            offset = None
            if info.compress_type == zipfile.ZIP_STORED:
                # The local header's extra field need not be as long as the directory's.
                file.seek(info.header_offset + _ZIP_HEADER - 4)
                lengths = np.frombuffer(file.read(4), "<u2")
                offset = info.header_offset + _ZIP_HEADER + int(lengths.sum()) + header
            name = info.filename.removesuffix(".npy")
            arrays[name] = NpzArray(
                path, info.filename, shape, dtype, columns_first, header, offset
            )
    return arrays


def read_npz(array: NpzArray, *, flags: bool = False) -> np.ndarray:
    """The numbers of an array, mapped from the file unless compressed or to be converted.

    A map is for reading alone.

    Args:
        array: one of :func:`npz_arrays`.
        flags: see :func:`kept_type`.

    Raises:
        DataError: the file is damaged.
        DfplanError: see :func:`allocate`.
    """
    dtype = kept_type(array.dtype, flags)
    order = array.shape[::-1] if array.columns_first else array.shape
    if array.offset is not None and array.dtype == dtype and 0 not in array.shape:
        values: np.ndarray = np.memmap(array.path, dtype, "r", array.offset, order)
    else:
        values = allocate(order, dtype)
        flat = values.reshape(-1)
        with _unzipped(array.path) as archive, archive.open(array.member) as stream:
            stream.read(array.header)
            for part in row_blocks(len(flat), array.dtype.itemsize):
                block = stream.read((part.stop - part.start) * array.dtype.itemsize)
                flat[part] = np.frombuffer(block, array.dtype)
    return values.T if array.columns_first else values


@contextmanager
def _unzipped(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DfplanError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        RuntimeError,  # locked by a password, or (NotImplementedError) packed in a rare way
        ValueError,
    ) as error:
        raise _damaged(path, "npz", error) from error


def require_file(path: Path) -> None:
    """Raise :class:`DataError` unless ``path`` is a file."""
    if not path.is_file():
        raise DataError(
            f"There is no data file at {path}. Check the path, or make one: `dfplan data generate`."
        )


def _damaged(path: Path, kind: str, error: Exception) -> DataError:
    return DataError(
        f"{path} is not a whole {kind} file, or cannot be read ({error}). If it was "
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
