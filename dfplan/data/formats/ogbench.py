"""OGBench's format: one npz file with one trajectory after another.

OGBench's own files have a row for each observation of a trajectory, and ``terminals`` in its last
row. ``ogbench.utils.load_dataset`` converts them to two other forms, which may be saved too: the
regular form has ``next_observations`` and no last rows, the compact form has ``valids``. All three
are read. Positions are in OGBench's coordinates, four units a cell.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

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
from dfplan.data.formats.format import Contents, Format, Publisher
from dfplan.data.npz import NpzArray, npz_arrays, npz_fault, read_npz_text
from dfplan.data.sha256 import replacing
from dfplan.data.storage import allocate, row_blocks
from dfplan.errors import ConfigError, MazeError
from dfplan.files import expand_path
from dfplan.mazes import parse_maze
from dfplan.observations import PLANAR
from dfplan.suites import OGBENCH as OGBENCH_POINT
from dfplan.suites import OGBENCH_ANT
from dfplan.types import Recording

# Arrays that OGBench's format does not have. Its tools ignore them.
_TERMINALS = "env_terminals"
_TIMEOUTS = "env_timeouts"
_FINAL_OBSERVATIONS = "bare_ends"
_MAZE = "maze"
_LAYOUT = "observation_layout"

_SUITES = {"pointmaze": OGBENCH_POINT, "antmaze": OGBENCH_ANT}
_FILE_NAME = re.compile(r"(pointmaze|antmaze)-(medium|large|giant|teleport)-")
_ALIGNMENT = 64
_LOCAL_HEADER = 30  # bytes of a member's local header, without its name and extra field
_PADDING = 0xD935  # id of an extra field of a zip file that has no meaning
_ZIP64 = 20  # bytes of the extra field that holds sizes beyond 4 GiB


def read_ogbench(
    path: str | Path, *, follow_links: bool = False, position: Sequence[int] | None = None
) -> Recording:
    """Read an npz file in OGBench's format (``ogbench/utils.py``, ``load_dataset``).

    ``observations`` [N, S], ``actions`` [N, A] and ``terminals`` [N] are required.
    ``terminals`` only separate trajectories, so they become ``episodes``. In the regular form, each
    trajectory gets its last row back, with nothing but the observation. A trajectory also ends
    where ``next_observations`` is not the next row. The maze is the array ``maze``, or that in the
    file's name (``pointmaze-giant-navigate-v0.npz``).

    Args:
        path: the file.
        follow_links: not used; npz files have no links.
        position: as for :func:`dfplan.data.read`. :func:`write_ogbench` stores it.

    Raises:
        ConfigError: as :func:`~dfplan.observations.observation_layout`.
        DataError: there is no such file; it is not a complete npz file; an array is missing or has
            the wrong shape, such as images; or the rows are shuffled transitions.
    """
    path = expand_path(path)
    arrays = npz_arrays(path)
    fields = Fields(
        {name: Field(name, stored, str(path)) for name, stored in arrays.items()},
        path,
        arrays,
        "OGBench's format: observations [N, S], actions [N, A], terminals [N]",
    )
    count, width = fields["observations"].require_shape(OBSERVATION)
    maze = _maze(arrays, path)
    layout = read_layout(width, position, _text(arrays, _LAYOUT), str(path), maze)
    observations = fields["observations"].read(OBSERVATION)
    actions = fields["actions"].read(ACTION, count)
    valids = fields.optional("valids", (), count, flags=True)
    ends = fields["terminals"].read((), count, flags=True) if valids is None else ~valids
    following = fields.optional("next_observations", (width,), count)
    episodes = first_rows(cut_where_not_next(ends, observations, following, str(path)))
    rewards = fields.optional("rewards", (), count)
    if following is not None:
        last = last_rows(episodes, count)
        return Recording(
            observations=_insert_last(observations, last, following),
            actions=_insert_last(actions, last),
            episodes=episodes + np.arange(len(episodes)),
            source=path.name,
            rewards=None if rewards is None else _insert_last(rewards, last),
            final_observations=np.ones(len(episodes), bool),
            maze=maze,
            layout=layout,
        )
    return Recording(
        observations=observations,
        actions=actions,
        episodes=episodes,
        source=path.name,
        rewards=rewards,
        goals=fields.optional("goals", GOAL, count),
        terminals=fields.optional(_TERMINALS, (), count, flags=True),
        timeouts=fields.optional(_TIMEOUTS, (), count, flags=True),
        final_observations=fields.optional(_FINAL_OBSERVATIONS, (), len(episodes), flags=True),
        maze=maze,
        layout=layout,
    )


def write_ogbench(recording: Recording, path: str | Path, *, compress: bool = False) -> Path:
    """Write a recording as an npz file, and return its path.

    :func:`read_ogbench` gives the same recording again, and ``ogbench.utils.load_dataset`` loads
    it, too. The fields that OGBench's format does not have (rewards, goals, terminals and timeouts
    of the environment, final observations, maze, columns of the position) are arrays that it
    ignores. The file appears when it is complete.

    Args:
        recording: what to write.
        path: the file to write.
        compress: whether to compress it. A compressed file cannot be mapped.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    path = expand_path(path)
    ends = np.zeros(len(recording), bool)
    ends[last_rows(recording.episodes, len(recording))] = True
    layout = layout_text(recording.layout)
    arrays = {
        "observations": recording.observations,
        "actions": recording.actions,
        "terminals": ends,
        **_configurations(recording),
        "rewards": recording.rewards,
        "goals": recording.goals,
        _TERMINALS: recording.terminals,
        _TIMEOUTS: recording.timeouts,
        _FINAL_OBSERVATIONS: recording.final_observations,
        _MAZE: None if recording.maze is None else np.array(recording.maze),
        _LAYOUT: None if layout is None else np.array(layout),
    }
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, values in arrays.items():
            if values is not None:
                _write(archive, f"{name}.npy", values, compress)
    return path


