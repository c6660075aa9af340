"""Write the results of a script: <name>.json for programs, <name>.md for readers."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dfplan.bench.provenance import Provenance, provenance
from dfplan.evaluation.protocols import named_protocol, tasks_of
from dfplan.files import atomic_path
from dfplan.planning.single import ForcingPlanner

RESULTS = Path(__file__).parent / "results"
"""Default folder for results."""

Table = Sequence[Mapping[str, object]]
"""Rows of a table; the keys are the columns."""


def publish(
    out: Path, name: str, purpose: str | None, started: float, tables: Mapping[str, Table]
) -> None:
    """Write tables with their provenance, and print them.

    Args:
        out: folder to write to.
        name: of the two files.
        purpose: the script's docstring, which explains the numbers.
        started: ``time.perf_counter()`` at the start of the run.
        tables: by title.
    """
    command = shlex.join(["python", *sys.argv])
    source = provenance(command, time.perf_counter() - started)
    content = {"provenance": asdict(source), "tables": tables}
    text = _markdown(name, purpose or "", source, tables)
    with atomic_path(out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    with atomic_path(out / f"{name}.md") as temporary:
        temporary.write_text(text, "utf-8")
    print(text)


def task_names(*protocols: str) -> tuple[str, ...]:
    """The names of all tasks of these protocols."""
    return tuple(task.id for name in protocols for task in tasks_of(named_protocol(name)))


def affordable_candidates(
    planner: ForcingPlanner, start: np.ndarray, goal: np.ndarray, budget: int
) -> int:
    """The largest number of candidates for which a plan takes at most ``budget`` evaluations.

    More candidates have more horizons, which may take more windows.

    Args:
        planner: to plan with; from the expected way or from pure noise.
        start: observation, [S].
        goal: position, [2].
        budget: network evaluations.
    """

    def cost(count: int) -> int:
        changed = planner.with_settings(candidates=count, route_candidates=count)
        return changed.plan(start, goal, seed=0).evaluations

    low, high = 1, budget + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return low


def _markdown(name: str, purpose: str, source: Provenance, tables: Mapping[str, Table]) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in source.versions.items())
    facts = [
        f"Command: `{source.command}`",
        f"Machine: {source.cpu}, {source.cores} cores, {source.system}",
        f"Commit {source.commit}; {versions}",
        f"Duration {source.seconds:.0f} s, end {source.date}",
    ]
    parts = [f"# {name}", purpose.strip(), "\n".join(f"- {fact}" for fact in facts)]
    parts += [f"## {title}\n\n{_table(rows)}" for title, rows in tables.items()]
    return "\n\n".join(parts) + "\n"


def _table(rows: Table) -> str:
    header = list(rows[0])
    rule = ["---" if isinstance(rows[0][name], str) else "---:" for name in header]
    lines = [header, rule, *([_cell(row[name]) for name in header] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
