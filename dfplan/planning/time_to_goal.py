"""The expected time to a goal, computed on the roadmap of the data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from dfplan.errors import DataError, ObservationError, require_numbers
from dfplan.record import Record
from dfplan.tokens.roadmap import BIN_CELLS, Roadmap
from dfplan.tokens.support import Support, interpolate

RISK_AVERSION = 10.0
"""By default a lost episode counts eleven times the longest way."""

_MAX_SWEEPS = 200
_TOLERANCE = 1e-3
"""Sweeps end when no expected time changes by more than this, in steps."""

_NEAR = 2.5
"""A position can be joined to a bin whose center is at most this far, in sides of a bin."""

_IN_SIGHT = 2.0
"""A line is free if no point of it is farther than this from the data, in cells of the support."""

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
    """

    roadmap: Roadmap
    support: Support
    goal: np.ndarray
    ends: tuple[int, ...]
    steps: np.ndarray
    arrival: np.ndarray
    following: np.ndarray

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

        The body can go straight to it. From a position off the data, which may be far from it as an
        estimate can be, it is the nearest bin with a way to the goal.

        Raises:
            ObservationError: no way leads to the goal from there.
        """
        arrives = np.isfinite(self.steps)
        joined, inside = _joined_bins(self.roadmap, self.support, position, arrives)
        away = np.abs(self.roadmap.centers - position).max(1)
        if arrives[joined].any():
            soonest = self.steps[joined] + away[joined] * BIN_CELLS / self.roadmap.size
            return joined[int(soonest.argmin())]
        if inside:
            raise ObservationError(self._no_way(position))
        return int(np.where(arrives, away, np.inf).argmin())

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
        starts = _joined_bins(roadmap, self.support, position, np.ones(len(roadmap), bool))[0]
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
            f"leads to {len(reached)} of them; the nearest to the goal is "
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

    A bin from which no way leads to the goal, whatever the jumps, is a lost episode. Its V is
    ``1 + risk_aversion`` times the longest time of any bin if jumps could be chosen. So with
    ``risk_aversion`` 0 a lost episode counts like a start at the farthest place.

    The equations are solved by sweeps. Each is a run of Dijkstra's algorithm, where bins with jumps
    have the value from the sweep before.

    Args:
        roadmap: of the data.
        support: the visited region.
        goal: position, [2].
        risk_aversion: what a loss counts beyond the longest time, as a multiple of it.

    Raises:
        ConfigError: ``risk_aversion`` is negative or not finite.
        DataError: the data goes from no place to another.
        ObservationError: no bin is near the goal.
    """
    if not len(roadmap.edges) and not len(roadmap.jumps):
        raise DataError(
            f"The data goes from none of its {len(roadmap)} places to another one, so there is no "
            "way to a goal. Record walks in which the body moves farther, or plan without "
            "recorded ways, by a ForcingPlanner with route_noise=math.inf."
        )
    require_numbers({"risk_aversion": risk_aversion}, minimum=0)
    goal = np.asarray(goal, np.float64)
    count = len(roadmap)
    entered = np.zeros(count, bool)
    entered[roadmap.edges[:, 1]] = entered[roadmap.jumps[:, 1]] = True
    joined = _joined_bins(roadmap, support, goal, entered)[0]
    if not joined:
        raise ObservationError(f"No recorded place is near the goal {_text(goal)}.")
    sources, landings = roadmap.jumps.T.astype(np.int64)
    chance = roadmap.jump_chance.copy()
    chance[joined] = 0.0
    away = np.abs(roadmap.centers[joined] - goal).max(1) * BIN_CELLS / roadmap.size
    ends = dict(zip(joined, away.tolist(), strict=True))
    risky = np.flatnonzero(chance)
    edges, costs = roadmap.edges, roadmap.steps.astype(np.float64)
    begin, end = edges.T.astype(np.int64)
    from_risky = np.isin(begin, risky)

    choice = roadmap.jumps[~np.isin(sources * count + landings, begin * count + end)]
    value, following = _dijkstra(
        np.concatenate([edges, choice]),
        np.concatenate([costs, np.ones(len(choice))]),
        ends,
        count,
    )
    lost = (1 + risk_aversion) * value[np.isfinite(value)].max()
    onward = np.full(count, np.inf)
    expected = value[risky]
    for _ in range(_MAX_SWEEPS if len(risky) else 0):
        known = np.where(np.isfinite(value), value, lost)
        jump = np.bincount(sources, roadmap.chance * (1 + known[landings]), minlength=count)
        onward = np.full(count, np.inf)
        np.minimum.at(onward, begin[from_risky], (costs + value[end])[from_risky])
        before, expected = expected, _mixed(jump, onward, chance)[risky]
        values = {**ends, **dict(zip(risky.tolist(), expected.tolist(), strict=True))}
        value, following = _dijkstra(edges[~from_risky], costs[~from_risky], values, count)
        if np.allclose(before, expected, rtol=0, atol=_TOLERANCE):
            break
    for edge in np.flatnonzero(from_risky & (costs + value[end] <= onward[begin] + _TOLERANCE)):
        if np.isfinite(value[end[edge]]):
            following[begin[edge]] = end[edge]
    arrival = _arrival(roadmap, joined, risky, following)
    value[arrival == 0] = np.inf
    return GoalTimes(roadmap, support, goal, tuple(joined), value, arrival, following)