def _configurations(recording: Recording) -> dict[str, np.ndarray | None]:
    """OGBench's qpos and qvel, the whole configurations and their velocities, if they are known.

    Observations of its mazes are both, one after the other, the position first in each.
    """
    layout, rows = recording.layout, recording.observations
    if layout.position != PLANAR.position:
        return {}
    velocity = layout.velocity if rows.shape[1] == layout.width else None
    if velocity is None:
        return {"qpos": rows} if rows.shape[1] == len(layout.position) else {}
    return {"qpos": rows[:, : velocity[0]], "qvel": rows[:, velocity[0] :]}


def _detect(contents: Contents) -> bool:
    return contents.npz is not None and {"observations", "terminals"} <= contents.npz


def _text(arrays: dict[str, NpzArray], name: str) -> str | None:
    """The text of an array; None if there is no such array, or it is not a text."""
    if name not in arrays or arrays[name].dtype.kind != "U":
        return None
    return read_npz_text(arrays[name])


def _maze(arrays: dict[str, NpzArray], path: Path) -> str | None:
    text = _text(arrays, _MAZE)
    if text is not None:
        try:
            return parse_maze(text).text
        except (ConfigError, MazeError):
            return None
    match = _FILE_NAME.match(path.name)
    return f"{_SUITES[match[1]].prefix}-{match[2]}" if match else None


def _insert_last(
    values: np.ndarray, last: np.ndarray, following: np.ndarray | None = None
) -> np.ndarray:
    """Copy ``values`` [N] or [N, D], with rows of ``following`` or zeros after rows ``last``."""
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
    info = zipfile.ZipInfo(member)  # its date is constant: the same recording, the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    # Align the values: some readers need mapped values at a multiple of their size.
    start = archive.start_dir + _LOCAL_HEADER + len(member) + _ZIP64 + 4
    padding = -start % _ALIGNMENT
    info.extra = np.array([_PADDING, padding], "<u2").tobytes() + bytes(padding)
    with archive.open(info, "w", force_zip64=True) as out:
        _write_values(out, values)


def _write_values(out: IO[bytes], values: np.ndarray) -> None:
    descr = np.lib.format.dtype_to_descr(values.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": values.shape}
    np.lib.format.write_array_header_1_0(out, header)
    if not values.ndim:
        out.write(values.tobytes())
        return
    for rows in row_blocks(len(values), values[:1].nbytes):
        out.write(values[rows].tobytes())


def _published_files() -> dict[str, tuple[str, ...]]:
    names = [
        f"{body}-{size}-{kind}-v0"
        for body, suite in _SUITES.items()
        for kind, sizes in suite.kinds.items()
        for size in sizes
    ]
    files = {name: (f"{name}.npz", f"{name}-val.npz") for name in names}
    return files | {f"{name}-val": pair[::-1] for name, pair in files.items()}


_PUBLISHER = Publisher(
    title="OGBench",
    url="https://rail.eecs.berkeley.edu/datasets/ogbench",
    variable="OGBENCH_DATASET_DIR",
    folder=".ogbench/data",
    fault=npz_fault,
    files=_published_files(),
)

OGBENCH = Format(
    name="ogbench",
    title="OGBench (npz: observations, actions, terminals)",
    detect=_detect,
    read=read_ogbench,
    write=write_ogbench,
    endings=(".npz",),
    datasets=_PUBLISHER.datasets,
    publisher=_PUBLISHER,
)
"""OGBench's format, and its point and ant mazes (``ogbench/utils.py``): for training, and with
``-val`` for validation."""
