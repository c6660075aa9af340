"""The report of a benchmark, made from its records alone: Markdown, HTML, and text for a terminal.

Results of different protocols share no table and no figure.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np

from dfplan.bench import summary
from dfplan.bench.methods import METHODS, TRACKERS
from dfplan.bench.records import Run, read_runs
from dfplan.bench.results import Leaderboard, Result, leaderboards
from dfplan.bench.tables import (
    TIED,
    WIDTH,
    Table,
    drop_columns,
    escape_markdown,
    to_markdown,
    to_text,
)
from dfplan.errors import require_name
from dfplan.evaluation import statistics
from dfplan.evaluation.protocols import Task
from dfplan.files import atomic_path, expand_path
from dfplan.plotting.results import ExecutedPlan, Profile, episodes_svg, profiles_svg, times_svg

_COMMAND = "Command"
_HEADINGS = {**summary.SCORES, **summary.COSTS}
_REPORT_ONLY = ("iqm", "return", "latched", "at-end")

COLUMNS = tuple(_HEADINGS)
"""Names of the columns of a task's tables."""

DEFAULT_COLUMNS = tuple(name for name in COLUMNS if name not in _REPORT_ONLY)
"""Columns that a terminal shows by default."""

_RANKING = (
    f"Bold (in a terminal: *): the best mean of a column. {TIED}: not significantly different from "
    "the best, because the 95% interval of the paired difference on shared starts contains 0. The "
    "upper bound and the data's own controller are for reference and not ranked. ±: half the width "
    "of a 95% bootstrap interval of the mean, over starts and training seeds, or over starts alone "
    "for a single training seed. n: training seeds x episodes."
)
_LEGEND = (
    "±: the interval resamples starts and training seeds as crossed factors (arXiv 0712.1111). "
    "With a single training seed, it does not include the variation between trainings. All methods "
    "have the same starts on a task, and differences are paired.",
    "Share of bound: mean score divided by the mean upper bound, which no policy can exceed on the "
    "same problems. IQM: interquartile mean over episodes. Return: mean sum of rewards, if the "
    "score is normalized. Latched score: the score if every step after the first one at the goal "
    "were rewarded. Success: share of episodes that reached the goal, with Wilson's interval. "
    "Success at end: share of episodes that ended at the goal. Steps to goal: median over episodes."
    " Against controller: paired difference to the data's own controller. Episodes needed: number "
    "of shared starts for a significant difference to the best method (5% two-sided, power 80%), "
    "with the same training seeds; ∞ if the means are equal. Errors: episodes in which the method "
    "did something wrong. If it raises or hangs, the episode scores as one without steps. If an "
    "action is not finite, the episode ends. If an action is out of bounds, it is clipped.",
    "Times are measured on one thread: a plan for one problem, and a step of one episode. With "
    "several training seeds, the table shows the median. Timed plans: number of timed plans over "
    "all training seeds; with few of them, p95 and p99 are near the maximum. Runs may have been "
    "executed at different times, next to other work, which changes times. A method that plans "
    "once in a few hundred steps does so above the p99 of a step: see the time of a plan. Network "
    "evaluations: per plan. Training CPU s: summed over cores. Episodes s: wall time of all "
    "episodes; the trackers of a method share their first plans, and only the first tracker's time "
    "includes them. Peak MiB: peak memory of the worker process, which runs all trackers of a "
    "method in turn.",
)


