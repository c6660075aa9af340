"""A lower bound on the steps to each problem's goal, from walls, speed and force alone.

No policy is paid before :func:`steps_needed`, so none is paid more than ``max_steps -
steps_needed + 1``. Turning costs nothing here, so on a way with corners no driver reaches it.

**Why.** Join the places where the steps of an episode end by straight lines: a way from the
start to where the goal pays. Its length *per axis* (the larger of the two axes' distances,
Chebyshev's, line by line) is at least that of the shortest way, and each step adds at most what
the body can do in a step. What is said below to be measured was looked for by a search over
places, speeds and actions, is granted with a tenth or more on top, and is measured anew by
``tests/evaluation/test_bounds.py``; the rest is arithmetic.

*What a step can do without a contact.* D4RL's and gymnasium-robotics' ball is pushed, and slowed
by its damping, each axis by itself: v' = keep v + gain a with a in [-1, 1], it moves by 0.01 v',
and its speed is clipped to 5 an axis before each step. So no axis is faster than full force from
the start's speed makes it (the larger of the axes'), the clip's included. OGBench's body is put
0.2 a farther, a in [-1, 1] for each axis, and rests there.

*What a contact can add.* Contacts damp: no body leaves one with more energy than it came with. But
a corner turns the motion of one axis into that of the other, and throws the body back out.

- While the pushed ball gains speed, its speed in the plane is what no contact raises (measured):
  it is at most keep v + sqrt(2) gain after a step, from 0.01 more than at the start, since a ball
  that touches a wall is pushed off a little, or from 0.02 more where it starts within 0.02 of
  touching one. Where corners stand out into free space no axis is
  granted less than that, up to the clip's limit.
- Beyond that limit the passing of one corner (all steps from the first contact with it to the
  last before another's) takes the ball at most ``throw`` farther than the same steps could
  without, measured. The middles of two corners are a cell apart or more and contacts are near
  them, so whoever passes ``m`` corners goes at least ``m - 1`` times ``apart`` far in between: a
  way of length L holds at most ``1 + L / apart`` of them, and without contacts the body goes at
  least ``L - throw (1 + L / apart)``.
- Seams between two walls in a row push a little, too. They count as corners, with a smaller
  ``throw`` in a maze in which no corner stands out.

*What is shortest.* The way's length is never overestimated:

- Walls are soft, and a body that is driven into one sinks into it. The center is let as near to
  walls as ``clearance``, everywhere and at any speed, which is nearer than the lines between the
  ends of steps ever came (measured).
- The region closed to the center is a wall grown by the clearance, its round corners cut off by
  two chords each. A straight line is shortest in every norm, so a visibility graph over the ends
  of the chords holds a shortest way around these polygons.
- The rim of the disc that pays is seen through its points; whoever sees any of it sees one of its
  points past walls that are thinner by the gap between two, and that gap is taken off the length.
- OGBench's teleports take whoever ends a step within 1.5 of an entrance to an exit, drawn by
  chance: a way that enters one goes on for free at whichever exit is nearest to the goal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.sparse.csgraph import dijkstra

from dfplan.errors import MazeError
from dfplan.mazes import Maze, parse_maze
from dfplan.suites import Suite

_STEP_SECONDS = 0.01
_PUSHED_OFF, _FROM_THE_START = 0.01, 0.02
_NEARLY_TOUCHING = 0.02
_RIM_POINTS = 64
_EPS = 1e-9

# Outward normals of a grown wall's sides (the opposite sides by symmetry): flat ones, then the
# two chords of each corner; and how far each lies outside the wall, in clearances.
_ANGLES = np.pi / 8 * np.array([0, 4, 1, 3, 5, 7])
_NORMALS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
_GROWTH = np.array([1.0, 1.0, *[np.cos(np.pi / 8)] * 4])

# Of ogbench/locomaze/maze.py: cells of the entrances and exits, and how far an entrance reaches.
_TELEPORTS = {"ogbench-teleport": (((4, 6), (5, 1)), ((1, 7), (6, 1), (6, 10)), 1.5)}


@dataclass(frozen=True)
class Contacts:
    """What walls are granted to do, in the frame's unit; see the module.

    Attributes:
        clearance: how near a body's center comes to a wall.
        throw: how much farther the passing of a corner takes it...
        seam: ...and that of a seam between walls.
        apart: how far it goes from contact to contact of two of them.
    """

    clearance: float
    throw: float
    seam: float
    apart: float


_PUSHED = Contacts(clearance=0.025, throw=0.018, seam=0.0005, apart=0.79)
_PLACED = Contacts(clearance=0.4, throw=0.135, seam=0.045, apart=2.6)


def contacts(suite: Suite) -> Contacts:
    """What is granted to the body of a suite."""
    return _PUSHED if suite.step_length is None else _PLACED


def steps_needed(maze: Maze, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """No policy is at the goal before this step, counted from 1.

    A step pays by where it ends, so a start on the goal needs 1 step and a return can reach
    ``max_steps - steps_needed + 1``.

    Args:
        maze: in the frame of any suite.
        starts: positions [n, 2] at rest, or positions and velocities [n, 4], in that frame, where
            the ball touches no wall; OGBench's has no velocity, and none is looked at.
        goals: float [n, 2]; each is reached within the frame's goal radius.

    Returns:
        int [n].

    Raises:
        MazeError: no way joins a start and its goal; one of them lies in a wall.
        MissingSimulatorError: MuJoCo or gymnasium-robotics is missing, from which the ball's
            force and speed are taken; OGBench's body needs neither.
    """
    left = path_lengths(maze, starts[:, :2], goals)
    granted = contacts(maze.suite)
    roads = _roads(maze)
    throw = granted.throw if roads.has_corners else granted.seam
    left = left * (1 - throw / granted.apart) - throw
    if maze.suite.step_length is not None:
        step = float(np.float32(maze.suite.step_length))  # so are actions
        return np.maximum(np.ceil((left - _EPS) / step), 1).astype(int)
    velocities = starts[:, 2:]
    if not roads.has_corners:
        return _coasting_steps(left, np.abs(velocities).max(axis=1, initial=0.0))
    is_clear = maze.contains(starts[:, :2], maze.suite.ball_radius + _NEARLY_TOUCHING)
    pushed = np.where(is_clear, _PUSHED_OFF, _FROM_THE_START)
    return _coasting_steps(left, np.linalg.norm(velocities, axis=1) + pushed, np.sqrt(2))


def _coasting_steps(left: np.ndarray, speed: np.ndarray, deflected: float = 1.0) -> np.ndarray:
    """Steps that cover lengths [n] from a speed [n], which force adds ``deflected`` as much to."""
    # Here and not above: the rest of the command line needs no simulator.
    from dfplan.envs.dynamics import MAX_SPEED

    gain, keep = _push()
    most = keep * MAX_SPEED + gain
    steps = np.ones(len(left), dtype=int)
    while True:
        speed = np.minimum(keep * speed + deflected * gain, most)
        left = left - _STEP_SECONDS * speed
        if not (left > _EPS).any():
            return steps
        steps += left > _EPS


def path_lengths(maze: Maze, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Shortest per-axis way from each of ``starts`` [n, 2] to where its goal [n, 2] is reached.

    Returns:
        float [n], in the frame's unit.

    Raises:
        MazeError: no way joins a start and its goal; one of them lies in a wall.
    """
    roads, radius = _roads(maze), maze.suite.goal_radius
    if maze.text in _TELEPORTS:
        entrances, exits, reach = _TELEPORTS[maze.text]
        count = len(starts)
        outs = np.repeat(maze.cell_to_xy(np.array(exits)), count, axis=0)
        all_goals = np.tile(goals, (1 + len(exits), 1))
        direct, *leave = roads.lengths(np.concatenate([starts, outs]), all_goals, radius).reshape(
            -1, count
        )
        ins = np.repeat(maze.cell_to_xy(np.array(entrances)), count, axis=0)
        all_starts = np.tile(starts, (len(entrances), 1))
        enter = roads.lengths(all_starts, ins, reach).reshape(-1, count)
        lengths = np.asarray(np.minimum(direct, enter.min(axis=0) + np.min(leave, axis=0)))
    else:
        lengths = roads.lengths(starts, goals, radius)
    for row in np.flatnonzero(np.isinf(lengths)):
        maze.require_free(starts[row], "start")
        raise MazeError(f"No free way leads to the goal {goals[row].tolist()}; move it.")
    return lengths


