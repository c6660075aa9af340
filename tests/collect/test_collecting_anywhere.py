"""A hundred random mazes: the environment builds, data is collected, nobody is in a wall."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

import dfplan.envs
from dfplan.collect.d4rl import D4RLCollector
from dfplan.collect.minari import MinariCollector, PointMazeController
from dfplan.collect.waypoint import Routes
from dfplan.mazes import Maze, parse_maze
from dfplan.suites import GYMNASIUM

MAZES = 100
STEPS = 200
_ROOM = 0.03  # walls are soft: see tests/envs


def random_maze(seed: int) -> Maze:
    """Connected, 3x3 to 25x25: a labyrinth with dead ends, into which some loops are broken."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 26, 2)
    free = np.zeros((height, width), bool)
    free[1, 1] = True
    path = [(1, 1)]
    while path:
        i, j = path[-1]
        ways = [(i + 2 * a, j + 2 * b, i + a, j + b) for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        fresh = [
            way
            for way in ways
            if 0 < way[0] < height - 1 and 0 < way[1] < width - 1 and not free[way[:2]]
        ]
        if not fresh:
            path.pop()
            continue
        a, b, c, d = fresh[rng.integers(len(fresh))]
        free[a, b] = free[c, d] = True
        path.append((a, b))
    # Walls that touch a free cell may go: what they leave is join_shards to it.
    for i, j in np.argwhere(~free[1:-1, 1:-1]) + 1:
        beside = free[i - 1, j] or free[i + 1, j] or free[i, j - 1] or free[i, j + 1]
        if beside and rng.random() < 0.15 * (seed % 3):
            free[i, j] = True
    return parse_maze(~free, name=f"random {seed}")


def test_the_mazes_are_of_all_kinds() -> None:
    mazes = [random_maze(seed) for seed in range(MAZES)]
    sides = [side for maze in mazes for side in maze.shape]
    assert min(sides) == 3 and max(sides) == 25
    dead_ends = loops = 0
    for maze in mazes:
        free = (~maze.walls).astype(int)
        inner = free[1:-1, 1:-1]
        around = free[:-2, 1:-1] + free[2:, 1:-1] + free[1:-1, :-2] + free[1:-1, 2:]
        dead_ends += bool((inner * around == 1).any())
        loops += bool((inner * around).sum() // 2 >= free.sum())  # as many joints as cells
    assert dead_ends > 50 and loops > 30
    assert any(len(maze.free_cells) == 1 for maze in mazes)


@pytest.mark.parametrize("seed", range(MAZES))
def test_data_is_collected_in_any_maze(seed: int) -> None:
    maze = random_maze(seed)
    dfplan.envs.register_environments()
    env = gymnasium.make("dfplan/maze2d-v1", maze=maze)
    env.reset(seed=seed)
    env.step(np.zeros(2, np.float32))

    data = D4RLCollector(maze, STEPS, STEPS).collect(0, np.random.SeedSequence(seed))
    assert maze.is_free(data.observations[:, :2], _ROOM).all()
    other = replace(maze, suite=GYMNASIUM)
    if len(maze.free_cells) > 1:
        data = MinariCollector(other, STEPS, STEPS).collect(0, np.random.SeedSequence(seed))
        assert other.is_free(data.observations[:, :2], _ROOM).all()

    rng = np.random.default_rng(seed)
    routes, minari = (
        Routes(maze, ((0, -1), (0, 1), (-1, 0), (1, 0))),
        PointMazeController(other, rng),
    )
    for _ in range(5):
        start, target = (
            tuple(maze.free_cells[index].tolist())
            for index in rng.integers(len(maze.free_cells), size=2)
        )
        shortest = maze.shortest_path(start, target)
        walked = [routes.step(start, target)]
        while walked[-1] != target:
            walked.append(routes.step(walked[-1], target))
        require_way(maze, start, walked, shortest)
        if start != target:
            require_way(maze, start, minari.path(start, target), shortest)


def require_way(
    maze: Maze,
    start: tuple[int, int],
    way: list[tuple[int, int]],
    shortest: list[tuple[int, int]],
) -> None:
    """A way through free cells that is as short as the oracle's, and ends where that does."""
    assert len(way) == len(shortest) and way[-1] == shortest[-1]
    cells = np.array([start, *way])
    assert not maze.walls[tuple(cells.T)].any()
    assert (np.abs(np.diff(cells, axis=0)).sum(1) == (0 if way == [start] else 1)).all()
