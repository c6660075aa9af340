"""D4RL's format: one hdf5 file with one stream of rows.

Beyond D4RL's own fields, ``metadata/joints`` holds the first row of each episode or stream,
``metadata/bare_ends`` the ``final_observations`` of :class:`~dfplan.types.Recording`, the attribute
``maze`` the maze as text, and ``observation_layout`` the columns of position and velocity. All
are optional.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dfplan.data.formats.fields import (
    ACTION,
    GOAL,
    OBSERVATION,
    Field,
    Fields,
    cut_where_not_next,
    first_rows,
    last_rows,
    layout_text,
    read_layout,
)
from dfplan.data.formats.format import Format, Publisher
from dfplan.data.hdf5 import Sink, hdf5_fault, list_datasets, open_hdf5, read_flag, read_text
from dfplan.data.links import require_sources
from dfplan.data.sha256 import replacing
from dfplan.data.storage import row_blocks
from dfplan.errors import ConfigError, DataError, MazeError
from dfplan.files import expand_path
from dfplan.mazes import parse_maze
from dfplan.observations import PLANAR
from dfplan.suites import OGBENCH_ANT
from dfplan.types import Recording

_CHUNK = 50_000

_LAYOUT = "observation_layout"
_JOINTS = "metadata/joints"
_FINAL_OBSERVATIONS = "metadata/bare_ends"
_ADDED_TIMEOUTS = "metadata/added_timeouts"  # rows that write_d4rl marks but were not recorded so
_NEXT_OBSERVATIONS = "next_observations"
_FIELDS = ("observations", "actions", "rewards", "terminals", "timeouts", "infos/goal")
_ALL_FIELDS = (*_FIELDS, _NEXT_OBSERVATIONS, _JOINTS, _FINAL_OBSERVATIONS, _ADDED_TIMEOUTS)

_RECORDED = "recorded"
"""Attribute of a dataset; False: the recording has no such field, but D4RL's tools need one."""

_COMPLETE = "complete"
"""Attribute of the joints; True: terminals begin no other episodes."""

_ANT_NAME = re.compile(r"Ant_maze_")
_PUBLISHED_NAME = re.compile(r"maze2d-(umaze|medium|large)-(sparse|dense)")


def read_d4rl(
    path: str | Path, *, follow_links: bool = False, position: Sequence[int] | None = None
) -> Recording:
    """Read an hdf5 file in D4RL's format (``d4rl/offline_env.py``).

    ``observations`` [N, S] and ``actions`` [N, A] are required. ``rewards``, ``terminals``,
    ``timeouts`` and ``infos/goal`` [N, 2] are optional; [N, 1] is read as [N]. An episode
    begins after each terminal and at each of ``metadata/joints``. ``timeouts`` begin no episode:
    a maze2d file is one stream that continues when a goal is reached, and they mark those rows. If
    the file has ``next_observations``, an episode also ends where they are not the next row.

    Args:
        path: the file. Positions and velocities keep its coordinates and units.
        follow_links: whether the file may contain links to other files, and take values from files
            outside its folder; see :mod:`dfplan.data.links`.
        position: as for :func:`dfplan.data.read`. :func:`write_d4rl` stores it.

    Raises:
        ConfigError: as :func:`~dfplan.observations.observation_layout`.
        DataError: there is no such file; it is not a complete hdf5 file; a field is missing or has
            the wrong shape; the rows are shuffled transitions; or a source of values is missing or
            refused.
    """
    path = expand_path(path)
    with open_hdf5(path, follow_links) as file:
        fields = _fields(file, follow_links)
        count, width = fields["observations"].require_shape(OBSERVATION)
        if position is None and _ANT_NAME.match(path.name):
            position = OGBENCH_ANT.observation.position  # the body is the same
        layout = read_layout(width, position, read_text(file, _LAYOUT), str(path))
        if (fields["actions"].stored.shape or ())[:1] == (count - 1,):
            raise DataError(
                f"{path} has {count} observations for {count - 1} actions. D4RL's format has no "
                "place for a final observation: remove it, or add an action of zeros for it."
            )
        # Actions first: a damaged number of rows would make the observations very large.
        actions = fields["actions"].read(ACTION, count)
        observations = fields["observations"].read(OBSERVATION)
        terminals = fields.optional("terminals", (), count, flags=True)
        timeouts = fields.optional("timeouts", (), count, flags=True)
        episodes = _episodes(file, count, terminals)
        final = fields.optional(_FINAL_OBSERVATIONS, (), len(episodes), flags=True)
        following = fields.optional(_NEXT_OBSERVATIONS, observations.shape[1:], count)
        if following is not None:
            ends = np.zeros(count, bool)
            ends[last_rows(episodes, count)] = True
            cut = first_rows(cut_where_not_next(ends, observations, following, str(path)))
            if final is not None:
                final_rows = last_rows(episodes, count)[final]
                final = np.isin(last_rows(cut, count), final_rows)
            episodes = cut
        if timeouts is not None and _ADDED_TIMEOUTS in file:
            timeouts = np.array(timeouts)
            timeouts[_row_numbers(file, _ADDED_TIMEOUTS, count)] = False
        return Recording(
            observations=observations,
            actions=actions,
            episodes=episodes,
            source=path.name,
            rewards=fields.optional("rewards", (), count),
            goals=fields.optional("infos/goal", GOAL, count),
            terminals=terminals,
            timeouts=timeouts,
            final_observations=final,
            maze=_maze(file, path.name),
            layout=layout,
        )


