"""Collects data like D4RL's Maze2D data sets, and writes D4RL's hdf5 file.

The scripted waypoint controller moves from one random goal to the next. Gaussian noise of standard
deviation 0.5 is added to its actions, which are then clipped to [-1, 1]. This is the switch
``--noisy`` of D4RL's ``scripts/generation/generate_maze2d_datasets.py``; without it the statistics
differ from those of the published files. Positions are in D4RL's coordinates, one unit a cell. A
step is 0.01 s.

``d4rl-stitch`` has short walks instead, as OGBench's ``stitch``: from a random cell to one that is
four cells away, where the body stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from dfplan.blocks import blocks
from dfplan.collect.collector import (
    DEFAULT_STEPS,
    SHARD_STEPS,
    STITCH_CELLS,
    CollectorEntry,
    StreamCollector,
    cells_at,
    require_file_path,
)
from dfplan.collect.shards import join_shards
from dfplan.collect.waypoint import WaypointController
from dfplan.data.formats.d4rl import create_dataset
from dfplan.data.hdf5 import Sink
from dfplan.data.sha256 import replacing
from dfplan.mazes import Maze
from dfplan.suites import D4RL
from dfplan.types import Recording

_ACTION_NOISE = 0.5
_POSITION_NOISE = 0.1
_START_SPEED = 0.1

_WALK_STEPS = 200
"""Environment steps of a short walk."""

_PUBLISHED_STEPS = {"umaze": 1_000_000, "medium": 2_000_000, "large": 4_000_000}


@dataclass(frozen=True)
class D4RLCollector(StreamCollector):
    """Collects streams like D4RL, in a maze in its coordinates.

    Attributes:
        walk_steps: environment steps of each short walk; None for streams like D4RL's.
    """

    walk_steps: int | None = None

    version = "dfplan waypoint collector 1"

    def collect(self, shard: int, seed: np.random.SeedSequence) -> Recording:
        """Collect one stream, in which the noisy controller moves from goal to goal.

        ``timeouts`` is True where the controller reaches its goal, as in D4RL's v1 files, and in
        the last row. With short walks it is True in the last row of each. ``rewards`` are those of
        the maze's fixed goal at ``observations[t]``, as in D4RL's files; 0 if it has none.
        """
        from dfplan.envs.dynamics import PointMass

        steps = self.shard_sizes[shard]
        maze = replace(self.maze)  # a copy, so that its cache of paths is released at the end
        rng = np.random.default_rng(seed)
        noise = (_ACTION_NOISE * rng.standard_normal((steps, 2))).tolist()
        ball = PointMass(maze)
        observations, actions, goals, arrived = [], [], [], []
        length = self.walk_steps or steps
        starts = range(0, steps, length)
        for start in starts:
            controller = WaypointController(maze, rng)
            place = _random_position(maze, rng)
            ball.set_state(np.array(place), _START_SPEED * rng.standard_normal(2))
            q0, q1, v0, v1 = ball.state().tolist()
            goal = self._first_goal(maze, place, rng)
            for e0, e1 in noise[start : start + length]:
                a0, a1, done = controller.act(q0, q1, v0, v1, goal)
                a0, a1 = min(1.0, max(-1.0, a0 + e0)), min(1.0, max(-1.0, a1 + e1))
                observations.append((q0, q1, v0, v1))
                actions.append((a0, a1))
                goals.append(goal)
                done = done and self.walk_steps is None
                arrived.append(done)
                q0, q1, v0, v1 = ball.advance(a0, a1)
                if done:
                    goal = _random_position(maze, rng)
            arrived[-1] = True
        rows = np.array(observations, np.float32)
        return Recording(
            observations=rows,
            actions=np.array(actions, np.float32),
            rewards=_rewards(rows[:, :2], maze.goal),
            goals=np.array(goals, np.float32),
            terminals=np.zeros(steps, bool),
            timeouts=np.array(arrived),
            episodes=np.array(starts, np.int64),
            source="",
        )

    def _first_goal(
        self, maze: Maze, place: tuple[float, float], rng: np.random.Generator
    ) -> tuple[float, float]:
        if self.walk_steps is None:
            return _random_position(maze, rng)
        cell = round(place[0]), round(place[1])
        goals = cells_at(maze, cell, STITCH_CELLS)
        return _position_in(goals if len(goals) else np.array([cell]), rng)

    def require_path(self, path: Path) -> None:
        """Raise :class:`ConfigError` unless ``path`` can be an hdf5 file."""
        require_file_path(path, (".hdf5", ".h5"), "D4RL")

    def write(self, files: Sequence[Path], seed: int, path: Path) -> None:
        """Write an hdf5 file, with the seed that gives the same data again.

        ``metadata/joints`` holds the first row of each stream. Raises OSError if the file cannot be
        written, for example because the disk is full.
        """
        recording = join_shards(files, path.name, self.maze.text)
        with replacing(path) as temporary, Sink(temporary) as sink:
            with h5py.File(sink, "w") as file:
                for name, values in _columns(recording, slice(0)).items():
                    shape = (self.steps, *values.shape[1:])
                    create_dataset(file, name, shape, values.dtype, self.shard_steps)
                file["metadata/joints"] = recording.episodes
                file.attrs["generator"] = self.version
                file.attrs["seed"] = str(seed)
                file.attrs["maze"] = self.maze.text
                for rows in blocks(self.steps, self.shard_steps):
                    for name, values in _columns(recording, rows).items():
                        if name != "terminals":  # all are False, which need not be written
                            file[name][rows] = values
                    file.flush()
                    if sink.failure is not None:
                        break
            sink.require_success()


def _plan(maze: Maze, steps: int | None, walk_steps: int | None = None) -> D4RLCollector:
    steps = steps or _PUBLISHED_STEPS.get(maze.text, DEFAULT_STEPS)
    return D4RLCollector(maze, steps, SHARD_STEPS, walk_steps)


COLLECTORS = {
    "d4rl": CollectorEntry((D4RL,), _plan),
    "d4rl-stitch": CollectorEntry((D4RL,), partial(_plan, walk_steps=_WALK_STEPS)),
}
"""D4RL's collectors by name."""


def _random_position(maze: Maze, rng: np.random.Generator) -> tuple[float, float]:
    """A start or goal: the integer point of a random free cell, plus up to 0.1 along each axis."""
    return _position_in(maze.free_cells, rng)


def _position_in(cells: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    cell = cells[rng.integers(len(cells))]
    i, j = (cell + rng.uniform(-_POSITION_NOISE, _POSITION_NOISE, 2)).tolist()
    return i, j


def _rewards(positions: np.ndarray, goal: np.ndarray | None) -> np.ndarray:
    if goal is None:
        return np.zeros(len(positions), np.float32)
    near = np.linalg.norm(positions - goal, axis=1) <= D4RL.goal_radius
    return np.asarray(near.astype(np.float32))


def _columns(recording: Recording, rows: slice) -> dict[str, np.ndarray]:
    """The datasets of the file by name, for some rows."""
    observations = recording.observations[rows]
    return {
        "observations": observations,
        "actions": recording.actions[rows],
        "rewards": np.asarray(recording.rewards)[rows],
        "terminals": np.asarray(recording.terminals)[rows],
        "timeouts": np.asarray(recording.timeouts)[rows],
        "infos/goal": np.asarray(recording.goals)[rows],
        "infos/qpos": observations[:, :2],
        "infos/qvel": observations[:, 2:],
    }
