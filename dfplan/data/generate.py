"""Collecting Maze2D data as D4RL did, in D4RL's hdf5 layout.

The scripted waypoint controller walks from random goal to random goal; Gaussian noise of standard
deviation 0.5 is added to its action, which is then clipped to [-1, 1] (the ``--noisy`` switch of
D4RL's ``scripts/generation/generate_maze2d_datasets.py``; only with it do the published files'
statistics come out). Positions in D4RL's frame, one unit a cell; a step is 0.01 s.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from io import RawIOBase
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tqdm import tqdm

from dfplan.data.waypoint import WaypointController
from dfplan.envs import GOAL_RADIUS
from dfplan.errors import ConfigError, DfplanError
from dfplan.files import atomic_path
from dfplan.mazes import Maze, parse_maze

SHARD = 50_000
"""Steps of one uninterrupted stream; the unit of work, so the number of workers changes nothing."""

GENERATOR = "dfplan waypoint collector 1"
"""Written into every file. Count it up when the same seed would give another file."""

_ACTION_NOISE = 0.5
_PLACE_NOISE = 0.1
_START_SPEED = 0.1


@dataclass(frozen=True)
class _Shard:
    """One stream of n steps: float32 [n, 4], [n, 2], [n, 2] and bool [n]."""

    observations: np.ndarray
    actions: np.ndarray
    goals: np.ndarray
    arrived: np.ndarray


def generate(
    maze: Maze | str | Sequence[Sequence[object]],
    steps: int,
    *,
    seed: int,
    path: str | Path,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Collect ``steps`` steps in ``maze`` and write them as D4RL's hdf5 file.

    The data are streams of :data:`SHARD` steps, each from a random start; ``metadata/joints``
    holds the first row of each. ``timeouts`` is True where the goal that was being walked to is
    reached, as in D4RL's v1 files, and on the last row of each stream. ``rewards`` are those of
    the maze's fixed goal on ``observations[t]``, as in D4RL's files, or zero where it has none.

    Args:
        maze: anything that :func:`dfplan.mazes.parse_maze` reads.
        steps: rows of the file, at least 2.
        seed: at least 0. The same maze, steps and seed give the same file, byte for byte, on the
            same versions of MuJoCo and HDF5.
        path: the file to write; it appears only once it is whole.
        workers: processes; by default one a usable core, and never more than there are streams.
            Where that is more than one, a script needs the usual ``if __name__ == "__main__":``.
        progress: show a progress bar on stderr.

    Returns:
        The path that was written.

    Raises:
        ConfigError: ``steps``, ``seed`` or ``workers`` is not a whole number or too small.
        MazeError: the maze cannot be read.
        MissingSimulatorError: the packages that simulate mazes are not installed.
        DfplanError: a worker process died.
        OSError: the file cannot be written, as on a full disk.
    """
    # Here and not above: who only reads data needs no simulator.
    from dfplan.envs.dynamics import PointMass

    maze = parse_maze(maze)
    steps = _whole("steps", steps, least=2)
    seed = _whole("seed", seed, least=0)
    workers = _whole("workers", _usable_cores() if workers is None else workers, least=1)
    path = Path(path)
    PointMass(maze)  # a missing simulator shows here, before a file or a worker is started
    with (
        atomic_path(path) as temporary,
        closing(_shards(maze, steps, seed, workers)) as shards,
        tqdm(
            total=steps, unit="step", unit_scale=True, desc=path.name, disable=not progress
        ) as bar,
        _Sink(temporary) as sink,
    ):
        with h5py.File(sink, "w") as file:
            _write_head(file, maze, steps, seed)
            row = 0
            for shard in shards:
                _write_shard(file, row, shard, maze.goal)
                file.flush()
                if sink.failure is not None:
                    break
                row += len(shard.arrived)
                bar.update(len(shard.arrived))
        if sink.failure is not None:
            raise sink.failure
    return path


