"""Named protocols, their tasks, and the frozen problems on which all planners are evaluated.

A protocol defines how episodes start, when they end and how they are scored. Results of different
protocols are never ranked against each other. Any change of an episode or a score makes a new
version of the protocol. Positions are in the suite's coordinates; time is in environment steps.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Literal

import numpy as np

from dfplan.errors import ConfigError, DataError, lookup, require_name, require_numbers
from dfplan.mazes import Maze, named_maze
from dfplan.record import Record
from dfplan.suites import D4RL, GYMNASIUM, OGBENCH, OGBENCH_ANT, Suite

Split = Literal["test", "validation"]
"""Tune on ``validation``, report ``test``."""

SPLITS: tuple[Split, ...] = ("test", "validation")

ScoreKind = Literal["normalized", "return", "success", "speed"]

_POSITION_NOISE = 0.1
_VELOCITY_NOISE = 0.1


@dataclass(frozen=True)
class Protocol:
    """How episodes are run and scored.

    Attributes:
        id: name and version.
        text: describes starts, goals, noise and the end of an episode.
        score: describes the score.
        score_kind: what :meth:`Task.scores` computes.
        unit: what the score is called in tables.
        episodes: number of episodes per task in the whole benchmark.
        ends_at_goal: whether an episode ends when the goal is first reached.
        frozen: sha256 of the list of problems, for a protocol that ships one.
    """

    id: str
    text: str
    score: str
    score_kind: ScoreKind
    unit: str
    episodes: int
    ends_at_goal: bool = False
    frozen: str | None = None


_MAZE2D = Protocol(
    "d4rl-maze2d-v1",
    "D4RL's maze2d (maze2d-*: one goal) and its variant with a random goal per episode "
    "(multi2d-*). Start: a free cell's integer coordinates +- 0.1, velocity N(0, 0.1^2); "
    "it may lie on the goal. Episodes last 300, 600 or 800 steps. The reward is 1 for each "
    "step that ends within 0.5 of the goal.",
    "100 (R - min) / (max - min), R the true sum of rewards, with D4RL's reference returns",
    "normalized",
    "D4RL score",
    episodes=500,
)
_POINTMAZE = Protocol(
    "gymnasium-pointmaze-v3",
    "gymnasium-robotics' PointMaze_*-v3 as shipped: start and goal in random cells +- "
    "0.25, at rest. Episodes last 300, 600 or 800 steps. The reward is 1 for each step "
    "that ends within 0.45 of the goal.",
    "the true sum of rewards",
    "return",
    "return",
    episodes=250,
)
_OGBENCH_POINTMAZE = Protocol(
    "ogbench-pointmaze-v0",
    "OGBench's pointmaze-*-v0 as shipped: its five start-goal pairs in turn, with its "
    "noise (+- 1). An episode ends after 1000 steps or within 1.0 of the goal. navigate, "
    "stitch: the data set on which planners were trained.",
    "success rate in percent",
    "success",
    "success %",
    episodes=250,
    ends_at_goal=True,
)
_OGBENCH_ANTMAZE = replace(
    _OGBENCH_POINTMAZE,
    id="ogbench-antmaze-v0",
    text="OGBench's antmaze-*-v0 as shipped: its five start-goal pairs in turn, with its noise "
    "(+- 1), and a random posture. An episode ends after 1000 steps or within 0.5 of the goal. "
    "navigate, stitch, explore: the data set on which planners were trained.",
)
_FROZEN = Protocol(
    "dfplan-v1",
    "A frozen list of starts and goals in the mazes of D4RL and OGBench, with equally many "
    "from each fifth of path lengths. Starts are exact and at rest. An episode ends when "
    "the goal is first within the suite's radius, or after the suite's number of steps.",
    "100 times the mean of (lower bound on the steps / steps taken), 0 if the goal was not "
    "reached: success weighted by path length (arXiv 1807.06757, equation 1), with time in "
    "place of length",
    "speed",
    "speed %",
    episodes=100,
    ends_at_goal=True,
    frozen="15be03e9b1b436225837a7cb6b912a7d9c5f9173df8086db1fa0f23355959a74",
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.id: protocol
    for protocol in (_MAZE2D, _POINTMAZE, _OGBENCH_POINTMAZE, _OGBENCH_ANTMAZE, _FROZEN)
}
"""Protocols by id."""


@dataclass(frozen=True)
class Task:
    """An environment under a protocol.

    Attributes:
        id: ``maze2d-large``, ``ogbench-giant-stitch``, ...
        protocol: how episodes are run and scored.
        environment: argument of :func:`dfplan.envs.make.make`.
        maze: of the environment, for bounds and figures; planners never see it.
        data: name of the data on which planners are trained, and of their checkpoints.
        max_steps: maximum length of an episode, T.
        reference_returns: the returns that score 0 and 100, for D4RL's score.
        random_goals: whether each episode has its own goal, instead of the maze's.
        split: of the problems that :func:`problems` draws.
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
        """The goal of all episodes, float [2]; None if goals differ between episodes."""
        return None if self.random_goals else self.maze.goal

    def with_split(self, split: Split) -> Task:
        """Return the same task with the problems of another split.

        Raises :class:`ConfigError` if the split is unknown, or the protocol has only test problems.
        """
        require_name("split", split, SPLITS)
        if self.protocol.frozen is not None and split != "test":
            raise ConfigError(
                f"{self.protocol.id} has a frozen list of test problems; tune on another protocol."
            )
        return replace(self, split=split)

    def scores(
        self, returns: np.ndarray, steps_to_goal: np.ndarray, steps_needed: np.ndarray
    ) -> np.ndarray:
        """Compute the score of each episode.

        Args:
            returns: sum of rewards, [n].
            steps_to_goal: first step, from 1, that ended at the goal; above T if none did; [n].
            steps_needed: lower bound on ``steps_to_goal``, from
                :func:`dfplan.evaluation.bounds.steps_needed`; [n].

        Returns:
            Float [n]; higher is better.
        """
        reached = steps_to_goal <= self.max_steps
        kind = self.protocol.score_kind
        if kind == "success":
            return 100.0 * reached
        if kind == "speed":
            return np.asarray(np.where(reached, 100.0 * steps_needed / steps_to_goal, 0.0))
        if self.reference_returns is None:
            return np.asarray(returns, dtype=float)
        lowest, highest = self.reference_returns
        return np.asarray(100.0 * (returns - lowest) / (highest - lowest))

    def upper_bound(self, steps_needed: np.ndarray) -> np.ndarray:
        """Upper bound on the score, [n], from a lower bound [n] on the steps to the goal."""
        returns = np.maximum(self.max_steps - steps_needed + 1.0, 0.0)
        return self.scores(returns, np.asarray(steps_needed), np.asarray(steps_needed))


