"""A quick evaluation of one planner, on a suite's stock episodes or in a custom maze."""

from __future__ import annotations

import numpy as np

from dfplan.envs.make import make
from dfplan.errors import ConfigError, require_numbers
from dfplan.evaluation.episodes import EpisodeBatch
from dfplan.evaluation.protocols import Problems, Protocol, Task, problems
from dfplan.evaluation.statistics import wilson_interval
from dfplan.mazes import Maze, parse_maze

STOCK = Protocol(
    "stock",
    "The environment's own starts, goals and end of episode.",
    "the true sum of rewards",
    "return",
    "return",
    episodes=50,
)
"""The protocol of these episodes."""


def stock_task(
    data_maze: str | None, environment: str | Maze | None, episodes: int, seed: int
) -> tuple[Task, Problems]:
    """Choose a task and its problems for one planner.

    Args:
        data_maze: the maze of the planner's data as text, from its ``maze``.
        environment: a name that :func:`dfplan.envs.make.make` knows, or a maze; by default
            ``data_maze``.
        episodes: number of episodes for each of the suite's start-goal pairs, or in total if it
            has none.
        seed: of the problems.

    Raises:
        ConfigError: both mazes are missing, or they belong to different suites.
    """
    if data_maze is None and environment is None:
        raise ConfigError("The planner does not name its maze; name the environment.")
    env = make(data_maze if environment is None else environment)  # type: ignore[arg-type]
    env.close()
    if data_maze is not None and env.maze.suite is not (maze := parse_maze(data_maze)).suite:
        raise ConfigError(
            f"The planner's data is in the coordinates of the suite {maze.suite.name!r}, and the "
            f"environment uses those of {env.maze.suite.name!r}. Choose a maze of the planner's "
            "suite."
        )
    task = Task(
        id=env.name,
        protocol=STOCK,
        environment=env.maze if environment is None else environment,
        maze=env.maze,
        data=env.name,
        max_steps=env.max_steps,
    )
    require_numbers({"episodes": episodes}, integer=True, minimum=1)
    return task, problems(task, episodes * max(1, env.start_goal_pairs), seed)


def summarize(batch: EpisodeBatch) -> str:
    """Summarize episodes in one line, with further lines for start-goal pairs and errors."""
    rate = wilson_interval(batch.success[None])
    lines = [
        f"{batch.task.id}: {len(batch)} episodes, success {rate.value:.1%} (95% interval "
        f"{rate.low:.1%} to {rate.high:.1%}), return {batch.returns.mean():.1f}"
    ]
    strata = batch.problems.strata
    for stratum in np.unique(strata[strata > 0]):
        lines.append(f"pair {stratum}: success {batch.success[strata == stratum].mean():.1%}")
    if batch.success.any():
        steps = batch.steps_to_goal[batch.success].mean()
        lines.append(f"mean steps to the goal in successful episodes: {steps:.0f}")
    errors = [error for error in batch.errors if error is not None]
    if errors:
        lines.append(f"{len(errors)} episodes in which {errors[0]}")
    total = max(1, int(batch.steps.sum()))  # a policy may fail before its first step
    lines.append(f"policy {1e3 * batch.policy_seconds / total:.2f} ms per step")
    return "\n".join(lines)
