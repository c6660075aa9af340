"""``dfplan bench``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from dfplan.bench.executor import LOCAL
from dfplan.bench.methods import DEFAULT_TRACKER
from dfplan.bench.plan import DEFAULT_METHODS, plan_runs, run_benchmark
from dfplan.bench.records import read_runs, run_paths
from dfplan.bench.report import DEFAULT_COLUMNS, require_columns, terminal_report
from dfplan.cli.arguments import Names, Numbers
from dfplan.errors import ConfigError
from dfplan.evaluation.episodes import GROUP_SIZE
from dfplan.evaluation.protocols import Split


def run(
    out: Path = Path("runs/bench"),
    protocol: Names | None = None,
    tasks: Names | None = None,
    planner: Names = Names(DEFAULT_METHODS),
    tracker: Names = Names(DEFAULT_TRACKER),
    seeds: Numbers = Numbers("0"),
    episodes: int | None = None,
    full: bool = False,
    split: Split = "test",
    workers: int | None = None,
    backend: str = LOCAL,
    address: str | None = None,
    checkpoints: Names | None = None,
    limit: float = 600.0,
    columns: Names = Names(DEFAULT_COLUMNS),
) -> int:
    """Run planners on tasks. Write every episode and a report; existing results are not run again.

    The exit code is 1 if a worker died and its episodes are missing.

    Args:
        out: folder of results.
        protocol: d4rl-maze2d-v1, gymnasium-pointmaze-v3, ogbench-pointmaze-v0, dfplan-v1; several
            with commas between, each with its own tables; default: the protocol of the tasks, or
            the first one.
        tasks: tasks of the protocols; default: all.
        planner: names with commas between, all, or your own planner as mypkg.module:make.
        tracker: names with commas between, all, or default for the default of each planner. For
            your own planner, all leaves out planned-actions, which needs planned actions.
        seeds: seeds of the trainings, with commas between.
        episodes: the first episodes of each task, 20 by default. They run in batches of 20, and the
            last digits of a plan depend on the size of its batch.
        full: all episodes of the protocol.
        split: test, or validation to choose settings.
        workers: processes; default: one a core, or all of the cluster.
        backend: processes on this machine, or joblib's backend for a ray or dask cluster.
        address: address of a running cluster; default: start one here.
        checkpoints: folders with further checkpoints, with commas between.
        limit: seconds that one call of a planner may take for a batch of episodes.
        columns: columns to print, with commas between; further ones are iqm, return, latched and
            at-end. The report has all of them.
    """
    require_columns(columns)
    if full and episodes is not None:
        raise ConfigError(f"Expected --full or --episodes {episodes}, not both; leave one out.")
    flags = sys.argv[3:] if sys.argv[2:3] == ["run"] else sys.argv[2:]
    command = shlex.join(["dfplan", "bench", *flags])
    # Names of files may hold bytes that no encoding knows, and JSON holds text.
    command = command.encode("utf-8", "backslashreplace").decode()
    plan = plan_runs(
        protocols=protocol or (),
        tasks=tasks or (),
        methods=planner,
        trackers=tracker,
        seeds=seeds,
        episodes=None if full else GROUP_SIZE if episodes is None else episodes,
        split=split,
        checkpoints=checkpoints or (),
        timeout=limit,
        command=command,
    )
    for line in plan.skipped:
        print(f"skipped: {line}")
    lost = run_benchmark(out, plan, workers=workers, backend=backend, address=address)
    if not lost or run_paths(out):
        print(terminal_report(read_runs(out), columns))
        print(
            f"Written: {out / 'report.html'}, {out / 'report.md'} and every episode in "
            f"{out / 'cells'}."
        )
    for line in lost:
        print(f"dfplan: error: {line}", file=sys.stderr)
    return 1 if lost else 0