@lru_cache(maxsize=1)
def _push() -> tuple[float, float]:
    """A step of full force, measured: the speed gained from rest and the share of speed kept."""
    from dfplan.envs.dynamics import PointMass

    mass = PointMass(parse_maze(["#####", "#OOO#", "#####"]))
    speeds = []
    for speed in (0.0, 1.0):
        mass.set_state(np.array([0.8, 1.8]), np.array([0.0, speed]))
        speeds.append(mass.advance(0.0, 1.0)[3])
    return speeds[0], speeds[1] - speeds[0]


@lru_cache(maxsize=16)
def _roads(maze: Maze) -> _Roads:
    return _Roads(maze)


class _Roads:
    """Shortest ways through one maze, in the per-axis metric."""

    def __init__(self, maze: Maze) -> None:
        self._clearance = contacts(maze.suite).clearance
        self._centers, self._half_sizes = _blocks(maze)
        corners = _chord_ends(maze, self._clearance)
        self.has_corners = len(corners) > 0
        inside = np.abs((corners[:, None] - self._centers) @ _NORMALS) < self._half_widths(0.0)
        self._corners = corners[~inside.all(axis=2).any(axis=1)]
        edges = self._if_seen(self._corners, self._corners)
        self._between = dijkstra(edges) if len(edges) else edges

    def lengths(self, starts: np.ndarray, goals: np.ndarray, radius: float) -> np.ndarray:
        """Length from each of ``starts`` [n, 2] to the disc around its goal [n, 2]; float [n]."""
        lengths = np.empty(len(starts))
        places, place = np.unique(starts, axis=0, return_inverse=True)
        to_corners = self._if_seen(places, self._corners)[place.reshape(-1)]
        unique, which = np.unique(goals, axis=0, return_inverse=True)
        for index, goal in enumerate(unique):
            rows = np.flatnonzero(which.reshape(-1) == index)
            last = self._to_disc(self._corners, goal, radius)
            beyond = (self._between + last).min(axis=1, initial=np.inf)
            around = (to_corners[rows] + beyond).min(axis=1, initial=np.inf)
            lengths[rows] = np.minimum(around, self._to_disc(starts[rows], goal, radius))
        return lengths

    def _to_disc(self, points: np.ndarray, goal: np.ndarray, radius: float) -> np.ndarray:
        """Straight length from ``points`` [p, 2] to the disc, infinite out of sight; float [p]."""
        lengths = np.full(len(points), np.inf)
        # Who sees some of the disc would see its center past walls thinner by its radius.
        near = np.flatnonzero(self._sees(goal[None], points, radius)[0])
        gap = np.pi * radius / _RIM_POINTS  # no point of the rim is farther from one of these
        angles = 2 * np.pi / _RIM_POINTS * np.arange(_RIM_POINTS)
        rim = goal + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        to_rim = self._if_seen(points[near], rim, gap).min(axis=1, initial=np.inf) - gap
        lengths[near] = np.maximum(to_rim, _per_axis(points[near], goal[None])[:, 0] - radius)
        lengths[np.linalg.norm(points - goal, axis=1) <= radius] = 0.0
        return lengths

    def _if_seen(self, points: np.ndarray, others: np.ndarray, thinner: float = 0.0) -> np.ndarray:
        """Per-axis distance between points that see each other, else infinite; [p, o]."""
        seen = self._sees(points, others, thinner)
        return np.where(seen, _per_axis(points, others), np.inf)

    def _sees(self, points: np.ndarray, others: np.ndarray, thinner: float = 0.0) -> np.ndarray:
        """Whether straight lines miss the grown walls, made ``thinner`` all round; bool [p, o].

        A line enters a convex polygon where it has entered between all pairs of opposite sides.
        """
        all_half = self._half_widths(thinner)
        seen = np.empty((len(points), len(others)), dtype=bool)
        reach = self._half_sizes + self._clearance
        low, high = others.min(axis=0, initial=np.inf), others.max(axis=0, initial=-np.inf)
        for row, point in enumerate(points):
            near = (self._centers - reach <= np.maximum(high, point)).all(axis=1)
            near &= (self._centers + reach >= np.minimum(low, point)).all(axis=1)
            before, half = (point - self._centers[near]) @ _NORMALS, all_half[near]
            along = ((others - point) @ _NORMALS)[:, None]
            along = np.where(np.abs(along) < 1e-12, 1e-12, along)
            one, two = (-half - before) / along, (half - before) / along
            enters = np.minimum(one, two).max(axis=2)
            leaves = np.maximum(one, two).min(axis=2)
            seen[row] = ~(np.maximum(enters, 0.0) < np.minimum(leaves, 1.0)).any(axis=1)
        return seen

    def _half_widths(self, thinner: float) -> np.ndarray:
        """Distance of each wall's sides from its center; [walls, 6]. Touching is not entering."""
        grown = self._half_sizes @ np.abs(_NORMALS) + self._clearance * _GROWTH
        return np.asarray(grown - thinner - _EPS)


