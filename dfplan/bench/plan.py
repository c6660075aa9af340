"""The benchmark: who plays what, what is left to be played, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from dfplan.bench.executor import LOCAL, missing, execute_runs
from dfplan.bench.job import RunSpec
from dfplan.bench.methods import (
    METHODS,
    NO_TRACKER,
    DEFAULT_TRACKER,
    TRACKERS,
    Method,
    named_method,
    tracker_checkpoint,
)
from dfplan.bench.plugins import require_importable
from dfplan.bench.records import has_runs, read_runs
from dfplan.bench.report import write_report
from dfplan.bench.results import leaderboards
from dfplan.envs.make import make
from dfplan.errors import ConfigError, require_numbers, unknown_name
from dfplan.evaluation.episodes import GROUP_SIZE
from dfplan.evaluation.protocols import Split, Task, named_protocol, named_task, tasks_of
from dfplan.files import exclusive_lock, expand_path

ALL = "all"
"""Every planner or tracker that there is."""

_USUAL = "d4rl-maze2d-v1"

DEFAULT = ("controller", "dfplan", "dfplan-mcg")
"""Whose checkpoints are all shipped, for D4RL's mazes."""


@dataclass(frozen=True)
class RunPlan:
    """Who plays what.

    Attributes:
        jobs: what is to be played, the slowest first.
        left_out: what was asked for and cannot be, with reasons.
    """

    jobs: tuple[RunSpec, ...]
    left_out: tuple[str, ...]


def plan_runs(
    *,
    protocols: Sequence[str] = (),
    tasks: Sequence[str] = (),
    planners: Sequence[str] = DEFAULT,
    trackers: Sequence[str] = (DEFAULT_TRACKER,),
    seeds: Sequence[int] = (0,),
    episodes: int | None = GROUP_SIZE,
    split: Split = "test",
    checkpoints: Sequence[str | Path] = (),
    limit: float = 600.0,
    command: str = "dfplan bench",
) -> RunPlan:
    """Find out who plays what, before anything is played.

    Args:
        protocols: ids; all their tasks are played, unless some are named. By default those of
            the tasks, or D4RL's where none is named either.
        tasks: ids of tasks, of any protocol, or of those that are named.
        planners: names of methods, dotted names (see
            :func:`~dfplan.bench.methods.named_method`), or ``all``.
        trackers: names of trackers, ``all``, or ``own`` for that of each planner. All are those
            that fit; ``diffused`` is not among them for a user's own planner, of which it is not
            known whether it plans actions, and must be named.
        seeds: of the training. Who was trained once plays once.
        episodes: a task; None for as many as the protocol has.
        split: ``validation`` while something is tuned.
        checkpoints: folders in which to look for what is not shipped.
        limit: seconds that one call of a planner may take, for a whole group of episodes.
        command: what the report says made it.

    Raises:
        ConfigError: an unknown name; a task of another protocol than those named; more episodes
            than a protocol has; a planner that was asked for by name and has no checkpoint for any
            of the tasks; nothing that can be played.
    """
    for seed in seeds:
        require_numbers({"seed": seed}, integer=True, minimum=0)
    chosen = [task.on(split) for task in _tasks(protocols, tasks)]
    counts = {task.id: _count(task, episodes) for task in chosen}
    folders = [expand_path(folder) for folder in checkpoints]
    _require_known(trackers, folders)
    by_name = _by_name(planners)
    entrants = list(dict.fromkeys([*by_name, *(METHODS.values() if ALL in planners else ())]))
    jobs: list[RunSpec] = []
    left_out: list[str] = []
    errors: dict[str, ConfigError] = {}
    for task, method in product(chosen, entrants):
        fitting, reasons = _trackers(method, task, trackers, folders)
        left_out += [f"{method.name} on {task.id}: {reason}" for reason in reasons]
        if not fitting:
            continue
        for seed in dict.fromkeys(seeds) if method.learns else (0,):
            try:
                method.checkpoint(task, seed, folders)
            except ConfigError as error:
                errors.setdefault(method.name, error)
                left_out.append(f"{method.name} on {task.id}, seed {seed}: no checkpoint")
                continue
            jobs.append(
                RunSpec(
                    task=task.id,
                    planner=method.name,
                    trackers=fitting,
                    seed=seed,
                    episodes=counts[task.id],
                    split=split,
                    checkpoints=tuple(str(folder.absolute()) for folder in folders),
                    limit=limit,
                    command=command,
                )
            )
    played = {job.planner for job in jobs}
    for method in by_name:
        if method.name in errors and method.name not in played:
            raise errors[method.name]
    if not jobs:
        why = "; ".join(left_out) or "no planner, tracker or seed was named"
        raise ConfigError(
            f"Nothing of this can be played: {why}. Name other planners, trackers or tasks."
        )
    # Diffuser's plans take longest, so its jobs are not to be the last ones.
    jobs.sort(key=lambda job: (not job.planner.startswith("diffuser"), -job.played.max_steps))
    return RunPlan(tuple(jobs), tuple(left_out))


