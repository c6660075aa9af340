"""Collects data in any maze with a collector of its suite. To add one, add it to the table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dfplan.collect import d4rl, minari, ogbench
from dfplan.collect.shards import collect_shards
from dfplan.errors import ConfigError, lookup, require_numbers
from dfplan.files import exclusive_lock, expand_path, remove_folder
from dfplan.mazes import Maze, parse_maze

COLLECTORS = {**d4rl.COLLECTORS, **minari.COLLECTORS, **ogbench.COLLECTORS}
"""Collectors by name. The first one of a suite is its default."""

_MAX_STEPS = 10_000_000_000


def generate(
    maze: Maze | str | Sequence[Sequence[object]],
    steps: int | None = None,
    *,
    seed: int,
    path: str | Path,
    collector: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Collect data in ``maze`` like the authors of its suite, and write it in their format.

    ========== ================================================== ================================
    collector  mazes                                              output
    ========== ================================================== ================================
    d4rl,      D4RL's (``maze2d-large``, ``large``), custom ones; an hdf5 file
    d4rl-stitch the second has short walks
    minari,    gymnasium-robotics' (``pointmaze-large``), custom  a folder, a Minari data set
    minari-dfs ones in its coordinates; for the second see
               :class:`~dfplan.collect.minari.MinariCollector`
    navigate,  OGBench's (``ogbench-giant``,                      an npz file, and ``*-val.npz``
    stitch,    ``ogbench-antmaze-giant``); the last for ants      next to it for validation
    explore    alone
    ========== ================================================== ================================

    Parts of the data are kept in the folder ``<path>.parts`` until all are collected. After an
    interruption, the same call continues from there, and writes the same data.

    Args:
        maze: anything that :func:`dfplan.mazes.parse_maze` reads.
        steps: environment steps, at least 2; default: as many as the suite published, or
            :data:`~dfplan.collect.collector.DEFAULT_STEPS` in other mazes. OGBench's collectors
            collect whole episodes with at least this number of steps, and a tenth of them for
            validation.
        seed: at least 0. The same maze, collector, steps and seed give the same data, if the
            versions of MuJoCo and NumPy are the same. D4RL's files are then equal in every byte, if
            the version of HDF5 is the same, too.
        path: the file or folder to write. It appears when it is complete.
        collector: a name in :data:`COLLECTORS`; default: the first one of the maze's suite.
        workers: number of processes; default: one for each usable core, at most one for each part.
            With more than one, a script needs the usual ``if __name__ == "__main__":``.
        progress: whether to show a progress bar on stderr.

    Returns:
        The path.

    Raises:
        BusyError: another process collects the same data.
        ConfigError: ``steps``, ``seed`` or ``workers`` is not an integer or is too small; the
            collector is unknown or for mazes of another suite; the path has the wrong ending; or
            parts of another collection are in the folder.
        MazeError: the maze cannot be read, or has too few cells.
        MissingSimulatorError: the packages that simulate mazes are not installed.
        DataError: a part is damaged.
        DfplanError: a worker process died.
        OSError: the file cannot be written, for example because the disk is full.
    """
    maze = parse_maze(maze)
    name = _choose_collector(maze, collector)
    numbers = {"seed": seed, "workers": _usable_cores() if workers is None else workers}
    require_numbers(numbers, "seed", integer=True, minimum=0)
    require_numbers(numbers, "workers", integer=True, minimum=1)
    if steps is not None:
        numbers["steps"] = steps
        require_numbers(numbers, "steps", integer=True, minimum=2, maximum=_MAX_STEPS)
    steps, seed, workers = numbers.get("steps"), numbers["seed"], numbers["workers"]
    path = expand_path(path)
    plan = COLLECTORS[name].plan(maze, steps)
    plan.require_path(path)
    folder = parts_folder(path)
    total = sum(plan.shard_sizes)
    facts: dict[str, Any] = {"recipe": name, "maze": maze.text, "steps": total, "seed": seed}
    bar = tqdm(total=total, unit="step", unit_scale=True, desc=path.name, disable=not progress)
    with bar, exclusive_lock(folder, "a collection of data"):
        files = collect_shards(plan, seed, folder, facts, workers, bar)
        plan.write(files, seed, path)
        remove_folder(folder)
    return path


def parts_folder(path: Path) -> Path:
    """The folder in which :func:`generate` keeps the parts of the data at ``path``."""
    return path.with_name(f"{path.name}.parts")


def _choose_collector(maze: Maze, collector: str | None) -> str:
    known = [name for name, entry in COLLECTORS.items() if maze.suite in entry.suites]
    if collector is None:
        return known[0]
    suites = lookup("collector", collector, COLLECTORS).suites
    if maze.suite not in suites:
        raise ConfigError(
            f"The collector {collector!r} is for mazes of the suites "
            f"{', '.join(suite.name for suite in suites)}. The maze {maze.name!r} has the suite "
            f"{maze.suite.name}; choose one of its collectors: {', '.join(known)}."
        )
    return collector


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
