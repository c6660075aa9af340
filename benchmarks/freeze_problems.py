"""Draw the frozen list of problems of the protocol dfplan-v1.

    python benchmarks/freeze_problems.py

For each maze, draw many pairs of free cells; start and goal are at most a tenth of a cell from the
centers. Sort the pairs by the length of the shortest path (evaluation/bounds.py) into five strata
of equal size. A list takes as many pairs from each stratum, in turn, so any first five problems
contain one of each. This script writes the file that the package ships; a test compares them.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli

import dfplan.evaluation
from dfplan.evaluation.bounds import path_lengths
from dfplan.evaluation.protocols import PROTOCOLS, tasks_of
from dfplan.files import atomic_path
from dfplan.mazes import Maze

STRATA = 5
PAIRS = 5000

_JITTER = 0.1  # of a cell


def main(out: Path = Path(dfplan.evaluation.__file__).parent / "dfplan-v1.csv") -> None:
    """Write the list.

    Args:
        out: the file.
    """
    protocol = PROTOCOLS["dfplan-v1"]
    lines = [
        [task.id, stratum, *(f"{value:.4f}" for value in (*start, *goal))]
        for number, task in enumerate(tasks_of(protocol))
        for stratum, start, goal in draw_problems(task.maze, protocol.episodes, number)
    ]
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task", "stratum", "start_0", "start_1", "goal_0", "goal_1"])
        writer.writerows(lines)
    print(out)


def draw_problems(maze: Maze, count: int, seed: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Draw ``count`` problems of a maze: stratum from 1, start [2] and goal [2]."""
    rng = np.random.default_rng(seed)
    starts, goals = (_draw_positions(maze, rng) for _ in range(2))
    lengths = path_lengths(maze, starts, goals)
    nonzero = np.flatnonzero(lengths > 0)  # a start at the goal is no problem
    order = nonzero[np.argsort(lengths[nonzero], kind="stable")]
    strata = [rng.permutation(part) for part in np.array_split(order, STRATA)]
    return [
        (number % STRATA + 1, starts[row], goals[row])
        for number in range(count)
        for row in [strata[number % STRATA][number // STRATA]]
    ]


def _draw_positions(maze: Maze, rng: np.random.Generator) -> np.ndarray:
    """Draw :data:`PAIRS` positions, float [PAIRS, 2], rounded as in the file."""
    cells = rng.choice(maze.free_cells, PAIRS) + _JITTER * rng.uniform(-1, 1, (PAIRS, 2))
    return np.asarray(maze.cell_to_xy(cells)).round(4)


if __name__ == "__main__":
    auto_cli(main)
