"""Checks of the fields of a recording, which are the same for all formats."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import h5py
import numpy as np

from dfplan.data.hdf5 import read_hdf5
from dfplan.data.npz import NpzArray, read_npz
from dfplan.data.segments import DataWarning
from dfplan.data.storage import convert, row_blocks
from dfplan.errors import ConfigError, DataError
from dfplan.mazes import parse_maze
from dfplan.observations import PLANAR, ObservationLayout, observation_layout, require_columns
from dfplan.record import Record
from dfplan.types import Recording

OBSERVATION, ACTION, GOAL = ("S",), ("A",), (2,)
"""Shapes of a row; a letter is any number of columns. Goals are positions in the plane."""

_ROUNDING = 2.0**-10  # relative, of a number that was stored as float16


@dataclass(frozen=True)
class Field(Record):
    """A field of a file, or an array of the caller, that has not been read yet.

    ``name`` and ``source``, the name of the file or data, are for error messages.
    """

    name: str
    stored: h5py.Dataset | NpzArray | np.ndarray
    source: str

    def require_shape(
        self, row: tuple[int | str, ...] = (), count: int | None = None
    ) -> tuple[int, ...]:
        """Check the shape, without the values, and return it. [N, 1] is accepted as [N].

        Args:
            row: required shape of a row; a letter is any number from 1.
            count: required number of rows; None for any.

        Raises:
            DataError: the values are not numbers, or have the wrong shape.
        """
        stored = self.stored
        if stored.dtype.kind not in "fiub":
            raise DataError(f"{self.source}: {self.name} must hold numbers; got {stored.dtype}.")
        shape = tuple(stored.shape or ())  # None for an empty hdf5 dataset
        if not row and shape[1:] == (1,):
            shape = shape[:1]
        fits = len(shape) == 1 + len(row) and all(
            size > 0 if isinstance(wanted, str) else size == wanted
            for size, wanted in zip(shape[1:], row, strict=True)
        )
        if not fits or count not in (None, shape[0]):
            expected = ", ".join(map(str, ["N" if count is None else count, *row]))
            hint = " A row must be one list of numbers, no image." if len(shape) > 2 else ""
            raise DataError(
                f"{self.source}: {self.name} must have shape [{expected}]; got "
                f"{list(stored.shape or ())}.{hint}"
            )
        return shape

    def read(
        self, row: tuple[int | str, ...] = (), count: int | None = None, *, flags: bool = False
    ) -> np.ndarray:
        """Check and read the values, [count, *row], as :meth:`require_shape`; bool for ``flags``.

        Raises :class:`DataError` as :meth:`require_shape`, or if the values contain NaN as a flag.
        """
        stored, shape = self.stored, self.require_shape(row, count)
        if flags and stored.dtype.kind == "f":
            numbers = self.read(row, count)
            if np.isnan(numbers).any():
                first = int(np.argmax(np.isnan(numbers)))
                raise DataError(f"{self.source}: {self.name} must hold flags; row {first} is NaN.")
            return np.asarray(numbers != 0)
        if isinstance(stored, NpzArray):
            values = read_npz(stored, flags=flags)
        elif isinstance(stored, h5py.Dataset):
            values = read_hdf5(stored, flags=flags)
        else:
            values = convert(stored, stored.dtype, flags=flags)
        return values.reshape(shape)


class Fields(dict[str, Field]):
    """Fields by name. One that is missing raises :class:`DataError`.

    The message names the ``source``, the ``names`` of what it holds, and what is ``expected``.
    """

    def __init__(
        self, fields: Mapping[str, Field], source: object, names: Iterable[str], expected: str
    ) -> None:
        super().__init__(fields)
        self._missing = f"it has {', '.join(sorted(names)) or 'none'}. Expected {expected}."
        self._source = source

    def __missing__(self, name: str) -> Field:
        raise DataError(f"{self._source} has no field {name!r}; {self._missing}")

    def optional(
        self, name: str, row: tuple[int | str, ...], count: int, *, flags: bool = False
    ) -> np.ndarray | None:
        """Read a field as :meth:`Field.read`; None if it is missing."""
        return self[name].read(row, count, flags=flags) if name in self else None


def layout_text(layout: ObservationLayout) -> str | None:
    """What a file stores about a layout, JSON; None for the usual one."""
    if layout == PLANAR:
        return None
    return json.dumps({"position": layout.position, "velocity": layout.velocity})


def read_layout(
    width: int,
    position: Sequence[int] | None,
    text: str | None,
    source: str,
    maze: str | None = None,
) -> ObservationLayout:
    """The layout of recorded observations.

    Args:
        width: S.
        position: the columns that the caller names; None for those in the file, or else of the
            maze's suite, or else as in :func:`~dfplan.observations.observation_layout`.
        text: that of :func:`layout_text`; None if the file has none.
        source: name of the file, for error messages.
        maze: in which the data was recorded, if it is known.

    Raises:
        ConfigError: as :func:`~dfplan.observations.observation_layout`.
        DataError: the text is damaged.
    """
    if text is None:
        suite = None if maze is None else parse_maze(maze).suite
        if position is None and suite is not None and suite.observation.width == width:
            return suite.observation
        return observation_layout(width, position, source)
    try:
        stored = ObservationLayout(width, **json.loads(text))
    except (ConfigError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{source}: the stored layout of its observations is damaged; got {text!r} for "
            f"{width} numbers. Write the file again."
        ) from error
    if position is None:
        return stored
    named = observation_layout(width, position, source)
    return stored if named.position == stored.position else named


def with_velocity(recording: Recording, velocity: Sequence[int] | None) -> Recording:
    """The recording with these columns of an observation as its velocity.

    Args:
        recording: what was read.
        velocity: two columns, counted from 0; empty if no columns are the velocity; None for those
            that are known.

    Raises:
        ConfigError: as :class:`~dfplan.observations.ObservationLayout`.
    """
    if velocity is None:
        return recording
    width, position = recording.observations.shape[1], recording.layout.position
    none = isinstance(velocity, tuple | list) and not velocity
    columns = None if none else require_columns("velocity", velocity, width, count=2)
    layout = ObservationLayout(
        width, position, None if columns is None else (columns[0], columns[1])
    )
    return replace(recording, layout=layout)


def cut_where_not_next(
    ends: np.ndarray, observations: np.ndarray, following: np.ndarray | None, source: str
) -> np.ndarray:
    """End episodes also where the next observation is not the next row.

    Args:
        ends: whether a row is the last of an episode, from the file; bool [N].
        observations: float [N, D].
        following: the observation after each row's action, float [N, D]; None if not recorded.
            NaN matches everything.
        source: name of the data, for error messages.

    Returns:
        Whether a row is the last of an episode, bool [N]; ``ends`` itself if nothing is added.

    Raises:
        DataError: most rows are not followed by their next observation.
    """
    if following is None:
        return ends
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