def write_d4rl(recording: Recording, path: str | Path) -> Path:
    """Write a recording as an hdf5 file, and return its path.

    :func:`read_d4rl` gives the same recording again. The fields that D4RL's own tools need are
    always written. Absent rewards are zeros, absent terminals are False, and absent timeouts are
    True in the last row of each episode that does not end in a terminal. A final observation is a
    timeout too, so that those tools take no step from it. The attribute ``observation_layout``
    stores the columns of the position. The file appears when it is complete.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    path = expand_path(path)
    with replacing(path) as temporary, Sink(temporary) as sink:
        with h5py.File(sink, "w") as file:
            _write(file, recording, sink)
        sink.require_success()
    return path


def _fields(file: h5py.File, follow_links: bool) -> Fields:
    """The recorded fields of a file."""
    fields = {}
    for name in _ALL_FIELDS:
        if isinstance(dataset := file.get(name), h5py.Dataset):
            require_sources(dataset.id, follow_links)
            if read_flag(dataset, _RECORDED) is not False:
                fields[name] = Field(name, dataset, str(file.filename))
        elif dataset is not None:
            raise DataError(f"{file.filename}: {name} must be an array of numbers; it is a group.")
    expected = "D4RL's format: observations [N, S], actions [N, A]"
    return Fields(fields, file.filename, list_datasets(file), expected)


def _episodes(file: h5py.File, count: int, terminals: np.ndarray | None) -> np.ndarray:
    """First row of each episode, int64 [E], from terminals and joints."""
    first = first_rows(np.zeros(count, bool) if terminals is None else terminals)
    if _JOINTS not in file:
        return first
    joints = _row_numbers(file, _JOINTS, count)
    if read_flag(file[_JOINTS], _COMPLETE):
        first = first[:1]
    return np.union1d(first, joints).astype(np.int64)


def _row_numbers(file: h5py.File, name: str, count: int) -> np.ndarray:
    rows = np.asarray(file[name])
    if rows.dtype.kind not in "iu" or not ((rows >= 0) & (rows < count)).all():
        raise DataError(f"{file.filename}: {name} must be row numbers below {count}; got {rows!r}.")
    return rows


def _maze(file: h5py.File, name: str) -> str | None:
    """The maze as text, from the attribute ``maze`` or from the published file's name."""
    text = read_text(file, "maze")
    published = _PUBLISHED_NAME.match(name)
    if text is None and published is not None:
        return published[1]
    try:
        return None if text is None else parse_maze(text).text
    except (ConfigError, MazeError):
        return None


