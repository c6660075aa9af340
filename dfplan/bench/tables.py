"""Tables of text and numbers, as Markdown and as aligned text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tabulate import SEPARATING_LINE, tabulate

from dfplan.record import Record

Mark = Literal["best", "tied"]
"""The best number of its column; a number that is not significantly different from the best."""

TIED = "≈"
"""Sign after numbers that are ``tied``."""

# Headings of columns with text, which are aligned to the left; other columns hold numbers.
_TEXT_COLUMNS = (
    "Method", "Scored", "± is", "Source", "Error", "Task", "Problems", "Split", "Property", "Value",
    "Checkpoint", "Runs", "Name", "Description", "Verdict", "Tracker", "First", "Second",
)  # fmt: skip

WIDTH = 110
"""Maximum width of a text table, in characters."""

_WRAP = 28
_SIGNS = {"best": " *", "tied": f" {TIED}", None: "  "}


@dataclass(frozen=True)
class Table(Record):
    """A table of texts, in which some are marked as the best or as tied with it.

    Attributes:
        rows: each row is as many texts as the header has.
        marks: marks of cells by (row, column).
        reference_rows: number of rows at the top that are for reference and not ranked.
        note: explains the table.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    reference_rows: int = 0
    note: str = ""

    def mark(self, row: int, column: int) -> Mark | None:
        return self.marks.get((row, column))

    def is_text(self, column: int) -> bool:
        """Whether a column holds text, not numbers."""
        return self.header[column] in _TEXT_COLUMNS


def drop_columns(table: Table, *names: str) -> Table:
    """Remove the columns with these headings, and all empty columns but the first."""
    kept = [
        column
        for column, name in enumerate(table.header)
        if name not in names and (not column or any(row[column] for row in table.rows))
    ]
    new_index = {old: new for new, old in enumerate(kept)}
    return replace(
        table,
        header=tuple(table.header[column] for column in kept),
        rows=tuple(tuple(row[column] for column in kept) for row in table.rows),
        marks={
            (row, new_index[column]): mark
            for (row, column), mark in table.marks.items()
            if column in new_index
        },
    )


def to_markdown(table: Table) -> str:
    """Return the table as Markdown, with its title above and its note below."""
    rules = ["---" if table.is_text(column) else "---:" for column in range(len(table.header))]
    rows = [list(map(escape_markdown, table.header)), rules]
    for number, row in enumerate(table.rows):
        texts = [escape_markdown(text) for text in row]
        for column, text in enumerate(texts):
            if mark := table.mark(number, column):
                texts[column] = f"**{text}**" if mark == "best" else f"{text} {TIED}"
        if number < table.reference_rows:
            texts = [f"*{text}*" if text else "" for text in texts]
        rows.append(texts)
    # tabulate would pad all cells of a column to the width of the longest one.
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    parts = [f"**{table.title}**" if table.title else "", body, table.note]
    return "\n\n".join(part for part in parts if part)


def to_text(table: Table) -> str:
    """Return the table as aligned text with at most 110 characters per line.

    Columns that do not fit follow in further tables, each of which repeats the first column.
    """
    rows = [list(row) for row in table.rows]
    for column in {column for _, column in table.marks}:
        for number, row in enumerate(rows):
            row[column] += _SIGNS[table.mark(number, column)] if row[column] else ""
    widths = []
    for column, name in enumerate(table.header):
        longest = max((len(row[column]) for row in rows), default=0)
        heading = max(map(len, name.split()), default=0)
        widths.append(max(heading, min(_WRAP, longest) if table.is_text(column) else longest))
    groups = [[0]]
    for column in range(1, len(widths)):
        total = sum(widths[each] + 2 for each in (*groups[-1], column)) - 2
        if len(groups[-1]) > 1 and total > WIDTH:
            groups.append([0])
        groups[-1].append(column)
    blocks = [_text_block(table, rows, group, widths) for group in groups]
    note = textwrap.fill(table.note, WIDTH) if table.note else ""
    title = textwrap.fill(table.title, WIDTH)
    return "\n".join(part for part in (title, "\n\n".join(blocks), note) if part)


def _text_block(
    table: Table, rows: Sequence[Sequence[str]], columns: Sequence[int], widths: Sequence[int]
) -> str:
    # tabulate would widen columns by two characters for headings, and its own wrapping fails for
    # texts such as "1,234". So the header is a row like the others.
    content: list[Sequence[str] | str] = [
        [_wrap(row[column], widths[column]) for column in columns] for row in (table.header, *rows)
    ]
    if table.reference_rows:
        content.insert(1 + table.reference_rows, SEPARATING_LINE)
    content.insert(1, SEPARATING_LINE)
    text = tabulate(
        content,
        colalign=["left" if table.is_text(each) or not each else "right" for each in columns],
        disable_numparse=True,
        preserve_whitespace=True,
    )
    return "\n".join(line.rstrip() for line in text.splitlines())


def _wrap(text: str, width: int) -> str:
    return textwrap.fill(text, width, drop_whitespace=False, break_on_hyphens=False)


def escape_markdown(text: str) -> str:
    """Escape a text for Markdown, also within a table."""
    return re.sub(r"([\\`*<|])", r"\\\1", text).replace("\n", " ")
