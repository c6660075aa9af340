"""Arrays that may be larger than memory, and the files that they are read from.

Arrays of small files are copied into memory, so that a later change of the file does not change
the data. Files of at least :data:`LARGE` bytes are mapped where they contain an array as plain
numbers. Arrays that must be unpacked or converted go to :func:`allocate`, which maps a temporary
file if they are large. float32 and float64 are kept, other numbers become float32.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.sha256 import is_settled, stamp, verify
from dfplan.errors import DataError, DfplanError
from dfplan.types import FileStamp, Recording

LARGE = 256 << 20
"""Size in bytes from which on a file is mapped, and :func:`allocate` maps a temporary file."""

BLOCK = 4 << 20
"""Bytes that are read or converted at a time."""

_checked: set[tuple[FileStamp, str]] = set()
"""Parts of files that have passed a check; see :func:`check_once`."""


def is_large(size: int) -> bool:
    """Whether a file or array of ``size`` bytes is mapped, not copied into memory."""
    return size >= LARGE


def allocate(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Make an array with undefined values: in memory, or in a temporary file if it is large.

    The file is in the folder of :mod:`tempfile` (``TMPDIR``) and disappears with the array. Its
    space is reserved at once, because a full disk under a mapped file kills the process.

    Raises:
        DfplanError: the disk is full.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if not is_large(size):
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
            f"Data of {size / 2**30:.1f} GiB needs a temporary file in {tempfile.gettempdir()}, "
            f"which could not be made ({error}). Make room there, or set TMPDIR to another folder."
        ) from error


def target_dtype(dtype: np.dtype, flags: bool = False) -> np.dtype:
    """The type that stored values are converted to: float32 or float64, or bool for flags."""
    if flags:
        return np.dtype(bool)
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return dtype.newbyteorder("=")
    return np.dtype(np.float32)


def row_blocks(count: int, row_bytes: int, chunk: int = 1) -> Iterator[slice]:
    """Yield slices of about :data:`BLOCK` bytes, a multiple of ``chunk`` rows, in order."""
    rows = -(-max(1, BLOCK // max(1, row_bytes)) // chunk) * chunk
    return blocks(count, rows)


def convert(stored: Any, dtype: np.dtype, *, chunk: int = 1, flags: bool = False) -> np.ndarray:
    """Copy an array or hdf5 dataset block by block into a new array of :func:`target_dtype`.

    Args:
        stored: the values.
        dtype: their type.
        chunk: rows that are stored together.
        flags: whether the values mean yes or no.

    Raises:
        DfplanError: as :func:`allocate`.
    """
    values = allocate(stored.shape, target_dtype(dtype, flags))
    if values.size:
        for rows in row_blocks(len(values), values[:1].nbytes, chunk):
            values[rows] = stored[rows]
    return values


def check_once(file: FileStamp, part: str, check: Callable[[], None]) -> None:
    """Call ``check`` unless it has passed for this part of the file, in its present state.

    ``check`` raises an exception if the part is damaged.
    """
    if (file, part) not in _checked:
        check()
        if is_settled(file):
            _checked.add((file, part))


@contextmanager
def reading(
    path: Path, kind: str, damage: tuple[type[Exception], ...], expected: FileStamp | None = None
) -> Iterator[FileStamp]:
    """Open a block that reads a file; yields the file's state.

    Args:
        path: the file.
        kind: its type, for error messages.
        damage: exceptions that mean a damaged file; they become :class:`DataError`.
        expected: state that the file must have; default: its state when the block begins.

    Raises:
        DataError: the file cannot be read, is damaged, or changes during the block.
    """
    now = require_file(path)
    try:
        yield now
    except DfplanError:
        raise
    except damage as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} is not a whole {kind} file, or cannot be read ({why}). If it was "
            "downloaded, delete it and fetch it again."
        ) from error
    require_unchanged([expected or now])


def require_file(path: Path) -> FileStamp:
    """Return the state of a data file.

    Raises :class:`DataError` if there is no such file, it cannot be read, or it does not match its
    checksum.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(
            f"There is no data file at {path}. Check the path, or make one: `dfplan data generate`."
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise DataError(f"There is no data file at {path}: it is {kind}. Pass a file.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} cannot be read: you have no permission to.")
    verify(path)
    return stamp(path)


def mapped_files(recording: Recording) -> tuple[FileStamp, ...]:
    """The state of the files that arrays of ``recording`` are mapped from."""
    arrays = [values for values in vars(recording).values() if isinstance(values, np.memmap)]
    names = {str(values.filename) for values in arrays if values.filename is not None}
    return tuple(map(stamp, sorted(names)))


def require_unchanged(files: Iterable[FileStamp]) -> None:
    """Raise :class:`DataError` if one of ``files`` has changed since its stamp was taken."""
    for file in files:
        try:
            same = stamp(file.path) == file
        except OSError:
            same = False
        if not same:
            raise DataError(
                f"{file.path} was changed, replaced or removed after it was read. Large data is "
                "read from its file during use. Leave the file unchanged, and read it again."
            )
