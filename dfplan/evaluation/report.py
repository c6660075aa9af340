"""Rows of figures, as Markdown, as JSON that reads back, and as text for a terminal."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np

from dfplan.errors import DataError
from dfplan.evaluation.bounds import return_bounds
from dfplan.evaluation.metrics import estimate, normalized, paired_difference, summarize
from dfplan.evaluation.protocols import Problems, Task
from dfplan.evaluation.provenance import Provenance
from dfplan.evaluation.published import Scored, published
from dfplan.evaluation.rollout import Latency, Rollouts
from dfplan.files import atomic_path

_FORMAT = 1
_WRAP = 24
_TEXT_COLUMNS = {"Method", "Scored", "± is", "Source"}
_LEGEND = (
    "Score: 100 (R - min) / (max - min) with D4RL's reference returns, R the true sum of rewards. "
    "n: episodes. In rows measured here ± is half of the 95% t interval of the mean over these "
    "episodes; in published rows it is what the row says. Latched: the same score if every step "
    "after the first touch counted. Success: share of episodes paid at any step / at the last. "
    "First touch: mean number of the first paid step. Share of bound: of the upper bound that "
    "walls and speed limit set. Against controller: paired difference of scores to the data's own "
    "controller on the same problems. Plan: milliseconds for one plan, alone. Network calls: "
    "sequences that the network evaluated for one plan."
)


@dataclass(frozen=True)
class Row:
    """One method on one task. What is not known is None.

    Attributes:
        kind: measured by this package, its upper bound, or published by others.
        task: id of the task.
        method: the method.
        scored: which sum of rewards ``score`` counts; what is measured here is ``true``.
        score: mean normalized score.
        spread: what stands behind the ±.
        spread_kind: ``95%`` (half an interval), ``std`` or ``s.e.``.
        tracker: what turned plans into actions.
        protocol: how episodes were made and scored.
        n: number of episodes.
        latched, latched_ci95: latched score and half of its 95% interval.
        success_any, success_last: shares of episodes.
        steps_to_touch: mean over the episodes that touched.
        share_of_bound: mean score over the bound's mean score.
        difference, difference_ci95: to the data's own controller, paired.
        plan_p50, plan_p95: seconds of a single plan.
        evaluations: network evaluations of a single plan, median.
        problems: digest of starts and goals.
        seconds: wall time of the episodes.
        source: where a published figure was read.
    """

    kind: Literal["measured", "bound", "published"]
    task: str
    method: str
    scored: Scored
    score: float
    spread: float | None
    spread_kind: str | None
    tracker: str | None = None
    protocol: str | None = None
    n: int | None = None
    latched: float | None = None
    latched_ci95: float | None = None
    success_any: float | None = None
    success_last: float | None = None
    steps_to_touch: float | None = None
    share_of_bound: float | None = None
    difference: float | None = None
    difference_ci95: float | None = None
    plan_p50: float | None = None
    plan_p95: float | None = None
    evaluations: float | None = None
    problems: str | None = None
    seconds: float | None = None
    source: str | None = None

    @property
    def label(self) -> str:
        """Method and tracker."""
        return self.method if self.tracker is None else f"{self.method} · {self.tracker}"


def measured_row(
    method: str,
    rollouts: Rollouts,
    bounds: np.ndarray,
    *,
    tracker: str | None = None,
    reference: Rollouts | None = None,
    latency: Latency | None = None,
) -> Row:
    """The row of a method that was rolled out.

    Args:
        method: its name.
        rollouts: its episodes.
        bounds: the most that could be paid on each problem, [n].
        tracker: name of what turned plans into actions, if anything did.
        reference: episodes of the data's own controller on the same problems.
        latency: timing of single plans.

    Raises:
        DataError: ``reference`` met other problems.
    """
    task = rollouts.task
    if reference is not None and reference.digest != rollouts.digest:
        raise DataError(
            f"{method!r} and the reference it is paired with met different problems "
            f"({rollouts.digest[:8]}, {reference.digest[:8]}); roll both out on one set."
        )
    result = summarize(task, rollouts.rewards, bounds)
    difference = None
    if reference is not None:
        scores, others = (normalized(task, each.returns) for each in (rollouts, reference))
        difference = paired_difference(scores, others)
    return Row(
        kind="measured",
        task=task.id,
        method=method,
        scored="true",
        score=result.score.mean,
        spread=result.score.ci95,
        spread_kind="95%",
        tracker=tracker,
        protocol=task.protocol,
        n=len(rollouts),
        latched=result.latched.mean,
        latched_ci95=result.latched.ci95,
        success_any=result.success_any,
        success_last=result.success_last,
        steps_to_touch=result.steps_to_touch,
        share_of_bound=result.share_of_bound,
        difference=difference.mean if difference else None,
        difference_ci95=difference.ci95 if difference else None,
        plan_p50=latency.p50 if latency else None,
        plan_p95=latency.p95 if latency else None,
        evaluations=float(np.median(latency.evaluations)) if latency else None,
        problems=rollouts.digest,
        seconds=rollouts.seconds,
    )


def bound_row(task: Task, problems: Problems) -> Row:
    """The row of the upper bound."""
    score = estimate(normalized(task, return_bounds(task, problems)))
    return Row(
        kind="bound",
        task=task.id,
        method="upper bound",
        scored="true",
        score=score.mean,
        spread=score.ci95,
        spread_kind="95%",
        protocol=task.protocol,
        n=score.n,
        share_of_bound=1.0,
        problems=problems.digest,
    )


def published_rows(task: Task) -> list[Row]:
    """The rows of others' figures for a task."""
    return [
        Row(
            kind="published",
            task=task.id,
            method=figure.method,
            scored=figure.scored,
            score=figure.mean,
            spread=figure.spread,
            spread_kind=figure.spread_kind,
            source=figure.source,
        )
        for figure in published(task.id)
    ]


