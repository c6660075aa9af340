"""An upper bound on the return of each problem, from the walls and the speed limit alone.

No axis of the ball moves faster than a known number of units a step. So the steps to the goal are
at least those that cover the shortest way there *in the per-axis (Chebyshev) metric*, with the
start's own speed and full force from the first step on. The way runs around the walls at any
angle, to the rim of the disc that pays. Turning costs nothing here, so on a way with corners no
driver reaches the bound.

The way's length is never overestimated:

- Walls are soft. The ball's radius is 0.1, but driven at a corner at full speed its center was
  seen to sink to 0.032 of it; :data:`CLEARANCE` grants it more, everywhere and at any speed. (A
  corner can also throw the ball 0.015 farther than force could, in the one step of the contact.
  That is worth less than the clearance, and is not granted.)
- The region closed to the center is a wall grown by the clearance, its round corners cut off by
  two chords each. A straight line is shortest in every norm, so a visibility graph over the ends
  of the chords holds a shortest way around these polygons.
- The rim is seen through its points; whoever sees any of it sees one of its points past walls
  that are thinner by the gap between two, and that gap is taken off the length.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.sparse.csgraph import dijkstra

from dfplan.errors import MazeError
from dfplan.evaluation.protocols import Problems, Task
from dfplan.mazes import D4RL, Maze, parse_maze

CLEARANCE = 0.025
"""How near the ball's center is allowed to come to a wall, in cells."""

_STEP_SECONDS = 0.01
_RIM_POINTS = 64
_RIM_GAP = np.pi * D4RL.goal_radius / _RIM_POINTS  # no point of the rim is farther from one of them
_EPS = 1e-9

# Outward normals of a grown wall's sides (the opposite sides by symmetry): flat ones, then the
# two chords of each corner; and how far each lies outside the wall.
_ANGLES = np.pi / 8 * np.array([0, 4, 1, 3, 5, 7])
_NORMALS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
_GROWTH = CLEARANCE * np.array([1.0, 1.0, *[np.cos(np.pi / 8)] * 4])


def return_bounds(task: Task, problems: Problems) -> np.ndarray:
    """The most that any driver can be paid on each problem; float [n]."""
    return np.maximum(task.max_steps - steps_needed(task.maze, problems) + 1.0, 0.0)


def steps_needed(maze: Maze, problems: Problems) -> np.ndarray:
    """No driver is paid before this step, counted from 1; int [n].

    A step pays by where it ends, so a start on the goal needs 1 step and a return can reach
    ``max_steps - steps_needed + 1``.
    """
    # Here and not above: the rest of the command line needs no simulator.
    from dfplan.envs.dynamics import MAX_SPEED

    left = path_lengths(maze, problems.starts[:, :2], problems.goals)
    speed = np.abs(problems.starts[:, 2:]).max(axis=1)
    gain, keep = _push()
    steps = np.ones(len(left), dtype=int)
    while True:
        speed = np.minimum(speed, MAX_SPEED) * keep + gain
        left = left - _STEP_SECONDS * speed
        if not (left > _EPS).any():
            return steps
        steps += left > _EPS


