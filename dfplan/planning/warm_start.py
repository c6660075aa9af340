"""Start new plans from the rest of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfplan.errors import ConfigError
from dfplan.planning.route import TimedLine
from dfplan.types import Plan

WarmStart = Plan | Sequence[TimedLine | None]
"""Earlier plans of B queries, or a line for each; None for a query without one."""


_MAX_BACK = 20.0
"""A body that needs more steps back to its line, at top speed, starts without it: what lies between
is not known."""


def lines_of(plan: Plan) -> list[TimedLine]:
    """The line of each query's plan, up to its last step."""
    counts = (plan.steps // plan.stride).clip(min=1)
    return [
        TimedLine(points[: 1 + count].astype(np.float64), plan.stride * np.arange(1.0 + count))
        for points, count in zip(plan.points, counts, strict=True)
    ]


def rests(warm_start: WarmStart, starts: np.ndarray, max_step: float) -> list[TimedLine | None]:
    """What each body has left of its line: the way back to it, and the line from there on.

    It is None for a body that is far from its line.

    Args:
        warm_start: the lines.
        starts: positions of the bodies, float [B, 2].
        max_step: distance that the body covers in one environment step at top speed.

    Raises:
        ConfigError: not a plan or a sequence of lines, or another number of queries.
    """
    lines = lines_of(warm_start) if isinstance(warm_start, Plan) else warm_start
    if not isinstance(lines, Sequence) or not all(
        line is None or isinstance(line, TimedLine) for line in lines
    ):
        raise ConfigError(
            f"warm_start must be one dfplan.Plan for all queries; got {warm_start!r:.200}. Pass "
            "what plan() returned."
        )
    if len(lines) != len(starts):
        raise ConfigError(
            f"warm_start needs one plan for each query; got {len(lines)} for {len(starts)} queries."
        )
    return [
        None if line is None else _rest(line, start, max_step)
        for line, start in zip(lines, starts, strict=True)
    ]


def _rest(line: TimedLine, start: np.ndarray, max_step: float) -> TimedLine | None:
    """The rest of ``line`` from the place nearest to ``start`` [2]; None if that is far away."""
    parts = np.diff(line.points, axis=0)
    along = ((start - line.points[:-1]) * parts).sum(1)
    share = (along / np.maximum((parts**2).sum(1), 1e-12)).clip(0, 1)
    places = line.points[:-1] + share[:, None] * parts
    nearest = int(np.linalg.norm(places - start, axis=1).argmin())
    before, after = line.steps[nearest : nearest + 2]
    passed = before + share[nearest] * (after - before)
    back = np.abs(places[nearest] - start).max() / max_step
    if back > _MAX_BACK:
        return None
    points = np.concatenate([start[None], places[[nearest]], line.points[nearest + 1 :]])
    steps = np.concatenate([[0.0, back], back + line.steps[nearest + 1 :] - passed])
    return TimedLine(points, steps)
