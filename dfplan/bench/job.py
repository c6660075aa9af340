"""Cells: one planner on one task, with any number of trackers, in a process of its own.

A process (:mod:`dfplan.bench.worker`) has one thread, so that its numbers depend on nothing
beside it; its memory is its own; and it can be ended where a planner hangs: who started it watches
a file that it touches at every call of the planner.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dfplan.bench.methods import named_contender, tracker_checkpoint
from dfplan.bench.processes import started
from dfplan.bench.provenance import provenance
from dfplan.bench.records import (
    CellName,
    Cost,
    EpisodeRow,
    Head,
    aside_text,
    read_rows,
    rows_text,
)
from dfplan.errors import DfplanError, require_numbers
from dfplan.evaluation.bounds import steps_needed
from dfplan.evaluation.episodes import GROUP, Rollouts
from dfplan.evaluation.protocols import Problems, Split, Task, named_task, problems
from dfplan.files import scratch_folder

BEAT = "beat"
"""The file that a process touches at every call of the planner."""

BROKEN = "broken"
"""The file that a process leaves which ends by an error that is not its planner's."""

SCRATCH = "dfplan-job-"
"""How the name of a process's folder begins, in the folder for temporary files."""

_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
_POLL = 0.2
_STARTING_UP = 120.0  # seconds more for imports, loading and bounds


@dataclass(frozen=True)
class Job:
    """What one process plays: a cell for each tracker.

    Attributes:
        task: id of a task.
        planner: name of a contender.
        trackers: names of trackers.
        seed: of the training.
        episodes: how many.
        split: which problems.
        checkpoints: folders in which to look for what is not shipped.
        limit: seconds that one call of the planner may take, for a whole group of episodes.
        command: what the benchmark was started by.
    """

    task: str
    planner: str
    trackers: tuple[str, ...]
    seed: int = 0
    episodes: int = GROUP
    split: Split = "test"
    checkpoints: tuple[str, ...] = ()
    limit: float = 600.0
    command: str = "dfplan bench"

    def __post_init__(self) -> None:
        require_numbers(vars(self), "seed", whole=True, least=0)
        require_numbers(vars(self), "episodes", whole=True, least=1)
        require_numbers(vars(self), "limit", above=0)

    @cached_property
    def played(self) -> Task:
        """The task on its split."""
        return named_task(self.task, self.split)

    @cached_property
    def problems(self) -> Problems:
        """What is posed."""
        return problems(self.played, self.episodes)

    @cached_property
    def needed(self) -> np.ndarray:
        """The first step at which any policy could be at the goal of each problem, int [n]."""
        task = self.played
        return steps_needed(task.maze, self.problems.starts, self.problems.goals)

    @property
    def folders(self) -> list[Path]:
        """:attr:`checkpoints` as paths."""
        return [Path(folder) for folder in self.checkpoints]

    @cached_property
    def checkpoint(self) -> Path | None:
        """The planner's; see :meth:`dfplan.bench.methods.Contender.checkpoint`."""
        return named_contender(self.planner).checkpoint(self.played, self.seed, self.folders)

    def head(self, tracker: str) -> Head:
        """The first line of the cell with that tracker."""
        name = CellName(self.played.protocol.id, self.task, self.planner, tracker, self.seed)
        model = self.checkpoint or named_contender(self.planner).code
        follows = tracker_checkpoint(tracker, self.played, self.folders)
        digests = _digest(model), _digest(follows)
        return Head(name, self.episodes, self.split, self.problems.digest, *digests)

    def rows(self, rollouts: Rollouts, first: int) -> list[EpisodeRow]:
        """What is kept of episodes, those from number ``first`` on."""
        which = slice(first, first + len(rollouts))
        needed, touch, returns = self.needed[which], rollouts.first_touch, rollouts.returns
        scores = self.played.scores(returns, touch, needed)
        most = self.played.most(needed)
        limit = self.played.max_steps
        return [
            EpisodeRow(
                episode=first + row,
                part=int(rollouts.problems.parts[row]),
                start=tuple(rollouts.problems.starts[row].tolist()),
                goal=tuple(rollouts.problems.goals[row].tolist()),
                score=float(scores[row]),
                most=float(most[row]),
                reward=float(returns[row]),
                latched=float(limit + 1 - touch[row]),
                first_touch=int(touch[row]) if touch[row] <= limit else None,
                steps=int(steps),
                success_any=bool(touch[row] <= limit),
                success_last=bool(steps and rollouts.rewards[row, steps - 1] > 0),
                fault=rollouts.faults[row],
            )
            for row, steps in enumerate(rollouts.steps)
        ]


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Files:
    """The two files of a cell, not yet written: see :mod:`dfplan.bench.records`."""

    name: CellName
    rows: str
    aside: str


