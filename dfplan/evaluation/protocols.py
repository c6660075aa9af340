"""Named protocols, their tasks, and the frozen problems that every planner meets.

A protocol says how episodes begin, when they are over and what is counted; results of different
protocols are never ranked against each other. Whatever changes an episode or a score is a new
version of the protocol. Positions are in the frame of the task's maze; time is in environment
steps.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Literal

import numpy as np

from dfplan.errors import ConfigError, DataError, require_numbers, unknown_name
from dfplan.mazes import Maze, named_maze
from dfplan.record import Record
from dfplan.suites import D4RL

Split = Literal["test", "validation"]
"""Whatever is tuned is tuned on ``validation``; only ``test`` is reported."""

SPLITS: tuple[Split, ...] = ("test", "validation")

ScoreKind = Literal["d4rl", "return", "success", "speed"]

_POSITION_NOISE = 0.1
_VELOCITY_NOISE = 0.1


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is played and counted.

    Attributes:
        id: name and version.
        text: starts, goals, noise, end.
        score: what the score is, in words.
        score_kind: what :meth:`Task.scores` computes.
        unit: of the score, for tables.
        episodes: of a task in the whole benchmark.
        ends_at_goal: whether an episode is over where the goal is first reached.
        frozen: for a list of problems that is shipped, its sha256.
    """

    id: str
    text: str
    score: str
    score_kind: ScoreKind
    unit: str
    episodes: int
    ends_at_goal: bool = False
    frozen: str | None = None


PROTOCOLS: dict[str, Protocol] = {
    protocol.id: protocol
    for protocol in (
        Protocol(
            "d4rl-maze2d-v1",
            "D4RL's maze2d (maze2d-*: one goal) and its variant with a random goal per episode "
            "(multi2d-*). Start: a free cell's integer coordinates +- 0.1, velocity N(0, 0.1^2); "
            "it may lie on the goal. 300, 600 or 800 steps, never over earlier; paid 1 on each "
            "step that ends within 0.5 of the goal.",
            "100 (R - min) / (max - min), R the true sum of rewards, with D4RL's reference returns",
            "d4rl",
            "D4RL score",
            episodes=500,
        ),
        Protocol(
            "gymnasium-pointmaze-v3",
            "gymnasium-robotics' PointMaze_*-v3 as shipped: start and goal in random cells +- "
            "0.25, at rest. 300, 600 or 800 steps, never over earlier; paid 1 on each step that "
            "ends within 0.45 of the goal.",
            "the true sum of rewards",
            "return",
            "return",
            episodes=250,
        ),
        Protocol(
            "ogbench-pointmaze-v0",
            "OGBench's pointmaze-*-v0 as shipped: its five tasks in turn, start and goal with its "
            "noise (+- 1). Over after 1000 steps or where the goal is within 1.0. navigate, "
            "stitch: which of its data sets planners were trained on.",
            "share of episodes in which the goal was reached, in percent",
            "success",
            "success %",
            episodes=250,
            ends_at_goal=True,
        ),
        Protocol(
            "dfplan-v1",
            "A frozen list of starts and goals in the mazes of D4RL and OGBench, as many of each "
            "fifth of path lengths, met exactly and at rest. Over where the goal is first within "
            "the suite's radius, or after the suite's number of steps.",
            "100 times the mean of (steps that any policy needs / steps taken), 0 where the goal "
            "was not reached: success weighted by path length (arXiv 1807.06757, equation 1), in "
            "time",
            "speed",
            "speed %",
            episodes=100,
            ends_at_goal=True,
            frozen="15be03e9b1b436225837a7cb6b912a7d9c5f9173df8086db1fa0f23355959a74",
        ),
    )
}
"""Every protocol by its id."""


