"""Plan a benchmark, run what is missing, and write the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from dfplan.bench.executor import LOCAL, execute_runs, missing_runs
from dfplan.bench.methods import (
    DEFAULT_TRACKER,
    METHODS,
    NO_TRACKER,
    TRACKERS,
    Method,
    named_method,
    tracker_checkpoint,
)
from dfplan.bench.plugins import require_importable
from dfplan.bench.records import read_runs, run_paths
from dfplan.bench.report import write_report
from dfplan.bench.results import leaderboards
from dfplan.bench.spec import RunSpec
from dfplan.envs.make import make
from dfplan.errors import ConfigError, require_name, require_numbers
from dfplan.evaluation.episodes import GROUP_SIZE
from dfplan.evaluation.protocols import Split, Task, named_protocol, named_task, tasks_of
from dfplan.files import exclusive_lock, expand_path

ALL = "all"
"""All planners or trackers."""

DEFAULT_METHODS = ("controller", "dfplan", "graph", "dfplan-noise")
"""Methods whose checkpoints for D4RL's mazes are shipped."""

_DEFAULT_PROTOCOL = "d4rl-maze2d-v1"


@dataclass(frozen=True)
class RunPlan:
    """The runs of a benchmark, the slowest first, and what was skipped, with reasons."""

    specs: tuple[RunSpec, ...]
    skipped: tuple[str, ...]


def plan_runs(
    *,
    protocols: Sequence[str] = (),
    tasks: Sequence[str] = (),
    methods: Sequence[str] = DEFAULT_METHODS,
    trackers: Sequence[str] = (DEFAULT_TRACKER,),
    seeds: Sequence[int] = (0,),
    episodes: int | None = GROUP_SIZE,
    split: Split = "test",
    checkpoints: Sequence[str | Path] = (),
    timeout: float = 600.0,
    command: str = "dfplan bench",
) -> RunPlan:
    """Plan the runs of a benchmark.

    Args:
        protocols: ids of protocols; by default those of the tasks, or D4RL's.
        tasks: ids of tasks; by default all tasks of the protocols.
        methods: names of methods or plugins (see :func:`~dfplan.bench.methods.named_method`), or
            ``all``.
        trackers: names of trackers, ``default`` for the default tracker of each method, or ``all``
            for all compatible ones. ``all`` leaves out ``planned-actions`` for plugins, because it
            is not known whether their plans contain actions.
        seeds: training seeds. A method without training runs once.
        episodes: number per task; None for the protocol's number.
        split: ``validation`` for tuning.
        checkpoints: folders to search for checkpoints that are not shipped.
        timeout: seconds that one call of a method may take, for a whole group of episodes.
        command: command line for the provenance.

    Raises:
        ConfigError: a name is unknown; a task does not belong to the protocols; a protocol has
            fewer episodes; a method requested by name has no checkpoint for any task; or nothing
            can run.
    """
    for seed in seeds:
        require_numbers({"seed": seed}, integer=True, minimum=0)
    selected = [task.with_split(split) for task in _select_tasks(protocols, tasks)]
    for task in selected if episodes is not None else ():
        limits: Any = {"minimum": 1, "maximum": task.protocol.episodes}
        require_numbers({f"episodes of {task.id}": episodes}, integer=True, **limits)
    folders = [expand_path(folder) for folder in checkpoints]
    _require_known(trackers, folders)
    shared: dict[str, Any] = {"split": split, "timeout": timeout, "command": command}
    shared["checkpoints"] = tuple(str(folder.absolute()) for folder in folders)
    requested = [named_method(name) for name in dict.fromkeys(methods) if name != ALL]
    for method in requested:
        if method.is_plugin:
            require_importable(method.name)
    everything = METHODS.values() if ALL in methods else ()
    specs: list[RunSpec] = []
    skipped: list[str] = []
    errors: dict[str, ConfigError] = {}
    for task, method in product(selected, dict.fromkeys([*requested, *everything])):
        compatible, reasons = _select_trackers(method, task, trackers, folders)
        skipped += [f"{method.name} on {task.id}: {reason}" for reason in reasons]
        if not compatible:
            continue
        count = task.protocol.episodes if episodes is None else episodes
        for seed in dict.fromkeys(seeds) if method.has_seeds else (0,):
            try:
                method.checkpoint(task, seed, folders)
            except ConfigError as error:
                errors.setdefault(method.name, error)
                skipped.append(f"{method.name} on {task.id}, seed {seed}: no checkpoint")
                continue
            run = RunSpec(task.id, method.name, compatible, seed, count, **shared)
            specs.append(run)
    _require_runs(specs, requested, errors, skipped)
    # Diffuser's plans take longest. Starting them first balances the workers.
    specs.sort(key=lambda spec: (not spec.method.startswith("diffuser"), -spec.task.max_steps))
    return RunPlan(tuple(specs), tuple(skipped))


