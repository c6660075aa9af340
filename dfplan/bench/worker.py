"""The process of a job: ``python -m dfplan.bench.worker JOB FOLDER PARENT``.

Writes ``<number>.jsonl`` and ``<number>.json`` into the folder, a pair for each of the job's
trackers, group by group, and ends with the process PARENT; see :mod:`dfplan.bench.job`.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfplan.bench.job import BEAT, BROKEN, Job, not_played
from dfplan.bench.methods import (
    TRACKERS,
    Made,
    follower,
    following,
    named_contender,
    tracker_checkpoint,
)
from dfplan.bench.processes import leave_with
from dfplan.bench.provenance import provenance
from dfplan.bench.records import Cost, Example, Quantiles, aside_text, rows_text
from dfplan.errors import ConfigError, ObservationError
from dfplan.evaluation.episodes import GROUP, Actor, Arena, Rollouts, joined
from dfplan.evaluation.protocols import Problems, Task
from dfplan.planning.policy import Policy
from dfplan.training.checkpoint import Checkpoint
from dfplan.types import Plan, Planner, Reward

HARDEST = 3
"""Problems whose plans are kept as examples: those whose way is longest."""

_FEWEST_TIMED, _MOST_TIMED, _TIMED_SECONDS = 3, 20, 10.0
_EVERY = 4  # of the steps of a path that is kept
_AFTERWARDS = 50  # steps that it goes on at the goal
_LONGEST_MESSAGE = 200
_SHORT = 0.05  # seconds by which a call may seem to have begun earlier than it has


def play(job: Job, folder: Path) -> None:
    """Play a job in this process; its cells' files go into ``folder``."""
    torch.set_num_threads(1)
    beat = folder / BEAT
    _ = job.needed  # before the first beat, from which on silence is the planner's
    arena = Arena(job.played, min(GROUP, job.episodes))
    contender = named_contender(job.planner)
    os.utime(beat)
    made: Made | Exception
    try:
        made = contender.make(job.played, job.seed, job.checkpoint)
    except Exception as error:
        if not contender.is_own:
            raise
        made = error  # whatever a user's own does, it belongs to its rows
    plans = FirstPlans(made) if isinstance(made, Planner) else None
    cells = []
    for index, tracker in enumerate(job.trackers):
        if isinstance(made, Planner):  # one that is missing is no fault of the planner's
            tracker_checkpoint(following(made, tracker), job.played, job.folders)
        path, began = folder / f"{index}.jsonl", time.perf_counter()
        path.write_text(rows_text(job.head(tracker), []), encoding="utf-8")
        step: Quantiles | None = None
        try:
            actor = _actor(job, made, plans, tracker)
            alone = Watched(_actor(job, made, made, tracker), beat)
        except Exception as error:
            if not contender.is_own:
                raise
            played = not_played(job.played, job.problems, _said(error))
            examples: list[Example] = []
            _append(path, job, played, 0)
        else:
            played, examples = _episodes(job, arena, Watched(actor, beat), plans, path)
            if not any(played.faults):
                with suppress(Exception):  # the episodes are over, and none of them is to blame
                    arena.play(alone, job.problems.rows([0]), 0)
                    step = _quantiles(alone.seconds)
        cost = Cost(
            step=step,
            peak_bytes=_peak_bytes(),
            seconds=played.seconds,
            policy_seconds=played.policy_seconds,
            environment_seconds=played.environment_seconds,
        )
        source = provenance(job.command, time.perf_counter() - began)
        cells.append((path.with_suffix(".json"), cost, examples, source))
    # Last, for how often it is asked depends on the clock, and one that draws from a generator of
    # its own would not draw the same in its episodes.
    common = _trained(job) | (_planned(job, made, beat) if isinstance(made, Planner) else {})
    for path, cost, examples, source in cells:
        text = aside_text(replace(cost, **common), examples, source)
        path.write_text(text, encoding="utf-8")