@dataclass(frozen=True)
class Problems(Record):
    """Starts and goals of n episodes.

    Attributes:
        starts: observations of the suite, float64 [n, S].
        goals: float64 [n, 2].
        strata: the suite's start-goal pair, or the stratum of path length, from 1; 0 if there is
            neither; int [n].
        seeds: of the environment's reset, which draws start and goal as the suite does; int [n].
            None if start and goal are passed to the reset.
    """

    starts: np.ndarray
    goals: np.ndarray
    strata: np.ndarray
    seeds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def digest(self) -> str:
        """Sha256 of all fields: equal for results on the same problems."""
        columns = [self.starts, self.goals, self.strata[:, None]]
        if self.seeds is not None:
            columns.append(self.seeds[:, None])
        table = np.concatenate(columns, axis=1, dtype="<f8")
        return hashlib.sha256(table.tobytes()).hexdigest()

    def subset(self, index: slice | Sequence[int]) -> Problems:
        """Return the problems at ``index``."""
        seeds = None if self.seeds is None else self.seeds[index]
        return Problems(self.starts[index], self.goals[index], self.strata[index], seeds)


def custom_problems(starts: np.ndarray, goals: np.ndarray) -> Problems:
    """Make problems from ``starts`` [n, S] and ``goals`` [n, 2]."""
    return Problems(starts, goals, np.zeros(len(starts), dtype=int))