class LostCellError(DfplanError):
    """The process of a job has died, and nothing of its cells is kept."""


def not_played(task: Task, posed: Problems, fault: str) -> Rollouts:
    """Episodes that came to nothing for a reason."""
    count = len(posed)
    return Rollouts(
        task=task,
        problems=posed,
        rewards=np.zeros((count, task.max_steps), dtype=np.float32),
        positions=np.repeat(posed.starts[:, None, :2], task.max_steps + 1, axis=1),
        steps=np.zeros(count, dtype=int),
        faults=(fault,) * count,
        seconds=0.0,
        policy_seconds=0.0,
        environment_seconds=0.0,
    )


def run(job: Job) -> list[Files]:
    """Play a job in a process of its own.

    A planner that raises is asked again for each episode of its group alone, so that the fault is
    that of the episodes in which it raises. One that hangs is ended with all that it has started,
    and all episodes that were not over are its fault; so they are where a user's own planner ends
    the process.

    Raises:
        LostCellError: the process has died of something else.
    """
    with scratch_folder(tempfile.gettempdir(), SCRATCH) as folder:
        folder.chmod(0o700)  # nobody else is to read what a planner prints
        (folder / BEAT).touch()
        errors = folder / "errors"
        command = [sys.executable, "-m", "dfplan.bench.worker", json.dumps(asdict(job))]
        command += [str(folder), str(os.getpid())]
        # One thread from the start: some libraries read these when they are imported.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with (
            errors.open("w") as log,
            started(command, output=log, environment=environment) as process,
        ):
            ended = _wait(process, folder / BEAT, job.limit)
        if not ended:
            return _unfinished(job, folder, f"a call took longer than {job.limit:g} s")
        ended_early = not all((folder / f"{i}.json").exists() for i in range(len(job.trackers)))
        code = process.returncode
        if code or ended_early:  # a planner may end it with any code
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            is_own = named_contender(job.planner).is_own
            if is_own and code not in _FROM_OUTSIDE and not (folder / BROKEN).exists():
                return _unfinished(job, folder, f"it ended its process with {how}")
            said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise LostCellError(
                f"{job.task}, {job.planner}, seed {job.seed} is lost: its process ended with {how}"
                f"{': ' + said[-1] if said else ''}. Run the same command again: it computes what "
                "is missing, and nothing else."
            )
        return [
            Files(
                job.head(tracker).name,
                (folder / f"{index}.jsonl").read_text(encoding="utf-8"),
                (folder / f"{index}.json").read_text(encoding="utf-8"),
            )
            for index, tracker in enumerate(job.trackers)
        ]


def _wait(process: subprocess.Popen[bytes], beat: Path, limit: float) -> bool:
    """Wait for the process to end; False where it has been silent for longer than ``limit``."""
    first = last = beat.stat().st_mtime_ns
    heard = time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL)
        now = beat.stat().st_mtime_ns
        if now != last:
            last, heard = now, time.monotonic()
        if time.monotonic() - heard > (limit if last != first else limit + _STARTING_UP):
            return False
    return True


def _unfinished(job: Job, folder: Path, fault: str) -> list[Files]:
    """What is kept of a job that its planner has cut short: the episodes before it, and faults."""
    aside = aside_text(Cost(), [], provenance(job.command, 0.0))
    files = []
    for index, tracker in enumerate(job.trackers):
        head, path = job.head(tracker), folder / f"{index}.jsonl"
        done = read_rows(path) if path.exists() else []
        rest = job.problems.rows(slice(len(done), None))
        lost = job.rows(not_played(job.played, rest, fault), len(done)) if len(rest) else []
        own = path.with_suffix(".json")
        text = own.read_text(encoding="utf-8") if own.exists() else aside
        files.append(Files(head.name, rows_text(head, [*done, *lost]), text))
    return files
