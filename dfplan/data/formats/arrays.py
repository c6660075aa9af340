"""Recordings from bare arrays: given as such, or under whatever names a file keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike

from dfplan.arrays import as_array
from dfplan.data.formats.fields import PLANE, STATE, Field, cut_where_not_next, first_rows
from dfplan.data.links import require_sources
from dfplan.data.storage import NpzArray, npz_arrays, open_hdf5
from dfplan.errors import ConfigError, DataError, unknown_name
from dfplan.files import expanded
from dfplan.types import Recording

FIELDS = ("observations", "actions", "ends", "rewards", "goals", "next_observations")
"""What may be given, of which only the observations must be."""


def from_arrays(
    observations: ArrayLike,
    actions: ArrayLike | None = None,
    ends: ArrayLike | None = None,
    rewards: ArrayLike | None = None,
    goals: ArrayLike | None = None,
    source: str = "arrays",
    *,
    next_observations: ArrayLike | None = None,
) -> Recording:
    """A recording from bare arrays, in any frame.

    They are copied, into memory or from :data:`~dfplan.data.storage.LARGE` bytes on into a
    temporary file. Arrays of numbers in any order and precision, lists and tensors are taken.

    Args:
        observations: positions and velocities [N, 4], or positions alone [N, 2].
        actions: [N, 2]; zeros if they are not known.
        ends: True on the last row of each episode, [N]; without it there is one episode.
        rewards: what each row's action was paid, [N].
        goals: the goal pursued at each row, [N, 2].
        source: where the data came from, for messages and checkpoints.
        next_observations: the observation after each row's action, as replay buffers keep it;
            where it is not the next row, an episode ends.

    Raises:
        DataError: an array of the wrong shape, not of numbers, or with values that are masked;
            rows that are shuffled transitions.
    """
    given = (observations, actions, ends, rewards, goals, next_observations)
    fields = {
        name: Field(name, _array(name, values, source), source)
        for name, values in zip(FIELDS, given, strict=True)
        if values is not None or name == "observations"
    }
    return _recording(fields, source)


def read_arrays(
    path: str | Path, keys: Mapping[str, str], *, follow_links: bool = False
) -> Recording:
    """Read an npz or hdf5 file whose arrays have names of their own.

    An array whose name is that of the observations with ``next_`` before it is taken for
    ``next_observations`` if it has the same shape, unless ``keys`` names another.

    Args:
        path: the file.
        keys: the name in the file of each field that :func:`from_arrays` takes, such as
            ``{"observations": "obs", "actions": "act", "ends": "done"}``; in an hdf5 file with
            the groups it lies in (``"data/obs"``).
        follow_links: as in :func:`~dfplan.data.formats.d4rl.read_d4rl`.

    Raises:
        ConfigError: a field that is not known, no ``observations``, or a name not in the file.
        DataError: no such file, neither npz nor hdf5, or damaged; an array of the wrong shape.
    """
    path = expanded(path)
    for field in keys:
        if field not in FIELDS:
            raise unknown_name("field", field, FIELDS)
    if "observations" not in keys:
        raise ConfigError(
            "keys must say which array holds the observations, such as "
            f"{{'observations': 'obs'}}; got {dict(keys)!r}."
        )
    if path.suffix == ".npz":
        return _recording(_fields(npz_arrays(path), keys, path), path.name)
    with open_hdf5(path, follow_links) as file:
        datasets: dict[str, h5py.Dataset] = {}
        file.visititems(
            lambda name, item: (
                datasets.update({name: item}) if isinstance(item, h5py.Dataset) else None
            )
        )
        names = {field: name.strip("/") for field, name in keys.items()}
        for name in names.values():
            if isinstance(file.get(name), h5py.Dataset):  # behind a link, it may be
                datasets[name] = file[name]
        fields = _fields(datasets, names, path)
        for array in fields.values():
            require_sources(file[array.name].id, follow_links)
        return _recording(fields, path.name)


def _fields(
    stored: Mapping[str, h5py.Dataset | NpzArray], keys: Mapping[str, str], path: Path
) -> dict[str, Field]:
    """The arrays of the file at ``path`` by the fields that ``keys`` takes them for."""
    names = dict(keys)
    for name in names.values():
        if name not in stored:
            raise unknown_name(f"array of {path.name}", name, stored)
    group, _, last = names["observations"].rpartition("/")
    following = f"{group}/next_{last}".strip("/")
    if following in stored and stored[following].shape == stored[names["observations"]].shape:
        names.setdefault("next_observations", following)
    return {field: Field(name, stored[name], str(path)) for field, name in names.items()}


def _array(name: str, values: object, source: str) -> np.ndarray:
    try:
        return as_array(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{source}: {name} must be an array of numbers ({error}).") from error


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
    if "next_observations" in fields:
        following = fields["next_observations"].read(observations.shape[1:], count)
        ends = cut_where_not_next(ends, observations, following, source)
    return Recording(
        observations=observations,
        actions=actions,
        episodes=first_rows(ends),
        source=source,
        rewards=fields["rewards"].read((), count) if "rewards" in fields else None,
        goals=fields["goals"].read(PLANE, count) if "goals" in fields else None,
    )