_REFERENCE_RETURNS = {"umaze": (23.85, 161.86), "medium": (13.13, 277.39), "large": (6.70, 273.99)}


def _tasks() -> list[Task]:
    maze2d = [
        # The reference returns are D4RL's for the fixed goal. Diffuser's Multi2D uses the same
        # numbers for random goals.
        Task(
            id=f"{suite}-{size}",
            protocol=_MAZE2D,
            environment=f"{suite}-{size}",
            maze=named_maze(size),
            data=f"maze2d-{size}",
            max_steps=D4RL.episode_steps[size],
            reference_returns=returns,
            random_goals=random_goals,
        )
        for suite, random_goals in (("maze2d", False), ("multi2d", True))
        for size, returns in _REFERENCE_RETURNS.items()
    ]
    gymnasium = [_suite_task(_POINTMAZE, GYMNASIUM, size) for size in GYMNASIUM.mazes]
    ogbench_tasks = [
        replace(task, id=f"{task.id}-{kind}", data=f"{task.data}-{kind}" if number else task.data)
        for protocol, suite in ((_OGBENCH_POINTMAZE, OGBENCH), (_OGBENCH_ANTMAZE, OGBENCH_ANT))
        for size in suite.mazes
        for task in [_suite_task(protocol, suite, size)]
        for number, kind in enumerate(suite.kinds)
        if size in suite.kinds[kind]
    ]
    frozen_tasks = [
        replace(_suite_task(_FROZEN, suite, size), id=f"dfplan-{suite.prefix}-{size}")
        for suite in (D4RL, OGBENCH)
        for size in suite.mazes
        if size not in suite.teleports  # teleports cut paths short
    ]
    return [*maze2d, *gymnasium, *ogbench_tasks, *frozen_tasks]


def _suite_task(protocol: Protocol, suite: Suite, size: str) -> Task:
    """A task in the suite's own maze, with planners trained on data of that maze."""
    name = f"{suite.prefix}-{size}"
    return Task(name, protocol, name, named_maze(name), name, suite.episode_steps[size])


TASKS: dict[str, Task] = {task.id: task for task in _tasks()}
"""Tasks by id."""


def named_protocol(name: str) -> Protocol:
    """Return the protocol with this id; an unknown one raises :class:`ConfigError`."""
    return lookup("protocol", name, PROTOCOLS)


def named_task(name: str, split: Split = "test") -> Task:
    """Return the task with this id, on a split; an unknown one raises :class:`ConfigError`."""
    return lookup("task", name, TASKS).with_split(split)


def tasks_of(protocol: Protocol) -> list[Task]:
    """Return the tasks of a protocol, in the order of the report's tables."""
    return [task for task in TASKS.values() if task.protocol is protocol]


def problems(task: Task, count: int, seed: int = 0) -> Problems:
    """Return the first ``count`` problems of a task.

    A smaller count gives a prefix of a larger one. The splits share no problem. Problems of D4RL's
    tasks are drawn here, in D4RL's way. Other suites draw theirs when the environment is reset; the
    seed of that reset is frozen here. The problems of ``dfplan-v1`` are a list.

    Args:
        task: names the protocol and the split.
        count: number of problems.
        seed: other seeds give other problems, for studies outside the protocol.

    Raises:
        ConfigError: ``count`` is not positive, or the list has fewer problems.
        MissingSimulatorError: the suite that draws the problems is not installed.
    """
    require_numbers({"count": count}, integer=True, minimum=1)
    require_numbers({"seed": seed}, integer=True, minimum=0)
    if task.protocol.frozen is not None:
        return _frozen_problems(task, count)
    if task.protocol.score_kind == "normalized":
        return _draw_as_d4rl(task, count, seed)
    return _draw_by_suite(task, count, seed)


