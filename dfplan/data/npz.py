"""Reads arrays from npz files: copied from small files, mapped from large ones."""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from dfplan.data.storage import (
    BLOCK,
    allocate,
    check_once,
    is_large,
    reading,
    row_blocks,
    target_dtype,
)
from dfplan.types import FileStamp

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    RuntimeError,  # encrypted, or compressed with an unknown method
    LookupError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    SyntaxError,  # NumPy parses the header of an array as Python
    tokenize.TokenError,
)
"""Exceptions that zipfile and NumPy raise when they read a damaged file."""

_LOCAL_HEADER = 30  # bytes of a member's local header, without its name and extra field
_MAX_RATIO = 1040  # upper bound of the compression ratio of deflate, with a small reserve


@dataclass(frozen=True)
class NpzArray:
    """An array of an npz file that has not been read yet.

    Attributes:
        file: state of the npz file when its members were listed.
        member: name of the array's file in the npz file.
        shape: shape of the array.
        dtype: type of the stored values.
        columns_first: whether the values are in column-major (Fortran) order.
        header: bytes of the member before its values.
        offset: first byte of the values in the npz file; None if they are compressed.
    """

    file: FileStamp
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype
    columns_first: bool
    header: int
    offset: int | None


def npz_arrays(path: Path) -> dict[str, NpzArray]:
    """List the arrays of an npz file by name.

    Raises :class:`DataError` if there is no such file, or it is not a complete npz file.
    """
    arrays = {}
    with reading(path, "npz", DAMAGE) as stamp, zipfile.ZipFile(path) as archive:
        starts = _member_starts(path, archive)
        for info in archive.infolist():
            with archive.open(info) as stream:  # also compares the two names of the member
                if not info.filename.endswith(".npy"):
                    continue
                shape, columns_first, dtype = _read_header(stream, info.filename)
                header = stream.tell()
            complete = header + prod(shape) * dtype.itemsize == info.file_size or dtype.hasobject
            if not complete or min(shape, default=0) < 0:
                raise ValueError(f"the size of {info.filename} does not match its header")
            plain = info.compress_type == zipfile.ZIP_STORED
            offset = starts[info.filename] + header if plain else None
            arrays[info.filename.removesuffix(".npy")] = NpzArray(
                stamp, info.filename, shape, dtype, columns_first, header, offset
            )
    return arrays


def read_npz(array: NpzArray, *, flags: bool = False) -> np.ndarray:
    """Read the numbers of an array.

    They are mapped, read-only, if the file is large, does not compress them, and stores them in
    the target type. Otherwise they are copied. The CRC-32 of the array is checked in both cases;
    for a map, once while the file does not change. ``flags``: as for
    :func:`~dfplan.data.storage.target_dtype`.

    Raises:
        DataError: the file is damaged, or has changed since :func:`npz_arrays`.
        DfplanError: as :func:`~dfplan.data.storage.allocate`.
    """
    dtype = target_dtype(array.dtype, flags)
    order = array.shape[::-1] if array.columns_first else array.shape
    plain = array.offset is not None and array.dtype == dtype and 0 not in array.shape
    values: np.ndarray
    with _open_values(array) as stream:
        if plain and is_large(array.file.size):
            check_once(array.file, array.member, lambda: _check_crc(stream))
            values = np.memmap(array.file.path, dtype, "r", array.offset or 0, order)
        else:
            values = allocate(order, dtype)
            flat = values.reshape(-1)
            for part in row_blocks(len(flat), array.dtype.itemsize):
                block = stream.read((part.stop - part.start) * array.dtype.itemsize)
                flat[part] = np.frombuffer(block, array.dtype)
    return values.T if array.columns_first else values


def read_npz_text(array: NpzArray) -> str:
    """Read a text, which is stored as an array without dimensions; raises as :func:`read_npz`."""
    with _open_values(array) as stream:
        return str(np.frombuffer(stream.read(), array.dtype).reshape(array.shape)[()])


def npz_fault(path: Path) -> str | None:
    """Say why a file is not a complete npz file; None if it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except DAMAGE as error:
        return f"it is not a whole npz file ({error})"
    return None if member is None else f"it is not a whole npz file ({member} is damaged)"


def _member_starts(path: Path, archive: zipfile.ZipFile) -> dict[str, int]:
    """Offset of each member's content in the file, by name.

    Raises ValueError if members have the same name, overlap or have an impossible size, or if the
    archive contains more than its members.
    """
    ranges, starts = [], {}
    with path.open("rb") as file:
        for info in archive.infolist():
            # The extra field of the local header may have another length than in the directory.
            file.seek(info.header_offset + _LOCAL_HEADER - 4)
            lengths = np.frombuffer(file.read(4), "<u2")
            start = info.header_offset + _LOCAL_HEADER + int(lengths.sum())
            ranges.append((info.header_offset, start + info.compress_size))
            if info.filename in starts:
                raise ValueError(f"it contains {info.filename} twice")
            starts[info.filename] = start
            size = info.compress_size
            limits = {zipfile.ZIP_STORED: size, zipfile.ZIP_DEFLATED: _MAX_RATIO * (size + 1)}
            if info.file_size > limits.get(info.compress_type, info.file_size):
                raise ValueError(f"the size of {info.filename} does not match its header")
    for (_, end), (start, _) in pairwise(sorted([(0, 0), *ranges, (archive.start_dir, 0)])):
        # A data descriptor of a few bytes may follow a member.
        if not end <= start < end + _LOCAL_HEADER:
            raise ValueError("its members overlap, or its directory is incomplete")
    return starts


def _read_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read shape, column-major order and type from the start of an npy file."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"{name} has an unknown npy version {version}")


@contextmanager
def _open_values(array: NpzArray) -> Iterator[IO[bytes]]:
    """Open the member of an array at its first value."""
    path = array.file.path
    with (
        reading(path, "npz", DAMAGE, array.file),
        zipfile.ZipFile(path) as archive,
        archive.open(array.member) as stream,
    ):
        stream.read(array.header)
        yield stream


def _check_crc(stream: IO[bytes]) -> None:
    """Read to the end, where zipfile compares the CRC-32."""
    while stream.read(BLOCK):
        pass
