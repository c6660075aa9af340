"""Recordings from bare arrays: given as such, or under whatever names a file keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike

from dfplan.data.fields import PLANE, STATE, Field, first_rows
from dfplan.data.storage import npz_arrays, open_hdf5
from dfplan.errors import ConfigError, DataError, unknown_name
from dfplan.types import Recording

FIELDS = ("observations", "actions", "ends", "rewards", "goals")
"""What may be given, of which only the observations must be."""


def from_arrays(
    observations: ArrayLike,
    actions: ArrayLike | None = None,
    ends: ArrayLike | None = None,
    rewards: ArrayLike | None = None,
    goals: ArrayLike | None = None,
    source: str = "arrays",
) -> Recording:
    """A recording from bare arrays, in any frame; they are copied.

    Args:
        observations: positions and velocities [N, 4], or positions alone [N, 2].
        actions: [N, 2]; zeros if they are not known.
        ends: True on the last row of each episode, [N]; without it there is one episode.
        rewards: what each row's action was paid, [N].
        goals: the goal pursued at each row, [N, 2].
        source: where the data came from, for messages and checkpoints.

    Raises:
        DataError: an array of the wrong shape, or not of numbers.
    """
    given = (observations, actions, ends, rewards, goals)
    fields = {
        name: Field(name, _array(name, values, source), source)
        for name, values in zip(FIELDS, given, strict=True)
        if values is not None
    }
    return _recording(fields, source)


def read_arrays(path: str | Path, keys: Mapping[str, str]) -> Recording:
    """Read an npz or hdf5 file whose arrays have names of their own.

    Args:
        path: the file.
        keys: the name in the file of each field that :func:`from_arrays` takes, such as
            ``{"observations": "obs", "actions": "act", "ends": "done"}``; in an hdf5 file with
            the groups it lies in (``"data/obs"``).

    Raises:
        ConfigError: a field that is not known, no ``observations``, or a name not in the file.
        DataError: no such file, neither npz nor hdf5, or damaged; an array of the wrong shape.
    """
    path = Path(path)
    for field in keys:
        if field not in FIELDS:
            raise unknown_name("field", field, FIELDS)
    if "observations" not in keys:
        raise ConfigError(
            "keys must say which array holds the observations, such as "
            f"{{'observations': 'obs'}}; got {dict(keys)!r}."
        )
    if path.suffix == ".npz":
        stored = npz_arrays(path)
        fields = {
            field: Field(name, _named(stored, name, path), str(path))
            for field, name in keys.items()
        }
        return _recording(fields, path.name)
    with open_hdf5(path) as file:
        datasets: dict[str, h5py.Dataset] = {}
        file.visititems(
            lambda name, item: (
                datasets.update({name: item}) if isinstance(item, h5py.Dataset) else None
            )
        )
        fields = {
            field: Field(name, _named(datasets, name.strip("/"), path), str(path))
            for field, name in keys.items()
        }
        return _recording(fields, path.name)


def _array(name: str, values: ArrayLike, source: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: {name} must be an array of numbers ({error}).") from error


def _named(stored: Mapping[str, object], name: str, path: Path) -> object:
    if name not in stored:
        raise unknown_name(f"array of {path.name}", name, stored)
    return stored[name]


def _recording(fields: Mapping[str, Field], source: str) -> Recording:
    observations = fields["observations"].read(STATE)
    count = len(observations)
    if "actions" in fields:
        actions = fields["actions"].read(PLANE, count)
    else:
        actions = np.zeros((count, 2), np.float32)
    ends = np.zeros(count, bool)
    if "ends" in fields:
        ends = fields["ends"].read((), count, flags=True)
    return Recording(
        observations=observations,
        actions=actions,
        episodes=first_rows(ends),
        source=source,
        rewards=fields["rewards"].read((), count) if "rewards" in fields else None,
        goals=fields["goals"].read(PLANE, count) if "goals" in fields else None,
    )
