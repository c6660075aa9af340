"""The expected way from a start to a goal, as a line with times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph

from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.requirements import NO_REQUIREMENTS, Requirements
from dfplan.planning.row_errors import in_row
from dfplan.planning.time_to_goal import RISK_AVERSION, GoalTimes, goal_times
from dfplan.record import Record
from dfplan.tokens.free_region import FreeRegion
from dfplan.tokens.statistics import Statistics

_MARGIN = 1.0
"""A shortcut may be this far from the data, in cells of the support."""

_ON_EDGES = np.linspace(0.0, 1.0, 9)[1:-1]
"""Where an edge is checked for closed regions, as shares of it."""

_REACH = 40
"""A shortcut leaves out fewer bins than this."""


@dataclass(frozen=True)
class TimedLine(Record):
    """A line with the time of each corner.

    Attributes:
        points: corners of the line, the start first; float64 [R, 2].
        steps: environment steps from the start to each corner; float64 [R], ascending.
    """

    points: np.ndarray
    steps: np.ndarray

    @property
    def duration(self) -> float:
        """Environment steps from the start to the end."""
        return float(self.steps[-1])

    @property
    def length(self) -> float:
        """Length, where each part counts the larger of its extents along the two axes."""
        return float(_extents(self.points).sum())

    def at(self, steps: np.ndarray) -> np.ndarray:
        """Expected positions [P, 2] after ``steps`` [P]; the last one after arrival."""
        columns = [np.interp(steps, self.steps, self.points[:, axis]) for axis in (0, 1)]
        return np.stack(columns, 1)

    def between(self, first: float, last: float) -> TimedLine:
        """The part from ``first`` to ``last`` steps after the start."""
        inner = (self.steps > first) & (self.steps < last)
        ends = self.at(np.array([first, last]))
        points = np.concatenate([ends[:1], self.points[inner], ends[1:]])
        return TimedLine(points, np.concatenate([[0.0], self.steps[inner] - first, [last - first]]))


@dataclass(frozen=True)
class Route(TimedLine):
    """The expected way of one query.

    Attributes:
        way: the expected time to the goal, and the choices that lead there.
        onward: expected steps from the end of the line to the goal. It is 0 unless the line ends
            before the goal, where a jump is likely.
    """

    way: GoalTimes
    onward: float = 0.0

    def first_part(self, length: float) -> Route:
        """The part from the start on of this :attr:`length`, or all if it is shorter."""
        along = np.append(0.0, np.cumsum(_extents(self.points)))
        last = float(np.interp(length, along, self.steps))
        part = self.between(0.0, last)
        return Route(part.points, part.steps, self.way, self.onward + self.duration - last)

    @property
    def ends_in_jump(self) -> bool:
        """Whether the line ends before the goal, where a jump is likely."""
        return self.onward > 0


@dataclass(frozen=True)
class Ways(Record):
    """The expected ways from anywhere to one goal, through the required places.

    Attributes:
        statistics: statistics of the data.
        requirements: of all ways.
        stages: the expected times to each required place in order, and then to the goal.
    """

    statistics: Statistics
    requirements: Requirements
    stages: tuple[GoalTimes, ...]

    def route(self, start: np.ndarray, passed: int = 0, *, shorten: bool = True) -> Route:
        """The best way from ``start`` [2], when the first ``passed`` places are behind the body.

        It ends at the goal, or before it where a jump is likely, and enters no closed region.

        Args:
            start: position [2].
            passed: required places that need not be passed any more.
            shorten: whether the way is straightened where the data leaves room.

        Raises:
            ObservationError: no recorded way leads to the goal.
        """
        stages = self.stages[passed:]
        begins = [start, *(stage.goal for stage in stages[:-1])]
        parts: list[Route] = []
        for stage, begin in zip(stages, begins, strict=True):
            parts.append(
                expected_way(stage, begin, self.statistics, self.requirements, shorten=shorten)
            )
            if parts[-1].ends_in_jump:
                break
        later = zip(stages[len(parts) :], begins[len(parts) :], strict=True)
        return _joined(parts, sum(stage.expected_from(begin) for stage, begin in later))


def find_ways(
    statistics: Statistics,
    goals: np.ndarray,
    risk_aversion: float = RISK_AVERSION,
    requirements: Requirements = NO_REQUIREMENTS,
) -> list[Ways]:
    """The ways to each of ``goals`` [B, 2].

    Args:
        statistics: statistics of the data, with a roadmap.
        goals: positions [B, 2].
        risk_aversion: see :func:`~dfplan.planning.time_to_goal.goal_times`.
        requirements: of all ways.

    Raises:
        ConfigError: there is no roadmap, or ``risk_aversion`` is negative.
        ObservationError: no recorded place is near a goal.
    """
    roadmap = statistics.roadmap
    if roadmap is None:
        raise ConfigError(
            "A way to the goal needs the roadmap of the data, which this checkpoint lacks. Train "
            "the model again."
        )
    if requirements.closed:
        closed = requirements.forbid(roadmap.centers, roadmap.size / 2)
        begin, end = roadmap.centers[roadmap.edges].swapaxes(0, 1)
        lines = begin + _ON_EDGES[:, None, None] * (end - begin)
        blocked: np.ndarray = np.any(requirements.forbid(lines, 0.0), axis=0)
        roadmap = roadmap.without(closed, blocked)

    @cache
    def times(place: tuple[float, float]) -> GoalTimes:
        return goal_times(roadmap, statistics.support, np.array(place), risk_aversion)

    found = []
    for row, goal in enumerate(goals.astype(np.float64)):
        try:
            stages = tuple(times(tuple(place)) for place in [*requirements.places, goal])
        except ObservationError as error:
            raise ObservationError(f"{error}{in_row(row, len(goals))}", rows=(row,)) from error
        found.append(Ways(statistics, requirements, stages))
    return found


def find_routes(ways: Sequence[Ways], starts: np.ndarray) -> list[Route]:
    """The expected way of each query; see :meth:`Ways.route`.

    Args:
        ways: to the goal of each query.
        starts: positions [B, 2].

    Raises:
        ObservationError: no recorded way leads from a start to its goal.
    """
    routes = []
    for row, (to_goal, start) in enumerate(zip(ways, starts.astype(np.float64), strict=True)):
        try:
            routes.append(to_goal.route(start))
        except ObservationError as error:
            raise ObservationError(f"{error}{in_row(row, len(starts))}", rows=(row,)) from error
    return routes


def _joined(parts: list[Route], later: float) -> Route:
    """One way from the parts, after the last of which ``later`` steps are expected."""
    points = [parts[0].points, *(part.points[1:] for part in parts[1:])]
    began = np.cumsum([0.0, *(part.duration for part in parts)])
    steps = [
        parts[0].steps,
        *(part.steps[1:] + at for part, at in zip(parts[1:], began[1:-1], strict=True)),
    ]
    last = parts[-1]
    onward = last.onward + later if last.ends_in_jump else 0.0
    return Route(np.concatenate(points), np.concatenate(steps), last.way, onward)


def expected_way(
    way: GoalTimes,
    start: np.ndarray,
    statistics: Statistics,
    requirements: Requirements = NO_REQUIREMENTS,
    *,
    shorten: bool = True,
) -> Route:
    """The best way from ``start`` [2] to the goal of ``way``; see :meth:`Ways.route`."""
    roadmap = way.roadmap
    bins = way.route(start)
    line = np.concatenate([start[None], roadmap.centers[bins], way.goal[None]])
    max_step = statistics.motion.max_step
    first, last = np.abs(line[[1, -1]] - line[[0, -2]]).max(1) / max_step
    durations = np.concatenate([[first], roadmap.durations(bins), [last]])
    ends_in_jump = bins[-1] not in way.ends
    onward = 0.0
    if ends_in_jump:
        line, durations = line[:-1], durations[:-1]
        onward = way.expected_from(line[-1])
    if not shorten:
        return Route(line, np.append(0.0, np.cumsum(durations)), way, onward)
    elapsed, length = (np.append(0.0, np.cumsum(each)) for each in (durations, _lengths(line)))
    corners = _shortcuts(line, statistics.free_region, requirements)
    along, straight = np.diff(length[corners]), _lengths(line[corners])
    pace = np.diff(elapsed[corners]) / np.where(along > 0, along, 1.0)
    steps = np.append(0.0, np.cumsum(pace * straight))
    return Route(line[corners], steps, way, onward)


def _shortcuts(line: np.ndarray, region: FreeRegion, requirements: Requirements) -> np.ndarray:
    """The corners of the shortest line along ``line`` [R, 2] that stays in the region; int [Q].

    It has the first and last point of ``line``, and some between.
    """
    count = len(line)
    first, second = np.triu_indices(count, 2)
    near = second - first <= _REACH
    first, second = first[near], second[near]
    length = np.linalg.norm(line[second] - line[first], axis=1)
    samples = np.ceil(length / region.resolution).astype(int).clip(min=1)
    owner = np.repeat(np.arange(len(first)), samples)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(samples) - samples, samples)
    share = ((place + 0.5) / samples[owner])[:, None]
    points = (1 - share) * line[first[owner]] + share * line[second[owner]]
    distance = region.distance(torch.from_numpy(points.astype(np.float32))).numpy()
    free = np.ones(len(first), bool)
    outside = distance > _MARGIN * region.resolution
    if requirements.closed:
        outside |= requirements.forbid(points, np.inf)
    free[owner[outside]] = False
    step = np.arange(count - 1)
    begin, end = np.append(step, first[free]), np.append(step + 1, second[free])
    cost = np.linalg.norm(line[end] - line[begin], axis=1)
    graph = sparse.csr_matrix((cost + 1e-9 * cost.sum(), (begin, end)), (count, count))
    before = csgraph.dijkstra(graph, indices=0, return_predecessors=True)[1]
    corners = [count - 1]
    while corners[-1]:
        corners.append(int(before[corners[-1]]))
    return np.array(corners[::-1])


def _extents(line: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(np.diff(line, axis=0)).max(1))


def _lengths(line: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(np.diff(line, axis=0), axis=1))
