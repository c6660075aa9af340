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


_AHEAD = 10.0
"""A line is searched this far ahead for the place where a body is, in steps of the body."""


class FollowedLine:
    """A line, and how far along it a body is. The line may come back to where it was.

    Args:
        line: what the body follows; it is at the start.
        step: distance that the body covers in a step at top speed; None for that of the line.

    Attributes:
        step: distance that the body covers in a step.
    """

    def __init__(self, line: TimedLine, step: float | None = None) -> None:
        self._line = line
        parts = np.linalg.norm(np.diff(line.points, axis=0), axis=1)
        self._lengths = np.append(0.0, np.cumsum(parts))
        pace = float(self._lengths[-1] / max(line.duration, 1.0))
        self.step = pace if step is None else step
        self._travelled = 0.0

    def distance(self, place: np.ndarray) -> float:
        """The distance of the line from ``place`` [2]."""
        return float(_nearest(self._line.points, place)[1].min())

    def is_past(self, place: np.ndarray) -> bool:
        """Whether the body has followed the line past where it is nearest to ``place`` [2]."""
        share, distance = _nearest(self._line.points, place)
        part = int(distance.argmin())
        first, last = self._lengths[part : part + 2]
        return bool(self._travelled >= first + share[part] * (last - first))

    def move(self, position: np.ndarray) -> None:
        """The body is at ``position`` [2]: at the nearest place a little ahead on the line."""
        last = self._travelled + _AHEAD * self.step
        inner = (self._lengths > self._travelled) & (self._lengths < last)
        at = np.concatenate([[self._travelled], self._lengths[inner], [last]])
        points = np.stack([np.interp(at, self._lengths, each) for each in self._line.points.T], 1)
        share, distance = _nearest(points, position)
        part = int(distance.argmin())
        at = at.clip(max=self._lengths[-1])
        self._travelled = float(at[part] + share[part] * (at[part + 1] - at[part]))

    def rest(self, position: np.ndarray) -> TimedLine | None:
        """The way from ``position`` [2] to the line, and the rest of it; None if it is far away."""
        passed = float(np.interp(self._travelled, self._lengths, self._line.steps))
        return _from_place(self._line, passed, position, self.step)


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
    shares, distances = _nearest(line.points, start)
    nearest = int(distances.argmin())
    before, after = line.steps[nearest : nearest + 2]
    return _from_place(line, before + shares[nearest] * (after - before), start, max_step)


def _from_place(
    line: TimedLine, passed: float, start: np.ndarray, max_step: float
) -> TimedLine | None:
    """The way from ``start`` [2] to the place of ``line`` after ``passed`` steps, and its rest."""
    left = line.between(passed, line.duration)
    back = float(np.abs(left.points[0] - start).max()) / max(max_step, 1e-12)
    if back > _MAX_BACK:
        return None
    points = np.concatenate([start[None], left.points])
    return TimedLine(points, np.append(0.0, back + left.steps))


def _nearest(points: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each part of the line ``points`` [R, 2], where it is nearest to ``place`` [2].

    Returns:
        (share of the part, its distance there), each [R - 1].
    """
    parts = np.diff(points, axis=0)
    along = ((place - points[:-1]) * parts).sum(1)
    share = (along / np.maximum((parts**2).sum(1), 1e-12)).clip(0, 1)
    places = points[:-1] + share[:, None] * parts
    return share, np.linalg.norm(places - place, axis=1)