def path_lengths(maze: Maze, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Shortest per-axis way from each of ``starts`` [n, 2] to where its goal [n, 2] pays; [n].

    Raises:
        MazeError: no way joins a start and its goal; one of them lies in a wall.
    """
    lengths = _roads(maze).lengths(starts, goals)
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
        self._centers, self._half_sizes = _blocks(maze)
        corners = _chord_ends(maze)
        inside = np.abs((corners[:, None] - self._centers) @ _NORMALS) < self._half_widths(0.0)
        self._corners = corners[~inside.all(axis=2).any(axis=1)]
        edges = self._if_seen(self._corners, self._corners)
        self._between = dijkstra(edges) if len(edges) else edges

    def lengths(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Length from each of ``starts`` [n, 2] to the disc around its goal [n, 2]; float [n]."""
        lengths = np.empty(len(starts))
        to_corners = self._if_seen(starts, self._corners)
        unique, which = np.unique(goals, axis=0, return_inverse=True)
        for index, goal in enumerate(unique):
            rows = np.flatnonzero(which.reshape(-1) == index)
            last = self._to_disc(self._corners, goal)
            beyond = (self._between + last).min(axis=1, initial=np.inf)
            around = (to_corners[rows] + beyond).min(axis=1, initial=np.inf)
            lengths[rows] = np.minimum(around, self._to_disc(starts[rows], goal))
        return lengths

    def _to_disc(self, points: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Straight length from ``points`` [p, 2] to the disc, infinite out of sight; float [p]."""
        lengths = np.full(len(points), np.inf)
        # Who sees some of the disc would see its center past walls thinner by its radius.
        near = np.flatnonzero(self._sees(goal[None], points, D4RL.goal_radius)[0])
        angles = 2 * np.pi / _RIM_POINTS * np.arange(_RIM_POINTS)
        rim = goal + D4RL.goal_radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        to_rim = self._if_seen(points[near], rim, _RIM_GAP).min(axis=1, initial=np.inf) - _RIM_GAP
        lengths[near] = np.maximum(
            to_rim, _per_axis(points[near], goal[None])[:, 0] - D4RL.goal_radius
        )
        lengths[np.linalg.norm(points - goal, axis=1) <= D4RL.goal_radius] = 0.0
        return lengths

    def _if_seen(self, points: np.ndarray, others: np.ndarray, thinner: float = 0.0) -> np.ndarray:
        """Per-axis distance between points that see each other, else infinite; [p, o]."""
        seen = self._sees(points, others, thinner)
        return np.where(seen, _per_axis(points, others), np.inf)

    def _sees(self, points: np.ndarray, others: np.ndarray, thinner: float = 0.0) -> np.ndarray:
        """Whether straight lines miss the grown walls, made ``thinner`` all round; bool [p, o].

        A line enters a convex polygon where it has entered between all pairs of opposite sides.
        """
        half = self._half_widths(thinner)
        seen = np.empty((len(points), len(others)), dtype=bool)
        for row, point in enumerate(points):
            before = (point - self._centers) @ _NORMALS
            along = ((others - point) @ _NORMALS)[:, None]
            along = np.where(np.abs(along) < 1e-12, 1e-12, along)
            one, two = (-half - before) / along, (half - before) / along
            enters = np.minimum(one, two).max(axis=2)
            leaves = np.maximum(one, two).min(axis=2)
            seen[row] = ~(np.maximum(enters, 0.0) < np.minimum(leaves, 1.0)).any(axis=1)
        return seen

    def _half_widths(self, thinner: float) -> np.ndarray:
        """Distance of each wall's sides from its center; [walls, 6]. Touching is not entering."""
        return np.asarray(self._half_sizes @ np.abs(_NORMALS) + _GROWTH - thinner - _EPS)


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
    return maze.cell_to_xy((first + last) / 2), (last - first + 1) / 2


def _runs(line: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return [(int(start), int(end) - 1) for start, end in edges.reshape(-1, 2)]


def _chord_ends(maze: Maze) -> np.ndarray:
    """Where ways can bend: three points on the round corner of each outward corner; [c, 2]."""
    padded = np.pad(maze.walls, 1, constant_values=True)  # nothing lies beyond the outer ring
    half = np.sqrt(0.5)
    ends = [
        maze.cell_to_xy((i, j)) + np.array([di, dj]) * (0.5 + CLEARANCE * np.array(bend))
        for i, j in np.argwhere(maze.walls)
        for di in (-1, 1)
        for dj in (-1, 1)
        if not padded[i + 1 + di, j + 1] and not padded[i + 1, j + 1 + dj]
        for bend in ((1.0, 0.0), (half, half), (0.0, 1.0))
    ]
    return np.array(ends).reshape(-1, 2)
