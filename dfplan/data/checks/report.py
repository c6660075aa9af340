"""The findings of a data check, and the report as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from textwrap import indent, wrap

import numpy as np
from tabulate import tabulate

from dfplan.record import Record

SEVERITIES = ("error", "handled", "note")
"""Training fails; dfplan excludes the rows or cuts there; harmless, but good to know."""

MAX_ROWS = 1000
"""Number of rows that a finding keeps for pictures."""

ROWS = 1 << 16
"""Rows of a block: few enough for a processor's cache."""

ColumnStatistics = tuple[float, float, float, float]
"""Mean, standard deviation, minimum, maximum."""

_NO_ROWS = np.zeros(0, np.int64)
_WIDTH = 100
_INDENT = " " * 10


@dataclass(frozen=True)
class Finding(Record):
    """One kind of problem in a data set.

    Attributes:
        severity: one of :data:`SEVERITIES`.
        kind: short name.
        count: number of cases.
        unit: what is counted: ``row``, ``episode``, ``segment``, or ``file`` for the whole file.
        first: first row; None if the finding has no rows.
        episode: episode of that row; None if there is only one.
        message: description.
        advice: how to correct it, or what dfplan does about it.
        rows: the first :data:`MAX_ROWS` of the rows; int64 [k].
    """

    severity: str
    kind: str
    count: int
    unit: str
    first: int | None
    episode: int | None
    message: str
    advice: str
    rows: np.ndarray = field(default_factory=lambda: _NO_ROWS, repr=False, compare=False)

    @property
    def number(self) -> str:
        """The count with its unit."""
        return "whole file" if self.unit == "file" else plural(self.count, self.unit)

    @property
    def place(self) -> str:
        """Text such as ``row 5 (episode 2)``; empty if the finding has no row."""
        if self.first is None:
            return ""
        return f"row {self.first}" + ("" if self.episode is None else f" (episode {self.episode})")


@dataclass(frozen=True)
class Report(Record):
    """The result of :func:`~dfplan.data.checks.check.check`; ``str`` gives the text.

    Attributes:
        source: name of the data.
        findings: the problems, most severe first.
        facts: other information, by name.
        statistics: mean, standard deviation, minimum and maximum of each column, over valid rows.
        segments: first and one-past-last row of each segment for training; int64 [S, 2].
        boundaries: number of places where motion is or may be interrupted, by kind.
    """

    source: str
    findings: tuple[Finding, ...]
    facts: dict[str, str]
    statistics: dict[str, ColumnStatistics]
    segments: np.ndarray = field(repr=False, compare=False)
    boundaries: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether training is possible."""
        return all(finding.severity != "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The number of findings, and what they mean for training."""
        if not self.findings:
            return "No problems found."
        counts = Counter(finding.severity for finding in self.findings)
        parts = [
            f"{counts['error']} error{'s' if counts['error'] > 1 else ''}",
            f"{counts['handled']} handled by dfplan",
            f"{counts['note']} note{'s' if counts['note'] > 1 else ''}",
        ]
        listed = ", ".join(part for part in parts if not part.startswith("0 "))
        ending = "training is possible" if self.ok else "training would fail"
        return f"{plural(len(self.findings), 'finding')}: {listed}; {ending}."

    def summary(self) -> str:
        """The text without the findings."""
        lines = [self.source, _table(list(self.facts.items()))]
        if self.statistics:
            rows: list[tuple[str, ...]] = [("", "mean", "std", "min", "max")]
            rows += [
                (name, *(f"{value:.4g}" for value in values))
                for name, values in self.statistics.items()
            ]
            lines += ["", "Statistics", _table(rows, align="right")]
        if len(self.segments):
            lengths = np.diff(self.segments)
            rows = [
                ("segments", f"{len(lengths):,}"),
                ("shortest", plural(int(lengths.min()), "row")),
                ("median", f"{np.median(lengths):,g} rows"),
                ("longest", plural(int(lengths.max()), "row")),
                *((name, f"{count:,}") for name, count in self.boundaries.items()),
            ]
            lines += ["", "Training data", _table(rows)]
        return "\n".join(lines)

    def text(self) -> str:
        """The whole text."""
        lines = [self.summary()]
        if self.findings:
            rows = [(x.severity, x.kind, x.number, x.place) for x in self.findings]
            heads = _table([("", "kind", "count", "first"), *rows]).splitlines()
            lines += ["", "Findings", heads[0]]
            for head, finding in zip(heads[1:], self.findings, strict=True):
                lines += [head, *_wrapped(finding.message), *_wrapped(finding.advice)]
        return "\n".join([*lines, "", self.verdict])

    def __str__(self) -> str:
        return self.text()


@dataclass(eq=False)
class RowCollector:
    """Collects rows in blocks: their number, and the first :data:`MAX_ROWS` of them, int64 [k]."""

    count: int = 0
    first: np.ndarray = field(default_factory=lambda: _NO_ROWS)

    def add(self, start: int, mask: np.ndarray) -> None:
        """Add the rows of a block where ``mask``, bool [k], is True; its first row is ``start``."""
        self.count += int(np.count_nonzero(mask))
        if len(self.first) < MAX_ROWS:
            self.first = np.append(self.first, start + np.flatnonzero(mask))[:MAX_ROWS]


class Findings:
    """Collects findings, and looks up the episode of their first row in ``episodes``, int64 [E]."""

    def __init__(self, episodes: np.ndarray) -> None:
        self._findings: list[Finding] = []
        self._episodes = episodes

    def add(
        self,
        severity: str,
        kind: str,
        message: str,
        advice: str,
        rows: np.ndarray | RowCollector | None = None,
        unit: str = "row",
    ) -> None:
        """Add a :class:`Finding`, about ``rows`` in increasing order; None for the whole file."""
        kept, episode = _NO_ROWS, None
        if rows is None:
            count, unit = 1, "file"
        elif isinstance(rows, RowCollector):
            count, kept = rows.count, rows.first
        else:
            count, kept = len(rows), np.asarray(rows[:MAX_ROWS], np.int64)
        first = int(kept[0]) if len(kept) else None
        if first is not None and len(self._episodes) > 1:
            episode = int(np.searchsorted(self._episodes, first, side="right")) - 1
        self._findings.append(
            Finding(severity, kind, count, unit, first, episode, message, advice, kept)
        )

    def sorted(self) -> tuple[Finding, ...]:
        """All findings, most severe first."""
        return tuple(sorted(self._findings, key=lambda x: SEVERITIES.index(x.severity)))


def plural(count: int, noun: str) -> str:
    """A count with its noun, in the plural if necessary."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _wrapped(text: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)


def _table(rows: Sequence[tuple[str, ...]], align: str = "left") -> str:
    """Aligned columns; ``align`` is for all columns but the first."""
    alignment = ["left"] + [align] * (len(rows[0]) - 1)
    text = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=alignment)
    return indent("\n".join(line.rstrip() for line in text.splitlines()), "  ")


def starts_in(episodes: np.ndarray, rows: slice) -> np.ndarray:
    """The first rows of episodes that are in ``rows``."""
    return episodes[np.searchsorted(episodes, rows.start) : np.searchsorted(episodes, rows.stop)]


def row_maximum(rows: np.ndarray) -> np.ndarray:
    """The maximum of each row, or whether one of its flags is True; [k] from [k, D]."""
    # A reduction along a short last axis is several times slower.
    return reduce(np.maximum, rows.T)
