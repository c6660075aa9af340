"""The roadmap of the data: which places it goes to from which, how fast, and where it jumps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dfplan.blocks import segment_blocks
from dfplan.record import Record
from dfplan.tokens.support import Support
from dfplan.types import Trajectories

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

BIN_CELLS = 5
"""Cells of the support along a side of a bin: a body at top speed crosses it in as many steps."""

_MIN_PAIRS = 2
"""Pairs of rows that an edge needs."""

_LEAST_CHANCE = 1e-9
"""The chance of a jump is at least one over the visits to its bin, so this is no limit on data."""

_ACCIDENT = 0.05
"""Jumps that end a smaller share of the visits to a bin are accidents, such as faults of a
recording. They have their chance, but the bin's places are no danger."""


@dataclass(frozen=True)
class Roadmap(Record):
    """A graph of square bins of the plane, of which some are left by chance.

    Attributes:
        origin: position of the outer corner of bin (0, 0); float64 [2].
        size: side of a bin, in units of position.
        bins: place of each visited bin on the grid, in ascending order; int32 [N, 2].
        edges: pairs of neighboring bins that the data goes between, ``(from, to)``, in ascending
            order; int32 [E, 2].
        steps: environment steps of each edge; float32 [E].
        jumps: pairs of bins that the data jumps between, ``(from, to)``, in ascending order;
            int32 [J, 2].
        chance: probability that a visit to the first bin ends with this jump; float32 [J].
        departures: positions before recorded jumps, where they are no rare accident; float32
            [Q, 2].
    """

    origin: np.ndarray
    size: float
    bins: np.ndarray
    edges: np.ndarray
    steps: np.ndarray
    jumps: np.ndarray
    chance: np.ndarray
    departures: np.ndarray

    ARRAYS: ClassVar[dict[str, tuple[type[np.generic], tuple[int | None, ...]]]] = {
        "bins": (np.int32, (None, 2)),
        "edges": (np.int32, (None, 2)),
        "steps": (np.float32, (None,)),
        "jumps": (np.int32, (None, 2)),
        "chance": (np.float32, (None,)),
        "departures": (np.float32, (None, 2)),
    }
    """Type and shape of each array that a checkpoint stores; None is any length."""

    def __len__(self) -> int:
        return len(self.bins)

    @cached_property
    def centers(self) -> np.ndarray:
        """Positions of the centers of the bins, float64 [N, 2]."""
        return self.origin + (self.bins + 0.5) * self.size

    @cached_property
    def departure_tree(self) -> cKDTree:
        """The departures, to find the nearest one."""
        # Imported here, because reading a checkpoint does not need it.
        from scipy.spatial import cKDTree

        return cKDTree(self.departures)

    @cached_property
    def grid(self) -> np.ndarray:
        """Index of the bin at each place of the grid, -1 for places never visited; int [G0, G1]."""
        grid = np.full(self.bins.max(0, initial=0) + 1, -1)
        grid[self.bins[:, 0], self.bins[:, 1]] = np.arange(len(self))
        return grid

    @cached_property
    def jump_chance(self) -> np.ndarray:
        """Probability that a visit to each bin ends with a jump, float64 [N]."""
        chance = np.bincount(self.jumps[:, 0], self.chance, minlength=len(self))
        return chance.clip(max=1.0)

    def durations(self, bins: np.ndarray) -> np.ndarray:
        """Steps of the edges along a way through ``bins`` [R]; float64 [R - 1]."""
        keys = self.edges[:, 0].astype(np.int64) * len(self) + self.edges[:, 1]
        at = np.searchsorted(keys, bins[:-1] * len(self) + bins[1:])
        return np.asarray(self.steps[at], np.float64)

    def bin_of(self, positions: np.ndarray) -> np.ndarray:
        """Index of the bin of each of ``positions`` [..., 2]; -1 outside; int [...]."""
        place = _places(np.asarray(positions, np.float64), self.origin, self.size)
        inside = np.asarray(((place >= 0) & (place < self.grid.shape)).all(-1))
        place = np.where(inside[..., None], place, 0)
        return np.where(inside, self.grid[place[..., 0], place[..., 1]], -1)

    def without(self, closed: np.ndarray, blocked: np.ndarray) -> Roadmap:
        """The same bins, with fewer edges and jumps.

        Args:
            closed: bins without any, bool [N].
            blocked: edges that are left out, bool [E].
        """
        edges = ~(closed[self.edges].any(1) | blocked)
        jumps = ~closed[self.jumps].any(1)
        return replace(
            self,
            edges=self.edges[edges],
            steps=self.steps[edges],
            jumps=self.jumps[jumps],
            chance=self.chance[jumps],
        )

    def problem(self, support: Support) -> str | None:
        """The name of an array with impossible values, as in a damaged checkpoint; else None."""
        count = len(self)
        grid = _bin_grid(support)
        visited = np.zeros(grid, bool)
        visited[tuple(np.argwhere(support.visited.numpy()).T // BIN_CELLS)] = True
        inside = ((self.bins >= 0) & (self.bins < grid)).all()
        if not inside or not visited[tuple(self.bins.T)].all() or not _ascending(self.bins):
            return "bins"
        for name, values in (("edges", self.steps), ("jumps", self.chance)):
            pairs = getattr(self, name)
            if len(pairs) != len(values) or not _ascending(pairs):
                return name
            if not ((pairs >= 0) & (pairs < count)).all():
                return name
        if not (np.isfinite(self.steps) & (self.steps > 0)).all():
            return "steps"
        if not ((self.chance >= _LEAST_CHANCE) & (self.chance <= 1)).all():
            return "chance"
        place = (self.departures - self.origin) / self.size
        if not ((place >= 0) & (place < grid)).all():
            return "departures"
        leaving = np.bincount(self.jumps[:, 0], self.chance, minlength=1)
        return "chance" if leaving.max(initial=0.0) > 1 + 1e-4 else None


def fit_roadmap(trajectories: Trajectories, support: Support) -> Roadmap:
    """Build the roadmap of ``trajectories``.

    Two neighboring bins a and c, with centers at the distance D, have an edge if enough rows in a
    are followed by a row in c after m = 5 steps. With r the progress of such a pair of rows toward
    c per step, the edge takes ::

        D * sum(r) / sum(r ** 2)

    steps. This is D divided by the mean speed, where each pair has the weight of its progress: rest
    and detours of the data count little.

    A visit to a bin is an unbroken stay in it. It ends with a jump with the probability ::

        (recorded jumps from a + 1) / (visits to a + 1)

    The 1 is for caution where the data has few visits. Neighboring bins with jumps are one area:
    their jumps are counted together to find where they lead.

    Args:
        trajectories: the data. At its jumps an episode continues in another place.
        support: the visited cells; a bin has 5 by 5 of them.
    """
    origin = support.origin.numpy().astype(np.float64)
    size = BIN_CELLS * support.resolution
    grid = _bin_grid(support)
    count = int(grid.prod())
    positions = trajectories.layout.positions(trajectories.observations)

    def index(points: np.ndarray) -> np.ndarray:
        place = _places(points.astype(np.float64), origin, size).clip(0, grid - 1)
        return np.asarray(place[..., 0] * grid[1] + place[..., 1])

    visits = np.zeros(count, np.int64)
    sums = _PairSums(count)
    for rows, segment in _blocks(trajectories.segments):
        points = positions[rows].astype(np.float64)
        at = index(points)
        new = np.ones(len(at), bool)
        new[1:] = (at[1:] != at[:-1]) | (segment[1:] != segment[:-1])
        visits += np.bincount(at[new], minlength=count)
        lag = BIN_CELLS
        before, after = at[:-lag], at[lag:]
        away = np.stack([after // grid[1] - before // grid[1], after % grid[1] - before % grid[1]])
        pairs = np.flatnonzero((np.abs(away).max(0) == 1) & (segment[:-lag] == segment[lag:]))
        direction = away[:, pairs].T / np.linalg.norm(away[:, pairs], axis=0)[:, None]
        moved = points[pairs + lag] - points[pairs]
        progress = (moved * direction).sum(1).clip(0.0) / lag
        sums.add(before[pairs], after[pairs], progress)
    visited = np.flatnonzero(visits)
    bins = np.stack([visited // grid[1], visited % grid[1]], 1)
    edges, number, speed, square = sums.result()
    kept = (number >= _MIN_PAIRS) & (square > 0)
    edges = np.searchsorted(visited, edges[kept])
    distance = size * np.linalg.norm(bins[edges[:, 1]] - bins[edges[:, 0]], axis=1)
    departures = positions[trajectories.jumps - 1]
    begin, end = index(departures), index(positions[trajectories.jumps])
    jumps, chance = _jumps(begin, end, visits, int(grid[1]))
    usual = np.bincount(jumps[:, 0], chance, minlength=count)[begin] >= _ACCIDENT
    return Roadmap(
        origin,
        size,
        bins.astype(np.int32),
        edges.astype(np.int32),
        (distance * speed[kept] / square[kept]).astype(np.float32),
        np.searchsorted(visited, jumps).astype(np.int32),
        chance.astype(np.float32),
        departures[usual].astype(np.float32),
    )


def _jumps(
    begin: np.ndarray, end: np.ndarray, visits: np.ndarray, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of bins [J, 2] in ascending order, and their chances [J].

    Args:
        begin: bin before each recorded jump.
        end: bin after it.
        visits: to each bin.
        columns: number of bins along the second axis.
    """
    if not len(begin):
        return np.zeros((0, 2), np.int64), np.zeros(0)
    sources, of_source, times = np.unique(begin, return_inverse=True, return_counts=True)
    label = areas(np.stack([sources // columns, sources % columns], 1))
    landings, led = np.unique(np.stack([label[of_source], end]), axis=1, return_counts=True)
    chance = (times + 1) / (visits[sources] + 1)
    pairs, chances = [], []
    for source, area, leaves in zip(sources, label, chance, strict=True):
        own = landings[0] == area
        pairs.append(np.stack([np.full(own.sum(), source), landings[1, own]], 1))
        chances.append(leaves * led[own] / led[own].sum())
    return np.concatenate(pairs), np.concatenate(chances)


def areas(places: np.ndarray) -> np.ndarray:
    """Number connected places on a grid.

    Args:
        places: int [R, 2], at least 0.

    Returns:
        The area of each place, int [R]; equal for places that are joined by neighbors.
    """
    from scipy import ndimage  # here, since reading a checkpoint does not need it

    grid = np.zeros(places.max(0) + 1, bool)
    grid[tuple(places.T)] = True
    labels = ndimage.label(grid, structure=np.ones((3, 3)))[0]
    return np.asarray(labels[tuple(places.T)])


class _PairSums:
    """Sums over pairs of rows, by pair of bins."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._keys = np.zeros(0, np.int64)
        self._sums = np.zeros((0, 3))

    def add(self, before: np.ndarray, after: np.ndarray, progress: np.ndarray) -> None:
        keys = np.concatenate([self._keys, before * self._count + after])
        new = np.stack([np.ones_like(progress), progress, progress**2], 1)
        values = np.concatenate([self._sums, new])
        self._keys, group = np.unique(keys, return_inverse=True)
        columns = [np.bincount(group, column, minlength=len(self._keys)) for column in values.T]
        self._sums = np.stack(columns, 1)

    def result(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pairs int [E, 2] in ascending order; number, sum and sum of squares of progress [E]."""
        pairs = np.stack([self._keys // self._count, self._keys % self._count], 1)
        number, total, square = self._sums.T
        return pairs, number, total, square


def _blocks(segments: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of a block, and the index of the segment of each."""
    for rows in segment_blocks(segments):
        first = int(np.searchsorted(segments[:, 0], rows.start, side="right")) - 1
        number = np.arange(rows.start, rows.stop)
        yield rows, first + np.searchsorted(segments[first:, 0], number, side="right")


def _bin_grid(support: Support) -> np.ndarray:
    """Number of bins along each axis of the visited region, int [2]."""
    return np.asarray(np.ceil(np.array(support.visited.shape) / BIN_CELLS), np.int64)


def _places(positions: np.ndarray, origin: np.ndarray, size: float) -> np.ndarray:
    return np.asarray(np.floor((positions - origin) / size), np.int64)


def _ascending(pairs: np.ndarray) -> bool:
    """Whether the rows of ``pairs`` [R, 2] are different and in ascending order."""
    first, second = pairs.T.astype(np.int64)
    later = (np.diff(first) > 0) | ((np.diff(first) == 0) & (np.diff(second) > 0))
    return bool(later.all())