@dataclass(frozen=True)
class Figure:
    """A figure of the HTML report: its caption and its SVG."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    """A section of the report, with a heading of level 2 or 3 and paragraphs of text.

    Only the HTML report has figures. The tables ``collapsed`` are collapsed at first.
    """

    title: str
    level: int
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    collapsed: tuple[Table, ...] = ()

    @property
    def anchor(self) -> str:
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def write_report(folder: str | Path) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` into the folder of a benchmark; return their paths.

    The HTML report needs no network: it contains its style and figures.

    Raises:
        ConfigError: a run has an unknown protocol or task.
        DataError: there are no runs, one cannot be read, or two on a task have different problems.
        OSError: a file cannot be written; the previous one is unchanged.
    """
    folder = expand_path(folder)
    runs = read_runs(folder)
    facts = _facts(runs)
    sections = _sections(leaderboards(runs), runs)
    texts = {"report.md": _markdown(facts, sections), "report.html": _html(facts, sections)}
    paths = []
    for name, text in texts.items():
        paths.append(folder / name)
        with atomic_path(paths[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths[0], paths[1]


def require_columns(columns: Iterable[str]) -> None:
    """Raise :class:`ConfigError` for a name that is not in :data:`COLUMNS`."""
    for column in columns:
        require_name("column", column, COLUMNS)


def terminal_report(runs: Sequence[Run], columns: Sequence[str] = DEFAULT_COLUMNS) -> str:
    """Return the tables of the runs of one folder as aligned text, at most 110 characters wide.

    The columns of the tables of each task are named as in :data:`COLUMNS`. Empty ones are left out.

    Raises:
        ConfigError: a column, protocol or task is unknown.
        DataError: two runs on a task have different problems.
    """
    require_columns(columns)
    hidden = [heading for name, heading in _HEADINGS.items() if name not in columns]
    blocks, boards = [], leaderboards(runs)
    for board in boards:
        blocks.append(textwrap.fill(f"{board.protocol.id}: {board.protocol.text}", WIDTH))
        blocks.append(to_text(summary.overview_table(board)))
        for task in board.tasks:
            results = board.results_on(task)
            scores = replace(summary.score_table(results), title=task.id)
            costs = replace(summary.cost_table(results), title=f"{task.id}: costs")
            shown = (drop_columns(table, *hidden) for table in (scores, costs))
            blocks += [to_text(table) for table in shown if len(table.header) > 1]
    if (errors := summary.error_table(boards)) is not None:
        blocks.append(to_text(replace(errors, title="Errors")))
    blocks.append(textwrap.fill(_RANKING, WIDTH))
    return "\n\n".join(blocks) + "\n"


def _sections(boards: Sequence[Leaderboard], runs: Sequence[Run]) -> list[Section]:
    sections = []
    for board in boards:
        sections.append(_protocol_section(board))
        sections += [_task_section(board, task) for task in board.tasks]
    errors = summary.error_table(boards)
    text, tables = (("No method made an error.",), ()) if errors is None else ((), (errors,))
    return [
        *sections,
        Section("Errors", 2, text, tables),
        Section("What the columns mean", 2, _LEGEND),
        _method_section(runs),
        _provenance_section(runs),
    ]


def _protocol_section(board: Leaderboard) -> Section:
    protocol = board.protocol
    text = [protocol.text, f"Score: {protocol.score}."]
    splits = {run.header.split for each in board.results.values() for run in each.runs}
    if splits != {"test"}:
        text.append("These are validation problems, for tuning. Do not report these scores.")
    tables = [replace(summary.overview_table(board), note=_RANKING)]
    if (aggregates := summary.aggregate_table(board)) is not None and len(board.tasks) > 1:
        tables.append(aggregates)
        if (by_tracker := summary.tracker_table_over_tasks(board)) is not None:
            tables.append(by_tracker)
    tables += summary.published_tables(board)
    return Section(
        protocol.id,
        2,
        tuple(text),
        tuple(tables),
        tuple(_protocol_figures(board)),
        (summary.digest_table(board),),
    )


def _protocol_figures(board: Leaderboard) -> list[Figure]:
    figures, name = [], board.protocol.id
    points: dict[str, tuple[list[float], list[float]]] = {}
    leading = board.best_trackers
    for label in leading:
        results = [result for result in board.results_of(label) if _plan_milliseconds(result)]
        if results and len(results) == len(board.tasks):
            points[label] = [*map(_plan_milliseconds, results)], [each.share for each in results]
    references = [label for label in board.labels if label not in board.ranked]
    line = (references[0], board.share(references[0])) if references else None
    if points:
        caption = (
            "Share of the upper bound against the time of a plan. Markers: means over tasks "
            "(geometric means for times); whiskers: range over tasks. Up and left is better. Each "
            "method is shown with its best tracker; policies, which make no plans, are left out."
        )
        figures.append(Figure(caption, times_svg(f"{name}-times", points, leading, line)))
    thresholds = np.linspace(0, 1, 101)
    shares = {label: board.seed_shares(label) for label in (*references, *leading)}
    profiles = {
        label: Profile(*statistics.performance_profile(matrix, thresholds))
        for label, matrix in shares.items()
        if matrix is not None and matrix.size > 2
    }
    if profiles:
        caption = (
            "Performance profiles (arXiv 2108.13264): the share of runs whose share of the upper "
            "bound is above a threshold. Right is better. Bands: 95% intervals over training "
            "seeds, if there are several. Each method is shown with its best tracker."
        )
        svg = profiles_svg(f"{name}-profiles", thresholds, profiles, leading)
        figures.append(Figure(caption, svg))
    return figures


def _plan_milliseconds(result: Result) -> float:
    known = [run.cost.plan.p50 for run in result.runs if run.cost.plan is not None]
    return 1000 * float(np.median(known)) if known else 0.0


def _task_section(board: Leaderboard, task: Task) -> Section:
    results = board.results_on(task)
    digest = results[0].runs[0].header.problems_digest[:8]
    text = (
        f"{results[0].episode_count} problems, digest {digest}; at most {task.max_steps} steps per "
        "episode."
    )
    tables = (
        summary.score_table(results),
        summary.cost_table(results),
        summary.tracker_table(results),
        summary.stratum_table(results),
    )
    return Section(
        task.id,
        3,
        (text,),
        tuple(table for table in tables if table is not None),
        tuple(_example_figures(task, results)),
    )


def _example_figures(task: Task, results: Sequence[Result]) -> list[Figure]:
    """The same problems for all methods, each with its best tracker."""
    best: dict[str, Result] = {}
    for result in results:
        best.setdefault(result.method, result)
    plans = {result.label: _executed_plans(result.runs[0]) for result in best.values()}
    numbers = list(dict.fromkeys(number for one in plans.values() for number in one))
    if not numbers:
        return []
    rows = {label: [one.get(each) for each in numbers] for label, one in plans.items() if one}
    caption = (
        f"First plans and executed paths on the problems with the longest paths "
        f"({', '.join(map(str, numbers))}). Each method is shown with its best tracker."
    )
    return [Figure(caption, episodes_svg(f"{task.id}-episodes", task.maze.text, rows))]


def _executed_plans(run: Run) -> dict[int, ExecutedPlan]:
    return {
        each.episode: ExecutedPlan(
            None if each.plan is None else np.array(each.plan, dtype=float),
            np.array(each.path, dtype=float),
            np.array(run.episodes[each.episode].goal),
        )
        for each in run.examples
    }


def _facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    dates = sorted(run.provenance.date for run in runs)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    seconds = sum(run.provenance.seconds for run in runs)
    by_date = sorted(runs, key=lambda run: (run.provenance.date, run.name))
    return [
        *((_COMMAND, command) for command in _unique(run.provenance.command for run in by_date)),
        ("Date", f"{when}, {len(runs)} runs in {seconds:,.0f} s, summed over processes"),
        ("Machine", "; ".join(_unique(run.provenance.machine for run in runs))),
        ("Commit", ", ".join(_unique(run.provenance.commit or "unknown" for run in runs))),
    ]


def _method_section(runs: Sequence[Run]) -> Section:
    methods, trackers = {run.name.method for run in runs}, {run.name.tracker for run in runs}
    method_rows = [
        (name, METHODS[name].title if name in METHODS else "a plugin")
        for name in (*METHODS, *sorted(methods - METHODS.keys()))
        if name in methods
    ]
    tracker_rows = [(name, entry.title) for name, entry in TRACKERS.items() if name in trackers]
    groups = (("Planners and policies", method_rows), ("Trackers", tracker_rows))
    tables = (Table(title, ("Name", "Description"), tuple(rows)) for title, rows in groups if rows)
    return Section("Methods and trackers", 2, tables=tuple(tables))


def _provenance_section(runs: Sequence[Run]) -> Section:
    """Machines, commits, versions and checkpoints, with the runs that have them."""
    values: dict[str, dict[str, list[str]]] = {}
    checkpoints: dict[str, list[str]] = {}
    for run in runs:
        if (digest := run.header.checkpoint_digest) is not None:
            checkpoints.setdefault(digest, []).append(_run_id(run))
        source = run.provenance
        facts = {"machine": source.machine, "commit": source.commit or "unknown", **source.versions}
        for name, value in facts.items():
            values.setdefault(name, {}).setdefault(value, []).append(_run_id(run))
    rows = [
        (name, value, "all" if len(ids) == len(runs) else _shorten(ids))
        for name, by_value in values.items()
        for value, ids in by_value.items()
    ]
    different = [name for name, by_value in values.items() if len(by_value) > 1]
    if different:
        text = f"The runs differ in: {', '.join(different)}. Do not compare times across machines."
    else:
        text = "All runs were made on one machine, with one commit and one set of versions."
    collapsed = [
        Table("Machines, commits and versions", ("Property", "Value", "Runs"), tuple(rows))
    ]
    if checkpoints:
        digests = tuple((digest, _shorten(ids)) for digest, ids in checkpoints.items())
        collapsed.append(Table("Checkpoints (sha256 of the file)", ("Checkpoint", "Runs"), digests))
    return Section("Provenance", 2, (text,), collapsed=tuple(collapsed))


def _run_id(run: Run) -> str:
    return f"{run.name.task}/{run.name.stem}"


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _markdown(facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    lines = [
        f"- {name}: `{value}`" if name == _COMMAND else f"- {name}: {value}"
        for name, value in facts
    ]
    note = "Figures are in report.html; `dfplan bench report FOLDER` makes it from the records."
    parts = ["# Benchmark", "\n".join(lines), note]
    for section in sections:
        parts += [f"{'#' * section.level} {section.title}", *map(escape_markdown, section.text)]
        parts += [to_markdown(table) for table in section.tables]
        for table in section.collapsed:
            body = to_markdown(replace(table, title=""))
            parts.append(f"<details><summary>{table.title}</summary>\n\n{body}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _html(facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    # Imported here, because nothing else needs it.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files(__package__).joinpath("report.html.jinja").read_text(encoding="utf-8")
    html = environment.from_string(source).render(
        facts=facts, command=_COMMAND, sections=sections, tied=TIED
    )
    return "\n".join(line.rstrip() for line in html.splitlines()) + "\n"
