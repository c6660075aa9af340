"""Playing the stock episodes of any suite: its own starts, goals, noise and end."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from scipy import stats
from tqdm import tqdm

from dfplan.envs.maze_env import MazeEnv
from dfplan.envs.suites import make
from dfplan.errors import ConfigError, require_numbers, unknown_name
from dfplan.evaluation.protocols import Split
from dfplan.evaluation.rollout import Actor
from dfplan.mazes import Maze, parse_maze

_SPLITS: tuple[Split, ...] = ("test", "validation")


@dataclass(frozen=True)
class Episodes:
    """n finished episodes.

    Attributes:
        name: the suite, or the maze that was played.
        tasks: which of the suite's own tasks each was, from 1; 0 where it has none. Int [n].
        success: whether its goal was reached at any step, bool [n].
        steps: until the goal was first reached, or else all that were played; int [n].
        played: all steps that were played, those after it included; int [n].
        returns: the sum of its rewards, float [n].
        observations: at reset; position, and velocity where the suite has one; float [n, 4] or
            [n, 2].
        goals: float [n, 2].
        paths: positions that were visited, the start first, of each task's first episode.
        seconds: wall time of all episodes.
        policy_seconds: how much of it the policy took.
    """

    name: str
    tasks: np.ndarray
    success: np.ndarray
    steps: np.ndarray
    played: np.ndarray
    returns: np.ndarray
    observations: np.ndarray
    goals: np.ndarray
    paths: tuple[np.ndarray, ...]
    seconds: float
    policy_seconds: float

    def __len__(self) -> int:
        return len(self.success)

    def text(self) -> str:
        """A line for all, and one for each task where there are any."""
        low, high = success_interval(self.success)
        lines = [
            f"{self.name}: {len(self)} episodes, success {self.success.mean():.1%} "
            f"(95% interval {low:.1%} to {high:.1%}), return {self.returns.mean():.1f}"
        ]
        for task in np.unique(self.tasks[self.tasks > 0]):
            of_it = self.tasks == task
            lines.append(f"task {task}: success {self.success[of_it].mean():.1%}")
        if self.success.any():
            lines.append(
                f"steps to the goal, where it was reached: {self.steps[self.success].mean():.0f}"
            )
        lines.append(f"policy {1e3 * self.policy_seconds / self.played.sum():.2f} ms a step")
        return "\n".join(lines)


def success_interval(success: np.ndarray) -> tuple[float, float]:
    """Wilson's 95% interval of the share of ``success`` [n]."""
    interval = stats.binomtest(int(success.sum()), len(success)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def suite_for(known: str | None, asked: str | Maze | None) -> Maze | str:
    """What to play with a planner whose data is of the maze ``known``: that, unless asked other.

    Raises:
        ConfigError: neither is known, or they lie in different frames.
    """
    if known is None:
        if asked is None:
            raise ConfigError("The planner does not say what maze it is of; name the environment.")
        return asked
    maze = parse_maze(known)
    if asked is None:
        return maze
    frame = make(asked).maze.frame
    if frame is not maze.frame:
        raise ConfigError(
            f"The planner's data is in the frame {maze.frame.name!r}, and the environment's is "
            f"{frame.name!r}, so its positions mean other places. Play a maze of the planner's."
        )
    return asked


def play(
    policy: Actor,
    suite: str | Maze,
    episodes: int,
    *,
    split: Split = "test",
    seed: int = 0,
    progress: bool = True,
) -> Episodes:
    """Play ``episodes`` episodes of each of the suite's tasks, or of the suite where it has none.

    An episode's start, goal and chances come from the split, the seed, its task and its number, so
    every policy meets the same. All episodes of a task go in step, one batched call of the policy
    a step; one that is over waits at its goal, and costs nothing.

    Args:
        policy: reset before each task.
        suite: a name that :func:`dfplan.envs.suites.make` knows, or a maze.
        episodes: of each task.
        split: whatever is tuned is tuned on ``validation``; only ``test`` is reported.
        seed: of the episodes and of the policy.
        progress: whether to show a bar.

    Raises:
        ConfigError: an unknown suite or split, or no episodes.
    """
    if split not in _SPLITS:
        raise unknown_name("split", split, _SPLITS)
    if episodes < 1:
        raise ConfigError(f"The number of episodes must be at least 1; got {episodes}.")
    require_numbers({"seed": seed}, whole=True, least=0)
    began = time.perf_counter()
    environments = [make(suite) for _ in range(episodes)]
    tasks = range(1, environments[0].tasks + 1) if environments[0].tasks else range(1)
    played = []
    with tqdm(
        total=len(tasks) * episodes, desc=environments[0].name, unit="episode", disable=not progress
    ) as bar:
        for task in tasks:
            key = (seed, _SPLITS.index(split), task)
            seeds = np.random.SeedSequence(key).generate_state(episodes).tolist()
            played.append(_play_task(policy, environments, task, seeds, seed, bar))
    for environment in environments:
        environment.close()
    fields = [np.concatenate(parts) for parts in zip(*(each[:6] for each in played), strict=True)]
    success, steps, all_steps, returns, observations, goals = fields
    return Episodes(
        name=environments[0].name,
        tasks=np.repeat(np.array(tasks), episodes),
        success=success,
        steps=steps,
        played=all_steps,
        returns=returns,
        observations=observations,
        goals=goals,
        paths=tuple(each[6] for each in played),
        seconds=time.perf_counter() - began,
        policy_seconds=sum(each[7] for each in played),
    )


def _play_task(
    policy: Actor,
    environments: list[MazeEnv],
    task: int,
    seeds: list[int],
    seed: int,
    bar: tqdm[None],
) -> tuple[
    np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float
]:
    """As :class:`Episodes` has them: success to goals, the first path, the policy's seconds."""
    options = {"task": task} if task else {}
    resets = [
        environment.reset(seed=own, options=options)
        for environment, own in zip(environments, seeds, strict=True)
    ]
    observations = np.array([observation["observation"] for observation, _ in resets])
    goals = np.array([observation["desired_goal"] for observation, _ in resets])
    starts = observations.copy()
    success = np.array([info["success"] for _, info in resets])
    steps, returns = np.zeros(len(seeds), dtype=int), np.zeros(len(seeds))
    played = np.zeros(len(seeds), dtype=int)
    running, path, policy_seconds = np.ones(len(seeds), dtype=bool), [starts[0, :2]], 0.0
    policy.reset(seed)
    while running.any():
        asked = time.perf_counter()
        actions = policy.act(observations, goal=goals)
        policy_seconds += time.perf_counter() - asked
        for row in np.flatnonzero(running):
            observation, reward, terminated, truncated, info = environments[row].step(actions[row])
            observations[row] = observation["observation"]
            played[row] += 1
            steps[row] += not success[row]
            success[row] |= info["success"]
            returns[row] += reward
            if row == 0:
                path.append(observations[0, :2].copy())
            if terminated or truncated:
                running[row] = False
                bar.update()
                # Where a plan ends there is nothing left to plan.
                observations[row] = 0.0
                observations[row, :2] = goals[row]
    return success, steps, played, returns, starts, goals, np.array(path), policy_seconds
