"""Checks of the fields of a recording, which are the same for all formats."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import h5py
import numpy as np

from dfplan.data.hdf5 import read_hdf5
from dfplan.data.npz import NpzArray, read_npz
from dfplan.data.segments import DataWarning
from dfplan.data.storage import convert, row_blocks
from dfplan.errors import DataError
from dfplan.record import Record

STATE = (4, 2)
"""Possible widths of observations: with velocities, or positions only."""

PLANE = (2,)
"""Width of actions and goals."""

_ROUNDING = 2.0**-10  # relative, of a number that was stored as float16


@dataclass(frozen=True)
class Field(Record):
    """A field of a file, or an array of the caller, that has not been read yet.

    Attributes:
        name: name of the field, for error messages.
        stored: the stored values.
        source: name of the file or data, for error messages.
    """

    name: str
    stored: h5py.Dataset | NpzArray | np.ndarray
    source: str

    def read(
        self, widths: tuple[int, ...] = (), count: int | None = None, *, flags: bool = False
    ) -> np.ndarray:
        """Check and read the values: [count, width], or [count] if ``widths`` is empty.

        [N, 1] is read as [N].

        Args:
            widths: possible widths.
            count: required number of rows; None for any.
            flags: whether to convert the values to bool.

        Raises:
            DataError: the values are not numbers, have the wrong shape, or contain NaN as a flag.
        """
        stored = self.stored
        if stored.dtype.kind not in "fiub":
            raise DataError(f"{self.source}: {self.name} must hold numbers; got {stored.dtype}.")
        shape = tuple(stored.shape or ())  # None for an empty hdf5 dataset
        if not widths and len(shape) == 2 and shape[1] == 1:
            shape = shape[:1]
        tails: list[tuple[int, ...]] = [(width,) for width in widths] or [()]
        if not shape or shape[1:] not in tails or count not in (None, shape[0]):
            rows = "N" if count is None else str(count)
            expected = " or ".join(f"[{', '.join([rows, *map(str, tail)])}]" for tail in tails)
            actual = list(stored.shape or ())
            raise DataError(f"{self.source}: {self.name} must have shape {expected}; got {actual}.")
        if flags and stored.dtype.kind == "f":
            numbers = self.read(widths, count)
            if np.isnan(numbers).any():
                row = int(np.argmax(np.isnan(numbers)))
                raise DataError(f"{self.source}: {self.name} must hold flags; row {row} is NaN.")
            return np.asarray(numbers != 0)
        if isinstance(stored, NpzArray):
            values = read_npz(stored, flags=flags)
        elif isinstance(stored, h5py.Dataset):
            values = read_hdf5(stored, flags=flags)
        else:
            values = convert(stored, stored.dtype, flags=flags)
        return values.reshape(shape)


def cut_where_not_next(
    ends: np.ndarray, observations: np.ndarray, following: np.ndarray, source: str
) -> np.ndarray:
    """End episodes also where the next observation is not the next row.

    Args:
        ends: whether a row is the last of an episode, from the file; bool [N].
        observations: float [N, D].
        following: the observation after each row's action; float [N, D]. NaN matches everything.
        source: name of the data, for error messages.

    Returns:
        Whether a row is the last of an episode, bool [N]; ``ends`` itself if nothing is added.

    Raises:
        DataError: most rows are not followed by their next observation.
    """
    added = np.zeros(len(ends), bool)
    for rows in row_blocks(max(0, len(ends) - 1), observations[:1].nbytes):
        after, recorded = observations[rows.start + 1 : rows.stop + 1], following[rows]
        same = np.isclose(recorded, after, rtol=_ROUNDING, atol=0) | np.isnan(recorded)
        added[rows] = ~same.all(axis=1) & ~ends[rows]
    count, inner = int(np.count_nonzero(added)), int(np.count_nonzero(~ends[:-1]))
    if not count:
        return ends
    row = int(np.argmax(added))
    if 2 * count > inner:
        raise DataError(
            f"{source}: the rows are shuffled transitions. next_observations differs from the next "
            f"row of observations in {count} of {inner} rows inside episodes (the first is row "
            f"{row}). Save the rows in the order in which they were recorded."
        )
    warnings.warn(
        f"{source}: next_observations differs from the next row of observations in {count} rows "
        f"(the first is row {row}). An episode ends at each of them.",
        DataWarning,
        stacklevel=3,
    )
    return ends | added


def first_rows(ends: np.ndarray) -> np.ndarray:
    """First row of each episode, int64 [E]; ``ends`` (bool [N]) marks the last rows."""
    return np.concatenate([np.zeros(min(1, len(ends)), np.int64), np.flatnonzero(ends[:-1]) + 1])


def last_rows(episodes: np.ndarray, count: int) -> np.ndarray:
    """Last row of each episode, int64 [E], from their first rows and the number of rows."""
    return np.append(episodes[1:], count)[: len(episodes)] - 1
