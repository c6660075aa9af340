"""How fast is data collected?

    python benchmarks/data_speed.py

Environment steps a second of `dfplan data generate`: simulation, controller and writing of the
file. Each figure is the median of some runs in this process; with more than one worker it includes
the start of the workers, which a longer run spreads over more steps.
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

from dfplan.data import generate
from dfplan.mazes import Maze, named_maze, parse_maze


def labyrinth(side: int, seed: int) -> Maze:
    """A random maze of ``side`` (odd) by ``side`` cells in which one path joins any two."""
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


def main(steps: int = 1_000_000, repeats: int = 3, out: Path = RESULTS) -> None:
    began = time.perf_counter()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = []
    for maze in (named_maze("large"), labyrinth(31, seed=0)):
        for workers in sorted({1, cores or 1}):
            seconds = median(_seconds(maze, steps, workers) for _ in range(repeats))
            rows.append(
                {
                    "maze": maze.name,
                    "workers": workers,
                    "steps": steps,
                    "seconds": seconds,
                    "steps a second": round(steps / seconds),
                    "a second and core": round(steps / seconds / workers),
                }
            )
    publish(out, "data_speed", __doc__, began, {"Collection": rows})


def _seconds(maze: Maze, steps: int, workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        generate(maze, steps, seed=0, path=Path(folder) / "data.hdf5", workers=workers)
        return time.perf_counter() - began


if __name__ == "__main__":
    auto_cli(main)