class Watched:
    """A policy at whose calls a file is touched, and whose errors are known as its own.

    Attributes:
        seconds: of each call of ``act``.
        raised: the error that its last call raised, or None.
    """

    def __init__(self, actor: Actor, beat: Path) -> None:
        self._actor = actor
        self._beat = beat
        self._touched = -math.inf
        self.seconds: list[float] = []
        self.raised: Exception | None = None

    def reset(self, seed: int | None = None) -> None:
        """See :class:`~dfplan.evaluation.episodes.Actor`."""
        self._touch()
        try:
            self._actor.reset(seed)
        except Exception as error:
            self.raised = error
            raise

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """See :class:`~dfplan.evaluation.episodes.Actor`."""
        self._touch()
        # What a policy of one's own does to its arguments is not to reach the episode.
        observation, goal = observation.copy(), None if goal is None else goal.copy()
        began = time.perf_counter()
        try:
            actions = np.asarray(self._actor.act(observation, goal=goal))
            if actions.dtype.kind not in "fiu":
                raise ObservationError(f"Expected actions that are numbers; got {actions.dtype}.")
        except Exception as error:
            self.raised = error
            raise
        self.seconds.append(time.perf_counter() - began)
        return actions

    def _touch(self) -> None:
        now = time.perf_counter()
        if now - self._touched > _SHORT:  # a call to the file system costs as much as a fast policy
            self._touched = now
            os.utime(self._beat)


