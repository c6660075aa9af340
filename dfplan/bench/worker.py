"""The worker process: ``python -m dfplan.bench.worker SPEC FOLDER PARENT``.

Writes ``<number>.jsonl`` and ``<number>.json`` into the folder for each of the spec's trackers,
group by group, and ends with the process PARENT; see :mod:`dfplan.bench.launcher`.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfplan.bench.launcher import CRASHED, HEARTBEAT
from dfplan.bench.methods import (
    TRACKERS,
    PlannerOrPolicy,
    make_tracker,
    named_method,
    resolve_tracker,
    tracker_checkpoint,
)
from dfplan.bench.provenance import provenance
from dfplan.bench.records import (
    Cost,
    EpisodeRecord,
    Example,
    Quantiles,
    episode_lines,
    episodes_text,
    metadata_text,
)
from dfplan.bench.spec import RunSpec, failed_episodes
from dfplan.errors import ConfigError, ObservationError
from dfplan.evaluation.episodes import (
    GROUP_SIZE,
    Actor,
    EpisodeBatch,
    EpisodeRunner,
    concatenate_episodes,
)
from dfplan.evaluation.protocols import Problems, Task
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.policy import Policy
from dfplan.processes import exit_with_parent
from dfplan.training.checkpoint import Checkpoint
from dfplan.types import Plan, Planner

EXAMPLES = 3
"""Number of stored example plans: those of the problems with the longest paths."""

_MIN_TIMED, _MAX_TIMED, _TIMED_SECONDS = 3, 20, 10.0
_PATH_STRIDE = 4  # steps between two stored positions of a path
_STEPS_AFTER_GOAL = 50  # stored steps after the goal was reached
_MAX_MESSAGE = 200
_TOUCH_INTERVAL = 0.05  # seconds


def run_worker(spec: RunSpec, folder: Path) -> None:
    """Run a spec in this process and write its files into ``folder``."""
    torch.set_num_threads(1)
    heartbeat = folder / HEARTBEAT
    _ = spec.steps_needed  # computed before the first heartbeat, which starts the method's timeout
    runner = EpisodeRunner(spec.task, min(GROUP_SIZE, spec.episodes))
    method = named_method(spec.method)
    os.utime(heartbeat)
    made: PlannerOrPolicy | Exception
    try:
        made = method.make(spec.task, spec.seed, spec.checkpoint)
    except Exception as error:
        if not method.is_plugin:
            raise
        made = error  # an error of a plugin is recorded for its episodes
    plans = PlanCache(made) if isinstance(made, Planner) else None
    results = []
    for index, tracker in enumerate(spec.trackers):
        if isinstance(made, Planner):  # a missing tracker is not an error of the planner
            tracker_checkpoint(resolve_tracker(made, tracker), spec.task, spec.folders)
        path, started = folder / f"{index}.jsonl", time.perf_counter()
        path.write_text(episodes_text(spec.header(tracker), []), encoding="utf-8")
        step: Quantiles | None = None
        try:
            actor = _make_actor(spec, made, plans, tracker)
            single = MonitoredPolicy(_make_actor(spec, made, made, tracker), heartbeat)
        except Exception as error:
            if not method.is_plugin:
                raise
            batch = failed_episodes(spec.task, spec.problems, _describe(error))
            examples: list[Example] = []
            _append(path, spec.records(batch, 0))
        else:
            policy = MonitoredPolicy(actor, heartbeat)
            batch, examples = _run_episodes(spec, runner, policy, plans, path)
            if not any(batch.errors):
                with suppress(Exception):  # the results are complete; only the timing is lost
                    runner.run(single, spec.problems.subset([0]), 0)
                    step = _quantiles(single.seconds)
        cost = Cost(
            step=step,
            peak_bytes=_peak_bytes(),
            seconds=batch.seconds,
            policy_seconds=batch.policy_seconds,
            environment_seconds=batch.environment_seconds,
        )
        source = provenance(spec.command, time.perf_counter() - started)
        results.append((path.with_suffix(".json"), cost, examples, source))
    # Plans are timed last. Their number depends on the clock, so a planner with a private random
    # generator would otherwise draw other numbers in its episodes.
    shared = _training_cost(spec)
    if isinstance(made, Planner):
        shared |= _time_plans(spec, made, heartbeat)
    for path, cost, examples, source in results:
        text = metadata_text(replace(cost, **shared), examples, source)
        path.write_text(text, encoding="utf-8")


class MonitoredPolicy:
    """Wraps a policy: times each call, keeps its errors, and updates a heartbeat file.

    Without a new heartbeat the launcher ends a call that hangs.

    Attributes:
        seconds: duration of each call of ``act``.
        error: the exception that its last call raised, if any.
    """

    def __init__(self, actor: Actor, heartbeat: Path) -> None:
        self._actor, self._heartbeat, self._last_touch = actor, heartbeat, -math.inf
        self.seconds: list[float] = []
        self.error: Exception | None = None

    def reset(self, seed: int | None = None) -> None:
        self._touch()
        try:
            self._actor.reset(seed)
        except Exception as error:
            self.error = error
            raise

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        self._touch()
        # A plugin that writes into its arguments must not change the episode.
        observation, goal = observation.copy(), None if goal is None else goal.copy()
        started = time.perf_counter()
        try:
            actions = np.asarray(self._actor.act(observation, goal=goal))
            if actions.dtype.kind not in "fiu":
                raise ObservationError(f"Expected actions that are numbers; got {actions.dtype}.")
        except Exception as error:
            self.error = error
            raise
        self.seconds.append(time.perf_counter() - started)
        return actions

    def _touch(self) -> None:
        now = time.perf_counter()
        if now - self._last_touch > _TOUCH_INTERVAL:  # touching costs as much as a fast policy
            self._last_touch = now
            os.utime(self._heartbeat)


class PlanCache(BasePlanner):
    """A planner that caches the first plan of each group, for use by several trackers.

    Attributes:
        planner: makes the plans.
        first: the first plan of the group, if there is one; set to None for the next group.
    """

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self._cache: dict[tuple[bytes, bytes, int | None], Plan] = {}
        self.first: Plan | None = None

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """Return the cached plan for these arguments, or make a new one."""
        if self.first is not None:
            return arguments.plan_with(self.planner)
        goal = b"" if arguments.goal is None else arguments.goal.tobytes()
        key = arguments.observation.tobytes(), goal, arguments.seed
        if key not in self._cache:
            self._cache[key] = arguments.plan_with(self.planner)
        self.first = self._cache[key]
        return self.first


def _make_actor(
    spec: RunSpec, made: PlannerOrPolicy | Exception, planner: Any, tracker: str
) -> Actor:
    """Return the policy that acts in the episodes of one tracker.

    ``made`` is what the method made, or the exception that it raised instead. If it is a planner,
    ``planner`` makes the plans: ``made`` or its cache.
    """
    if isinstance(made, Exception):
        raise made
    if isinstance(made, Planner):
        follow = make_tracker(made, tracker, spec.task, spec.folders)
        return Policy(planner, follow, tolerance=named_method(spec.method).tolerance)
    if not (callable(getattr(made, "act", None)) and callable(getattr(made, "reset", None))):
        raise ConfigError(
            "expected a planner with plan(observation, goal, *, reward, horizon, seed) or a "
            f"policy with reset(seed) and act(observation, goal); got {type(made).__name__}"
        )
    if tracker in TRACKERS:
        raise ConfigError("a policy needs no tracker; leave it out")
    return made


def _run_episodes(
    spec: RunSpec,
    runner: EpisodeRunner,
    policy: MonitoredPolicy,
    plans: PlanCache | None,
    path: Path,
) -> tuple[EpisodeBatch, list[Example]]:
    """Run all episodes and append them to ``path``; return them and the examples."""
    longest = np.argsort(-spec.steps_needed, kind="stable")[:EXAMPLES].tolist()
    batches, examples = [], {}
    for first in range(0, spec.episodes, GROUP_SIZE):
        group = spec.problems.subset(slice(first, first + GROUP_SIZE))
        if plans is not None:
            plans.first = None
        batch = _run_group(spec.task, runner, policy, group, first)
        _append(path, spec.records(batch, first))
        plan = None if plans is None else plans.first
        for episode in longest:
            if 0 <= episode - first < len(group):
                examples[episode] = _example(batch, plan, episode - first, episode)
        batches.append(batch)
    return concatenate_episodes(batches, spec.problems), [examples[each] for each in longest]


def _run_group(
    task: Task, runner: EpisodeRunner, policy: MonitoredPolicy, group: Problems, seed: int
) -> EpisodeBatch:
    """Run a group; if the policy raises, run each of its episodes alone."""
    try:
        return runner.run(policy, group, seed)
    except Exception as error:
        # Actions of a wrong shape are the policy's error, too. Any other error is not.
        if error is not policy.error and not isinstance(error, ObservationError):
            raise
        if len(group) == 1:
            return failed_episodes(task, group, _describe(error))
    single = [
        _run_group(task, runner, policy, group.subset([row]), seed + row)
        for row in range(len(group))
    ]
    return concatenate_episodes(single, group)


def _append(path: Path, records: list[EpisodeRecord]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(episode_lines(records))


def _example(batch: EpisodeBatch, plan: Plan | None, row: int, episode: int) -> Example:
    last = min(int(batch.steps[row]), int(batch.steps_to_goal[row]) + _STEPS_AFTER_GOAL)
    path = batch.positions[row, : last + 1 : _PATH_STRIDE]
    points = None
    with suppress(Exception):  # a plugin's plan may contain anything
        # If the episodes of a group ran alone, no plan is for the whole group.
        if plan is not None and len(plan) == len(batch):
            line = plan.points[row, : 1 + -(-int(plan.steps[row]) // plan.stride)]
            if np.isfinite(line).all():
                points = line.astype(float).round(3).reshape(-1, 2).tolist()
    return Example(episode, points, path.astype(float).round(3).tolist())


def _training_cost(spec: RunSpec) -> dict[str, Any]:
    """Cost of the training, as fields of :class:`Cost`; empty without a trained network."""
    if spec.checkpoint is None or not named_method(spec.method).trained:
        return {}
    checkpoint = Checkpoint.load(spec.checkpoint)
    training = checkpoint.training
    return {
        "parameters": sum(value.numel() for value in checkpoint.network.values()),
        "training_seconds": training["cpu_seconds"],
        "training_steps": training.get("step", training["steps"]),
    }


def _time_plans(spec: RunSpec, planner: Planner, heartbeat: Path) -> dict[str, Any]:
    """Cost of single plans, after one for warming up; empty if the planner raises."""
    seconds, evaluations = [], []
    starts, goals = spec.problems.starts, spec.problems.goals
    started = time.perf_counter()
    try:
        for seed in range(-1, _MAX_TIMED):
            if seed >= _MIN_TIMED and time.perf_counter() - started > _TIMED_SECONDS:
                break
            os.utime(heartbeat)
            before, row = time.perf_counter(), max(seed, 0) % len(starts)
            plan = planner.plan(starts[row].copy(), goals[row].copy(), seed=max(seed, 0))
            if seed >= 0:
                seconds.append(time.perf_counter() - before)
                evaluations.append(int(plan.evaluations))
    except Exception:  # errors of a planner are recorded for its episodes
        return {}
    return {"plan": _quantiles(seconds), "evaluations": float(np.median(evaluations))}


def _quantiles(seconds: list[float]) -> Quantiles:
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99)).tolist()
    return Quantiles(p50, p95, p99, len(seconds))


def _peak_bytes() -> int:
    """Peak memory of this process."""
    status = Path("/proc/self/status")
    text = status.read_text() if status.exists() else ""
    # getrusage would include the memory of the parent before exec.
    if peak := re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE):
        return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _describe(error: Exception) -> str:
    try:
        text = str(error).encode(errors="replace").decode()
    except Exception:  # a plugin's exception may fail to make its message
        text = ""
    message = " ".join(text.split())[:_MAX_MESSAGE]
    return f"raised {type(error).__name__}" + (f": {message}" if message else "")


if __name__ == "__main__":
    exit_with_parent(int(sys.argv[3]))
    arguments = json.loads(sys.argv[1])
    for key in ("trackers", "checkpoints"):
        arguments[key] = tuple(arguments[key])
    try:
        run_worker(RunSpec(**arguments), Path(sys.argv[2]))
    except Exception:
        (Path(sys.argv[2]) / CRASHED).touch()
        raise
