"""Settings of a checkpoint that are chosen on validation problems, which no table scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from dfplan.record import Record
from dfplan.tokens.free_region import Clearance
from dfplan.training.checkpoint import Checkpoint

_CONTACTS = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0)
_EDGES = (-1.0, -0.5, 0.0, 1.0, 2.0, 3.0)
"""Distances that are tried, in environment steps at top speed."""

_SLOWER = 1.05
"""With a clearance, a body may take this many times the steps that it takes without one."""


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
    planner = load_forcing(path)
    tasks = validation_tasks(planner.maze)
    if not tasks:
        return None
    clearance = choose_clearance(planner, tasks, episodes)
    checkpoint = Checkpoint.load(path)
    statistics = replace(checkpoint.statistics, clearance=clearance)
    replace(checkpoint, statistics=statistics).save(path)
    return clearance


def load_forcing(path: Path) -> ForcingPlanner:
    """Load a planner by Diffusion Forcing.

    Raises:
        ConfigError: the checkpoint is another one.
    """
    planner = load(path)
    if not isinstance(planner, ForcingPlanner):
        raise ConfigError(
            f"Only a ForcingPlanner has settings to choose and uncertainty to measure; {path} is a "
            f"{type(planner).__name__}. Pass a checkpoint that was trained by Diffusion Forcing."
        )
    return planner


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

    First the distance from contacts is chosen, then that from the edge of the visited region. The
    largest distance is taken whose score is not significantly below the best, and with which bodies
    arrive at most 5% later than without a clearance: a body that touches no wall is safer.

    Args:
        planner: with the statistics of its data.
        tasks: with validation problems.
        episodes: of each task.
    """
    bar = tqdm(total=len(_CONTACTS) + len(_EDGES), desc="clearance", unit="run")

    def run(clearance: Clearance) -> _Trial:
        trial = _Trial(clearance, *_episodes(planner, clearance, tasks, episodes))
        bar.update()
        return trial

    with bar:
        trials = [run(Clearance(contact=contact)) for contact in _CONTACTS]
        limit = _SLOWER * trials[0].steps  # that one has no clearance
        contact = _largest_good(trials, limit).contact
        return _largest_good([run(Clearance(edge, contact)) for edge in _EDGES], limit)


@dataclass(frozen=True)
class _Trial(Record):
    """What a clearance led to: the scores of all episodes, [N], and the mean steps to the goal."""

    clearance: Clearance
    scores: np.ndarray
    steps: float


def _largest_good(trials: Sequence[_Trial], limit: float) -> Clearance:
    """The last of the clearances that are good enough, with at most ``limit`` steps."""
    best = max((trial.scores for trial in trials), key=np.mean)
    good = [
        trial
        for trial in trials
        if trial.scores is best or paired_difference(best[None], trial.scores[None]).includes_zero
    ]
    fastest = min(good, key=lambda trial: trial.steps)
    return [trial.clearance for trial in good if trial.steps <= max(limit, fastest.steps)][-1]


def _episodes(
    planner: ForcingPlanner, clearance: Clearance, tasks: Sequence[Task], episodes: int
) -> tuple[np.ndarray, float]:
    """The scores of all episodes of all tasks, and the mean steps to the goal."""
    statistics = replace(planner.model.statistics, clearance=clearance)
    planner = replace(planner, model=replace(planner.model, statistics=statistics))
    policy = Policy(planner, on_error="hold")
    batches = [
        run_episodes(policy, task, problems(task, episodes), progress=False) for task in tasks
    ]
    scores = np.concatenate([batch.scores() for batch in batches])
    return scores, float(np.concatenate([batch.steps_to_goal for batch in batches]).mean())
