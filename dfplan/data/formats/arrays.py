"""Recordings from bare arrays, in memory or in a file with any names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike

from dfplan.arrays import as_array
from dfplan.data.formats.fields import (
    ACTION,
    GOAL,
    OBSERVATION,
    Field,
    Fields,
    cut_where_not_next,
    first_rows,
    with_velocity,
)
from dfplan.data.hdf5 import list_datasets, open_hdf5
from dfplan.data.links import require_sources
from dfplan.data.npz import NpzArray, npz_arrays
from dfplan.errors import ConfigError, DataError, lookup, require_name
from dfplan.files import expand_path
from dfplan.observations import observation_layout
from dfplan.types import Recording

FIELDS = ("observations", "actions", "ends", "rewards", "goals", "next_observations")
"""Fields of bare arrays. Only the observations are required."""


def from_arrays(
    observations: ArrayLike,
    actions: ArrayLike | None = None,
    ends: ArrayLike | None = None,
    rewards: ArrayLike | None = None,
    goals: ArrayLike | None = None,
    source: str = "arrays",
    *,
    next_observations: ArrayLike | None = None,
    position: Sequence[int] | None = None,
    velocity: Sequence[int] | None = None,
) -> Recording:
    """Make a recording from bare arrays, in any coordinates.

    Arrays in any memory order and precision, lists and tensors are accepted. They are copied into
    memory, or from :data:`~dfplan.data.storage.LARGE` bytes on into a temporary file.

    Args:
        observations: [N, S].
        actions: [N, A]; default: zeros [N, 2].
        ends: True in the last row of each episode, [N]; default: there is one episode.
        rewards: reward of each row's action, [N].
        goals: goal of each row, [N, 2].
        source: name of the data, for messages and checkpoints.
        next_observations: the observation after each row's action, as in replay buffers. An
            episode ends where it is not the next row.
        position: the two columns of an observation that are the position, counted from 0. It may
            be None for 2 numbers, a position, and for 4, position and velocity.
        velocity: as for :func:`dfplan.data.read`.

    Raises:
        ConfigError: as :func:`~dfplan.observations.observation_layout`, or for ``velocity`` as
            :class:`~dfplan.observations.ObservationLayout`.
        DataError: an array has the wrong shape, does not hold numbers or has masked values; or the
            rows are shuffled transitions.
    """
    arrays = (observations, actions, ends, rewards, goals, next_observations)
    fields = {
        name: Field(name, _array(name, values, source), source)
        for name, values in zip(FIELDS, arrays, strict=True)
        if values is not None or name == "observations"
    }
    return with_velocity(_recording(fields, source, position), velocity)


def read_arrays(
    path: str | Path,
    keys: Mapping[str, str],
    *,
    follow_links: bool = False,
    position: Sequence[int] | None = None,
) -> Recording:
    """Read an npz or hdf5 file whose arrays have any names.

    If the file has an array with ``next_`` before the name of the observations, and of the same
    shape, it is ``next_observations``, unless ``keys`` names another one.

    Args:
        path: the file.
        keys: the name in the file of each field of :func:`from_arrays`, such as
            ``{"observations": "obs", "actions": "act", "ends": "done"}``. In an hdf5 file the name
            includes groups (``"data/obs"``).
        follow_links: whether an hdf5 file may contain links to other files, and take values from
            files outside its folder; see :mod:`dfplan.data.links`.
        position: as for :func:`from_arrays`.

    Raises:
        ConfigError: ``keys`` has an unknown field or no ``observations``; the file has no array of
            this name; or as :func:`from_arrays`.
        DataError: there is no such file; it is not an npz or hdf5 file; it is damaged; or an array
            has the wrong shape.
    """
    path = expand_path(path)
    for field in keys:
        require_name("field", field, FIELDS)
    if "observations" not in keys:
        raise ConfigError(
            "keys must name the array of the observations, such as {'observations': 'obs'}; got "
            f"{dict(keys)!r}."
        )
    if path.suffix == ".npz":
        return _recording(_fields(npz_arrays(path), keys, path), path.name, position)
    with open_hdf5(path, follow_links) as file:
        names = {field: name.strip("/") for field, name in keys.items()}
        known = {*list_datasets(file), *names.values()}  # a name may be behind a link
        datasets = {name: file[name] for name in known if isinstance(file.get(name), h5py.Dataset)}
        fields = _fields(datasets, names, path)
        for array in fields.values():
            require_sources(file[array.name].id, follow_links)
        return _recording(fields, path.name, position)


def _fields(
    stored: Mapping[str, h5py.Dataset | NpzArray], keys: Mapping[str, str], path: Path
) -> dict[str, Field]:
    """The arrays of the file at ``path`` by the names of their fields."""
    names = dict(keys)
    for name in names.values():
        lookup(f"array of {path.name}", name, stored)
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


def _recording(
    fields: Mapping[str, Field], source: str, position: Sequence[int] | None
) -> Recording:
    fields = Fields(fields, source, fields, "observations")
    count, width = fields["observations"].require_shape(OBSERVATION)
    layout = observation_layout(width, position, source)
    observations = fields["observations"].read(OBSERVATION)
    actions = fields.optional("actions", ACTION, count)
    ends = fields.optional("ends", (), count, flags=True)
    following = fields.optional("next_observations", observations.shape[1:], count)
    ends = np.zeros(count, bool) if ends is None else ends
    return Recording(
        observations=observations,
        actions=np.zeros((count, 2), np.float32) if actions is None else actions,
        episodes=first_rows(cut_where_not_next(ends, observations, following, source)),
        source=source,
        rewards=fields.optional("rewards", (), count),
        goals=fields.optional("goals", GOAL, count),
        layout=layout,
    )