def run_benchmark(
    out: str | Path,
    plan: RunPlan,
    *,
    workers: int | None = None,
    backend: str = LOCAL,
    address: str | None = None,
    progress: bool = True,
) -> list[str]:
    """Run what is missing in the folder ``out``, and write the report of all its results.

    The folder gets the runs (:mod:`dfplan.bench.records`), ``report.md`` and ``report.html``. The
    other arguments and the result are those of :func:`~dfplan.bench.executor.execute_runs`.

    Raises:
        BusyError: another benchmark is running in ``out``.
        ConfigError: ``out`` is a file, or the folder contains other episodes of a task.
        DataError: the folder contains damaged results, or results of another format.
        MissingSimulatorError: a suite is not installed.
    """
    out = expand_path(out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"Expected a folder for results at {out}; it is a file. Name a folder.")
    with exclusive_lock(out, "a benchmark"):
        missing = missing_runs(plan.specs, out)
        if run_paths(out):  # before the work, raise the errors that would prevent a report
            leaderboards(read_runs(out))
        for environment in dict.fromkeys(spec.task.environment for spec in missing):
            make(environment).close()  # raise here, and not in each worker, if a suite is missing
        lost = execute_runs(
            missing, out, workers=workers, backend=backend, address=address, progress=progress
        )
        if not lost or run_paths(out):
            write_report(out)
        return lost


def _select_tasks(protocols: Sequence[str], tasks: Sequence[str]) -> list[Task]:
    requested = [named_protocol(name) for name in dict.fromkeys(protocols)]
    selected = [named_task(name) for name in dict.fromkeys(tasks)]
    for task in selected:
        if requested and task.protocol not in requested:
            raise ConfigError(
                f"Task {task.id} belongs to {task.protocol.id}, but the requested protocols are "
                f"{', '.join(protocol.id for protocol in requested)}. Add that protocol, or name "
                "none."
            )
    every = requested or [named_protocol(_DEFAULT_PROTOCOL)]
    return selected or [task for protocol in every for task in tasks_of(protocol)]


def _require_known(trackers: Iterable[str], folders: Iterable[Path]) -> None:
    for tracker in trackers:
        require_name("tracker", tracker, (ALL, DEFAULT_TRACKER, *TRACKERS))
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"Expected a folder of checkpoints at {folder}; there is none.")


def _select_trackers(
    method: Method, task: Task, requested: Sequence[str], folders: Sequence[Path]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the compatible trackers, and the reasons why requested ones are not."""
    if method.is_policy:
        names = [NO_TRACKER] if {ALL, DEFAULT_TRACKER} & {*requested} else list(requested)
    else:
        usable = [name for name in TRACKERS if name != "planned-actions" or method.plans_actions]
        default = [method.default_tracker]
        expansions = {ALL: [*default, *usable], DEFAULT_TRACKER: default}
        names = [name for each in requested for name in expansions.get(each, [each])]
    compatible, reasons = [], []
    for name in dict.fromkeys(names):
        reason = method.incompatibility(task, name)
        if reason is not None:
            if name in (*requested, NO_TRACKER):  # with "all", incompatible trackers are expected
                reasons.append(reason)
            continue
        try:
            tracker_checkpoint(name, task, folders)
        except ConfigError as error:
            missing = f"no checkpoint for tracker {name}"
            reasons.append(str(error) if name in requested else missing)
        else:
            compatible.append(name)
    return tuple(compatible), reasons


def _require_runs(
    specs: Sequence[RunSpec],
    requested: Iterable[Method],
    errors: dict[str, ConfigError],
    skipped: Sequence[str],
) -> None:
    planned = {spec.method for spec in specs}
    for method in requested:
        if method.name in errors and method.name not in planned:
            raise errors[method.name]
    if not specs:
        reason = "; ".join(skipped) or "no planner, tracker or seed was named"
        raise ConfigError(f"Nothing can run: {reason}. Name other planners, trackers or tasks.")
