"""Published scores of other methods on the same tasks, each with its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal, cast

Scored = Literal["true", "latched", "unclear", "success", "changed", "seconds"]
"""How a score was computed.

``true``: from the true sum of rewards. ``latched``: from a sum that counts every step after the
first one at the goal. ``unclear``: one of these two; the source does not say which. ``success``:
success rate in percent, under the task's own protocol. ``changed``: success rate in percent, under
a changed protocol that the source describes. ``seconds``: not a score, but the time of one plan.
"""

COMPARABLE: tuple[Scored, ...] = ("true", "success")
"""Kinds of scores that are comparable with each other and with scores under the protocol."""


@dataclass(frozen=True)
class Published:
    """One published score.

    Attributes:
        task: id of the task, such as ``maze2d-large``.
        method: its name in the source.
        mean: the score, in the unit of the task's protocol; or seconds.
        spread: the number after ±, if it is given.
        spread_kind: its meaning (``std``, ``s.e.``), if it is known.
        scored: how the score was computed.
        source: where it was published.
    """

    task: str
    method: str
    mean: float
    spread: float | None
    spread_kind: str | None
    scored: Scored
    source: str


def published(task: str) -> list[Published]:
    """Return the published scores for a task by its id, in the order of the file."""
    return [score for score in _all_published() if score.task == task]


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