def write_rows(path: str | Path, rows: Sequence[Row], source: Provenance) -> None:
    """Write rows and where they come from as JSON; :func:`read_rows` reads it back."""
    content = {
        "format": _FORMAT,
        "provenance": asdict(source),
        "rows": [asdict(row) for row in rows],
    }
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_rows(path: str | Path) -> tuple[list[Row], Provenance]:
    """Rows and provenance that :func:`write_rows` wrote.

    Raises:
        DataError: the file is not such a file, or of another version.
    """
    expected = f"Expected rows of a benchmark, format {_FORMAT}, in {str(path)!r}"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] == _FORMAT:
            rows = [Row(**row) for row in content["rows"]]
            return rows, Provenance(**content["provenance"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{expected}; got {error!r}. Run the benchmark again.") from error
    raise DataError(f"{expected}; got format {content['format']!r}. Run the benchmark again.")


def write_markdown(path: str | Path, rows: Sequence[Row], source: Provenance) -> None:
    """Write the report: where it comes from, and every table."""
    with atomic_path(path) as temporary:
        temporary.write_text(markdown(rows, source), encoding="utf-8")


def markdown(rows: Sequence[Row], source: Provenance) -> str:
    """The report as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in source.versions.items())
    facts = [
        f"Command: `{source.command}`",
        f"Commit: {source.commit or 'not known'}",
        f"Machine: {source.cpu}, {source.cores} cores, {source.system}",
        f"Versions: {versions}",
        f"Wall time: {source.seconds:.0f} s, ended {source.date}",
    ]
    head = "# Benchmark\n\n" + "\n".join(f"- {fact}" for fact in facts)
    return "\n\n".join([head, _LEGEND, *_tables(rows, _markdown_table)]) + "\n"


def terminal(rows: Sequence[Row]) -> str:
    """The same tables as aligned text, 110 columns at most."""
    return "\n\n".join([textwrap.fill(_LEGEND, 110), *_tables(rows, _plain_table)]) + "\n"


_Render = Callable[[str, Sequence[str], Sequence[Sequence[str]]], str]


def _tables(rows: Sequence[Row], render: _Render) -> list[str]:
    """Every table: for each suite all tasks side by side, then each task in full."""
    ours = [row for row in rows if row.kind != "published"]
    true = [row for row in rows if row.kind == "published" and row.scored == "true"]
    other = [row for row in rows if row.kind == "published" and row.scored != "true"]
    tables = []
    for suite in _unique(row.task.partition("-")[0] for row in rows):
        for title, group in (
            (f"{suite}: score, measured here", ours),
            (f"{suite}: score, published, true sum of rewards", true),
            (f"{suite}: score, published, latched or unclear: not comparable", other),
        ):
            mine = [row for row in group if row.task.startswith(f"{suite}-")]
            if mine:
                tables.append(render(title, *_side_by_side(mine)))
    for task in _unique(row.task for row in ours):
        mine = [row for row in ours if row.task == task]
        tables.append(render(f"{task} ({mine[0].protocol})", *_in_full(mine)))
    return tables


def _side_by_side(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells: a line a method, a column a task."""
    tasks = _unique(row.task for row in rows)
    is_published = rows[0].kind == "published"
    cells = []
    for label in _unique(row.label for row in rows):
        mine = {row.task: row for row in rows if row.label == label}
        scores = [
            _plus_minus(mine[task].score, mine[task].spread) if task in mine else ""
            for task in tasks
        ]
        first = next(iter(mine.values()))
        facts = [first.scored, first.spread_kind or "", first.source or ""]
        counts = "/".join(_unique(str(row.n) for row in mine.values()))
        cells.append([label, *scores, *(facts if is_published else [counts])])
    names = [task.partition("-")[2] for task in tasks]
    return ["Method", *names, *(["Scored", "± is", "Source"] if is_published else ["n"])], cells


def _in_full(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells: a line a method, every figure of one task."""
    header = [
        "Method",
        "n",
        "Score",
        "Latched",
        "Success % any/last",
        "First touch",
        "Share of bound",
        "Against controller",
        "Plan ms p50/p95",
        "Network calls",
    ]
    cells = [
        [
            row.label,
            _number(row.n, ".0f"),
            _plus_minus(row.score, row.spread),
            _number(row.latched, ".1f"),
            _pair(row.success_any, row.success_last, 100, 1),
            _number(row.steps_to_touch, ".0f"),
            _number(row.share_of_bound, ".1%"),
            "" if row.difference is None else _plus_minus(row.difference, row.difference_ci95, "+"),
            _pair(row.plan_p50, row.plan_p95, 1000, 0),
            _number(row.evaluations, ".0f"),
        ]
        for row in rows
    ]
    return header, cells


def _markdown_table(title: str, header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    rule = ["---" if name in _TEXT_COLUMNS else "---:" for name in header]
    table = "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *cells))
    return f"## {title}\n\n{table}"


def _plain_table(title: str, header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    widths = []
    for column, name in enumerate(header):
        longest_cell = max(len(line[column]) for line in cells)
        widths.append(max(*map(len, name.split()), min(_WRAP, longest_cell)))
    lines = [title, "-" * (sum(widths) + 2 * len(widths) - 2)]
    for line in (header, *cells):
        wrapped = [textwrap.wrap(cell, width) for cell, width in zip(line, widths, strict=True)]
        for parts in zip_longest(*wrapped, fillvalue=""):
            aligned = [
                part.ljust(width) if name in _TEXT_COLUMNS else part.rjust(width)
                for part, width, name in zip(parts, widths, header, strict=True)
            ]
            lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _plus_minus(value: float, spread: float | None, sign: str = "") -> str:
    return f"{value:{sign}.1f}" + ("" if spread is None else f" ± {spread:.1f}")


def _pair(first: float | None, second: float | None, scale: float, digits: int) -> str:
    """``first/second``; a whole number without decimals."""
    if first is None or second is None:
        return ""
    return "/".join(f"{scale * value:.{digits}f}".removesuffix(".0") for value in (first, second))
