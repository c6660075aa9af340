"""The recipes of OGBench's pointmaze data, in OGBench's own environments.

A ball follows the package's oracle from cell to cell; Gaussian noise of standard deviation 0.5 is
added to its action, the unit vector to the next cell, which is then clipped to [-1, 1]
(``data_gen_scripts/generate_locomaze.py`` with ``--noise=0.5``, as ``commands.sh`` has it for the
published pointmaze files). ``navigate`` draws another goal, among the cells that are no hallway,
whenever one is reached; ``stitch`` goes to a cell four away and stays there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dfplan.errors import ConfigError
from dfplan.mazes import Maze
from dfplan.types import Recording

_ACTION_NOISE = 0.5
_NEIGHBOR_STEPS = 4  # from the start to the goal of stitch
_VALIDATION = 10  # one episode for validation to so many for training

PREFIX = "ogbench-"
"""Before the package's name of a maze, in the name of ours."""

Cell = tuple[int, int]


@dataclass(frozen=True)
class OGBenchRecipe:
    """Episodes of fixed length, for training and then, a tenth as many, for validation.

    Attributes:
        maze: one of OGBench's.
        stitch: whether it is ``stitch`` and not ``navigate``.
        episodes: for training.
        length: steps of an episode.
        shard: steps of a shard, about; it holds whole episodes.

    Raises:
        ConfigError: the maze is none of OGBench's.
        MissingSimulatorError: ogbench is not installed.
    """

    maze: Maze
    stitch: bool
    episodes: int
    length: int
    shard: int

    version = "dfplan ogbench collector 1"

    def __post_init__(self) -> None:
        if not self.maze.text.startswith(PREFIX):
            raise ConfigError(
                "OGBench's recipes collect in the mazes that its package builds, ogbench-medium, "
                f"-large, -giant and -teleport; got maze {self.maze.name!r}. Leave out the line "
                "'frame ogbench' to collect in it by D4RL's recipe."
            )
        _make_maze_env()  # a missing package shows here, before a worker is started

    @property
    def validation_episodes(self) -> int:
        """How many episodes are kept for validation, at least one."""
        return max(1, self.episodes // _VALIDATION)

    @property
    def training_shards(self) -> int:
        """How many of the shards, the first, are for training."""
        return len(self._cut(self.episodes))

    @property
    def sizes(self) -> list[int]:
        """Environment steps of each shard."""
        counts = self._cut(self.episodes) + self._cut(self.validation_episodes)
        return [count * self.length for count in counts]

    def _cut(self, episodes: int) -> list[int]:
        most = max(1, self.shard // self.length)
        return [min(most, episodes - first) for first in range(0, episodes, most)]

    def collect(self, shard: int, seed: np.random.SeedSequence) -> Recording:
        """The episodes of one shard; numpy's global generator is as before when it returns."""
        env = _environment(self.maze.name)
        maze = replace(self.maze)  # a copy, so that the routes it remembers go when this ends
        rng = np.random.default_rng(seed)
        word = int(rng.integers(1 << 31))
        env.action_space.seed(word)
        count = self.sizes[shard] // self.length
        rows = [
            np.empty((count * self.length, 2), np.float32),
            np.empty((count * self.length, 2), np.float32),
        ]
        starts = np.arange(count) * self.length
        oracle = Oracle(env)
        with _global_generator(rng.integers(1 << 32, size=8, dtype=np.uint32)):
            for start in starts.tolist():
                init, goal = self._task(maze, rng)
                # The seed of the first reset decides what the later ones draw.
                observation, _ = env.reset(
                    seed=None if start else word,
                    options={"task_info": {"init_ij": init, "goal_ij": goal}},
                )
                noise = (_ACTION_NOISE * rng.standard_normal((self.length, 2))).tolist()
                for row, (ex, ey) in enumerate(noise, start):
                    dx, dy = oracle.direction()
                    clipped = min(1.0, max(-1.0, dx + ex)), min(1.0, max(-1.0, dy + ey))
                    action = np.array(clipped, np.float32)
                    rows[0][row], rows[1][row] = observation, action
                    observation, _, _, _, info = env.step(action)
                    if info["success"] and not self.stitch:
                        env.set_goal(_drawn(junctions(maze), rng))
        return Recording(observations=rows[0], actions=rows[1], episodes=starts, source="")

    def _task(self, maze: Maze, rng: np.random.Generator) -> tuple[Cell, Cell]:
        """Cells to start from and to go to."""
        init = _drawn(maze.free_cells, rng)
        if not self.stitch:
            return init, _drawn(junctions(maze), rng)
        around = cells_at(maze, init, _NEIGHBOR_STEPS)
        return init, _drawn(around, rng) if len(around) else init


class Oracle:
    """The package's oracle, asked once for each cell and goal cell: it depends on nothing else."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._known: dict[tuple[Cell, Cell], tuple[float, float]] = {}

    def direction(self) -> tuple[float, float]:
        """Unit vector from where the ball is to the next cell on the way to the goal."""
        env = self._env
        position = env.get_xy()
        pair = env.xy_to_ij(position), env.xy_to_ij(env.cur_goal_xy)
        if pair not in self._known:
            subgoal, _ = env.get_oracle_subgoal(position, env.cur_goal_xy)
            self._known[pair] = subgoal.tolist()
        (x, y), (sx, sy) = position.tolist(), self._known[pair]
        distance = math.hypot(sx - x, sy - y) + 1e-6
        return (sx - x) / distance, (sy - y) / distance


def junctions(maze: Maze) -> np.ndarray:
    """Free cells but those of a straight hallway: a way on at two opposite sides only; [C, 2]."""
    free = ~maze.walls
    i, j = maze.free_cells.T
    up, down, left, right = free[i - 1, j], free[i + 1, j], free[i, j - 1], free[i, j + 1]
    hallway = (up & down & ~left & ~right) | (left & right & ~up & ~down)
    return np.asarray(maze.free_cells[~hallway])


def cells_at(maze: Maze, start: Cell, steps: int) -> np.ndarray:
    """Cells whose shortest way to ``start`` has ``steps`` steps; [C, 2], row by row.

    A maze's own ways do not do: those of OGBench's teleport maze do not join all its cells.
    """
    away = {start: 0}
    queue = deque([start])
    while queue:
        i, j = queue.popleft()
        for beside in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if beside not in away and not maze.walls[beside] and away[i, j] < steps:
                away[beside] = away[i, j] + 1
                queue.append(beside)
    found = [cell for cell, distance in away.items() if distance == steps]
    return np.array(sorted(found), int).reshape(-1, 2)


def _drawn(cells: np.ndarray, rng: np.random.Generator) -> Cell:
    i, j = cells[rng.integers(len(cells))].tolist()
    return i, j


@contextmanager
def _global_generator(seed: np.ndarray) -> Iterator[None]:
    """Seed numpy's global generator, which the package draws from, and put it back afterwards."""
    kept = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(kept)


def _make_maze_env() -> Any:
    from dfplan.errors import MissingSimulatorError

    try:
        from ogbench.locomaze.maze import make_maze_env
    except ImportError as error:
        raise MissingSimulatorError("ogbench", extra="ogbench") from error
    return make_maze_env


@lru_cache(maxsize=1)
def _environment(name: str) -> Any:
    """The package's environment that goes on at a goal; building it takes longer than an episode.

    It is handed out again: a reset with a seed leaves nothing of what was before.
    """
    env = _make_maze_env()(
        "point", "maze", maze_type=name.removeprefix(PREFIX), terminate_at_goal=False
    )
    Path(env.fullpath).unlink(missing_ok=True)  # the package leaves its model's text behind
    return env
