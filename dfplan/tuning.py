"""Settings of a checkpoint that are chosen on validation problems, which no table scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dfplan.errors import ConfigError
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import TASKS, Task, problems
from dfplan.evaluation.statistics import paired_difference
from dfplan.mazes import parse_maze
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner
from dfplan.pretrained import checkpoint_path, load
from dfplan.tokens.free_region import Clearance
from dfplan.training.checkpoint import Checkpoint

_CONTACTS = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0)
_EDGES = (-1.0, -0.5, 0.0, 1.0, 2.0, 3.0)


def tune_clearance(path: str | Path, episodes: int = 100) -> Clearance | None:
    """Choose the clearance of a checkpoint and store it there.

    Args:
        path: a checkpoint of a planner, or the folder of its training.
        episodes: of each task.

    Returns:
        What was chosen; None if no suite has the checkpoint's maze, and nothing was changed.

    Raises:
        ConfigError: the checkpoint is not that of a planner by Diffusion Forcing.
    """
    path = checkpoint_path(path)
    planner = load(path)
    if not isinstance(planner, ForcingPlanner):
        raise ConfigError(
            f"Only plans of a ForcingPlanner keep a clearance; {path} is a "
            f"{type(planner).__name__}. Pass a checkpoint that was trained by Diffusion Forcing."
        )
    tasks = validation_tasks(planner.maze)
    if not tasks:
        return None
    clearance = choose_clearance(planner, tasks, episodes)
    checkpoint = Checkpoint.load(path)
    statistics = replace(checkpoint.statistics, clearance=clearance)
    replace(checkpoint, statistics=statistics).save(path)
    return clearance


def validation_tasks(maze: str | None) -> list[Task]:
    """The tasks with validation problems in a suite's maze, given as text; one for each kind."""
    if maze is None:
        return []
    walls = parse_maze(maze).text  # a name, if it is a suite's own
    tasks = {
        (task.environment, task.random_goals): task.with_split("validation")
        for task in TASKS.values()
        if task.protocol.frozen is None and task.maze.text == walls
    }
    return list(tasks.values())


def choose_clearance(
    planner: ForcingPlanner, tasks: Sequence[Task], episodes: int = 100
) -> Clearance:
    """Choose how far plans stay from what may be a wall.

    First the distance from contacts is chosen, then that from the edge of the visited region. Of
    the distances whose scores are not significantly below the best, the largest is taken, since a
    body that touches no wall is safer.

    Args:
        planner: with the statistics of its data.
        tasks: with validation problems.
        episodes: of each task.
    """
    steps = tqdm(total=len(_CONTACTS) + len(_EDGES), desc="clearance", unit="run")

    def largest_good(clearances: Iterator[Clearance]) -> Clearance:
        choices = list(clearances)
        scores = []
        for choice in choices:
            scores.append(_scores(planner, choice, tasks, episodes))
            steps.update()
        best = max(scores, key=lambda values: float(values.mean()))
        good = [
            choice
            for choice, values in zip(choices, scores, strict=True)
            if values is best or paired_difference(best[None], values[None]).includes_zero
        ]
        return good[-1]

    with steps:
        chosen = largest_good(Clearance(contact=contact) for contact in _CONTACTS)
        return largest_good(replace(chosen, edge=edge) for edge in _EDGES)


def _scores(
    planner: ForcingPlanner, clearance: Clearance, tasks: Sequence[Task], episodes: int
) -> np.ndarray:
    """Scores of all episodes of all tasks."""
    statistics = replace(planner.model.statistics, clearance=clearance)
    planner = replace(planner, model=replace(planner.model, statistics=statistics))
    policy = Policy(planner, on_error="hold")
    batches = (
        run_episodes(policy, task, problems(task, episodes), progress=False).scores()
        for task in tasks
    )
    return np.array(list(chain.from_iterable(batches)))
