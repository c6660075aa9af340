"""What the fields of a recording must be, whatever the layout of its file."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from dfplan.data.storage import NpzArray, copy_array, read_hdf5, read_npz
from dfplan.errors import DataError

STATE = (4, 2)
"""Widths that observations may have: with velocities, or positions alone."""

PLANE = (2,)
"""Width of actions and goals."""


@dataclass(frozen=True)
class Field:
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
            DataError: it does not hold numbers, or is of another shape.
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
        if isinstance(stored, NpzArray):
            values = read_npz(stored, flags=flags)
        elif isinstance(stored, h5py.Dataset):
            values = read_hdf5(stored, flags=flags)
        else:
            values = copy_array(stored, flags=flags)
        return values.reshape(shape)


def first_rows(ends: np.ndarray) -> np.ndarray:
    """First row of each episode, int64 [E], where ``ends`` (bool [N]) marks the last rows."""
    return np.concatenate([np.zeros(min(1, len(ends)), np.int64), np.flatnonzero(ends[:-1]) + 1])


def last_rows(episodes: np.ndarray, count: int) -> np.ndarray:
    """Last row of each episode, int64 [E]; they begin at ``episodes``, of ``count`` rows."""
    return np.append(episodes[1:], count)[: len(episodes)] - 1
