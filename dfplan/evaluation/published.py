"""Figures that others published for the same tasks, each with where it was read."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal, cast

Scored = Literal["true", "latched", "unclear", "success", "changed", "seconds"]
"""What a figure is.

``true``: from the true sum of rewards. ``latched``: from the sum in which every step after the
first touch counts. ``unclear``: one of the two, and its source does not settle which. ``success``:
percent of episodes, under the task's own protocol. ``changed``: the same under a protocol that was
changed, as its source says. ``seconds``: no score, but the time of one plan.
"""

COMPARABLE: tuple[Scored, ...] = ("true", "success")
"""Figures that compare with each other and with those of the task's protocol."""


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes:
        task: id of the task, such as ``maze2d-large``.
        method: as its authors call it.
        mean: the score, in the unit of the task's protocol; or seconds.
        spread: what stands behind the ±, or None where nothing does.
        spread_kind: what that is (``std``, ``s.e.``), or None.
        scored: what it is.
        source: where it was read.
    """

    task: str
    method: str
    mean: float
    spread: float | None
    spread_kind: str | None
    scored: Scored
    source: str


def published(task: str) -> list[Published]:
    """The figures for the task of that id, in the order of the file; empty where none are known."""
    return [figure for figure in _all_published() if figure.task == task]


@lru_cache(maxsize=1)
def _all_published() -> tuple[Published, ...]:
    text = resources.files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            task=record["task"],
            method=record["method"],
            mean=float(record["mean"]),
            spread=float(record["spread"]) if record["spread"] else None,
            spread_kind=record["spread_kind"] or None,
            scored=cast(Scored, record["scored"]),
            source=record["source"],
        )
        for record in csv.DictReader(text.splitlines())
    )
