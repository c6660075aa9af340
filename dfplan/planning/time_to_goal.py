"""The expected time to a goal, computed on the roadmap of the data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse import csgraph, linalg

from dfplan.errors import DataError, ObservationError, require_numbers
from dfplan.record import Record
from dfplan.tokens.roadmap import BIN_CELLS, Roadmap
from dfplan.tokens.support import Support, interpolate

RISK_AVERSION = 10.0
"""By default a lost episode counts eleven times the longest way."""

MAX_RISK_AVERSION = 1e6

_TOLERANCE = 1e-9
"""Policy iteration ends when no value of a bin with jumps decreases by more than this share."""

_NEIGHBOR, _NEAR = 1.5, 2.5
"""A position is joined to bins whose centers are at most this far, in sides of a bin; and to one
farther bin if none of them is of use."""

_IN_SIGHT = 1.9
"""A line is free if no point of it is farther from the data than its ends, plus this many cells of
the support."""

_LIKELY = 0.5
"""A way ends behind a bin with at least this probability of a jump."""

_BEHIND = 2
"""Bins that a way goes on for behind the first one where a jump is likely: a body that stops in
that one may not jump."""


@dataclass(frozen=True)
class GoalTimes(Record):
    """The expected time to a goal from each bin of a roadmap, and the best way there.

    Attributes:
        roadmap: the N bins.
        support: the visited region.
        goal: position, float64 [2].
        ends: bins from which the body goes straight to the goal.
        steps: expected environment steps, where a lost episode counts as said in
            :func:`goal_times`; float64 [N], infinite where no way leads to the goal.
        arrival: probability of reaching the goal, float64 [N].
        following: the bin to go to next, int [N]; -1 at the goal's bin, and where no edge leads on.
        lost: steps that a lost episode counts.
    """

    roadmap: Roadmap
    support: Support
    goal: np.ndarray
    ends: tuple[int, ...]
    steps: np.ndarray
    arrival: np.ndarray
    following: np.ndarray
    lost: float

    @cached_property
    def _field(self) -> torch.Tensor:
        """Expected steps at each place of the grid, [1, 1, G0, G1].

        Places without a way count as the nearest one that has a way, plus the time to get there.
        """
        # At least 2 by 2 places, for the interpolation.
        known = np.zeros(np.maximum(self.roadmap.grid.shape, 2), bool)
        finite = np.isfinite(self.steps)
        place = tuple(self.roadmap.bins[finite].T)
        known[place] = True
        away, (row, column) = ndimage.distance_transform_edt(~known, return_indices=True)
        values = np.zeros(known.shape)
        values[place] = self.steps[finite]
        field = values[row, column] + BIN_CELLS * away
        with torch.inference_mode(False):  # the cached tensor is used with gradients, too
            return torch.from_numpy(field.astype(np.float32))[None, None]

    def expected_steps(self, points: torch.Tensor) -> torch.Tensor:
        """Expected steps to the goal from positions [..., 2]; [...], differentiable.

        It is interpolated between the centers of bins.
        """
        origin = torch.from_numpy(self.roadmap.origin).to(points.dtype)
        steps, outside = interpolate(self._field, (points - origin) / self.roadmap.size - 0.5)
        return steps + BIN_CELLS * outside

    def start_bin(self, position: np.ndarray) -> int:
        """The bin from which a body at ``position`` [2] is soonest at the goal.

        The body can go straight to it. A position off the data, such as an estimate, counts as the
        nearest recorded place.

        Raises:
            ObservationError: no way leads to the goal from there.
        """
        return self._start(position)[0]

    def expected_from(self, position: np.ndarray) -> float:
        """Expected steps to the goal by way of :meth:`start_bin`, from ``position`` [2].

        Raises:
            ObservationError: no way leads to the goal from there.
        """
        return self._start(position)[1]

    def _start(self, position: np.ndarray) -> tuple[int, float]:
        """The bin to start from, and the expected steps."""
        arrives = np.isfinite(self.steps)
        joined = _joined_bins(self.roadmap, self.support, position, arrives)
        if not arrives[joined].any():
            raise ObservationError(self._no_way(position))
        away = np.abs(self.roadmap.centers[joined] - position).max(1)
        soonest = self.steps[joined] + away * BIN_CELLS / self.roadmap.size
        best = int(soonest.argmin())
        return joined[best], float(soonest[best])

    def route(self, position: np.ndarray) -> np.ndarray:
        """The bins of the best way from ``position`` [2] to the goal; int [R].

        A way to a place where a jump is likely ends there, a few bins behind the first such bin.

        Raises:
            ObservationError: no way leads to the goal from there.
        """
        chance = self.roadmap.jump_chance
        route = [self.start_bin(position)]
        behind = 0
        while route[-1] not in self.ends and behind <= _BEHIND:
            behind += bool(behind or chance[route[-1]] >= _LIKELY)
            following = int(self.following[route[-1]])
            if following < 0 or following in route:
                break
            route.append(following)
        return np.array(route)

    def _no_way(self, position: np.ndarray) -> str:
        roadmap = self.roadmap
        starts = _joined_bins(roadmap, self.support, position, np.ones(len(roadmap), bool))
        pairs = np.concatenate([roadmap.edges, roadmap.jumps])
        graph = sparse.csr_matrix((np.ones(len(pairs)), pairs.T), (len(roadmap),) * 2)
        reached = np.unique(
            [
                bin
                for start in starts
                for bin in csgraph.breadth_first_order(graph, start, return_predecessors=False)
            ]
        )
        away = np.linalg.norm(roadmap.centers[reached] - self.goal, axis=1)
        part = roadmap.centers[np.isfinite(self.steps)]
        return (
            f"No recorded way leads from the start {_text(position)} to the goal "
            f"{_text(self.goal)}. The goal can be reached from {len(part)} of {len(roadmap)} "
            f"recorded places, between {_text(part.min(0))} and {_text(part.max(0))}. The start "
            f"leads to {len(reached)} others; the nearest to the goal is "
            f"{_text(roadmap.centers[reached[away.argmin()]])}, {away.min():.3g} away from it. "
            "Record walks that connect the two, or choose another goal. With route_noise=math.inf "
            "a ForcingPlanner plans without recorded ways."
        )


def goal_times(
    roadmap: Roadmap, support: Support, goal: np.ndarray, risk_aversion: float = RISK_AVERSION
) -> GoalTimes:
    """Compute the expected time to ``goal`` from each bin.

    With c(b, d) the steps of the edge from bin b to bin d, p(b, l) the chance that a visit to b
    ends with a jump to bin l, and p(b) the sum of p(b, l) over l, the expected time V solves ::

        V(goal) = 0
        V(b) = sum over l of p(b, l) (1 + V(l)) + (1 - p(b)) min over d of [c(b, d) + V(d)]

    A visit to a bin without an edge to a bin with a way always ends with a jump.

    A bin from which no way leads to the goal, whatever the jumps, is a lost episode. Its V is
    ``1 + risk_aversion`` times the longest time of any bin if jumps could be chosen. So with
    ``risk_aversion`` 0 a lost episode counts like a start at the farthest place. It counts more if
    a certain loss would otherwise be chosen where a way leads to the goal.

    The equations are solved by policy iteration. Dijkstra's algorithm finds the best choices,
    given the values of bins with jumps. A linear system has the values of these, given the choices.

    Args:
        roadmap: of the data.
        support: the visited region.
        goal: position, [2].
        risk_aversion: what a loss counts beyond the longest time, as a multiple of it.

    Raises:
        ConfigError: ``risk_aversion`` is not a number from 0 to 1e6.
        DataError: the data goes from no place to another.
        ObservationError: no bin is near the goal, or bodies jump away from it.
    """
    if not len(roadmap.edges) and not len(roadmap.jumps):
        raise DataError(
            f"The data goes from none of its {len(roadmap)} places to another one, so there is no "
            "way to a goal. Record walks in which the body moves farther, or plan without "
            "recorded ways, by a ForcingPlanner with route_noise=math.inf."
        )
    require_numbers({"risk_aversion": risk_aversion}, minimum=0, maximum=MAX_RISK_AVERSION)
    goal = np.asarray(goal, np.float64)
    count = len(roadmap)
    entered = np.zeros(count, bool)
    entered[roadmap.edges[:, 1]] = entered[roadmap.jumps[:, 1]] = True
    joined = _joined_bins(roadmap, support, goal, entered)
    chance = roadmap.jump_chance[joined]
    if chance[0] >= _LIKELY:
        raise ObservationError(
            f"At the goal {_text(goal)}, {chance[0]:.0%} of the recorded bodies jump away, so no "
            "body stays there. Choose a goal outside the place where they jump."
        )
    joined = [bin for bin, jumps in zip(joined, chance, strict=True) if jumps < _LIKELY]
    if not entered[joined].any():
        raise ObservationError(f"No recorded place is near the goal {_text(goal)}.")
    away = np.abs(roadmap.centers[joined] - goal).max(1) * BIN_CELLS / roadmap.size
    chain = _Chain(roadmap, dict(zip(joined, away.tolist(), strict=True)))
    lost = (1 + risk_aversion) * chain.fastest[chain.possible].max()
    while True:
        steps, arrival, following = chain.solve(lost)
        if arrival[chain.possible].all():
            return GoalTimes(
                roadmap, support, goal, tuple(joined), steps, arrival, following, float(lost)
            )
        lost *= 2


class _Chain:
    """The choices and chances on the way to bins where the body arrives.

    Attributes:
        fastest: steps from each of N bins if jumps could be chosen, [N]; infinite without a way. A
            jump takes 1 step.
        possible: bins from which there is a way, bool [N].
    """

    def __init__(self, roadmap: Roadmap, ends: dict[int, float]) -> None:
        """Collect the edges and jumps that can be taken.

        Args:
            roadmap: of N bins.
            ends: the bins where the body arrives, and the steps from each to the goal.
        """
        self._count, self._ends = len(roadmap), ends
        chance = roadmap.jump_chance.copy()
        chance[list(ends)] = 0.0
        jumps = np.flatnonzero(chance[roadmap.jumps[:, 0]])
        source, landing = roadmap.jumps[jumps].T.astype(np.int64)
        edges = np.flatnonzero(chance[roadmap.edges[:, 0]] < 1)
        begin, end = roadmap.edges[edges].T.astype(np.int64)
        steps = roadmap.steps[edges].astype(np.float64)
        # The jump, where an edge leads to the same bin.
        other = ~np.isin(begin * self._count + end, source * self._count + landing)
        self.fastest, self._first = _dijkstra(
            np.append(begin[other], source),
            np.append(end[other], landing),
            np.append(steps[other], np.ones(len(source))),
            ends,
            self._count,
        )
        self.possible = np.isfinite(self.fastest)
        self._risky = np.flatnonzero((chance > 0) & self.possible)
        self._chance = chance[self._risky]
        self._number = np.full(self._count, -1)
        self._number[self._risky] = np.arange(len(self._risky))
        from_risky = chance[begin] > 0
        self._edges = begin[~from_risky], end[~from_risky], steps[~from_risky]
        left = from_risky & self.possible[begin] & self.possible[end]
        self._onward = self._number[begin[left]], end[left], steps[left]
        taken = self.possible[source]
        self._jumps = self._number[source[taken]], landing[taken]
        share = roadmap.chance[jumps][taken].astype(np.float64)
        total = np.bincount(self._jumps[0], share, minlength=len(self._risky))
        self._share = share / total[self._jumps[0]]

    def solve(self, lost: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The solution where the value of a bin without a way is ``lost``.

        Returns:
            (expected steps, infinite without a way; probability of arrival; next bin or -1), [N].
        """
        if not len(self._risky):
            return self.fastest, self.possible.astype(np.float64), self._first
        # With these first choices, the body arrives from each bin with a positive probability.
        steps, following = self.fastest, self._first.copy()
        before = np.full(len(self._risky), np.inf)
        while True:
            following[self._risky] = -1
            choice = self._choose(steps)
            values, arrival = self._evaluate(steps, following, choice, lost)
            if not (values < before - _TOLERANCE * (1 + values)).any():
                chosen = choice >= 0
                following[self._risky[chosen]] = self._onward[1][choice[chosen]]
                return steps, arrival, following
            before = values
            ends = {**self._ends, **dict(zip(self._risky.tolist(), values.tolist(), strict=True))}
            steps, following = _dijkstra(*self._edges, ends, self._count)

    def _choose(self, steps: np.ndarray) -> np.ndarray:
        """The best edge of each bin with jumps, given the ``steps`` [N] of all bins; -1 without."""
        begin, end, cost = self._onward
        order = np.lexsort((cost + steps[end], begin))
        first, at = np.unique(begin[order], return_index=True)
        choice = np.full(len(self._risky), -1)
        choice[first] = order[at]
        return choice

    def _evaluate(
        self, steps: np.ndarray, following: np.ndarray, choice: np.ndarray, lost: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the choices lead to.

        Args:
            steps: of each bin, [N], of which the differences along ``following`` are right.
            following: the next bin, [N]; -1 at bins with jumps and where the body arrives.
            choice: the edge of each of R bins with jumps, [R]; -1 for none.
            lost: value of a bin without a way.

        Returns:
            (expected steps of bins with jumps [R], probability of arrival from each bin [N]).
        """
        count = len(self._risky)
        # The bin with jumps or the end on the way from each bin, found by doubling the distance.
        stop = np.where(following < 0, np.arange(self._count), following)
        for _ in range(self._count.bit_length()):
            stop = stop[stop]
        number = self._number[stop]
        until = np.where(self.possible, steps, 0.0)
        until = np.where(self.possible, until - np.where(number < 0, 0.0, until[stop]), lost)
        arrives = np.where(self.possible & (number < 0), 1.0, 0.0)

        source, landing = self._jumps
        goes_on = np.flatnonzero(choice >= 0)
        _, end, cost = (part[choice[goes_on]] for part in self._onward)
        leaves = np.where(choice >= 0, self._chance, 1.0)
        begin, target = np.append(source, goes_on), np.append(landing, end)
        chance = np.append(self._share * leaves[source], 1 - self._chance[goes_on])
        taken = chance * (np.append(np.ones(len(source)), cost) + until[target])
        again = number[target] >= 0
        moves = sparse.csc_matrix(
            (chance[again], (begin[again], number[target[again]])), (count, count)
        )
        known = [
            np.bincount(begin, each, minlength=count) for each in (taken, chance * arrives[target])
        ]
        system = linalg.splu(sparse.identity(count, format="csc") - moves)
        values, arrival = system.solve(np.stack(known, 1)).T
        return values, np.where(number < 0, arrives, arrival[number]).clip(0.0, 1.0)


def _dijkstra(
    begin: np.ndarray,
    end: np.ndarray,
    costs: np.ndarray,
    values: dict[int, float],
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The least cost from each of ``count`` bins to a bin of ``values``, plus its value.

    Returns:
        (costs [N]; the next bin on the way, -1 at bins of ``values`` and where there is no way).
    """
    # The way back from an additional node, whose edges have cost 1 + value. A cost of 0 would be
    # no edge.
    ends = np.array(list(values))
    value = np.array(list(values.values()))
    rows = np.concatenate([end, np.full(len(ends), count)])
    columns = np.concatenate([begin, ends])
    graph = sparse.csr_matrix(
        (np.concatenate([costs, 1 + value]), (rows, columns)), (count + 1, count + 1)
    )
    distance, before = csgraph.dijkstra(graph, indices=count, return_predecessors=True)
    before = before[:count].astype(np.int64)
    before[(before < 0) | (before == count)] = -1
    return distance[:count] - 1, before


def _joined_bins(
    roadmap: Roadmap, support: Support, position: np.ndarray, useful: np.ndarray
) -> list[int]:
    """Bins that the body can go to and from ``position`` [2] in a straight line, nearest first.

    These are its own bin and neighbors. Between the ends of a line, no point is farther from the
    data than the ends. If none of the bins is ``useful`` [N], a useful one that is a little farther
    away is added. A position that is far from all bins counts as the center of the nearest one.
    """
    position = np.asarray(position, np.float64)
    away = np.abs(roadmap.centers - position).max(1)
    near = np.flatnonzero(away <= _NEAR * roadmap.size)
    near = near[away[near].argsort(kind="stable")]
    share = np.linspace(0, 1, 4 * BIN_CELLS + 1)[:, None]
    lines = position + share * (roadmap.centers[near, None] - position)
    off = support.distance(torch.from_numpy(lines.astype(np.float32))).numpy()
    beyond = off.max(1) - np.maximum(off[:, 0], off[:, -1])
    near = near[beyond <= _IN_SIGHT * support.resolution]
    if not len(near):
        nearest = int(away.argmin())
        return _joined_bins(roadmap, support, roadmap.centers[nearest], useful)
    joined: list[int] = near[away[near] <= _NEIGHBOR * roadmap.size].tolist()
    farther: list[int] = near[useful[near]].tolist()
    return joined if useful[joined].any() else joined + farther[:1]


def _text(position: np.ndarray) -> str:
    return f"[{position[0]:.4g}, {position[1]:.4g}]"