def _count(task: Task, episodes: int | None) -> int:
    most = task.protocol.episodes
    if episodes is None:
        return most
    require_numbers({f"episodes of {task.id}": episodes}, integer=True, minimum=1, maximum=most)
    return episodes


def _by_name(planners: Sequence[str]) -> list[Method]:
    found = [named_method(name) for name in dict.fromkeys(planners) if name != ALL]
    for method in found:
        if method.is_plugin:
            require_importable(method.name)
    return found


def _require_known(trackers: Sequence[str], folders: Sequence[Path]) -> None:
    for tracker in trackers:
        if tracker not in (ALL, DEFAULT_TRACKER, *TRACKERS):
            raise unknown_name("tracker", tracker, (ALL, DEFAULT_TRACKER, *TRACKERS))
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"Expected a folder of checkpoints at {folder}; there is none.")


def bench(
    out: str | Path,
    entered: RunPlan,
    *,
    workers: int | None = None,
    backend: str = LOCAL,
    address: str | None = None,
    command: str = "dfplan bench",
    progress: bool = True,
) -> list[str]:
    """Play what is missing in the folder ``out``, and write the report of all that it holds.

    Args:
        out: folder of the benchmark: its cells (:mod:`dfplan.bench.records`), ``report.md``
            and ``report.html``.
        entered: who plays what.
        workers: jobs at a time; this and the next two as :func:`~dfplan.bench.executor.execute_runs`
            has them.
        backend: where.
        address: of a running cluster.
        command: what the report says made it.
        progress: whether to show a bar.

    Returns:
        What was lost, a message for each process that died.

    Raises:
        BusyError: another benchmark is being played in ``out``.
        ConfigError: ``out`` is a file, or the folder holds other episodes of a task.
        DataError: the folder holds results of another version, or damaged ones.
        MissingSimulatorError: a suite that is to be played is not installed.
    """
    out = expand_path(out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"Expected a folder for results at {out}; there is a file. Name another.")
    with exclusive_lock(out, "a benchmark"):
        left = missing(entered.jobs, out)
        if has_runs(out):  # what no report could be made of is said before all is played
            leaderboards(read_runs(out))
        for environment in dict.fromkeys(job.played.environment for job in left):
            make(environment).close()  # a missing simulator is said once, and not by every process
        lost = execute_runs(
            left, out, workers=workers, backend=backend, address=address, progress=progress
        )
        if not lost or has_runs(out):
            write_report(out, command)
        return lost


def _tasks(protocols: Sequence[str], tasks: Sequence[str]) -> list[Task]:
    asked = [named_protocol(name) for name in dict.fromkeys(protocols)]
    named = [named_task(name) for name in dict.fromkeys(tasks)]
    for task in named:
        if asked and task.protocol not in asked:
            raise ConfigError(
                f"Task {task.id} is of {task.protocol.id}, and this asks for tasks of "
                f"{', '.join(protocol.id for protocol in asked)}. Name that protocol, or none."
            )
    every = asked or [named_protocol(_USUAL)]
    return named or [task for protocol in every for task in tasks_of(protocol)]


def _trackers(
    method: Method, task: Task, asked: Sequence[str], folders: Sequence[Path]
) -> tuple[tuple[str, ...], list[str]]:
    """Those of the trackers that can follow it, and why others that were named cannot."""
    if method.is_policy:
        names = [NO_TRACKER] if {ALL, DEFAULT_TRACKER} & {*asked} else list(asked)
    else:
        usual = [name for name in TRACKERS if name != "diffused" or method.plans_actions]
        expanded = {ALL: [method.tracker, *usual], DEFAULT_TRACKER: [method.tracker]}
        names = [name for one in asked for name in expanded.get(one, [one])]
    fitting, reasons = [], []
    for name in dict.fromkeys(names):
        reason = method.unfit(task, name)
        if reason is not None:
            # That not all trackers fit all planners is no news.
            if name in (*asked, NO_TRACKER):
                reasons.append(reason)
            continue
        try:
            tracker_checkpoint(name, task, folders)
        except ConfigError as error:
            reasons.append(str(error) if name in asked else f"no checkpoint for tracker {name}")
        else:
            fitting.append(name)
    return tuple(fitting), reasons
