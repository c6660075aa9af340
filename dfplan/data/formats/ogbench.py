"""OGBench's layout: one npz file, trajectories one after another.

OGBench's own files have a row for each observation of a trajectory and ``terminals`` on its last.
``ogbench.utils.load_dataset`` makes two other forms of them, which people save: the regular one,
with ``next_observations`` and without the last rows, and the compact one, with ``valids``. All
three are read. Positions are those of OGBench's frame, four units a cell.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import IO

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
from dfplan.data.storage import NpzArray, allocate, npz_arrays, read_npz_text, row_blocks
from dfplan.errors import ConfigError, DataError, MazeError
from dfplan.files import expanded
from dfplan.mazes import parse_maze
from dfplan.types import Recording

# What OGBench's layout has no place for; it leaves arrays of other names alone.
_TERMINALS = "env_terminals"
_TIMEOUTS = "env_timeouts"
_BARE_ENDS = "bare_ends"
_MAZE = "maze"

_FILE_NAME = re.compile(r"pointmaze-(medium|large|giant|teleport)-")
_ALIGNMENT = 64
_PADDING = 0xD935  # an extra field of a zip file that only moves what follows it
_ZIP64 = 20  # bytes of the extra field that holds sizes beyond 4 GiB


def read_ogbench(path: str | Path) -> Recording:
    """Read an npz file of OGBench's layout (``ogbench/utils.py``, ``load_dataset``).

    ``observations`` [N, 2] (or [N, 4]), ``actions`` [N, 2] and ``terminals`` [N] must be there.
    ``terminals`` only parts trajectories, so they become ``episodes``. Each trajectory of the
    regular form gets back its last row, of which only the observation is known; where
    ``next_observations`` is not the next row, a trajectory ends. The maze is what the file notes,
    else that of its name (``pointmaze-giant-navigate-v0.npz``).

    Args:
        path: the file.

    Raises:
        DataError: no such file; not npz, or cut short; an array missing or of the wrong shape; not
            a point maze; rows that are shuffled transitions.
    """
    path = expanded(path)
    arrays = npz_arrays(path)
    shape = _field(arrays, "observations").stored.shape
    if len(shape) != 2 or shape[1] > max(STATE):
        raise DataError(
            f"{path}: observations have shape {list(shape)}. Of OGBench's data only point mazes "
            "are read (pointmaze-...: observations [N, 2]), not ants, humanoids or images."
        )
    observations = _field(arrays, "observations").read(STATE)
    count = len(observations)
    actions = _field(arrays, "actions").read(PLANE, count)
    if "valids" in arrays:
        ends = ~_field(arrays, "valids").read((), count, flags=True)
    else:
        ends = _field(arrays, "terminals").read((), count, flags=True)
    following = None
    if "next_observations" in arrays:
        width = (observations.shape[1],)
        following = _field(arrays, "next_observations").read(width, count)
        ends = cut_where_not_next(ends, observations, following, str(path))
    episodes = first_rows(ends)
    rewards = _optional(arrays, "rewards", (), count)
    if following is not None:
        last = last_rows(episodes, count)
        return Recording(
            observations=_with_last(observations, last, following),
            actions=_with_last(actions, last),
            episodes=episodes + np.arange(len(episodes)),
            source=path.name,
            rewards=None if rewards is None else _with_last(rewards, last),
            bare_ends=np.ones(len(episodes), bool),
            maze=_maze(arrays, path),
        )
    return Recording(
        observations=observations,
        actions=actions,
        episodes=episodes,
        source=path.name,
        rewards=rewards,
        goals=_optional(arrays, "goals", PLANE, count),
        terminals=_optional(arrays, _TERMINALS, (), count, flags=True),
        timeouts=_optional(arrays, _TIMEOUTS, (), count, flags=True),
        bare_ends=_optional(arrays, _BARE_ENDS, (), len(episodes), flags=True),
        maze=_maze(arrays, path),
    )


def write_ogbench(recording: Recording, path: str | Path, *, compress: bool = False) -> Path:
    """Write a recording as OGBench's npz file, so that :func:`read_ogbench` gives the same again.

    ``ogbench.utils.load_dataset`` loads it. Rewards, goals, the environment's terminals and
    timeouts, bare ends and the maze, where there are any, go to arrays that it does not look at.

    Args:
        recording: what to write.
        path: the file to write; it appears only once it is whole.
        compress: pack it. It can then not be read in place.

    Returns:
        The path that was written.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    path = expanded(path)
    ends = np.zeros(len(recording), bool)
    ends[last_rows(recording.episodes, len(recording))] = True
    arrays = {
        "observations": recording.observations,
        "actions": recording.actions,
        "terminals": ends,
        "qpos": recording.observations[:, :2],
        "qvel": recording.observations[:, 2:] if recording.observations.shape[1] == 4 else None,
        "rewards": recording.rewards,
        "goals": recording.goals,
        _TERMINALS: recording.terminals,
        _TIMEOUTS: recording.timeouts,
        _BARE_ENDS: recording.bare_ends,
        _MAZE: None if recording.maze is None else np.array(recording.maze),
    }
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, values in arrays.items():
            if values is not None:
                _write(archive, f"{name}.npy", values, compress)
    return path


