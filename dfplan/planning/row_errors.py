"""Errors about single rows of a batch."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from dfplan.errors import DfplanError


def first_then_others(row: int, wrong: np.ndarray) -> list[int]:
    """``row``, then the other rows where ``wrong`` bool [B] is true: the rows of an error."""
    return [row, *(other for other in np.flatnonzero(wrong).tolist() if other != row)]


def in_row(row: int, count: int) -> str:
    """The end of a phrase about one of ``count`` rows; empty if there is only one row."""
    return f" in row {row}" if count > 1 else ""


def list_rows(rows: list[int]) -> str:
    """Row numbers as text, at most five of them."""
    first = ", ".join(map(str, rows[:5]))
    return first if len(rows) <= 5 else f"{first} and {len(rows) - 5} more"


def renumber_rows(error: DfplanError, rows: np.ndarray, count: int) -> None:
    """Change the row numbers in an error about part of a batch to those of the batch.

    Args:
        error: about the rows 0 to R - 1 of a plan; it is changed in place.
        rows: their numbers in the batch, int [R].
        count: size of the batch.
    """
    if error.rows and max(error.rows) < len(rows):
        first = error.rows[0]
        message, named = re.subn(rf"\brow {first}\b", f"row {rows[first]}", str(error))
        if not named and count > 1:  # a plan for one row does not name it
            message = f"{message} (In row {rows[first]} of {count} environments.)"
        error.rows = tuple(rows[list(error.rows)].tolist())
    elif len(rows) < count:
        message = f"{error} (In a plan for {list_rows(rows.tolist())} of {count} environments.)"
        error.rows = ()
    else:
        return
    error.args = (message, *error.args[1:])


def failing_rows(
    error: DfplanError, rows: np.ndarray, attempt: Callable[[np.ndarray], object]
) -> list[int]:
    """Find the rows that cause an error.

    Args:
        error: raised by ``attempt(rows)``. If it names rows, these are returned.
        rows: int [R].
        attempt: called with single rows; those that raise an error are returned, or all rows if
            none does.
    """
    if error.rows:
        return list(error.rows)
    failing = []
    for row in rows if len(rows) > 1 else []:
        try:
            attempt(np.array([row]))
        except DfplanError:
            failing.append(int(row))
    return failing or rows.tolist()
