"""What was found in a data file, and its text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import wrap

import numpy as np

from dfplan.record import Record

SEVERITIES = ("error", "mended", "note")
"""Training stops; dfplan leaves the rows out or cuts there; harmless for dfplan, worth knowing."""

KEPT = 1000
"""Rows of a finding that are kept, for pictures."""

_NONE = np.zeros(0, np.int64)
_WIDTH = 100
_INDENT = " " * 10


@dataclass(frozen=True)
class Finding(Record):
    """One kind of fault of a file.

    Attributes:
        severity: one of :data:`SEVERITIES`.
        kind: a short name.
        count: how many there are.
        unit: of what: ``row``, ``episode``, ``segment``, or ``file`` for the whole of it.
        first: the first row, or None where it has no place.
        episode: the episode of that row, or None.
        message: what it is.
        mend: how to mend it, or what dfplan does about it.
        rows: the first thousand of the rows; int64 [k].
    """

    severity: str
    kind: str
    count: int
    unit: str
    first: int | None
    episode: int | None
    message: str
    mend: str
    rows: np.ndarray = field(default_factory=lambda: _NONE, repr=False, compare=False)

    @property
    def number(self) -> str:
        """How many there are, in words."""
        return "whole file" if self.unit == "file" else plural(self.count, self.unit)

    @property
    def place(self) -> str:
        """Where it is first, in words."""
        if self.first is None:
            return ""
        return f"row {self.first}" + ("" if self.episode is None else f" (episode {self.episode})")


@dataclass(frozen=True)
class Report(Record):
    """What :func:`check` found; ``str`` of it is what ``dfplan data check`` prints.

    Attributes:
        source: where the data came from.
        findings: what is wrong, the worst first.
        facts: what else there is to know, by name.
        statistics: mean, standard deviation, least and greatest by column, over the sound rows.
        segments: first and one-past-last row of each stretch that is trained on; int64 [S, 2].
        boundaries: how many there are of each kind of place where motion breaks off, or might.
    """

    source: str
    findings: tuple[Finding, ...]
    facts: dict[str, str]
    statistics: dict[str, tuple[float, float, float, float]]
    segments: np.ndarray = field(repr=False, compare=False)
    boundaries: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether training would start."""
        return all(finding.severity != "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The findings counted, and what they mean for training."""
        if not self.findings:
            return "Nothing wrong."
        counts = Counter(finding.severity for finding in self.findings)
        names = {"error": "error", "mended": "mended by dfplan", "note": "note"}
        parts = [
            f"{counts[key]} {name}{'s' if key != 'mended' and counts[key] > 1 else ''}"
            for key, name in names.items()
            if counts[key]
        ]
        ending = "training goes ahead" if self.ok else "training would stop"
        return f"{plural(len(self.findings), 'finding')}: {', '.join(parts)}; {ending}."

    def summary(self) -> str:
        """What there is to know besides the findings, to be read."""
        rows: list[tuple[str, ...]]
        lines = [self.source, *_aligned(list(self.facts.items()))]
        if self.statistics:
            rows = [("", "mean", "std", "least", "greatest")]
            rows += [
                (name, *(f"{value:.4g}" for value in values))
                for name, values in self.statistics.items()
            ]
            lines += ["", "Statistics", *_aligned(rows, right=True)]
        if len(self.segments):
            lengths = np.diff(self.segments)
            rows = [
                ("segments", f"{len(lengths):,}"),
                ("shortest", plural(int(lengths.min()), "row")),
                ("median", f"{np.median(lengths):,g} rows"),
                ("longest", plural(int(lengths.max()), "row")),
                *((name, f"{count:,}") for name, count in self.boundaries.items()),
            ]
            lines += ["", "What training sees", *_aligned(rows)]
        return "\n".join(lines)

    def text(self) -> str:
        """The whole report, to be read."""
        lines = [self.summary()]
        if self.findings:
            rows = [(x.severity, x.kind, x.number, x.place) for x in self.findings]
            heads = _aligned([("", "what", "how many", "first"), *rows])
            lines += ["", "Findings", heads[0]]
            for head, finding in zip(heads[1:], self.findings, strict=True):
                lines += [head, *_indented(finding.message), *_indented(finding.mend)]
        return "\n".join([*lines, "", self.verdict])

    def __str__(self) -> str:
        return self.text()


class Findings:
    """Findings as they come; knows the episode of each row.

    Args:
        episodes: first row of each; int64 [E].
    """

    def __init__(self, episodes: np.ndarray) -> None:
        self._findings: list[Finding] = []
        self._episodes = episodes

    def add(
        self,
        severity: str,
        kind: str,
        rows: np.ndarray | list[int],
        message: str,
        mend: str,
        *,
        count: int | None = None,
        unit: str = "row",
    ) -> None:
        """Add one at ``rows``, rising; ``count`` where these are not all of them."""
        kept = np.asarray(rows[:KEPT], np.int64)
        first = int(kept[0]) if len(kept) else None
        episode = None
        if first is not None and len(self._episodes) > 1:
            episode = int(np.searchsorted(self._episodes, first, side="right")) - 1
        number = 1 if unit == "file" else len(rows) if count is None else count
        self._findings.append(
            Finding(severity, kind, number, unit, first, episode, message, mend, kept)
        )

    def sorted(self) -> tuple[Finding, ...]:
        """All of them, the worst first."""
        return tuple(sorted(self._findings, key=lambda x: SEVERITIES.index(x.severity)))


def plural(count: int, one: str) -> str:
    """``count`` things in words."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def _indented(text: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)


def _aligned(rows: Sequence[tuple[str, ...]], right: bool = False) -> list[str]:
    """Lines of columns, the first of them flush left, the others too unless ``right``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            text.rjust(width) if right and place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