@dataclass(frozen=True)
class Task:
    """What is played, for how long, and how it is counted.

    Attributes:
        id: ``maze2d-large``, ``ogbench-giant-stitch``, ...
        protocol: how.
        environment: what :func:`dfplan.envs.make.make` builds.
        maze: its maze (for environments, bounds and pictures; planners never see it).
        data: what planners for it are trained on: names their checkpoints.
        max_steps: steps of an episode, T.
        reference_returns: that score 0 and 100, for a score of D4RL's kind.
        random_goals: a goal for each episode, instead of the maze's own.
        split: which problems :func:`problems` draws.
    """

    id: str
    protocol: Protocol
    environment: str | Maze
    maze: Maze
    data: str
    max_steps: int
    reference_returns: tuple[float, float] | None = None
    random_goals: bool = True
    split: Split = "test"

    @property
    def goal(self) -> np.ndarray | None:
        """The goal of every episode, float [2], or None where each episode has its own."""
        return None if self.random_goals else self.maze.goal

    def on(self, split: Split) -> Task:
        """The same task with the problems of another split."""
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if self.protocol.frozen is not None and split != "test":
            raise ConfigError(f"{self.protocol.id} is a frozen list for tests; tune on others.")
        return replace(self, split=split)

    def scores(self, rewards: np.ndarray, touch: np.ndarray, needed: np.ndarray) -> np.ndarray:
        """The score of each episode.

        Args:
            rewards: the sum that was paid, [n].
            touch: the first step, from 1, that ended at the goal; above T where none did; [n].
            needed: the first step that could have, see
                :func:`dfplan.evaluation.bounds.steps_needed`; [n].

        Returns:
            Float [n]; higher is better.
        """
        reached = touch <= self.max_steps
        kind = self.protocol.score_kind
        if kind == "success":
            return 100.0 * reached
        if kind == "speed":
            return np.asarray(np.where(reached, 100.0 * needed / touch, 0.0))
        if self.reference_returns is None:
            return np.asarray(rewards, dtype=float)
        lowest, highest = self.reference_returns
        return np.asarray(100.0 * (rewards - lowest) / (highest - lowest))

    def most(self, needed: np.ndarray) -> np.ndarray:
        """The score that no policy exceeds where it needs ``needed`` [n] steps at least; [n]."""
        paid = np.maximum(self.max_steps - needed + 1.0, 0.0)
        return self.scores(paid, np.asarray(needed), np.asarray(needed))


@dataclass(frozen=True)
class Problems(Record):
    """Frozen starts and goals.

    Attributes:
        starts: position and velocity where there is one, float64 [n, 4] or [n, 2].
        goals: float64 [n, 2].
        parts: the suite's own task or the stratum of each, from 1; 0 where there are none; [n].
        seeds: of the environment at each problem's reset, which then draws start and goal as its
            suite does; int [n], or None where they are given to it.
    """

    starts: np.ndarray
    goals: np.ndarray
    parts: np.ndarray
    seeds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def digest(self) -> str:
        """Sha256 of all of it, so that two rows can prove that they met the same problems."""
        columns = [self.starts, self.goals, self.parts[:, None]]
        if self.seeds is not None:
            columns.append(self.seeds[:, None])
        table = np.concatenate(columns, axis=1, dtype="<f8")
        return hashlib.sha256(table.tobytes()).hexdigest()

    def rows(self, which: slice | Sequence[int]) -> Problems:
        """Some of them."""
        seeds = None if self.seeds is None else self.seeds[which]
        return Problems(self.starts[which], self.goals[which], self.parts[which], seeds)


def given(starts: np.ndarray, goals: np.ndarray) -> Problems:
    """Problems of one's own: ``starts`` [n, 4] or [n, 2], ``goals`` [n, 2]."""
    return Problems(starts, goals, np.zeros(len(starts), dtype=int))


_REFERENCE_RETURNS = {"umaze": (23.85, 161.86), "medium": (13.13, 277.39), "large": (6.70, 273.99)}
_OGBENCH_STEPS = 1000


def _tasks() -> list[Task]:
    d4rl, pointmaze, ogbench, frozen = PROTOCOLS.values()
    maze2d = [
        # The reference returns are D4RL's for the fixed goal; Diffuser's Multi2D scales random
        # goals by the same numbers.
        Task(
            id=f"{suite}-{size}",
            protocol=d4rl,
            environment=f"{suite}-{size}",
            maze=named_maze(size),
            data=f"maze2d-{size}",
            max_steps=D4RL.episode_steps[size],
            reference_returns=returns,
            random_goals=suite == "multi2d",
        )
        for suite in ("maze2d", "multi2d")
        for size, returns in _REFERENCE_RETURNS.items()
    ]
    gymnasium = [
        _of_suite(pointmaze, name, name, steps)
        for size, steps in D4RL.episode_steps.items()
        for name in [f"pointmaze-{size}"]
    ]
    stock = [
        replace(
            _of_suite(ogbench, name, name if data == "navigate" else f"{name}-{data}"),
            id=f"{name}-{data}",
        )
        for size in ("medium", "large", "giant", "teleport")
        for data in ("navigate", "stitch")
        for name in [f"ogbench-{size}"]
    ]
    own = [
        replace(_of_suite(frozen, name, name, steps), id=f"dfplan-{name}")
        for name, steps in (
            *((f"maze2d-{size}", steps) for size, steps in D4RL.episode_steps.items()),
            *((f"ogbench-{size}", _OGBENCH_STEPS) for size in ("medium", "large", "giant")),
        )
    ]
    return [*maze2d, *gymnasium, *stock, *own]