def _mixed(jump: np.ndarray, onward: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """``jump`` plus ``onward`` with the chance that no jump happens.

    A visit to a bin without edges always ends with a jump.
    """
    certain = jump / np.maximum(chance, np.finfo(float).tiny)
    with np.errstate(invalid="ignore"):
        mixed = jump + np.where(chance < 1, (1 - chance) * onward, 0.0)
    return np.where(np.isfinite(onward), mixed, certain)


def _dijkstra(
    edges: np.ndarray, costs: np.ndarray, values: dict[int, float], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The least cost from each of ``count`` bins to a bin of ``values``, plus its value.

    Returns:
        (costs [N]; the next bin on the way, -1 at bins of ``values`` and where there is no way).
    """
    # The way back from an additional node, whose edges have cost 1 + value. A cost of 0 would be
    # no edge.
    ends = np.array(list(values))
    value = np.array(list(values.values()))
    finite = np.isfinite(value)
    ends, value = ends[finite], value[finite]
    rows = np.concatenate([edges[:, 1], np.full(len(ends), count)])
    columns = np.concatenate([edges[:, 0], ends])
    graph = sparse.csr_matrix(
        (np.concatenate([costs, 1 + value]), (rows, columns)), (count + 1, count + 1)
    )
    distance, before = csgraph.dijkstra(graph, indices=count, return_predecessors=True)
    before = before[:count].astype(np.int64)
    before[(before < 0) | (before == count)] = -1
    return distance[:count] - 1, before


def _arrival(
    roadmap: Roadmap, ends: list[int], risky: np.ndarray, following: np.ndarray
) -> np.ndarray:
    """The probability to reach a bin of ``ends`` from each bin along ``following``, float [N]."""
    count = len(roadmap)
    # The first risky bin or end on the way from each bin, found by doubling the distance.
    stop = np.where(following < 0, np.arange(count), following)
    stop[risky] = risky
    for _ in range(count.bit_length()):
        stop = stop[stop]
    arrival = np.zeros(count)
    arrival[ends] = 1.0
    sources, landings = roadmap.jumps.T
    onward = np.where(following < 0, np.arange(count), following)
    goes_on = following[risky] >= 0
    for _ in range(_MAX_SWEEPS if len(risky) else 0):
        along = arrival[stop]
        jump = np.bincount(sources, roadmap.chance * along[landings], minlength=count)
        rest = np.where(goes_on, along[onward[risky]], np.inf)
        before = arrival[risky]
        arrival[risky] = _mixed(jump[risky], rest, roadmap.jump_chance[risky])
        if np.allclose(before, arrival[risky], rtol=0, atol=1e-9):
            break
    return arrival[stop]


def _joined_bins(
    roadmap: Roadmap, support: Support, position: np.ndarray, useful: np.ndarray
) -> tuple[list[int], bool]:
    """Bins that the body can go to and from ``position`` [2] in a straight line, nearest first.

    These are its own bin, and neighbors between which no point of the line is off the data. If none
    of them is ``useful`` [N], it is the nearest useful bin that is not far away.

    Returns:
        (bins; whether the position is on the data).
    """
    position = np.asarray(position, np.float64)
    away = np.abs(roadmap.centers - position).max(1)
    near = np.flatnonzero(away <= 1.5 * roadmap.size)
    near = near[away[near].argsort(kind="stable")]
    share = np.linspace(0, 1, 2 * BIN_CELLS + 1)[:, None]
    lines = position + share * (roadmap.centers[near, None] - position)
    off = support.distance(torch.from_numpy(lines.astype(np.float32))).amax(-1).numpy()
    own = roadmap.bin_of(position)
    joined: list[int] = near[(off <= _IN_SIGHT * support.resolution) | (near == own)].tolist()
    if not useful[joined].any():
        away = np.where(useful, away, np.inf)
        nearest = int(away.argmin())
        return ([nearest] if away[nearest] <= _NEAR * roadmap.size else []), bool(joined)
    return joined, True


def _text(position: np.ndarray) -> str:
    return f"[{position[0]:.4g}, {position[1]:.4g}]"
