"""Tables of words and figures, as Markdown and as aligned text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal

from dfplan.record import Record

Mark = Literal["best", "near"]
"""The best of its column; not told from it by these episodes."""

NEAR = "≈"
"""What stands after the figures that are ``near``."""

WORDS = frozenset(
    (
        "Planner",
        "Method",
        "Counted",
        "± is",
        "Source",
        "Fault",
        "Task",
        "Problems",
        "Split",
        "What",
        "Value",
        "Checkpoint",
        "Cells",
        "Name",
        "What it is",
        "What it does",
        "Verdict",
        "Tracker",
        "First",
        "Second",
    )
)
"""Headings of columns that hold words; they are set flush left, others flush right."""

WIDTH = 110
"""Columns of a terminal's table at most."""

_WRAP = 28
_SIGNS = {"best": " *", "near": f" {NEAR}", None: "  "}


@dataclass(frozen=True)
class Table(Record):
    """A table.

    Attributes:
        title: what it shows.
        header: of each column.
        lines: texts, a line as long as the header.
        marks: by (line, column).
        apart: how many of the first lines are set apart from what is ranked.
        note: what a reader must know to read it.
    """

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    apart: int = 0
    note: str = ""

    def mark(self, line: int, column: int) -> Mark | None:
        """The mark there, if any."""
        return self.marks.get((line, column))

    def is_words(self, column: int) -> bool:
        """Whether a column holds words."""
        return self.header[column] in WORDS


def without(table: Table, *names: str) -> Table:
    """The table without the columns of these names, and without those that hold nothing."""
    kept = [
        column
        for column, name in enumerate(table.header)
        if name not in names and (not column or any(line[column] for line in table.lines))
    ]
    moved = {old: new for new, old in enumerate(kept)}
    return Table(
        table.title,
        tuple(table.header[column] for column in kept),
        tuple(tuple(line[column] for column in kept) for line in table.lines),
        {
            (line, moved[column]): mark
            for (line, column), mark in table.marks.items()
            if column in moved
        },
        table.apart,
        table.note,
    )


def markdown(table: Table) -> str:
    """The table as Markdown, its title and note in lines of their own."""
    rules = ["---" if table.is_words(column) else "---:" for column in range(len(table.header))]
    lines = [list(map(escaped, table.header)), rules]
    for number, line in enumerate(table.lines):
        texts = [escaped(text) for text in line]
        for column, text in enumerate(texts):
            if mark := table.mark(number, column):
                texts[column] = f"**{text}**" if mark == "best" else f"{text} {NEAR}"
        if number < table.apart:
            texts = [f"*{text}*" if text else "" for text in texts]
        lines.append(texts)
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    parts = [f"**{table.title}**" if table.title else "", body, table.note]
    return "\n\n".join(part for part in parts if part)


def plain(table: Table, width: int = WIDTH) -> str:
    """The table as aligned text, ``width`` columns at most.

    Columns that do not fit go into further tables below, each with the first column again.
    """
    texts = [list(table.header), *(list(line) for line in table.lines)]
    for column in {column for _, column in table.marks}:
        for number, line in enumerate(texts[1:]):
            line[column] += _SIGNS[table.mark(number, column)] if line[column] else ""
    widths = []
    for column, name in enumerate(table.header):
        longest = max((len(line[column]) for line in texts[1:]), default=0)
        words = max(map(len, name.split()), default=0)
        widths.append(max(words, min(_WRAP, longest) if table.is_words(column) else longest))
    parts, chosen = [], [0]
    for column in range(1, len(widths)):
        if len(chosen) > 1 and _total([widths[each] for each in (*chosen, column)]) > width:
            parts.append(chosen)
            chosen = [0]
        chosen.append(column)
    parts.append(chosen)
    blocks = [_block(table, texts, part, widths) for part in parts]
    note = textwrap.fill(table.note, width) if table.note else ""
    title = textwrap.fill(table.title, width)
    return "\n".join(part for part in (title, "\n\n".join(blocks), note) if part)


def _block(
    table: Table, texts: Sequence[Sequence[str]], columns: Sequence[int], widths: Sequence[int]
) -> str:
    rule = "-" * _total([widths[column] for column in columns])
    lines = [rule]
    for number, line in enumerate(texts):
        wrapped = [_wrapped(line[column], widths[column]) for column in columns]
        for parts in zip_longest(*wrapped, fillvalue=""):
            aligned = [
                part.ljust(widths[column])
                if table.is_words(column) or not column
                else part.rjust(widths[column])
                for part, column in zip(parts, columns, strict=True)
            ]
            lines.append("  ".join(aligned).rstrip())
        if number == 0 or number == table.apart:
            lines.append(rule)
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, width) or [""]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def escaped(text: str) -> str:
    """The text as Markdown that shows it, also within a table."""
    return re.sub(r"([\\`*<|])", r"\\\1", text).replace("\n", " ")