class FirstPlans:
    """A planner that remembers the first plans of each group, to be driven by every tracker.

    Attributes:
        first: the plan that was first asked for since :meth:`begin`.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._known: dict[tuple[bytes, bytes, int | None], Plan] = {}
        self.first: Plan | None = None

    def begin(self) -> None:
        """Another group."""
        self.first = None

    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Plan:
        """See :class:`~dfplan.types.Planner`."""
        if self.first is not None:
            return self._planner.plan(observation, goal, reward=reward, horizon=horizon, seed=seed)
        key = observation.tobytes(), b"" if goal is None else goal.tobytes(), seed
        if key not in self._known:
            self._known[key] = self._planner.plan(
                observation, goal, reward=reward, horizon=horizon, seed=seed
            )
        self.first = self._known[key]
        return self.first


def _actor(job: Job, made: Made | Exception, planner: Any, tracker: str) -> Actor:
    """The policy that follows the plans of ``planner``; ``made`` itself where it is a policy."""
    if isinstance(made, Exception):
        raise made
    if isinstance(made, Planner):
        follow = follower(made, tracker, job.played, job.folders)
        return Policy(planner, follow, tolerance=named_contender(job.planner).tolerance)
    if not (callable(getattr(made, "act", None)) and callable(getattr(made, "reset", None))):
        raise ConfigError(
            "expected a planner with plan(observation, goal, *, reward, horizon, seed) or a "
            f"policy with reset(seed) and act(observation, goal); got {type(made).__name__}"
        )
    if tracker in TRACKERS:
        raise ConfigError("a policy needs no tracker; leave it out")
    return made


def _episodes(
    job: Job, arena: Arena, actor: Watched, plans: FirstPlans | None, path: Path
) -> tuple[Rollouts, list[Example]]:
    """All episodes, and those of the hardest problems as examples."""
    hardest = np.argsort(-job.needed, kind="stable")[:HARDEST].tolist()
    parts, examples = [], {}
    for first in range(0, job.episodes, GROUP):
        group = job.problems.rows(slice(first, first + GROUP))
        if plans is not None:
            plans.begin()
        part = _group(job.played, arena, actor, group, first)
        _append(path, job, part, first)
        plan = None if plans is None else plans.first
        for episode in hardest:
            if 0 <= episode - first < len(group):
                examples[episode] = _example(part, plan, episode - first, episode)
        parts.append(part)
    return joined(parts, job.problems), [examples[episode] for episode in hardest]


def _group(task: Task, arena: Arena, actor: Watched, group: Problems, seed: int) -> Rollouts:
    try:
        return arena.play(actor, group, seed)
    except Exception as error:
        # Anything else is not the policy's fault. Actions of a wrong shape are.
        if error is not actor.raised and not isinstance(error, ObservationError):
            raise
        if len(group) == 1:
            return not_played(task, group, _said(error))
    rows = range(len(group))
    alone = [_group(task, arena, actor, group.rows([row]), seed + row) for row in rows]
    return joined(alone, group)


def _append(path: Path, job: Job, part: Rollouts, first: int) -> None:
    lines = (json.dumps(asdict(row), allow_nan=False) + "\n" for row in job.rows(part, first))
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def _example(part: Rollouts, plan: Plan | None, row: int, episode: int) -> Example:
    until = min(int(part.steps[row]), int(part.first_touch[row]) + _AFTERWARDS)
    path = part.positions[row, : until + 1 : _EVERY]
    points = None
    with suppress(Exception):  # a plan of one's own may hold anything
        # A group that was asked for one by one has no plan in common.
        if plan is not None and len(plan) == len(part):
            line = plan.points[row, : 1 + -(-int(plan.steps[row]) // plan.stride)]
            if np.isfinite(line).all():
                points = line.astype(float).round(3).reshape(-1, 2).tolist()
    return Example(episode, points, path.astype(float).round(3).tolist())


def _trained(job: Job) -> dict[str, Any]:
    """What the training cost, as fields of :class:`Cost`."""
    if job.checkpoint is None:
        return {}
    checkpoint = Checkpoint.load(job.checkpoint)
    training = checkpoint.training
    return {
        "parameters": sum(value.numel() for value in checkpoint.network.values()),
        "training_seconds": training["cpu_seconds"],
        "training_steps": training.get("step", training["steps"]),
    }


def _planned(job: Job, planner: Planner, beat: Path) -> dict[str, Any]:
    """What single plans cost, after one that is not counted; nothing where one raises."""
    seconds: list[float] = []
    evaluations: list[int] = []
    starts, goals = job.problems.starts, job.problems.goals
    began = time.perf_counter()
    try:
        for seed in range(-1, _MOST_TIMED):
            if seed >= _FEWEST_TIMED and time.perf_counter() - began > _TIMED_SECONDS:
                break
            os.utime(beat)
            asked, row = time.perf_counter(), max(seed, 0) % len(starts)
            plan = planner.plan(starts[row].copy(), goals[row].copy(), seed=max(seed, 0))
            if seed >= 0:
                seconds.append(time.perf_counter() - asked)
                evaluations.append(int(plan.evaluations))
    except Exception:  # a planner's fault shows in its rows
        return {}
    return {"plan": _quantiles(seconds), "evaluations": float(np.median(evaluations))}


def _quantiles(seconds: list[float]) -> Quantiles:
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99)).tolist()
    return Quantiles(p50, p95, p99, len(seconds))


def _peak_bytes() -> int:
    """The most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # where getrusage counts what the process that started this one held, too
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if peak is not None:
            return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _said(error: Exception) -> str:
    try:
        text = str(error).encode(errors="replace").decode()
    except Exception:  # a user's own error may fail to say what it is
        text = ""
    message = " ".join(text.split())[:_LONGEST_MESSAGE]
    return f"raised {type(error).__name__}" + (f": {message}" if message else "")


if __name__ == "__main__":
    leave_with(int(sys.argv[3]))
    given = json.loads(sys.argv[1])
    lists = {"trackers": tuple(given["trackers"]), "checkpoints": tuple(given["checkpoints"])}
    try:
        play(Job(**{**given, **lists}), Path(sys.argv[2]))
    except Exception:
        (Path(sys.argv[2]) / BROKEN).touch()
        raise
