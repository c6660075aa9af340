"""D4RL's layout: one hdf5 file, one stream of rows.

Beyond what D4RL writes, ``metadata/joints`` holds the rows where a new episode or stream begins,
``metadata/bare_ends`` is as in :class:`~dfplan.types.Recording`, and the attribute ``maze`` is the
maze as text. Where they are missing nothing is made up for them.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np

from dfplan.data.checksums import replacing
from dfplan.data.formats.fields import (
    PLANE,
    STATE,
    Field,
    cut_where_not_next,
    first_rows,
    last_rows,
)
from dfplan.data.links import require_sources
from dfplan.data.storage import Sink, open_hdf5, read_flag, read_text, row_blocks
from dfplan.errors import ConfigError, DataError, MazeError
from dfplan.files import expanded
from dfplan.mazes import parse_maze
from dfplan.types import Recording

_CHUNK = 50_000

_JOINTS = "metadata/joints"
_BARE_ENDS = "metadata/bare_ends"
_ADDED = "metadata/added_timeouts"  # rows that write_d4rl marks beyond what was recorded

_FOLLOWING = "next_observations"
_COLUMNS = ("observations", "actions", "rewards", "terminals", "timeouts", "infos/goal")

# Attributes of datasets that write_d4rl fills in: D4RL's tools need them all.
_RECORDED = "recorded"  # False: what it holds was not in the recording
_PUBLISHED = re.compile(r"maze2d-(umaze|medium|large)-(sparse|dense)")
_COMPLETE = "complete"  # of the joints: all of them, so that no terminal makes another


def read_d4rl(path: str | Path, *, follow_links: bool = False) -> Recording:
    """Read an hdf5 file of D4RL's maze2d layout (``d4rl/offline_env.py``).

    ``observations`` [N, 4] (or [N, 2]) and ``actions`` [N, 2] must be there; ``rewards``,
    ``terminals``, ``timeouts`` and ``infos/goal`` may be; [N, 1] is taken for [N]. An episode
    begins after each terminal and at each of ``metadata/joints``. A maze2d file is one stream that
    goes on when a goal is reached, so ``timeouts``, which mark those moments, begin none. Where the
    file has ``next_observations`` and one is not the next row, an episode ends.

    Args:
        path: the file. Positions and velocities stay in its own frame and units.
        follow_links: whether it may take values from files elsewhere; see
            :mod:`dfplan.data.links`.

    Raises:
        DataError: no such file; not hdf5, or cut short; a field missing or of the wrong shape; rows
            that are shuffled transitions; values in files that are missing or elsewhere.
    """
    path = expanded(path)
    with open_hdf5(path, follow_links) as file:
        for name in (*_COLUMNS, _FOLLOWING, _JOINTS, _BARE_ENDS, _ADDED):
            if isinstance(file.get(name), h5py.Dataset):
                require_sources(file[name].id, follow_links)
        field = _field(file, "observations")
        count = (field.stored.shape or (0,))[0]
        if (_field(file, "actions").stored.shape or ())[:1] == (count - 1,):
            raise DataError(
                f"{path} has {count} observations for {count - 1} actions (T + 1 for T), for which "
                "D4RL's layout has no place: leave out the last observation, or give it an action "
                "of zeros."
            )
        # Before the observations, so that a damaged number of rows is not read first.
        actions = _field(file, "actions").read(PLANE, count)
        observations = field.read(STATE)
        terminals = _recorded(file, "terminals", (), count, flags=True)
        timeouts = _recorded(file, "timeouts", (), count, flags=True)
        episodes = _episodes(file, count, terminals)
        bare_ends = None
        if _BARE_ENDS in file:
            bare_ends = _field(file, _BARE_ENDS).read((), len(episodes), flags=True)
        if _FOLLOWING in file:
            following = _field(file, _FOLLOWING).read(observations.shape[1:], count)
            ends = np.zeros(count, bool)
            ends[last_rows(episodes, count)] = True
            cut = first_rows(cut_where_not_next(ends, observations, following, str(path)))
            if bare_ends is not None:
                bare_rows = last_rows(episodes, count)[bare_ends]
                bare_ends = np.isin(last_rows(cut, count), bare_rows)
            episodes = cut
        if timeouts is not None and _ADDED in file:
            timeouts = np.array(timeouts)
            timeouts[_rows(file, _ADDED, count)] = False
        return Recording(
            observations=observations,
            actions=actions,
            episodes=episodes,
            source=path.name,
            rewards=_recorded(file, "rewards", (), count),
            goals=_recorded(file, "infos/goal", PLANE, count),
            terminals=terminals,
            timeouts=timeouts,
            bare_ends=bare_ends,
            maze=_maze(file, path.name),
        )


def write_d4rl(recording: Recording, path: str | Path) -> Path:
    """Write a recording as D4RL's hdf5 file, so that :func:`read_d4rl` gives the same again.

    What D4RL's own tools look for is always there: without rewards it is zeros, without terminals
    none, without timeouts the last row of each episode that no terminal ends. Bare ends are
    timeouts too, so that those tools take no step from them.

    Args:
        recording: what to write.
        path: the file to write; it appears only once it is whole.

    Returns:
        The path that was written.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    path = expanded(path)
    with replacing(path) as temporary, Sink(temporary) as sink:
        with h5py.File(sink, "w") as file:
            _write(file, recording, sink)
        if sink.failure is not None:
            raise sink.failure
    return path