def _per_axis(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Per-axis (Chebyshev) distances between ``points`` [p, 2] and ``others`` [o, 2]; [p, o]."""
    return np.asarray(np.abs(points[:, None] - others).max(axis=2))


def _blocks(maze: Maze) -> tuple[np.ndarray, np.ndarray]:
    """Walls as straight runs of cells, both ways: centers [b, 2] and half sizes [b, 2]."""
    walls = maze.walls
    runs = [(i, start, i, end) for i, line in enumerate(walls) for start, end in _runs(line)]
    runs += [(start, j, end, j) for j, line in enumerate(walls.T) for start, end in _runs(line)]
    ends = np.unique(np.array(runs, dtype=float), axis=0)
    first, last = ends[:, :2], ends[:, 2:]
    covered = (first[:, None] >= first).all(axis=2) & (last[:, None] <= last).all(axis=2)
    lone = covered.sum(axis=1) == 1  # covered by itself alone
    first, last = first[lone], last[lone]
    axes = np.abs([maze.suite.down, maze.suite.right])
    return maze.cell_to_xy((first + last) / 2), (last - first + 1) / 2 @ axes


def _runs(line: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return [(int(start), int(end) - 1) for start, end in edges.reshape(-1, 2)]


def _chord_ends(maze: Maze, clearance: float) -> np.ndarray:
    """Where ways can bend: three points on the round corner of each outward corner; [c, 2]."""
    padded = np.pad(maze.walls, 1, constant_values=True)  # nothing lies beyond the outer ring
    half = np.sqrt(0.5)
    clearance = clearance / maze.suite.unit
    ends = [
        maze.cell_to_xy(np.array([i, j]) + [di, dj] * (0.5 + clearance * np.array(bend)))
        for i, j in np.argwhere(maze.walls)
        for di in (-1, 1)
        for dj in (-1, 1)
        if not padded[i + 1 + di, j + 1] and not padded[i + 1, j + 1 + dj]
        for bend in ((1.0, 0.0), (half, half), (0.0, 1.0))
    ]
    return np.array(ends).reshape(-1, 2)
