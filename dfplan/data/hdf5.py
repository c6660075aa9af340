"""Reads datasets and attributes of hdf5 files, and writes files safely on a full disk."""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from dfplan.data.links import require_links
from dfplan.data.storage import BLOCK, check_once, convert, is_large, reading, target_dtype
from dfplan.errors import DataError

DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError)
"""Exceptions that h5py raises when it reads a damaged file."""


@contextmanager
def open_hdf5(path: Path, follow_links: bool = False) -> Iterator[h5py.File]:
    """Open an hdf5 file for reading; ``follow_links`` is that of :func:`require_links`.

    Raises :class:`DataError` if there is no such file; it is damaged, now or while the block reads
    it; or a link is refused.
    """
    with reading(path, "hdf5", DAMAGE) as stamp, h5py.File(path, "r") as file:
        length_bytes = file.id.get_create_plist().get_sizes()[1]
        check_once(stamp, "heaps", lambda: _check_heaps(path, length_bytes))
        require_links(file, follow_links)
        yield file


def read_hdf5(dataset: h5py.Dataset, *, flags: bool = False) -> np.ndarray:
    """Read the numbers of a dataset.

    They are mapped, read-only, if the file is large and stores them contiguously, without
    compression, in the target type and in native byte order. Otherwise they are copied in blocks.

    Args:
        dataset: a dataset of a file on disk. Call :func:`dfplan.data.links.require_sources` first
            if it may have its values in other files.
        flags: as for :func:`~dfplan.data.storage.target_dtype`.

    Raises:
        OSError: the dataset is damaged.
        DataError: a part of the dataset was never written.
        DfplanError: as :func:`~dfplan.data.storage.allocate`.
    """
    if not flags:  # a mark that was never written was never set
        _require_written(dataset)
    path = dataset.file.filename
    # HDF5 returns an offset for some datasets that were never written.
    written = dataset.id.get_space_status() == h5py.h5d.SPACE_STATUS_ALLOCATED
    plain = written and dataset.dtype == target_dtype(dataset.dtype, flags)
    if plain and is_large(os.path.getsize(path)):
        offset = dataset.id.get_offset()  # None: in chunks, in another file or in the header
        if offset is not None:
            return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    chunk = dataset.chunks[0] if dataset.chunks else 1
    return convert(dataset, dataset.dtype, chunk=chunk, flags=flags)


def _require_written(dataset: h5py.Dataset) -> None:
    """Refuse values that were never written, which HDF5 reads as zeros.

    A recorder that reserves space and is then killed leaves such a dataset, and a few bytes can
    claim any number of rows. Another fill value than zero, such as NaN, is accepted: it shows which
    rows are missing.
    """
    if dataset.is_virtual or dataset.external or not dataset.size or dataset.fillvalue != 0:
        return
    if dataset.chunks:
        chunks = zip(dataset.shape, dataset.chunks, strict=True)
        expected = math.prod(-(-length // chunk) for length, chunk in chunks)
        missing = expected - dataset.id.get_num_chunks()
        what = f"{missing} of {expected} chunks of dataset {dataset.name} were"
    else:
        missing = dataset.id.get_space_status() == h5py.h5d.SPACE_STATUS_NOT_ALLOCATED
        what = f"the dataset {dataset.name} was"
    if missing:
        raise DataError(
            f"{dataset.file.filename}: {what} never written, so their values would read as 0. Was "
            "the recorder stopped? Write the values, or remove the rows or the dataset."
        )


def read_text(item: h5py.HLObject, name: str) -> str | None:
    """Read a text attribute; None if there is no such attribute, or it is not a text."""
    value = _attribute(item, name, h5py.h5t.TypeStringID)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def read_flag(item: h5py.HLObject, name: str) -> bool | None:
    """Read a boolean attribute; None if there is no such attribute, or it is not boolean."""
    value = _attribute(item, name, h5py.h5t.TypeEnumID, h5py.h5t.TypeIntegerID)
    return None if value is None else bool(value)


def list_datasets(group: h5py.Group) -> list[str]:
    """The paths of all datasets below a group, sorted."""
    names: list[str] = []
    group.visititems(lambda key, item: names.append(key) if hasattr(item, "dtype") else None)
    return sorted(names)


def hdf5_fault(path: Path) -> str | None:
    """Say why a file is not a complete hdf5 file; None if it is."""
    try:
        with h5py.File(path, "r") as file:  # compares the size with that in the header
            file.visititems(lambda name, item: None)
            return None
    except DAMAGE as error:
        return f"it is not a whole hdf5 file ({error})"


class Sink(RawIOBase):
    """A new file for HDF5 to write, which keeps the first failure instead of raising it.

    HDF5 cannot handle a failed write, for example on a full disk: it tries again whenever one of
    its objects is released, and may crash. After a failure, nothing more is written.

    Attributes:
        failure: the first failure, or None.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb+", buffering=0)
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._attempt(lambda: self._file.write(data), size)
        return size

    def truncate(self, size: int | None = None) -> int:
        return self._attempt(lambda: self._file.truncate(size), size)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()

    def require_success(self) -> None:
        """Raise the first failure, if there was one."""
        if self.failure is not None:
            raise self.failure

    def _attempt(self, operation: Callable[[], int], expected: int | None) -> int:
        if self.failure is None:
            try:
                if operation() != expected:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self.failure = error
        return expected or 0


def _attribute(item: h5py.HLObject, name: str, *kinds: type) -> Any:
    if name not in item.attrs:
        return None
    # Check the type first: HDF5 crashes when it reads an attribute with a damaged type.
    stored = item.attrs.get_id(name)
    return item.attrs[name] if isinstance(stored.get_type(), kinds) and stored.shape == () else None


def _check_heaps(path: Path, length_bytes: int) -> None:
    """Raise ValueError if an object in a global heap has an impossible size.

    HDF5 hangs or crashes then. A lost block leaves objects of size 0, for example.
    ``length_bytes`` is the size of a length in this file.
    """
    header = 8 + _round_up(length_bytes)  # of a heap, and of an object in it
    max_size = path.stat().st_size
    with path.open("rb") as file:
        for start in _find_all(file, b"GCOL\1\0\0\0"):
            file.seek(start + 8)
            size = int.from_bytes(file.read(length_bytes), "little")
            file.seek(start + header)
            heap = file.read(max(0, min(size, max_size) - header))
            place = 0
            while place + header <= len(heap):
                length = int.from_bytes(heap[place + 8 : place + 8 + length_bytes], "little")
                if any(heap[place : place + 2]):
                    length = header + _round_up(length)
                if not 0 < length <= len(heap) - place:
                    raise ValueError(f"the heap at byte {start} has an object of a wrong size")
                place += length


def _round_up(size: int) -> int:
    """The next multiple of 8."""
    return -(-size // 8) * 8


def _find_all(file: IO[bytes], pattern: bytes) -> Iterator[int]:
    """Yield each offset of ``pattern`` in a file; the caller may seek in between."""
    start, rest = 0, b""
    while block := file.read(BLOCK):
        text = rest + block
        for match in re.finditer(re.escape(pattern), text):
            yield start + match.start()
        rest = text[1 - len(pattern) :]
        start += len(text) - len(rest)
        file.seek(start + len(rest))
