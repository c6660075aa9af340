"""How fast is data collected?

    python benchmarks/data_speed.py

Environment steps per second of `dfplan data generate`: simulation, controller, intermediate files
that allow resuming, and the data file. "Collection" uses D4RL's collector: each number is the
median of several runs in this process. With more than one worker it includes the start of the
workers, whose share is smaller in a longer run. "At the published size" collects whole data sets
once, on all cores; OGBench's includes the additional tenth for validation.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from findings import RESULTS, publish
from jsonargparse import auto_cli

from dfplan.collect import generate
from dfplan.mazes import Maze, named_maze, parse_maze


def labyrinth(side: int, seed: int) -> Maze:
    """Make a random maze of ``side`` (odd) by ``side`` cells with one path between any two."""
    rng = np.random.default_rng(seed)
    free = np.zeros((side, side), dtype=bool)
    free[1, 1] = True
    path = [np.array([1, 1])]
    while path:
        ways = rng.permutation([(0, 2), (2, 0), (0, -2), (-2, 0)])
        ahead = path[-1] + ways
        fresh = ((ahead > 0) & (ahead < side)).all(1)
        fresh[fresh] = ~free[tuple(ahead[fresh].T)]
        if not fresh.any():
            path.pop()
            continue
        cell = ahead[fresh][0]
        free[tuple(cell)] = free[tuple((path[-1] + cell) // 2)] = True
        path.append(cell)
    return parse_maze(~free, name=f"{side}x{side}")


PUBLISHED = (
    ("ogbench-giant", "navigate", "data.npz", 1_100_550),
    ("pointmaze-large", "minari", "data-v0", 1_000_000),
)
"""Maze, recipe, what is written, and environment steps."""


def main(steps: int = 1_000_000, repeats: int = 3, out: Path = RESULTS) -> None:
    started = time.perf_counter()
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    rows = []
    for maze in (named_maze("large"), labyrinth(31, seed=0)):
        for workers in sorted({1, cores}):
            seconds = median(
                _seconds(maze, "data.hdf5", steps=steps, workers=workers) for _ in range(repeats)
            )
            rows.append({"maze": maze.name, **_speed(steps, seconds, workers)})
    whole = []
    for name, recipe, file, size in PUBLISHED:
        seconds = _seconds(name, file, recipe=recipe, workers=cores)
        whole.append({"maze": name, "recipe": recipe, **_speed(size, seconds, cores)})
    tables = {"Collection": rows, "At the published size": whole}
    publish(out, "data_speed", __doc__, started, tables)


def _seconds(
    maze: Maze | str, file: str, *, workers: int, steps: int | None = None, recipe: str = "d4rl"
) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        generate(maze, steps, seed=0, path=Path(folder) / file, collector=recipe, workers=workers)
        return time.perf_counter() - started


def _speed(steps: int, seconds: float, workers: int) -> dict[str, object]:
    return {
        "workers": workers,
        "steps": steps,
        "seconds": seconds,
        "steps a second": round(steps / seconds),
        "a second and core": round(steps / seconds / workers),
    }


if __name__ == "__main__":
    auto_cli(main)