def _draw_as_d4rl(task: Task, count: int, seed: int) -> Problems:
    """Draw starts at a free cell's integer coordinates + U(-0.1, 0.1), velocity N(0, 0.1^2).

    Random goals are drawn in the same way, without velocity.
    """
    stream = f"{task.id}/{task.split}/{seed}".encode()
    entropy = int.from_bytes(hashlib.sha256(stream).digest()[:16], "little")
    starts_rng, velocity_rng, goals_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(entropy).spawn(3)
    )
    velocity = _VELOCITY_NOISE * velocity_rng.standard_normal((count, 2))
    starts = np.concatenate([_draw_near_cells(task.maze, count, starts_rng), velocity], axis=1)
    drawn = _draw_near_cells(task.maze, count, goals_rng)
    goals = drawn if task.goal is None else np.tile(task.goal, (count, 1))
    return custom_problems(starts, goals)


def _draw_near_cells(maze: Maze, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw positions [count, 2] near the integer coordinates of free cells; prefix-stable."""
    cells = maze.free_cells
    draws = rng.random((count, 3))  # one row per problem, so more problems only append rows
    chosen = cells[(draws[:, 0] * len(cells)).astype(int)]
    return np.asarray(chosen + _POSITION_NOISE * (2 * draws[:, 1:] - 1))


def _draw_by_suite(task: Task, count: int, seed: int) -> Problems:
    """Draw by the suite's own resets, with its start-goal pairs, if any, in turn."""
    # Imported here, because the rest of the command line needs no simulator.
    from dfplan.envs.make import make

    environment = make(task.environment, max_steps=task.max_steps)
    pairs = environment.start_goal_pairs
    numbers = np.arange(1, pairs + 1) if pairs else np.zeros(1, dtype=int)
    each = -(-count // len(numbers))
    # One stream per start-goal pair, so that more problems only append to it.
    keys = [(seed, SPLITS.index(task.split), number) for number in numbers.tolist()]
    streams = [np.random.SeedSequence(key).generate_state(each) for key in keys]
    seeds, strata = np.stack(streams, axis=1).reshape(-1)[:count], np.tile(numbers, each)[:count]
    starts, goals = [], []
    with closing(environment):
        for reset_seed, number in zip(seeds.tolist(), strata.tolist(), strict=True):
            options = {"start_goal_pair": number} if number else {}
            observation, _ = environment.reset(seed=reset_seed, options=options)
            starts.append(observation["observation"])
            goals.append(observation["desired_goal"])
    return Problems(np.array(starts), np.array(goals), strata, seeds)


def _frozen_problems(task: Task, count: int) -> Problems:
    lines = [line for line in _frozen_list(task.protocol) if line[0] == task.id]
    if count > len(lines):
        raise ConfigError(
            f"{task.protocol.id} has {len(lines)} problems of {task.id}; got {count}."
        )
    values = np.array([line[1:] for line in lines[:count]], dtype=float)
    strata, starts, goals = np.split(values, [1, 3], axis=1)
    if task.maze.suite.has_velocity:
        starts = np.concatenate([starts, np.zeros_like(starts)], axis=1)
    return Problems(starts, goals, strata[:, 0].astype(int))


@lru_cache(maxsize=1)
def _frozen_list(protocol: Protocol) -> list[list[str]]:
    """Rows of task, stratum, start and goal."""
    content = resources.files(__package__).joinpath(f"{protocol.id}.csv").read_bytes()
    if hashlib.sha256(content).hexdigest() != protocol.frozen:
        raise DataError(
            f"The shipped list of problems of {protocol.id} was modified: its sha256 differs. "
            "Install dfplan again."
        )
    return list(csv.reader(content.decode().splitlines()[1:]))