def _field(arrays: dict[str, NpzArray], name: str) -> Field:
    path = next(iter(arrays.values())).file.path if arrays else "The file"
    if name not in arrays:
        raise DataError(
            f"{path} has no array {name!r}; it has {', '.join(sorted(arrays)) or 'none'}. "
            "Expected OGBench's layout: observations [N, 2], actions [N, 2], terminals [N]."
        )
    return Field(name, arrays[name], str(path))


def _optional(
    arrays: dict[str, NpzArray],
    name: str,
    widths: tuple[int, ...],
    count: int,
    *,
    flags: bool = False,
) -> np.ndarray | None:
    return _field(arrays, name).read(widths, count, flags=flags) if name in arrays else None


def _maze(arrays: dict[str, NpzArray], path: Path) -> str | None:
    if _MAZE in arrays and arrays[_MAZE].dtype.kind == "U":
        try:
            return parse_maze(read_npz_text(arrays[_MAZE])).text
        except (ConfigError, MazeError):
            return None
    named = _FILE_NAME.match(path.name)
    return f"ogbench-{named[1]}" if named else None


def _with_last(
    values: np.ndarray, last: np.ndarray, following: np.ndarray | None = None
) -> np.ndarray:
    """``values`` [N] or [N, D], after each of ``last`` a row more: ``following``'s, or zeros."""
    longer = allocate((len(values) + len(last), *values.shape[1:]), values.dtype)
    first = 0
    for episode, end in enumerate(last + 1):
        for part in row_blocks(end - first, values[:1].nbytes):
            rows = slice(first + part.start, first + part.stop)
            longer[rows.start + episode : rows.stop + episode] = values[rows]
        longer[end + episode] = 0 if following is None else following[end - 1]
        first = end
    return longer


def _write(archive: zipfile.ZipFile, member: str, values: np.ndarray, compress: bool) -> None:
    info = zipfile.ZipInfo(member)  # with a fixed date: the same recording, the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    # So that the values of a map begin at a multiple of their size, which some readers need.
    short = -(archive.start_dir + 30 + len(member) + _ZIP64 + 4) % _ALIGNMENT
    info.extra = np.array([_PADDING, short], "<u2").tobytes() + bytes(short)
    with archive.open(info, "w", force_zip64=True) as out:
        _write_values(out, values)


def _write_values(out: IO[bytes], values: np.ndarray) -> None:
    np.lib.format.write_array_header_1_0(
        out,
        {
            "descr": np.lib.format.dtype_to_descr(values.dtype),
            "fortran_order": False,
            "shape": values.shape,
        },
    )
    if not values.ndim:
        out.write(values.tobytes())
        return
    for rows in row_blocks(len(values), values[:1].nbytes):
        out.write(values[rows].tobytes())
