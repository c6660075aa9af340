"""A lower bound on the number of steps to each goal, from walls, speed and force alone.

No policy is at the goal before step :func:`steps_needed`, so no return exceeds ``max_steps -
steps_needed + 1``. The bound ignores the cost of turning, so no policy attains it on a path with
corners. ``benchmarks/bound_slack.py`` attacks it with optimized drives.

**Idea.** Join the positions after each step of an episode by straight lines. This is a path from
the start to the goal region. Its *per-axis* length (each line counts the larger of its extents
along the two axes: the Chebyshev distance) is at least that of the shortest path, and a step adds
at most what the body can move in one step. Statements marked "measured" come from a search over
positions, speeds and actions. The constants exceed the measured values by a tenth or more, and
``tests/evaluation/test_bounds.py`` repeats the measurements. The rest is arithmetic.

*A step without contact.* In D4RL and gymnasium-robotics, force and damping act on each axis
separately: v' = keep v + gain a with a in [-1, 1]. The ball moves by 0.01 v', and its speed is
clipped to 5 per axis before each step. So no axis is faster than full force from the start's speed
(the larger of the two axes) allows, including the clip. In OGBench, an action a in [-1, 1] per axis
moves the body by 0.2 a, and the body then rests.

*A step with contact.* Contacts dissipate energy: no body leaves one with more energy than before.
But a corner can turn the motion along one axis into motion along the other, and it pushes the body
back out.

- While the pushed ball accelerates, no contact raises its speed in the plane (measured): after a
  step this is at most keep v + sqrt(2) gain. The initial speed counts 0.01 more, because a ball
  that touches a wall is pushed off a little, or 0.02 more if the ball starts within 0.02 of a wall.
  The bound grants every axis this speed, up to the clip's limit, from the first step in which the
  ball could touch an outward corner. Before, it has moved less along each axis than the corner is
  away; a flat wall pushes along one axis, and the other one is as fast as without it.
- At that limit, passing one corner (all steps from the first contact with it to the last contact
  before that with another corner) moves the ball at most ``corner_gain`` farther than the same
  number of steps could without contact (measured). The centers of two corners are at least a cell
  apart and contacts are near them. So a body that passes ``m`` corners moves at least ``m - 1``
  times ``spacing`` between them: a path of length L contains at most ``1 + L / spacing`` corners.
  Without contacts, the body moves at least ``L - corner_gain (1 + L / spacing)``.
- Seams between two adjacent walls also push a little. They count as corners, with the smaller
  ``seam_gain`` in a maze without outward corners.

*The shortest path.* Its length is never overestimated:

- Walls are soft: a body that is driven into one sinks into it. The center may be as near to a wall
  as ``clearance``, everywhere and at any speed. No line between the positions of two steps ever
  came that near (measured).
- The region closed to the center is a wall grown by the clearance, with each round corner replaced
  by two chords. A straight line is a shortest path in every norm, so a visibility graph over the
  ends of the chords contains a shortest path around these polygons.
- The rim of the goal disc is represented by points. Any view of the rim is a view of one of these
  points past walls that are thinner by the gap between two points. That gap is subtracted from the
  length.
- OGBench's teleports move a body that ends a step within 1.5 of an entrance to a random exit: a
  path that enters one continues at no cost from the exit that is nearest to the goal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.sparse.csgraph import dijkstra

from dfplan.errors import MazeError
from dfplan.mazes import Maze, parse_maze
from dfplan.observations import PLANAR
from dfplan.suites import Suite, Teleports

_STEP_SECONDS = 0.01
_PUSHED_OFF, _FROM_THE_START = 0.01, 0.02
_NEARLY_TOUCHING = 0.02
_RIM_POINTS = 64
_EPS = 1e-9

# Outward normals of the sides of a grown wall (the opposite sides follow by symmetry): the flat
# sides, then the two chords of each corner. And the distance of each side from the wall, in
# clearances.
_ANGLES = np.pi / 8 * np.array([0, 4, 1, 3, 5, 7])
_NORMALS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
_GROWTH = np.array([1.0, 1.0, *[np.cos(np.pi / 8)] * 4])


@dataclass(frozen=True)
class Contacts:
    """What the bound assumes of a body near walls; see the module's docstring.

    All values are in units of position.

    Attributes:
        clearance: lower bound on the distance from the body's center to a wall.
        corner_gain: upper bound on the extra distance gained by passing a corner.
        seam_gain: upper bound on the extra distance gained by passing a seam between two walls.
        spacing: lower bound on the distance between contacts with two corners or seams.
    """

    clearance: float
    corner_gain: float
    seam_gain: float
    spacing: float


_PUSHED = Contacts(clearance=0.025, corner_gain=0.018, seam_gain=0.0005, spacing=0.79)
_PLACED = Contacts(clearance=0.4, corner_gain=0.135, seam_gain=0.045, spacing=2.6)


def contacts(suite: Suite) -> Contacts:
    """Return what the bound assumes of a suite's body near walls."""
    return _PUSHED if suite.step_length is None else _PLACED


