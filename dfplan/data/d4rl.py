"""Trajectories from D4RL's maze2d files, from files of its layout, and from bare arrays.

A maze2d file is one stream that goes on when a goal is reached, so ``timeouts``, which mark those
moments, cut nothing here. It is cut where the motion itself breaks off: after ``terminals``, at
the joints that :func:`dfplan.data.generate.generate` notes down, and where the position jumps.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.request import urlopen

import h5py
import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from dfplan.errors import ConfigError, DataError, MazeError, unknown_name
from dfplan.files import atomic_path
from dfplan.mazes import parse_maze
from dfplan.types import Trajectories

D4RL_URL = "http://rail.eecs.berkeley.edu/datasets/offline_rl/maze2d"
"""Where D4RL publishes its maze2d files."""

PUBLISHED = {
    f"maze2d-{maze}-v1": f"maze2d-{maze}-sparse-v1.hdf5" for maze in ("umaze", "medium", "large")
}
"""Name of each published dataset that :func:`download` knows, and of its file."""

_JUMP = 3.0
_TIMEOUT = 30.0
_BLOCK = 1 << 20


def load_d4rl(path: str | Path) -> Trajectories:
    """Read an hdf5 file of D4RL's maze2d layout.

    ``observations`` [N, 4] and ``actions`` [N, 2] must be there; ``rewards`` (else zeros),
    ``terminals`` and ``infos/goal`` may be; [N, 1] is taken for [N]. Rows whose observation is
    all zero, which old files hold between two goals, are left out. A jump is a step, along either
    axis, of more than three times what 95% of the file's steps keep within.

    Args:
        path: the file. Positions and velocities stay in its own frame and units.

    Raises:
        DataError: no such file; not hdf5, or cut short; a field missing, of the wrong shape or
            not finite; fewer than two rows.
    """
    path = Path(path)
    with _opened(path) as file:
        observations = _field(file, "observations", 4)
        count = len(observations)
        actions = _field(file, "actions", 2, count)
        rewards = _field(file, "rewards", None, count) if "rewards" in file else None
        goals = _field(file, "infos/goal", 2, count) if "infos/goal" in file else None
        starts = _noted_starts(file, count)
        maze = _noted_maze(file)
    kept = observations.any(axis=1)
    stream = np.cumsum(starts, dtype=np.int32)
    if not kept.all():
        observations, actions, stream = observations[kept], actions[kept], stream[kept]
        rewards = None if rewards is None else rewards[kept]
        goals = None if goals is None else goals[kept]
    _require_rows(observations, str(path))
    segments = _cut(stream, jumps=_jumps(observations[:, :2], stream))
    return _trajectories(observations, actions, rewards, goals, segments, path.name, maze)


def from_arrays(
    observations: ArrayLike,
    actions: ArrayLike | None = None,
    ends: ArrayLike | None = None,
    source: str = "arrays",
) -> Trajectories:
    """Trajectories from bare arrays, in any frame; settings expect corridors about 1 unit wide.

    Args:
        observations: positions and velocities [N, 4]; or positions alone [N, 2], whose velocity
            is then the step that led to each (the first of a segment takes the second's), in
            units of position a step.
        actions: [N, 2]; zeros if they are not known.
        ends: True on the last row of each trajectory, [N]. Without it the rows are cut where the
            position jumps, as :func:`load_d4rl` does.
        source: where the data came from, for messages and checkpoints.

    Raises:
        DataError: an array of the wrong shape or not finite; fewer than two rows.
    """
    data = _array("observations", observations, source)
    if data.ndim != 2 or data.shape[1] not in (2, 4):
        raise DataError(
            f"{source}: observations must be [N, 4] (position, velocity) or [N, 2] (position); "
            f"got shape {list(data.shape)}."
        )
    _require_rows(data, source)
    _require_finite("observations", data, source)
    count = len(data)
    known = np.zeros((count, 2)) if actions is None else actions
    forces = _shaped("actions", _array("actions", known, source), 2, count, source)
    if ends is None:
        stream = np.zeros(count, np.int32)
        segments = _cut(stream, jumps=_jumps(data[:, :2], stream))
    else:
        last = _shaped("ends", _array("ends", ends, source), None, count, source)
        segments = _cut(np.cumsum(_after(last.astype(bool)), dtype=np.int32))
    if data.shape[1] == 2:
        data = np.concatenate([data, _steps_taken(data, segments)], axis=1)
    return _trajectories(data, forces, None, None, segments, source)


def download(
    name: str,
    directory: str | Path | None = None,
    *,
    base_url: str = D4RL_URL,
    progress: bool = True,
) -> Path:
    """Fetch one of D4RL's published files, unless it is there already.

    Args:
        name: ``maze2d-umaze-v1``, ``maze2d-medium-v1`` or ``maze2d-large-v1``.
        directory: where to keep it; by default ``D4RL_DATASET_DIR``, or ``~/.d4rl/datasets``
            where that is not set, as D4RL does.
        base_url: the address of the folder that holds the files.
        progress: show a progress bar on stderr.

    Returns:
        The path of the file, which appears only once it is whole.

    Raises:
        ConfigError: ``name`` is not a published dataset.
        DataError: the server cannot be reached, or what it sent is not a whole hdf5 file.
    """
    if name not in PUBLISHED:
        raise unknown_name("D4RL dataset", name, PUBLISHED)
    if directory is None:
        directory = os.environ.get("D4RL_DATASET_DIR") or Path.home() / ".d4rl" / "datasets"
    path = Path(directory) / PUBLISHED[name]
    if path.exists():
        return path
    url = f"{base_url.rstrip('/')}/{path.name}"
    with atomic_path(path) as temporary:
        with temporary.open("wb") as out:
            _fetch(url, out, progress)
        if not h5py.is_hdf5(temporary):
            raise _unreachable(url, "what came is not an hdf5 file")
    return path


def _fetch(url: str, out: BinaryIO, progress: bool) -> None:
    expected = 0
    try:
        with urlopen(url, timeout=_TIMEOUT) as response:
            expected = int(response.headers.get("Content-Length") or 0)
            with tqdm(
                total=expected or None,
                unit="B",
                unit_scale=True,
                desc=url.rpartition("/")[2],
                disable=not progress,
            ) as bar:
                while block := response.read(_BLOCK):
                    out.write(block)
                    bar.update(len(block))
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(url, str(error)) from error
    if expected and out.tell() != expected:
        raise _unreachable(url, f"only {out.tell()} of {expected} bytes came")


def _unreachable(url: str, why: str) -> DataError:
    return DataError(
        f"Could not fetch {url}: {why}. Try again or give another base_url; or pass the path of "
        "a copy that you have; or collect the same kind of data yourself: `dfplan data generate`."
    )


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The hdf5 file, its faults turned into :class:`DataError`."""
    if not path.is_file():
        raise DataError(
            f"There is no data file at {path}. Check the path, or make one: `dfplan data generate`."
        )
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(
            f"{path} is not a whole hdf5 file, or cannot be read ({error}). If it was "
            "downloaded, delete it and fetch it again."
        ) from error


def _noted_starts(file: h5py.File, count: int) -> np.ndarray:
    """Rows that start a stream by the file's own marks, bool [N]."""
    if "terminals" in file:
        starts = _after(_field(file, "terminals", None, count).astype(bool))
    else:
        starts = np.zeros(count, bool)
    if "metadata/joints" in file:
        joints = np.asarray(file["metadata/joints"])
        if joints.dtype.kind not in "iu" or not ((joints >= 0) & (joints < count)).all():
            raise DataError(
                f"{file.filename}: metadata/joints must be row numbers below {count}; got "
                f"{joints!r}."
            )
        starts[joints] = True
    return starts


def _noted_maze(file: h5py.File) -> str | None:
    """The maze as text, where the file's attribute ``maze`` is one; only pictures need it."""
    noted = file.attrs.get("maze")
    if isinstance(noted, bytes):
        noted = noted.decode(errors="replace")
    try:
        return parse_maze(noted).ascii if isinstance(noted, str) else None
    except (ConfigError, MazeError):
        return None


def _field(file: h5py.File, name: str, width: int | None, count: int | None = None) -> np.ndarray:
    """One field as finite float32, [N, width], or [N] where ``width`` is None."""
    if name not in file or not isinstance(file[name], h5py.Dataset):
        found: list[str] = []
        file.visititems(lambda key, item: found.append(key) if hasattr(item, "dtype") else None)
        raise DataError(
            f"{file.filename} has no field {name!r}; it has {', '.join(sorted(found)) or 'none'}. "
            "Expected D4RL's layout: observations [N, 4], actions [N, 2]."
        )
    dataset = file[name]
    if dataset.dtype.kind not in "fiub":
        raise DataError(f"{file.filename}: {name} must hold numbers; got {dataset.dtype}.")
    if dataset.dtype.kind == "b":
        values = dataset[()].astype(np.float32)
    else:
        values = np.empty(dataset.shape, np.float32)
        if values.size:
            dataset.read_direct(values)
    return _shaped(name, values, width, count, str(file.filename))


def _array(name: str, values: ArrayLike, source: str) -> np.ndarray:
    try:
        return np.array(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: {name} must be an array of numbers ({error}).") from error


def _shaped(
    name: str, values: np.ndarray, width: int | None, count: int | None, source: str
) -> np.ndarray:
    """``values`` if they have the shape that they must have and are finite."""
    if width is None and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    tail = () if width is None else (width,)
    if values.ndim == 0 or values.shape[1:] != tail or len(values) != (count or len(values)):
        expected = ["N" if count is None else count, *tail]
        raise DataError(
            f"{source}: {name} must have shape [{', '.join(map(str, expected))}]; "
            f"got {list(values.shape)}."
        )
    _require_finite(name, values, source)
    return values


def _require_finite(name: str, values: np.ndarray, source: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        bad = ~finite.reshape(len(values), -1).all(axis=1)
        row = int(np.argmax(bad))
        raise DataError(
            f"{source}: {name} must be finite; row {row} is {values[row].tolist()} "
            f"({int(bad.sum())} such rows). Leave them out or mend them."
        )


def _require_rows(observations: np.ndarray, source: str) -> None:
    if len(observations) < 2:
        raise DataError(
            f"{source}: at least 2 rows of observations are needed; got {len(observations)}."
        )


def _after(last: np.ndarray) -> np.ndarray:
    """The rows after those marked, bool [N]."""
    starts = np.zeros(len(last), bool)
    starts[1:] = last[:-1]
    return starts


def _jumps(positions: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """Rows further from the one before, in their stream, than the motion goes; bool [N]."""
    step = np.abs(np.diff(positions, axis=0)).max(axis=1)
    step[np.diff(stream) != 0] = 0
    moved = step[step > 0]
    limit = _JUMP * np.quantile(moved, 0.95) if len(moved) else 0.0
    return np.concatenate([[False], step > limit])


def _cut(stream: np.ndarray, jumps: np.ndarray | None = None) -> np.ndarray:
    """First and one-past-last row of each stretch of one stream and no jump; int64 [S, 2]."""
    new = np.diff(stream) != 0
    if jumps is not None:
        new |= jumps[1:]
    edges = np.concatenate([[0], np.flatnonzero(new) + 1, [len(stream)]])
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.int64)


def _steps_taken(positions: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """The step that led to each row, float32 [N, 2]; see :func:`from_arrays`."""
    steps = np.zeros_like(positions)
    steps[1:] = np.diff(positions, axis=0)
    first = segments[:, 0]
    second = np.minimum(first + 1, segments[:, 1] - 1)
    steps[first] = np.where((second > first)[:, None], steps[second], 0.0)
    return steps


def _trajectories(
    observations: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray | None,
    goals: np.ndarray | None,
    segments: np.ndarray,
    source: str,
    maze: str | None = None,
) -> Trajectories:
    digest = hashlib.sha256()
    for array in (observations, actions, segments):
        digest.update(np.ascontiguousarray(array).data)
    return Trajectories(
        observations=observations,
        actions=actions,
        rewards=np.zeros(len(actions), np.float32) if rewards is None else rewards,
        goals=goals,
        segments=segments,
        fingerprint=digest.hexdigest(),
        source=source,
        maze=maze,
    )