def _write(file: h5py.File, recording: Recording, sink: Sink) -> None:
    count = len(recording)
    last = last_rows(recording.episodes, count)
    columns = {"observations": recording.observations, "actions": recording.actions}
    # These two are whole configurations of a body. A point has no more than position and velocity.
    if recording.layout == PLANAR:
        columns["infos/qpos"] = PLANAR.positions(recording.observations)
        if (velocities := PLANAR.velocities(recording.observations)) is not None:
            columns["infos/qvel"] = velocities
    if recording.goals is not None:
        columns["infos/goal"] = recording.goals
    defaults = {
        "rewards": np.broadcast_to(np.float32(0), count),
        "terminals": np.broadcast_to(np.False_, count),
        "timeouts": np.zeros(count, bool),
    }
    defaults["timeouts"][last] = True
    if recording.terminals is not None:
        defaults["timeouts"][recording.terminals] = False
    for name, values in defaults.items():
        recorded = getattr(recording, name)
        columns[name] = values if recorded is None else recorded
    if recording.final_observations is not None:
        final = last[recording.final_observations]
        timeouts = np.array(columns["timeouts"])
        file[_ADDED_TIMEOUTS] = final[~timeouts[final]]
        timeouts[final] = True
        columns["timeouts"] = timeouts
        file[_FINAL_OBSERVATIONS] = recording.final_observations
    file[_JOINTS] = recording.episodes
    file[_JOINTS].attrs[_COMPLETE] = True
    if recording.maze is not None:
        file.attrs["maze"] = recording.maze
    if (layout := layout_text(recording.layout)) is not None:
        file.attrs[_LAYOUT] = layout
    for name, values in columns.items():
        create_dataset(file, name, values.shape, values.dtype)
        if name in defaults and getattr(recording, name) is None:
            file[name].attrs[_RECORDED] = False
        for rows in row_blocks(count, values[:1].nbytes, _CHUNK):
            file[name][rows] = values[rows]
            file.flush()
            if sink.failure is not None:
                return


def create_dataset(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, chunk: int = _CHUNK
) -> None:
    """Create a dataset in chunks of at most ``chunk`` rows, compressed unless it is empty."""
    packed: dict[str, Any] = {}
    if shape[0]:
        chunks = (min(shape[0], chunk), *shape[1:])
        packed = {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}
    file.create_dataset(name, shape=shape, dtype=dtype, **packed)


def _published_files() -> dict[str, tuple[str, ...]]:
    sizes = ("umaze", "medium", "large")
    files: dict[str, tuple[str, ...]] = {}
    mazes = [(maze, "-v0", "") for maze in ("open", *sizes)]
    mazes += [(f"{kind}{maze}", "-v1", "-v1") for kind in ("", "eval-") for maze in sizes]
    for maze, version, of_file in mazes:
        for dense in ("", "-dense"):
            file = f"maze2d-{maze}{dense or '-sparse'}{of_file}.hdf5"
            files[f"maze2d-{maze}{dense}{version}"] = (file,)
    return files


_PUBLISHER = Publisher(
    title="D4RL",
    url="https://rail.eecs.berkeley.edu/datasets/offline_rl/maze2d",
    variable="D4RL_DATASET_DIR",
    folder=".d4rl/datasets",
    fault=hdf5_fault,
    files=_published_files(),
)

D4RL = Format(
    name="d4rl",
    title="D4RL (hdf5: observations, actions)",
    detect=lambda contents: contents.hdf5 is not None,
    read=read_d4rl,
    write=write_d4rl,
    endings=(".hdf5", ".h5"),
    datasets=_PUBLISHER.datasets,
    publisher=_PUBLISHER,
)
"""D4RL's format, and its maze2d data sets (``d4rl/pointmaze/__init__.py``)."""