def _of_suite(protocol: Protocol, name: str, data: str, steps: int = _OGBENCH_STEPS) -> Task:
    return Task(name, protocol, name, named_maze(name), data, steps)


TASKS: dict[str, Task] = {task.id: task for task in _tasks()}
"""Every task by its id."""


def named_protocol(name: str) -> Protocol:
    """The protocol of that id, or an error with the closest one."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def named_task(name: str, split: Split = "test") -> Task:
    """The task of that id, or an error with the closest one."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name].on(split)


def tasks_of(protocol: Protocol) -> list[Task]:
    """The tasks of a protocol, in the order of tables."""
    return [task for task in TASKS.values() if task.protocol is protocol]


def problems(task: Task, count: int, seed: int = 0) -> Problems:
    """The first ``count`` problems of a task; the first 100 of 500 are the 100.

    The splits share none. D4RL's and those of a maze of one's own are drawn as D4RL does; other
    suites draw theirs when their environment is reset, of which the seed is frozen here; those of
    ``dfplan-v1`` are a list.

    Args:
        task: of which protocol and which split.
        count: how many.
        seed: another one draws others; for studies beside the protocol.

    Raises:
        ConfigError: ``count`` is not positive, or there are not so many.
        MissingSimulatorError: the suite that draws them is not installed.
    """
    require_numbers({"count": count}, whole=True, least=1)
    require_numbers({"seed": seed}, whole=True, least=0)
    if task.protocol.frozen is not None:
        return _listed(task, count)
    if task.protocol.score_kind == "d4rl":
        return _drawn_as_d4rl(task, count, seed)
    return _drawn_by_suite(task, count, seed)


def _drawn_as_d4rl(task: Task, count: int, seed: int) -> Problems:
    """Start: a free cell's integer coordinates plus U(-0.1, 0.1) an axis, velocity N(0, 0.1^2).

    Random goal: likewise, without velocity.
    """
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
    return given(starts, goals)


def _near_cells(maze: Maze, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` positions near integer coordinates of free cells, [count, 2]; prefix-stable."""
    cells = maze.free_cells
    draws = rng.random((count, 3))  # one row a problem, so that more problems only append rows
    chosen = cells[(draws[:, 0] * len(cells)).astype(int)]
    return np.asarray(chosen + _POSITION_NOISE * (2 * draws[:, 1:] - 1))


def _drawn_by_suite(task: Task, count: int, seed: int) -> Problems:
    """The suite's own resets; its tasks, where it has some, in turn."""
    # Here and not above: the rest of the command line needs no simulator.
    from dfplan.envs.make import make

    environment = make(task.environment, max_steps=task.max_steps)
    kinds = max(1, environment.tasks)
    each = -(-count // kinds)
    # A stream for each of the suite's tasks, so that more problems only append to it.
    seeds = np.stack(
        [
            np.random.SeedSequence((seed, SPLITS.index(task.split), part)).generate_state(each)
            for part in (range(1, kinds + 1) if environment.tasks else range(1))
        ],
        axis=1,
    ).reshape(-1)[:count]
    parts = np.arange(count) % kinds + 1 if environment.tasks else np.zeros(count, dtype=int)
    starts, goals = [], []
    for own, part in zip(seeds.tolist(), parts.tolist(), strict=True):
        observation, _ = environment.reset(seed=own, options={"task": part} if part else {})
        starts.append(observation["observation"])
        goals.append(observation["desired_goal"])
    environment.close()
    return Problems(np.array(starts), np.array(goals), parts, seeds)


def _listed(task: Task, count: int) -> Problems:
    lines = [line for line in _frozen_list(task.protocol) if line[0] == task.id]
    if count > len(lines):
        raise ConfigError(
            f"{task.protocol.id} has {len(lines)} problems of {task.id}; got {count}."
        )
    values = np.array([line[1:] for line in lines[:count]], dtype=float)
    starts = values[:, 1:3]
    if task.maze.suite.has_velocity:
        starts = np.concatenate([starts, np.zeros_like(starts)], axis=1)
    return Problems(starts, values[:, 3:5], values[:, 0].astype(int))


@lru_cache(maxsize=1)
def _frozen_list(protocol: Protocol) -> list[list[str]]:
    """Lines of task, stratum, start and goal."""
    content = resources.files(__package__).joinpath(f"{protocol.id}.csv").read_bytes()
    if hashlib.sha256(content).hexdigest() != protocol.frozen:
        raise DataError(
            f"The list of problems of {protocol.id} is not the one that was frozen. Install dfplan "
            "again."
        )
    return list(csv.reader(content.decode().splitlines()[1:]))
