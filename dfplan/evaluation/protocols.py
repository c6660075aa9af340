"""The benchmark's tasks and the frozen starts and goals that every method gets.

A task is D4RL's maze2d (one goal for all episodes) or its random-goal variant, which Diffuser
introduced as Multi2D (a goal drawn for each episode). Positions are in D4RL's frame, one unit a
cell; time is in environment steps of 0.01 s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dfplan.envs import EPISODE_STEPS
from dfplan.errors import ConfigError, unknown_name
from dfplan.mazes import Maze, named_maze

Split = Literal["test", "validation"]

_POSITION_NOISE = 0.1
_VELOCITY_NOISE = 0.1


@dataclass(frozen=True)
class Task:
    """What is played, for how long, and how its return is scaled.

    Attributes:
        id: ``maze2d-large``, ``multi2d-umaze``, ...
        maze_name: the maze, a name that :func:`dfplan.mazes.named_maze` knows.
        max_steps: steps of an episode, T; it never ends earlier.
        min_return, max_return: D4RL's reference returns, scores 0 and 100.
        random_goals: a goal for each episode, instead of the maze's own.
        split: which frozen problems :func:`problems` draws. Whatever is tuned is tuned on
            ``validation``; only ``test`` is reported.
        own_maze: a maze that is no suite's.
    """

    id: str
    maze_name: str
    max_steps: int
    min_return: float
    max_return: float
    random_goals: bool
    split: Split = "test"
    own_maze: Maze | None = None

    @property
    def environment(self) -> str | Maze:
        """What :func:`dfplan.envs.suites.make` builds for this task."""
        return self.id if self.own_maze is None else self.own_maze

    @property
    def maze(self) -> Maze:
        """The maze itself (for environments, bounds and pictures; planners never see it)."""
        return named_maze(self.maze_name) if self.own_maze is None else self.own_maze

    @property
    def goal(self) -> np.ndarray | None:
        """The goal of every episode, float [2], or None where each episode has its own."""
        return None if self.random_goals else self.maze.goal

    @property
    def protocol(self) -> str:
        """One line that says how episodes are made and scored."""
        goal = "random goal per episode" if self.random_goals else "fixed goal"
        return f"D4RL maze2d, {goal}, {self.max_steps} steps, never ends early, {self.split} starts"

    def on(self, split: Split) -> Task:
        """The same task with the problems of another split."""
        if split not in ("test", "validation"):
            raise unknown_name("split", split, ("test", "validation"))
        return replace(self, split=split)


@dataclass(frozen=True)
class Problems:
    """Frozen starts and goals.

    Attributes:
        starts: position and velocity, float64 [n, 4].
        goals: float64 [n, 2].
        digest: sha256 of both, so that two rows can prove that they met the same problems.
    """

    starts: np.ndarray
    goals: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.starts)


_REFERENCE_RETURNS = {"umaze": (23.85, 161.86), "medium": (13.13, 277.39), "large": (6.70, 273.99)}

TASKS: dict[str, Task] = {
    f"{suite}-{maze}": Task(
        id=f"{suite}-{maze}",
        maze_name=maze,
        max_steps=EPISODE_STEPS[maze],
        min_return=lowest,
        max_return=highest,
        random_goals=suite == "multi2d",
    )
    for suite in ("maze2d", "multi2d")
    for maze, (lowest, highest) in _REFERENCE_RETURNS.items()
}
"""The six tasks by id. The reference returns are D4RL's for the fixed goal; Diffuser's Multi2D
scales random goals by the same numbers."""


def named_task(name: str, split: Split = "test") -> Task:
    """The task of that id, or an error with the closest one."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name].on(split)


def problems(task: Task, count: int, seed: int = 0) -> Problems:
    """Draw the first ``count`` problems of a task by D4RL's protocol.

    Start: a free cell's integer coordinates plus U(-0.1, 0.1) an axis, velocity N(0, 0.1^2); it
    may lie on the goal. Random goal: likewise, without velocity. The first 100 of 500 problems
    are the 100 problems, and the splits share no problem.

    Raises:
        ConfigError: ``count`` is not positive.
    """
    if count < 1:
        raise ConfigError(f"The number of problems must be at least 1; got {count}.")
    stream = f"{task.id}/{task.split}/{seed}".encode()
    entropy = int.from_bytes(hashlib.sha256(stream).digest()[:16], "little")
    starts_rng, velocity_rng, goals_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(entropy).spawn(3)
    )
    velocity = _VELOCITY_NOISE * velocity_rng.standard_normal((count, 2))
    starts = np.concatenate([_near_cells(task.maze, count, starts_rng), velocity], axis=1)
    goals = (
        _near_cells(task.maze, count, goals_rng)
        if task.goal is None
        else np.tile(task.goal, (count, 1))
    )
    digest = hashlib.sha256(np.concatenate([starts, goals], axis=1).astype("<f8").tobytes())
    return Problems(starts=starts, goals=goals, digest=digest.hexdigest())


def _near_cells(maze: Maze, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` positions near integer coordinates of free cells, [count, 2]; prefix-stable."""
    cells = maze.free_cells
    draws = rng.random((count, 3))  # one row a problem, so that more problems only append rows
    chosen = cells[(draws[:, 0] * len(cells)).astype(int)]
    return np.asarray(chosen + _POSITION_NOISE * (2 * draws[:, 1:] - 1))
