"""``dfplan bench``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from dfplan.bench.compare import compare
from dfplan.bench.executor import LOCAL
from dfplan.bench.methods import OWN_TRACKER
from dfplan.bench.plan import DEFAULT, bench, roster
from dfplan.bench.records import has_cells, read_cells
from dfplan.bench.report import USUAL_COLUMNS, require_columns, terminal
from dfplan.cli.arguments import (
    Names,
    Numbers,
)
from dfplan.errors import ConfigError
from dfplan.evaluation.episodes import GROUP
from dfplan.evaluation.protocols import Split


def run(
    out: Path = Path("runs/bench"),
    protocol: Names | None = None,
    tasks: Names | None = None,
    planner: Names = Names(DEFAULT),
    tracker: Names = Names(OWN_TRACKER),
    seeds: Numbers = Numbers("0"),
    episodes: int | None = None,
    full: bool = False,
    split: Split = "test",
    workers: int | None = None,
    backend: str = LOCAL,
    address: str | None = None,
    checkpoints: Names | None = None,
    limit: float = 600.0,
    columns: Names = Names(USUAL_COLUMNS),
) -> int:
    """Play planners on tasks, or what of it is not there yet; write every episode and a report.

    The exit code is 1 if a process died and took its episodes with it.

    Args:
        out: folder to write to; what it holds already is not played again.
        protocol: d4rl-maze2d-v1, gymnasium-pointmaze-v3, ogbench-pointmaze-v0, dfplan-v1; several
            with commas between, each in tables of its own; by default that of the tasks, or the
            first.
        tasks: some of their tasks; by default all.
        planner: names with commas between, all, or a dotted name of your own, mypkg.module:make.
        tracker: names with commas between, all, or own for that of each planner; all is without
            diffused for a planner of your own, of which it is not known whether it plans actions.
        seeds: of the training, with commas between.
        episodes: a task, 20 by default; the first of the protocol's. They are played 20 at a time,
            so of two numbers of them the episodes that both have are the same to the digit only in
            the groups that are as large in both.
        full: the whole protocol, all its episodes.
        split: validation while you tune.
        workers: planners that play at a time; by default one a core, or all that the cluster has.
        backend: processes on this machine, or joblib's for a ray or dask cluster.
        address: of a running cluster; by default one is started here.
        checkpoints: folders with checkpoints that are not shipped, with commas between.
        limit: seconds that one call of a planner may take, for a whole group of episodes.
        columns: of what is printed of each task, with commas between. There are also iqm, return,
            latched and at-end. The report has them all.
    """
    require_columns(columns)
    if full and episodes is not None:
        raise ConfigError(f"Expected --full or --episodes {episodes}, not both; leave one out.")
    flags = sys.argv[3:] if sys.argv[2:3] == ["run"] else sys.argv[2:]
    command = shlex.join(["dfplan", "bench", *flags])
    entered = roster(
        protocols=protocol or (),
        tasks=tasks or (),
        planners=planner,
        trackers=tracker,
        seeds=seeds,
        episodes=None if full else GROUP if episodes is None else episodes,
        split=split,
        checkpoints=checkpoints or (),
        limit=limit,
        command=command,
    )
    for line in entered.left_out:
        print(f"left out: {line}")
    lost = bench(out, entered, workers=workers, backend=backend, address=address, command=command)
    if not lost or has_cells(out):
        print(terminal(read_cells(out), columns))
        print(
            f"Written: {out / 'report.html'}, {out / 'report.md'} and every episode in "
            f"{out / 'cells'}."
        )
    for line in lost:
        print(f"dfplan: error: {line}", file=sys.stderr)
    return 1 if lost else 0


def compare_results(first: Path, second: Path) -> None:
    """Say what changed between two folders of results, and whether it is noise.

    Args:
        first: folder that dfplan bench wrote.
        second: another one, with tasks of the same protocols.
    """
    print(compare(first, second))
