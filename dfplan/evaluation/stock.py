"""A suite's stock episodes, or those of a maze of one's own: a look at one planner."""

from __future__ import annotations

import numpy as np

from dfplan.envs.make import make
from dfplan.errors import ConfigError, require_numbers
from dfplan.evaluation.episodes import Rollouts
from dfplan.evaluation.protocols import Problems, Protocol, Task, problems
from dfplan.evaluation.statistics import wilson
from dfplan.mazes import Maze, parse_maze

STOCK = Protocol(
    "stock",
    "The environment's own starts, goals and end.",
    "the true sum of rewards",
    "return",
    "return",
    episodes=50,
)
"""How they are played and counted."""


def stock(
    known: str | None, asked: str | Maze | None, episodes: int, seed: int
) -> tuple[Task, Problems]:
    """What to play with a planner whose data is of the maze ``known``: that, unless asked other.

    Args:
        known: the maze as text, of a planner's ``maze``.
        asked: a name that :func:`dfplan.envs.make.make` knows, or a maze.
        episodes: of each of the suite's tasks, or of the suite where it has none.
        seed: another one draws other episodes.

    Raises:
        ConfigError: neither is known, or they lie in different frames.
    """
    if known is None and asked is None:
        raise ConfigError("The planner does not say what maze it is of; name the environment.")
    environment = make(known if asked is None else asked)  # type: ignore[arg-type]
    environment.close()
    if known is not None and environment.maze.suite is not (maze := parse_maze(known)).suite:
        raise ConfigError(
            f"The planner's data is in the frame {maze.suite.name!r}, and the environment's is "
            f"{environment.maze.suite.name!r}, so its positions mean other places. Play a maze of "
            "the planner's."
        )
    task = Task(
        id=environment.name,
        protocol=STOCK,
        environment=environment.maze if asked is None else asked,
        maze=environment.maze,
        data=environment.name,
        max_steps=environment.max_steps,
    )
    require_numbers({"episodes": episodes}, whole=True, least=1)
    return task, problems(task, episodes * max(1, environment.tasks), seed)


def summary(played: Rollouts) -> str:
    """A line for all, and one for each of the suite's tasks where there are any."""
    share = wilson(played.success[None])
    lines = [
        f"{played.task.id}: {len(played)} episodes, success {share.value:.1%} (95% interval "
        f"{share.low:.1%} to {share.high:.1%}), return {played.returns.mean():.1f}"
    ]
    parts = played.problems.parts
    for part in np.unique(parts[parts > 0]):
        lines.append(f"task {part}: success {played.success[parts == part].mean():.1%}")
    if played.success.any():
        touch = played.first_touch[played.success].mean()
        lines.append(f"steps to the goal, where it was reached: {touch:.0f}")
    faulty = [fault for fault in played.faults if fault is not None]
    if faulty:
        lines.append(f"{len(faulty)} episodes in which {faulty[0]}")
    steps = max(1, int(played.steps.sum()))  # a policy may have been ended before its first
    lines.append(f"policy {1e3 * played.policy_seconds / steps:.2f} ms a step")
    return "\n".join(lines)