def _field(file: h5py.File, name: str) -> Field:
    if name not in file or not isinstance(file[name], h5py.Dataset):
        found: list[str] = []
        file.visititems(lambda key, item: found.append(key) if hasattr(item, "dtype") else None)
        raise DataError(
            f"{file.filename} has no field {name!r}; it has {', '.join(sorted(found)) or 'none'}. "
            "Expected D4RL's layout: observations [N, 4], actions [N, 2]."
        )
    return Field(name, file[name], str(file.filename))


def _recorded(
    file: h5py.File, name: str, widths: tuple[int, ...], count: int, *, flags: bool = False
) -> np.ndarray | None:
    """A field's values, or None where the file has none that were recorded."""
    if name not in file or read_flag(file[name], _RECORDED) is False:
        return None
    return _field(file, name).read(widths, count, flags=flags)


def _episodes(file: h5py.File, count: int, terminals: np.ndarray | None) -> np.ndarray:
    """First row of each episode by the file's own marks, int64 [E]."""
    begun = first_rows(np.zeros(count, bool) if terminals is None else terminals)
    if _JOINTS not in file:
        return begun
    joints = _rows(file, _JOINTS, count)
    if read_flag(file[_JOINTS], _COMPLETE):
        begun = begun[:1]
    return np.union1d(begun, joints).astype(np.int64)


def _rows(file: h5py.File, name: str, count: int) -> np.ndarray:
    rows = np.asarray(file[name])
    if rows.dtype.kind not in "iu" or not ((rows >= 0) & (rows < count)).all():
        raise DataError(f"{file.filename}: {name} must be row numbers below {count}; got {rows!r}.")
    return rows


def _maze(file: h5py.File, name: str) -> str | None:
    """The maze as text, by the file's attribute ``maze`` or by its name, as D4RL publishes it."""
    noted = read_text(file, "maze")
    published = _PUBLISHED.match(name)
    if noted is None and published is not None:
        return published[1]
    try:
        return None if noted is None else parse_maze(noted).text
    except (ConfigError, MazeError):
        return None


def _write(file: h5py.File, recording: Recording, sink: Sink) -> None:
    count = len(recording)
    last = last_rows(recording.episodes, count)
    columns: dict[str, np.ndarray] = {
        "observations": recording.observations,
        "actions": recording.actions,
        "infos/qpos": recording.observations[:, :2],
    }
    if recording.observations.shape[1] == 4:
        columns["infos/qvel"] = recording.observations[:, 2:]
    if recording.goals is not None:
        columns["infos/goal"] = recording.goals
    invented = {
        "rewards": np.broadcast_to(np.float32(0), count),
        "terminals": np.broadcast_to(np.False_, count),
        "timeouts": np.zeros(count, bool),
    }
    invented["timeouts"][last] = True
    if recording.terminals is not None:
        invented["timeouts"][recording.terminals] = False
    for name, values in invented.items():
        recorded = getattr(recording, name)
        columns[name] = values if recorded is None else recorded
    if recording.bare_ends is not None:
        bare = last[recording.bare_ends]
        timeouts = np.array(columns["timeouts"])
        file[_ADDED] = bare[~timeouts[bare]]
        timeouts[bare] = True
        columns["timeouts"] = timeouts
        file[_BARE_ENDS] = recording.bare_ends
    file[_JOINTS] = recording.episodes
    file[_JOINTS].attrs[_COMPLETE] = True
    if recording.maze is not None:
        file.attrs["maze"] = recording.maze
    for name, values in columns.items():
        dataset = _dataset(file, name, values)
        if name in invented and getattr(recording, name) is None:
            dataset.attrs[_RECORDED] = False
        for rows in row_blocks(count, values[:1].nbytes, _CHUNK):
            dataset[rows] = values[rows]
            file.flush()
            if sink.failure is not None:
                return


def _dataset(file: h5py.File, name: str, values: np.ndarray) -> h5py.Dataset:
    if not len(values):
        return file.create_dataset(name, shape=values.shape, dtype=values.dtype)
    return file.create_dataset(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(min(len(values), _CHUNK), *values.shape[1:]),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
