"""Collects data like OGBench's pointmaze and antmaze data sets, in OGBench's own environments.

The body follows OGBench's oracle from cell to cell. A ball's action is the unit vector to the next
cell. An ant's is that of an expert which walks in that direction
(:mod:`dfplan.collect.ant_expert`). Gaussian noise is added, and the action is clipped to [-1, 1].

``navigate`` draws a new goal, among the cells that are not in a hallway, each time one is reached.
``stitch`` moves to a cell four steps away and stays there. ``explore``, for ants, moves in random
directions, each for ten steps. Lengths of episodes and noise are those of
``data_gen_scripts/generate_locomaze.py`` in ``commands.sh`` for the published files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from dfplan.collect.ant_expert import ant_expert
from dfplan.collect.collector import (
    STITCH_CELLS,
    CollectorEntry,
    cells_at,
    require_file_path,
    split_evenly,
)
from dfplan.collect.shards import join_shards
from dfplan.data.formats.ogbench import write_ogbench
from dfplan.errors import ConfigError, MissingSimulatorError
from dfplan.mazes import Maze
from dfplan.suites import OGBENCH, OGBENCH_ANT
from dfplan.types import Recording

_VALIDATION_RATIO = 10  # episodes for training per episode for validation
_SHARD_STEPS = 10_000  # fewer than in other suites, because a step takes longer

_EPISODES = {"navigate": (1000, 1001), "stitch": (5000, 201), "explore": (10_000, 501)}
"""Number and length of the published training episodes."""

_GIANT_NAVIGATE = (500, 2001)

_SAME_DIRECTION = 10  # steps of ``explore``

Cell = tuple[int, int]


Walker = Callable[[np.ndarray, tuple[float, float]], np.ndarray]
"""Computes an action [A] that moves the body in a direction, a unit vector, from an observation."""


@dataclass(frozen=True)
class Body:
    """How a body moves in its data.

    Attributes:
        name: OGBench's name of it.
        walker: makes the function that moves it.
        noise: standard deviation of the noise of actions, by kind of data.
    """

    name: str
    walker: Callable[[], Walker]
    noise: Mapping[str, float] = field(hash=False)


def _roll() -> Walker:
    return lambda observation, direction: np.array(direction)


BODIES = {
    OGBENCH: Body("point", _roll, {"navigate": 0.5, "stitch": 0.5}),
    OGBENCH_ANT: Body("ant", ant_expert, {"navigate": 0.2, "stitch": 0.2, "explore": 1.0}),
}
"""Bodies by suite."""


@dataclass(frozen=True)
class OGBenchCollector:
    """Collects episodes of fixed length for training, then a tenth as many for validation.

    Attributes:
        maze: a maze of OGBench.
        kind: ``navigate``, ``stitch`` or ``explore``.
        episodes: number of training episodes.
        length: environment steps of an episode.
        shard_steps: approximate environment steps of a shard, which has whole episodes.

    Raises:
        ConfigError: the maze is not one of OGBench's.
        MissingSimulatorError: ogbench is not installed.
    """

    maze: Maze
    kind: str
    episodes: int
    length: int
    shard_steps: int

    version = "dfplan ogbench collector 1"

    def __post_init__(self) -> None:
        prefix, _, size = self.maze.text.rpartition("-")
        if prefix != self.maze.suite.prefix or size not in self.maze.suite.mazes:
            raise ConfigError(
                "OGBench's collectors need a maze that its package can build: "
                f"{self.maze.suite.prefix}-medium, -large, -giant or -teleport; got maze "
                f"{self.maze.name!r}. Remove the line 'frame {self.maze.suite.name}' from it to "
                "use D4RL's collector."
            )
        _make_maze_env()  # raises here, before a worker is started

    @property
    def validation_episodes(self) -> int:
        """Number of validation episodes, at least one."""
        return max(1, self.episodes // _VALIDATION_RATIO)

    @property
    def training_shards(self) -> int:
        """Number of shards for training. They are the first ones."""
        return len(self._split(self.episodes))

    @property
    def shard_sizes(self) -> list[int]:
        """Environment steps of each shard."""
        counts = self._split(self.episodes) + self._split(self.validation_episodes)
        return [count * self.length for count in counts]

    def _split(self, episodes: int) -> list[int]:
        """Number of episodes in each shard."""
        return split_evenly(episodes, max(1, self.shard_steps // self.length))

    def collect(self, shard: int, seed: np.random.SeedSequence) -> Recording:
        """Collect the episodes of one shard; NumPy's global generator is restored afterwards."""
        suite = self.maze.suite
        body = BODIES[suite]
        env = _environment(body.name, self.maze.name.rpartition("-")[2])
        maze = replace(self.maze)  # a copy, so that its cache of paths is released at the end
        rng = np.random.default_rng(seed)
        env_seed = int(rng.integers(1 << 31))
        env.action_space.seed(env_seed)
        rows = self.shard_sizes[shard]
        observations = np.empty((rows, suite.state_size), np.float32)
        actions = np.empty((rows, suite.action_size), np.float32)
        starts = np.arange(rows // self.length) * self.length
        oracle, walk = Oracle(env), body.walker()
        with _global_generator(rng.integers(1 << 32, size=8, dtype=np.uint32)):
            for start in starts.tolist():
                init, goal = self._task(maze, rng)
                # The seed of the first reset also determines what later resets draw.
                observation, _ = env.reset(
                    seed=None if start else env_seed,
                    options={"task_info": {"init_ij": init, "goal_ij": goal}},
                )
                noise = body.noise[self.kind] * rng.standard_normal(
                    (self.length, *actions.shape[1:])
                )
                wander = _directions(self.length, rng) if self.kind == "explore" else None
                for step, row in enumerate(range(start, start + self.length)):
                    direction = oracle.direction() if wander is None else wander[step]
                    action = walk(observation, direction) + noise[step]
                    actions[row] = action.clip(-1.0, 1.0)
                    observations[row] = observation
                    observation, _, _, _, info = env.step(actions[row].copy())
                    if info["success"] and self.kind == "navigate":
                        env.set_goal(_draw(junctions(maze), rng))
        return Recording(
            observations=observations,
            actions=actions,
            episodes=starts,
            source="",
            layout=suite.observation,
        )

    def _task(self, maze: Maze, rng: np.random.Generator) -> tuple[Cell, Cell]:
        """Draw the cells of the start and the goal."""
        init = _draw(maze.free_cells, rng)
        if self.kind != "stitch":
            return init, _draw(junctions(maze), rng)
        goals = cells_at(maze, init, STITCH_CELLS)
        return init, _draw(goals, rng) if len(goals) else init

    def require_path(self, path: Path) -> None:
        """Raise :class:`ConfigError` unless ``path`` can be an npz file."""
        require_file_path(path, (".npz",), "OGBench")

    def write(self, files: Sequence[Path], seed: int, path: Path) -> None:
        """Write an npz file, and ``*-val.npz`` next to it for validation."""
        maze, layout, training = self.maze.text, self.maze.suite.observation, self.training_shards
        validation = path.with_name(f"{path.stem}-val.npz")
        # The training data last: if it exists, all files do.
        write_ogbench(join_shards(files[training:], validation.name, maze, layout), validation)
        write_ogbench(join_shards(files[:training], path.name, maze, layout), path)


def _plan(maze: Maze, steps: int | None, kind: str) -> OGBenchCollector:
    giant = kind == "navigate" and maze.text.endswith("-giant")
    episodes, length = _GIANT_NAVIGATE if giant else _EPISODES[kind]
    if steps is not None:
        episodes = -(-steps // length)
    return OGBenchCollector(maze, kind, episodes, length, _SHARD_STEPS)


COLLECTORS = {
    kind: CollectorEntry(
        tuple(suite for suite, body in BODIES.items() if kind in body.noise),
        partial(_plan, kind=kind),
    )
    for kind in _EPISODES
}
"""OGBench's collectors by name."""


class Oracle:
    """OGBench's oracle with a cache: the next cell depends only on the cells of body and goal."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._subgoals: dict[tuple[Cell, Cell], tuple[float, float]] = {}

    def direction(self) -> tuple[float, float]:
        """Unit vector from the body to the next cell on the path to the goal."""
        env = self._env
        position = env.get_xy()
        pair = env.xy_to_ij(position), env.xy_to_ij(env.cur_goal_xy)
        if pair not in self._subgoals:
            subgoal, _ = env.get_oracle_subgoal(position, env.cur_goal_xy)
            self._subgoals[pair] = subgoal.tolist()
        (x, y), (sx, sy) = position.tolist(), self._subgoals[pair]
        distance = math.hypot(sx - x, sy - y) + 1e-6
        return (sx - x) / distance, (sy - y) / distance


def junctions(maze: Maze) -> np.ndarray:
    """Free cells that are not in a hallway, open only at two opposite sides; int [C, 2]."""
    free = ~maze.walls
    i, j = maze.free_cells.T
    up, down, left, right = free[i - 1, j], free[i + 1, j], free[i, j - 1], free[i, j + 1]
    hallway = (up & down & ~left & ~right) | (left & right & ~up & ~down)
    return np.asarray(maze.free_cells[~hallway])


def _directions(steps: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Random unit vectors, one for each step."""
    drawn = rng.standard_normal((-(-steps // _SAME_DIRECTION), 2))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return [(x, y) for x, y in np.repeat(drawn, _SAME_DIRECTION, axis=0)[:steps].tolist()]


def _draw(cells: np.ndarray, rng: np.random.Generator) -> Cell:
    i, j = cells[rng.integers(len(cells))].tolist()
    return i, j


@contextmanager
def _global_generator(seed: np.ndarray) -> Iterator[None]:
    """Seed NumPy's global generator, which OGBench uses, and restore it afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _make_maze_env() -> Any:
    try:
        from ogbench.locomaze.maze import make_maze_env
    except ImportError as error:
        raise MissingSimulatorError("ogbench", extra="ogbench") from error
    return make_maze_env


@lru_cache(maxsize=1)
def _environment(body: str, size: str) -> Any:
    """OGBench's environment of a maze; its episodes continue when a goal is reached.

    It is cached, because making it takes longer than an episode. A reset with a seed removes all
    traces of earlier use.
    """
    env = _make_maze_env()(body, "maze", maze_type=size, terminate_at_goal=False)
    Path(env.fullpath).unlink(missing_ok=True)  # OGBench does not delete the file of its model
    return env
