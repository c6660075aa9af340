"""What the fields of a recording must be, whatever the layout of its file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import h5py
import numpy as np

from dfplan.data.segments import DataWarning
from dfplan.data.storage import NpzArray, copy_array, read_hdf5, read_npz, row_blocks
from dfplan.errors import DataError
from dfplan.record import Record

STATE = (4, 2)
"""Widths that observations may have: with velocities, or positions alone."""

PLANE = (2,)
"""Width of actions and goals."""

_ROUNDED = 2.0**-10  # relative difference of numbers of which one was stored as float16


@dataclass(frozen=True)
class Field(Record):
    """A field of a file, or an array of the caller's, before it is read.

    Attributes:
        name: for messages.
        stored: where its values are.
        source: where that is from, for messages.
    """

    name: str
    stored: h5py.Dataset | NpzArray | np.ndarray
    source: str

    def read(
        self, widths: tuple[int, ...] = (), count: int | None = None, *, flags: bool = False
    ) -> np.ndarray:
        """Its values, checked first: [count, width], or [count] where ``widths`` is empty.

        [N, 1] is taken for [N].

        Args:
            widths: any of which it may have.
            count: rows that it must have, where that is known.
            flags: whether they are to be read as bool.

        Raises:
            DataError: it does not hold numbers, is of another shape, or has NaN for a flag.
        """
        stored = self.stored
        if stored.dtype.kind not in "fiub":
            raise DataError(f"{self.source}: {self.name} must hold numbers; got {stored.dtype}.")
        shape = tuple(stored.shape or ())  # None of an hdf5 dataset without any
        if not widths and len(shape) == 2 and shape[1] == 1:
            shape = shape[:1]
        tails: list[tuple[int, ...]] = [(width,) for width in widths] or [()]
        if not shape or shape[1:] not in tails or count not in (None, shape[0]):
            rows = "N" if count is None else str(count)
            known = " or ".join(f"[{', '.join([rows, *map(str, tail)])}]" for tail in tails)
            came = list(stored.shape or ())
            raise DataError(f"{self.source}: {self.name} must have shape {known}; got {came}.")
        if flags and stored.dtype.kind == "f":
            numbers = self.read(widths, count)
            if np.isnan(numbers).any():
                row = int(np.argmax(np.isnan(numbers)))
                raise DataError(f"{self.source}: {self.name} must say yes or no; row {row} is NaN.")
            return np.asarray(numbers != 0)
        if isinstance(stored, NpzArray):
            values = read_npz(stored, flags=flags)
        elif isinstance(stored, h5py.Dataset):
            values = read_hdf5(stored, flags=flags)
        else:
            values = copy_array(stored, flags=flags)
        return values.reshape(shape)


def cut_where_not_next(
    ends: np.ndarray, observations: np.ndarray, following: np.ndarray, source: str
) -> np.ndarray:
    """Last rows of episodes: ``ends``, and those whose next observation is not the next row.

    Args:
        ends: last rows by the file's own marks; bool [N].
        observations: float [N, D].
        following: the observation after each row's action; float [N, D]. Rows with NaN pass.
        source: where the data is from, for messages.

    Returns:
        ``ends`` itself where nothing is added to it.

    Raises:
        DataError: most of the rows are not followed by their next observation.
    """
    added = np.zeros(len(ends), bool)
    for rows in row_blocks(max(0, len(ends) - 1), observations[:1].nbytes):
        after, meant = observations[rows.start + 1 : rows.stop + 1], following[rows]
        same = np.isclose(meant, after, rtol=_ROUNDED, atol=0) | np.isnan(meant)
        added[rows] = ~same.all(axis=1) & ~ends[rows]
    count, inner = int(np.count_nonzero(added)), int(np.count_nonzero(~ends[:-1]))
    if not count:
        return ends
    row = int(np.argmax(added))
    if 2 * count > inner:
        raise DataError(
            f"{source}: the rows are shuffled transitions: next_observations is not the next row "
            f"of observations after {count} of {inner} rows that end no episode (the first is row "
            f"{row}). Save the rows in the order in which they were recorded."
        )
    warnings.warn(
        f"{source}: after {count} rows (the first {row}) next_observations is not the next row of "
        "observations, so an episode ends there.",
        DataWarning,
        stacklevel=3,
    )
    return ends | added


def first_rows(ends: np.ndarray) -> np.ndarray:
    """First row of each episode, int64 [E], where ``ends`` (bool [N]) marks the last rows."""
    return np.concatenate([np.zeros(min(1, len(ends)), np.int64), np.flatnonzero(ends[:-1]) + 1])


def last_rows(episodes: np.ndarray, count: int) -> np.ndarray:
    """Last row of each episode, int64 [E]; they begin at ``episodes``, of ``count`` rows."""
    return np.append(episodes[1:], count)[: len(episodes)] - 1