def steps_needed(maze: Maze, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Lower bound on the first step, from 1, that can end at the goal.

    A start at the goal needs 1 step, and a return can reach ``max_steps - steps_needed + 1``.

    Args:
        maze: a maze of any suite.
        starts: positions [n, 2] at rest, or observations of the suite [n, S], where the ball
            touches no wall. OGBench's body has no velocity, so velocities are ignored there.
        goals: float [n, 2], in the suite's coordinates. A goal is reached within the suite's goal
            radius.

    Returns:
        int [n]; 1 for bodies other than balls, because no bound on their speed is known.

    Raises:
        MazeError: no path joins a start and its goal, or one of them lies in a wall.
        MissingSimulatorError: MuJoCo or gymnasium-robotics is missing. The ball's force and damping
            are measured with them; OGBench's body needs neither.
    """
    layout = maze.suite.observation
    positions, velocities = layout.positions(starts), layout.velocities(starts)
    if layout != PLANAR:
        return np.ones(len(positions), dtype=int)
    remaining = path_lengths(maze, positions, goals)
    granted = contacts(maze.suite)
    graph = _visibility_graph(maze)
    gain = granted.corner_gain if graph.has_corners else granted.seam_gain
    remaining = remaining * (1 - gain / granted.spacing) - gain
    if maze.suite.step_length is not None:
        step = float(np.float32(maze.suite.step_length))  # actions are float32, too
        return np.maximum(np.ceil((remaining - _EPS) / step), 1).astype(int)
    if velocities is None:
        velocities = np.zeros_like(positions)
    speed = np.abs(velocities).max(axis=1, initial=0.0)
    if not graph.has_corners:
        return _count_steps(remaining, speed, np.full(len(speed), np.inf))
    reach = maze.suite.ball_radius + _NEARLY_TOUCHING
    pushed = np.where(maze.is_free(positions, reach), _PUSHED_OFF, _FROM_THE_START)
    away = _per_axis(positions, _corners(maze)[0]).min(axis=1)
    return _count_steps(remaining, speed + pushed, away - reach)


def _count_steps(remaining: np.ndarray, speed: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Steps that cover the lengths [n] at full force.

    Args:
        remaining: lengths.
        speed: of the faster axis in the beginning, [n].
        clear: distance that each body must move before it can touch a corner, [n].
    """
    # Imported here, because the rest of the command line needs no simulator.
    from dfplan.envs.dynamics import MAX_SPEED

    gain, keep = measure_force()
    top_speed = keep * MAX_SPEED + gain
    steps = np.ones(len(remaining), dtype=int)
    # From the first step in which a corner can be touched, the speed is that of both axes together.
    together = np.zeros(len(remaining), dtype=bool)
    while True:
        by_axis = np.minimum(keep * speed + gain, top_speed)
        clear = clear - _STEP_SECONDS * by_axis
        begins = (clear <= 0) & ~together
        speed, together = np.where(begins, np.sqrt(2) * speed, speed), together | begins
        speed = np.where(together, np.minimum(keep * speed + np.sqrt(2) * gain, top_speed), by_axis)
        remaining = remaining - _STEP_SECONDS * speed
        if not (remaining > _EPS).any():
            return steps
        steps += remaining > _EPS


def path_lengths(maze: Maze, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Per-axis lengths of the shortest paths from starts [n, 2] to the discs around goals [n, 2].

    The lengths, float [n], are in units of position. Raises :class:`MazeError` if no path joins a
    start and its goal, or one of them lies in a wall.
    """
    graph, radius = _visibility_graph(maze), maze.suite.goal_radius
    teleports = _teleports(maze)
    if teleports is None:
        lengths = graph.lengths(starts, goals, radius)
    else:
        count = len(starts)
        exits = np.repeat(maze.cell_to_xy(np.array(teleports.exits)), count, axis=0)
        all_goals = np.tile(goals, (1 + len(teleports.exits), 1))
        direct, *leave = graph.lengths(np.concatenate([starts, exits]), all_goals, radius).reshape(
            -1, count
        )
        entrances = np.repeat(maze.cell_to_xy(np.array(teleports.entrances)), count, axis=0)
        all_starts = np.tile(starts, (len(teleports.entrances), 1))
        enter = graph.lengths(all_starts, entrances, teleports.radius).reshape(-1, count)
        lengths = np.asarray(np.minimum(direct, enter.min(axis=0) + np.min(leave, axis=0)))
    for row in np.flatnonzero(np.isinf(lengths)):
        maze.require_free(starts[row], "start")
        raise MazeError(f"No free path leads to the goal {goals[row].tolist()}; move it.")
    return lengths


def _teleports(maze: Maze) -> Teleports | None:
    """The teleports of a suite's own maze, None if it has none."""
    names = {f"{maze.suite.prefix}-{size}": each for size, each in maze.suite.teleports.items()}
    return names.get(maze.text)


@lru_cache(maxsize=1)
def measure_force() -> tuple[float, float]:
    """Measure a step of full force: the speed gained from rest, and the share of speed kept."""
    from dfplan.envs.dynamics import PointMass

    mass = PointMass(parse_maze(["#####", "#OOO#", "#####"]))
    speeds = []
    for speed in (0.0, 1.0):
        mass.set_state(np.array([0.8, 1.8]), np.array([0.0, speed]))
        speeds.append(mass.advance(0.0, 1.0)[3])
    return speeds[0], speeds[1] - speeds[0]


@lru_cache(maxsize=16)
def _visibility_graph(maze: Maze) -> _VisibilityGraph:
    return _VisibilityGraph(maze)


class _VisibilityGraph:
    """Shortest paths through one maze, in the per-axis metric."""

    def __init__(self, maze: Maze) -> None:
        self._clearance = contacts(maze.suite).clearance
        self._centers, self._half_sizes = _blocks(maze)
        corners = _chord_ends(maze, self._clearance)
        self.has_corners = len(corners) > 0
        inside = np.abs((corners[:, None] - self._centers) @ _NORMALS) < self._half_widths(0.0)
        self._corners = corners[~inside.all(axis=2).any(axis=1)]
        edges = self._visible_distance(self._corners, self._corners)
        self._between = dijkstra(edges) if len(edges) else edges

    def lengths(self, starts: np.ndarray, goals: np.ndarray, radius: float) -> np.ndarray:
        """Length from each of ``starts`` [n, 2] to the disc around its goal [n, 2]; float [n]."""
        lengths = np.empty(len(starts))
        positions, index = np.unique(starts, axis=0, return_inverse=True)
        to_corners = self._visible_distance(positions, self._corners)[index.reshape(-1)]
        unique, which = np.unique(goals, axis=0, return_inverse=True)
        for number, goal in enumerate(unique):
            rows = np.flatnonzero(which.reshape(-1) == number)
            last = self._to_disc(self._corners, goal, radius)
            beyond = (self._between + last).min(axis=1, initial=np.inf)
            around = (to_corners[rows] + beyond).min(axis=1, initial=np.inf)
            lengths[rows] = np.minimum(around, self._to_disc(starts[rows], goal, radius))
        return lengths

    def _to_disc(self, points: np.ndarray, goal: np.ndarray, radius: float) -> np.ndarray:
        """Straight distances from ``points`` [p, 2] to the disc, inf if not visible; float [p]."""
        lengths = np.full(len(points), np.inf)
        # A point that sees part of the disc sees its center past walls thinner by the radius.
        near = np.flatnonzero(self._is_visible(goal[None], points, radius)[0])
        gap = np.pi * radius / _RIM_POINTS  # no part of the rim is farther from a point
        angles = 2 * np.pi / _RIM_POINTS * np.arange(_RIM_POINTS)
        rim = goal + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        to_rim = self._visible_distance(points[near], rim, gap).min(axis=1, initial=np.inf) - gap
        lengths[near] = np.maximum(to_rim, _per_axis(points[near], goal[None])[:, 0] - radius)
        lengths[np.linalg.norm(points - goal, axis=1) <= radius] = 0.0
        return lengths

    def _visible_distance(
        self, points: np.ndarray, others: np.ndarray, thinner: float = 0.0
    ) -> np.ndarray:
        """Per-axis distance between points that see each other, otherwise infinite; [p, o]."""
        seen = self._is_visible(points, others, thinner)
        return np.where(seen, _per_axis(points, others), np.inf)

    def _is_visible(
        self, points: np.ndarray, others: np.ndarray, thinner: float = 0.0
    ) -> np.ndarray:
        """Whether straight lines avoid the grown walls, shrunk by ``thinner``; bool [p, o].

        A line is inside a convex polygon where it lies between all pairs of opposite sides.
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
        """Distances from each wall's center to its sides; [walls, 6]. A line may touch a side."""
        grown = self._half_sizes @ np.abs(_NORMALS) + self._clearance * _GROWTH
        return np.asarray(grown - thinner - _EPS)


def _per_axis(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Per-axis (Chebyshev) distances between ``points`` [p, 2] and ``others`` [o, 2]; [p, o]."""
    return np.asarray(np.abs(points[:, None] - others).max(axis=2))


def _blocks(maze: Maze) -> tuple[np.ndarray, np.ndarray]:
    """Walls as straight runs of cells along both axes: centers [b, 2] and half sizes [b, 2]."""
    walls = maze.walls
    runs = [(i, start, i, end) for i, line in enumerate(walls) for start, end in _runs(line)]
    runs += [(start, j, end, j) for j, line in enumerate(walls.T) for start, end in _runs(line)]
    ends = np.unique(np.array(runs, dtype=float), axis=0)
    first, last = np.hsplit(ends, 2)
    covered = (first[:, None] >= first).all(axis=2) & (last[:, None] <= last).all(axis=2)
    is_maximal = covered.sum(axis=1) == 1  # no other run contains it
    first, last = first[is_maximal], last[is_maximal]
    axes = np.abs([maze.suite.row_step, maze.suite.column_step])
    return maze.cell_to_xy((first + last) / 2), (last - first + 1) / 2 @ axes


def _runs(line: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return [(int(start), int(end) - 1) for start, end in edges.reshape(-1, 2)]


def _corners(maze: Maze) -> tuple[np.ndarray, np.ndarray]:
    """The outward corners of walls, [c, 2], and the diagonals away from them, [c, 2]."""
    padded = np.pad(maze.walls, 1, constant_values=True)  # no path leaves the maze
    cells = [
        ((i + di / 2, j + dj / 2), (i + di, j + dj))
        for i, j in np.argwhere(maze.walls)
        for di in (-1, 1)
        for dj in (-1, 1)
        if not padded[i + 1 + di, j + 1] and not padded[i + 1, j + 1 + dj]
    ]
    places = maze.cell_to_xy(np.array(cells).reshape(-1, 2)).reshape(-1, 2, 2)
    return places[:, 0], 2 * (places[:, 1] - places[:, 0]) / maze.suite.cell_size


def _chord_ends(maze: Maze, clearance: float) -> np.ndarray:
    """Where paths can bend: three points around each outward corner of a wall; [c, 2]."""
    corners, diagonals = _corners(maze)
    half = np.sqrt(0.5)
    bends = np.array([(1.0, 0.0), (half, half), (0.0, 1.0)])
    return np.asarray(corners[:, None] + clearance * diagonals[:, None] * bends).reshape(-1, 2)
