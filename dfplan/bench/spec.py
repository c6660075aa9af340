"""What a worker process runs: one method on one task with one training seed, and its trackers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dfplan.bench.methods import named_method, tracker_checkpoint
from dfplan.bench.records import EpisodeRecord, RunHeader, RunName
from dfplan.errors import require_numbers
from dfplan.evaluation.bounds import steps_needed
from dfplan.evaluation.episodes import GROUP_SIZE, EpisodeBatch
from dfplan.evaluation.protocols import Problems, Split, Task, named_task, problems


@dataclass(frozen=True)
class RunSpec:
    """What one worker process runs: a run for each tracker.

    Attributes:
        seed: training seed.
        split: of the problems.
        checkpoints: folders to search for checkpoints that are not shipped.
        timeout: seconds that one call of the method may take, for a whole group of episodes.
        command: the command line that started the benchmark, for the provenance.
    """

    task_id: str
    method: str
    trackers: tuple[str, ...]
    seed: int = 0
    episodes: int = GROUP_SIZE
    split: Split = "test"
    checkpoints: tuple[str, ...] = ()
    timeout: float = 600.0
    command: str = "dfplan bench"

    def __post_init__(self) -> None:
        require_numbers(vars(self), "seed", integer=True, minimum=0)
        require_numbers(vars(self), "episodes", integer=True, minimum=1)
        require_numbers(vars(self), "timeout", above=0)

    @cached_property
    def task(self) -> Task:
        return named_task(self.task_id, self.split)

    @cached_property
    def problems(self) -> Problems:
        return problems(self.task, self.episodes)

    @cached_property
    def steps_needed(self) -> np.ndarray:
        """Lower bound on the steps to the goal of each problem, int [n]."""
        return steps_needed(self.task.maze, self.problems.starts, self.problems.goals)

    @property
    def folders(self) -> list[Path]:
        return [Path(folder) for folder in self.checkpoints]

    @cached_property
    def checkpoint(self) -> Path | None:
        """The method's checkpoint; see :meth:`dfplan.bench.methods.Method.checkpoint`."""
        return named_method(self.method).checkpoint(self.task, self.seed, self.folders)

    def header(self, tracker: str) -> RunHeader:
        """Return the header of the run with a tracker."""
        name = RunName(self.task.protocol.id, self.task_id, self.method, tracker, self.seed)
        model = self.checkpoint or named_method(self.method).source_file
        tracker_model = tracker_checkpoint(tracker, self.task, self.folders)
        digests = _digest(model), _digest(tracker_model)
        return RunHeader(name, self.episodes, self.split, self.problems.digest, *digests)

    def records(self, batch: EpisodeBatch, first: int) -> list[EpisodeRecord]:
        """Return the records of a batch of episodes, the first of which has the index ``first``."""
        index = slice(first, first + len(batch))
        needed, to_goal, returns = self.steps_needed[index], batch.steps_to_goal, batch.returns
        scores = self.task.scores(returns, to_goal, needed)
        bounds = self.task.upper_bound(needed)
        limit = self.task.max_steps
        return [
            EpisodeRecord(
                episode=first + row,
                stratum=int(batch.problems.strata[row]),
                start=tuple(batch.problems.starts[row].tolist()),
                goal=tuple(batch.problems.goals[row].tolist()),
                score=float(scores[row]),
                upper_bound=float(bounds[row]),
                episode_return=float(returns[row]),
                latched_return=float(limit + 1 - to_goal[row]),
                steps_to_goal=int(to_goal[row]) if to_goal[row] <= limit else None,
                steps=int(steps),
                success_any=bool(to_goal[row] <= limit),
                success_last=bool(steps and batch.rewards[row, steps - 1] > 0),
                error=batch.errors[row],
            )
            for row, steps in enumerate(batch.steps)
        ]


def failed_episodes(task: Task, problems: Problems, error: str) -> EpisodeBatch:
    """Return episodes without a step, with an error."""
    count, starts = len(problems), task.maze.suite.observation.positions(problems.starts)
    return EpisodeBatch(
        task=task,
        problems=problems,
        rewards=np.zeros((count, task.max_steps), dtype=np.float32),
        positions=np.repeat(starts[:, None], task.max_steps + 1, axis=1),
        steps=np.zeros(count, dtype=int),
        errors=(error,) * count,
        seconds=0.0,
        policy_seconds=0.0,
        environment_seconds=0.0,
    )


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
