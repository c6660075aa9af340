"""The recipe of D4RL's Maze2D data, and their hdf5 file.

The scripted waypoint controller walks from random goal to random goal; Gaussian noise of standard
deviation 0.5 is added to its action, which is then clipped to [-1, 1] (the ``--noisy`` switch of
D4RL's ``scripts/generation/generate_maze2d_datasets.py``; only with it do the published files'
statistics come out). Positions in D4RL's frame, one unit a cell; a step is 0.01 s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from dfplan.collect.waypoint import WaypointController
from dfplan.data.checksums import replacing
from dfplan.data.storage import Sink
from dfplan.mazes import Maze
from dfplan.suites import D4RL
from dfplan.types import Recording

_ACTION_NOISE = 0.5
_PLACE_NOISE = 0.1
_START_SPEED = 0.1


@dataclass(frozen=True)
class D4RLRecipe:
    """Streams of ``shard`` steps, each from a random start.

    Attributes:
        maze: in D4RL's frame.
        steps: of all streams.
        shard: steps of a stream; the last may be shorter.

    Raises:
        MissingSimulatorError: the packages that simulate mazes are not installed.
    """

    maze: Maze
    steps: int
    shard: int

    version = "dfplan waypoint collector 1"

    def __post_init__(self) -> None:
        from dfplan.envs.dynamics import PointMass

        PointMass(self.maze)  # a missing simulator shows here, before a worker is started

    @property
    def sizes(self) -> list[int]:
        """Environment steps of each stream."""
        return [min(self.shard, self.steps - first) for first in range(0, self.steps, self.shard)]

    def collect(self, shard: int, seed: np.random.SeedSequence) -> Recording:
        """One stream: the noisy controller walks from goal to goal.

        ``timeouts`` is True where the goal that was being walked to is reached, as in D4RL's v1
        files, and on the last row. ``rewards`` are those of the maze's fixed goal on
        ``observations[t]``, as in D4RL's files, or zero where it has none.
        """
        from dfplan.envs.dynamics import PointMass

        steps = self.sizes[shard]
        maze = replace(self.maze)  # a copy, so that the routes it remembers go when this ends
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
        arrived[-1] = True
        rows = np.array(observations, np.float32)
        return Recording(
            observations=rows,
            actions=np.array(actions, np.float32),
            rewards=_rewards(rows[:, :2], maze.goal),
            goals=np.array(goals, np.float32),
            terminals=np.zeros(steps, bool),
            timeouts=np.array(arrived),
            episodes=np.zeros(1, np.int64),
            source="",
        )


def _place(maze: Maze, rng: np.random.Generator) -> tuple[float, float]:
    """A random free cell's integer point, moved by up to 0.1 an axis: a start or a goal."""
    cell = maze.free_cells[rng.integers(len(maze.free_cells))]
    i, j = (cell + rng.uniform(-_PLACE_NOISE, _PLACE_NOISE, 2)).tolist()
    return i, j


def _rewards(positions: np.ndarray, goal: np.ndarray | None) -> np.ndarray:
    if goal is None:
        return np.zeros(len(positions), np.float32)
    near = np.linalg.norm(positions - goal, axis=1) <= D4RL.goal_radius
    return np.asarray(near.astype(np.float32))


_WIDTHS = {
    "observations": 4,
    "actions": 2,
    "rewards": None,
    "terminals": None,
    "timeouts": None,
    "infos/goal": 2,
    "infos/qpos": 2,
    "infos/qvel": 2,
}


def write_collected(recording: Recording, recipe: D4RLRecipe, seed: int, path: Path) -> None:
    """Write what ``recipe`` collected, with the seed that makes it again.

    ``metadata/joints`` holds the first row of each stream.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    with replacing(path) as temporary, Sink(temporary) as sink:
        with h5py.File(sink, "w") as file:
            _write_head(file, recording, recipe, seed)
            for row in range(0, recipe.steps, recipe.shard):
                _write_rows(file, slice(row, row + recipe.shard), recording, recipe.maze)
                file.flush()
                if sink.failure is not None:
                    break
        if sink.failure is not None:
            raise sink.failure


def _write_head(file: h5py.File, recording: Recording, recipe: D4RLRecipe, seed: int) -> None:
    for name, width in _WIDTHS.items():
        tail = () if width is None else (width,)
        file.create_dataset(
            name,
            shape=(recipe.steps, *tail),
            dtype=bool if name in ("terminals", "timeouts") else np.float32,
            chunks=(min(recipe.steps, recipe.shard), *tail),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
    file["metadata/joints"] = recording.episodes
    file.attrs["generator"] = recipe.version
    file.attrs["seed"] = str(seed)
    file.attrs["maze"] = recipe.maze.text


def _write_rows(file: h5py.File, rows: slice, recording: Recording, maze: Maze) -> None:
    observations = recording.observations[rows]
    fields = {
        "observations": observations,
        "actions": recording.actions[rows],
        "timeouts": np.asarray(recording.timeouts)[rows],
        "infos/goal": np.asarray(recording.goals)[rows],
        "infos/qpos": observations[:, :2],
        "infos/qvel": observations[:, 2:],
    }
    if maze.goal is not None:  # what is not written reads as zero
        fields["rewards"] = np.asarray(recording.rewards)[rows]
    for name, values in fields.items():
        file[name][rows] = values
