"""The report of a benchmark, made from its records alone: Markdown, HTML, and text for a terminal.

Results of different protocols share no table and no figure.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from dfplan.bench import summary
from dfplan.bench.figures import Figure, Grid, example_grid, protocol_figures
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
from dfplan.evaluation.protocols import Task
from dfplan.files import atomic_path, expand_path

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
class Section:
    """A section of the report, with a heading of level 2 or 3. Its parts are in the order shown.

    Sections of level 3 are collapsed at first, except for the title and the answer, and so are the
    tables ``collapsed``. Only the HTML report has figures and the grid.
    """

    title: str
    level: int
    answer: str = ""
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    grid: Grid | None = None
    facts: tuple[tuple[str, str], ...] = ()
    text: tuple[str, ...] = ()
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
    sections = _sections(leaderboards(runs), runs)
    texts = {"report.md": _markdown(sections), "report.html": _html(sections)}
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
        Section("Errors", 2, text=text, tables=tables),
        Section("What the columns mean", 2, text=_LEGEND),
        _method_section(runs),
        _provenance_section(runs),
    ]


def _protocol_section(board: Leaderboard) -> Section:
    protocol = board.protocol
    answer = _answer(board)
    splits = {run.header.split for each in board.results.values() for run in each.runs}
    if splits != {"test"}:
        answer += " These are validation problems, for tuning. Do not report these scores."
    tables = [replace(summary.overview_table(board), note=_RANKING)]
    if (aggregates := summary.aggregate_table(board)) is not None and len(board.tasks) > 1:
        tables.append(aggregates)
        if (by_tracker := summary.tracker_table_over_tasks(board)) is not None:
            tables.append(by_tracker)
    return Section(
        protocol.id,
        2,
        answer,
        tuple(tables),
        tuple(protocol_figures(board)),
        text=(protocol.text, f"Score: {protocol.score}."),
        collapsed=(*summary.published_tables(board), summary.digest_table(board)),
    )


def _answer(board: Leaderboard) -> str:
    """Which methods are best over all tasks, and which one is next."""
    best, complete, count = board.best, board.complete, len(board.tasks)
    if not best:
        return "No ranked method has results on all tasks."
    over = f", mean over {count} tasks" if count > 1 else ""
    sentences = [
        f"Best: {_shorten(best)} with {100 * board.share(best[0]):.1f}% of the upper bound{over}."
    ]
    if len(complete) > len(best):
        following = complete[len(best)]
        sentences.append(f"Next: {following} with {100 * board.share(following):.1f}%.")
    marks = [summary.best_and_tied(board.results_on(task)) for task in board.tasks]
    everywhere = [label for label in complete if all(label in each for each in marks)]
    if count > 1 and everywhere:
        names = _shorten(everywhere)
        sentences.append(f"Not significantly worse than the best on any task: {names}.")
    return " ".join(sentences)


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
        _task_answer(results),
        tuple(table for table in tables if table is not None),
        grid=example_grid(task, results),
        text=(text,),
    )


def _task_answer(results: Sequence[Result]) -> str:
    """Which methods are best on a task, and which ones are as good."""
    scores = {result.label: summary.format_estimate(result.mean_score) for result in results}
    groups: dict[str, list[str]] = {}
    for label, mark in summary.best_and_tied(results).items():
        groups.setdefault(mark, []).append(label)
    if not groups:
        return "No method is ranked."
    best, unit = groups["best"], results[0].task.protocol.unit
    answer = f"Best: {_shorten(best)} with {scores[best[0]]} ({unit})."
    if "tied" in groups:
        answer += f" Not significantly different: {_shorten(groups['tied'])}."
    return answer


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
    return Section(
        "Provenance", 2, facts=tuple(_facts(runs)), text=(text,), collapsed=tuple(collapsed)
    )


def _run_id(run: Run) -> str:
    return f"{run.name.task}/{run.name.stem}"


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _markdown(sections: Sequence[Section]) -> str:
    parts = ["# Benchmark"]
    for section in sections:
        parts += [f"{'#' * section.level} {section.title}", escape_markdown(section.answer)]
        body = [to_markdown(table) for table in section.tables]
        body.append(
            "\n".join(
                f"- {name}: `{value}`" if name == _COMMAND else f"- {name}: {value}"
                for name, value in section.facts
            )
        )
        body += map(escape_markdown, section.text)
        body += [
            _details(table.title, to_markdown(replace(table, title="")))
            for table in section.collapsed
        ]
        text = "\n\n".join(filter(None, body))
        parts.append(_details("Scores and costs", text) if section.level == 3 else text)
    parts.append("Figures are in report.html; `dfplan bench report FOLDER` makes it.")
    return "\n\n".join(filter(None, parts)) + "\n"


def _details(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _html(sections: Sequence[Section]) -> str:
    # Imported here, because nothing else needs it.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files(__package__).joinpath("report.html.jinja").read_text(encoding="utf-8")
    html = environment.from_string(source).render(command=_COMMAND, sections=sections, tied=TIED)
    return "\n".join(line.rstrip() for line in html.splitlines()) + "\n"