class _Sink(RawIOBase):
    """A new file whose first failure is kept in ``failure``, after which nothing is tried.

    HDF5 does not survive a write that fails, as on a full disk: it tries again whenever one of
    its objects goes, and may crash.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb+", buffering=0)
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._try(lambda: self._file.write(data), size)
        return size

    def truncate(self, size: int | None = None) -> int:
        return self._try(lambda: self._file.truncate(size), size)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()

    def _try(self, act: Callable[[], int], wanted: int | None) -> int:
        if self.failure is None:
            try:
                if act() != wanted:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self.failure = error
        return wanted or 0


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    return int(value)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shards(maze: Maze, steps: int, seed: int, workers: int) -> Generator[_Shard, None, None]:
    """The streams in order, collected by up to ``workers`` processes."""
    lengths = [min(SHARD, steps - first) for first in range(0, steps, SHARD)]
    seeds = np.random.SeedSequence(seed).spawn(len(lengths))
    jobs = zip(lengths, seeds, strict=True)
    workers = min(workers, len(lengths))
    if workers == 1:
        for length, stream in jobs:
            yield _collect(maze, length, stream)
        return
    # A fresh interpreter a worker: forking one that holds threads or a simulator can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    waiting: deque[Future[_Shard]] = deque()
    try:
        for length, stream in jobs:
            waiting.append(pool.submit(_collect, maze, length, stream))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DfplanError(
            f"A process that collects data died ({error}). In a script, call generate() under "
            'if __name__ == "__main__": (each worker imports the script again), or pass '
            "workers=1; if memory ran out, pass fewer workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(maze: Maze, steps: int, seed: np.random.SeedSequence) -> _Shard:
    """One stream: the noisy controller walks from goal to goal for ``steps`` steps."""
    from dfplan.envs.dynamics import PointMass

    maze = replace(maze)  # a copy, so that the routes it remembers go when the stream ends
    rng = np.random.default_rng(seed)
    noise = (_ACTION_NOISE * rng.standard_normal((steps, 2))).tolist()
    controller = WaypointController(maze, rng)
    ball = PointMass(maze)
    ball.set_state(np.array(_place(maze, rng)), _START_SPEED * rng.standard_normal(2))
    q0, q1, v0, v1 = ball.state().tolist()
    goal = _place(maze, rng)
    observations, actions, goals, arrived = [], [], [], []
    for e0, e1 in noise:
        a0, a1, done = controller.act(q0, q1, v0, v1, goal)
        a0, a1 = min(1.0, max(-1.0, a0 + e0)), min(1.0, max(-1.0, a1 + e1))
        observations.append((q0, q1, v0, v1))
        actions.append((a0, a1))
        goals.append(goal)
        arrived.append(done)
        q0, q1, v0, v1 = ball.advance(a0, a1)
        if done:
            goal = _place(maze, rng)
    return _Shard(
        observations=np.array(observations, np.float32),
        actions=np.array(actions, np.float32),
        goals=np.array(goals, np.float32),
        arrived=np.array(arrived),
    )


def _place(maze: Maze, rng: np.random.Generator) -> tuple[float, float]:
    """A random free cell's integer point, moved by up to 0.1 an axis: a start or a goal."""
    cell = maze.free_cells[rng.integers(len(maze.free_cells))]
    i, j = (cell + rng.uniform(-_PLACE_NOISE, _PLACE_NOISE, 2)).tolist()
    return i, j


_FIELDS = {
    "observations": (4, np.float32),
    "actions": (2, np.float32),
    "rewards": (None, np.float32),
    "terminals": (None, np.bool_),
    "timeouts": (None, np.bool_),
    "infos/goal": (2, np.float32),
    "infos/qpos": (2, np.float32),
    "infos/qvel": (2, np.float32),
}


def _write_head(file: h5py.File, maze: Maze, steps: int, seed: int) -> None:
    for name, (width, dtype) in _FIELDS.items():
        tail = () if width is None else (width,)
        file.create_dataset(
            name,
            shape=(steps, *tail),
            dtype=dtype,
            chunks=(min(steps, SHARD), *tail),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
    file["metadata/joints"] = np.arange(0, steps, SHARD)
    file.attrs["generator"] = GENERATOR
    file.attrs["seed"] = str(seed)
    file.attrs["maze"] = maze.text


def _write_shard(file: h5py.File, row: int, shard: _Shard, goal: np.ndarray | None) -> None:
    rows = slice(row, row + len(shard.arrived))
    position, velocity = shard.observations[:, :2], shard.observations[:, 2:]
    timeouts = shard.arrived.copy()
    timeouts[-1] = True
    file["observations"][rows] = shard.observations
    file["actions"][rows] = shard.actions
    file["timeouts"][rows] = timeouts
    file["infos/goal"][rows] = shard.goals
    file["infos/qpos"][rows] = position
    file["infos/qvel"][rows] = velocity
    if goal is not None:
        distance = np.linalg.norm(position - goal, axis=1)
        file["rewards"][rows] = distance <= GOAL_RADIUS
