"""The scripted controller of D4RL's maze2d data.

It follows a shortest path on the grid from waypoint to waypoint with a proportional-derivative law,
as ``d4rl/pointmaze/waypoint_controller.py`` of D4RL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dfplan.mazes import Maze
from dfplan.suites import CELL_OFFSET

_P_GAIN = 10.0
_D_GAIN = -1.0
_REACHED = 0.1
_WAYPOINT_NOISE = 0.2
_NEIGHBORS = ((0, -1), (0, 1), (-1, 0), (1, 0))
"""Order of preference among equally short paths. It affects which cells are visited."""

Cell = tuple[int, int]


class Routes:
    """Finds paths from cell to cell, and caches the shortest ones.

    ``order`` has the four directions (row, column) in order of preference: of equally short paths,
    the one whose first step comes first is used.
    """

    def __init__(self, maze: Maze, order: Sequence[Cell]) -> None:
        self._maze = maze
        self._order = order
        self._next: dict[tuple[Cell, Cell], Cell] = {}

    def step(self, cell: Cell, target: Cell) -> Cell:
        """The next cell on a shortest path from ``cell``; ``target`` if the two are equal."""
        if (cell, target) not in self._next:
            length = len(self._maze.shortest_path(cell, target))
            nearer = (
                neighbor
                for neighbor in self.neighbors(cell)
                if len(self._maze.shortest_path(neighbor, target)) < length
            )
            self._next[cell, target] = target if length == 1 else next(nearer)
        return self._next[cell, target]

    def depth_first(self, start: Cell, target: Cell) -> list[Cell]:
        """The cells after ``start`` up to and including ``target`` on a depth-first path.

        The search continues from the last neighbor that it saw. The path to a cell is the one on
        which it was seen first.
        """
        before = {start: start}
        stack = [start]
        while (cell := stack.pop()) != target:
            for neighbor in self.neighbors(cell):
                if neighbor not in before:
                    before[neighbor] = cell
                    stack.append(neighbor)
        path = []
        while cell != start:
            path.append(cell)
            cell = before[cell]
        return path[::-1]

    def neighbors(self, cell: Cell) -> list[Cell]:
        """The free cells next to ``cell``, in order of preference."""
        cells = [(cell[0] + i, cell[1] + j) for i, j in self._order]
        return [neighbor for neighbor in cells if not self._maze.walls[neighbor]]


class WaypointController:
    """Drives a point mass to the integer point of the goal's cell, in D4RL's coordinates.

    A path is planned once for each target cell. A controller that is not :meth:`reset` therefore
    follows its old path when only the start changes. D4RL's published reference scores were
    measured that way.

    Args:
        maze: the maze.
        rng: draws the offset of each waypoint: U(0, 0.2) below the integer point along each axis.
    """

    def __init__(self, maze: Maze, rng: np.random.Generator) -> None:
        self._routes = Routes(maze, _NEIGHBORS)
        self._rng = rng
        self.reset()

    def reset(self) -> None:
        """Discard the path and the last position."""
        self._target: Cell | None = None
        self._waypoints: list[tuple[float, float]] = []
        self._index = 0
        self._previous = (0.0, 0.0)

    def act(
        self, q0: float, q1: float, v0: float, v1: float, goal: tuple[float, float]
    ) -> tuple[float, float, bool]:
        """Return the action (two forces in [-1, 1]), and whether the goal's cell is reached."""
        target = _cell(goal)
        if target != self._target:
            self._plan(_cell((q0, q1)), target)
        moved = (self._previous[0] - q0) ** 2 + (self._previous[1] - q1) ** 2
        slow = moved < _REACHED**2
        arrived = slow and (q0 - target[0]) ** 2 + (q1 - target[1]) ** 2 < _REACHED**2
        w0, w1 = target if arrived else self._waypoints[self._index]
        d0, d1 = w0 - q0, w1 - q1
        if not arrived and slow and d0 * d0 + d1 * d1 < _REACHED**2:
            self._index += 1
        self._previous = (q0, q1)
        a0 = _P_GAIN * d0 + _D_GAIN * v0
        a1 = _P_GAIN * d1 + _D_GAIN * v1
        return min(1.0, max(-1.0, a0)), min(1.0, max(-1.0, a1)), arrived

    def _plan(self, start: Cell, target: Cell) -> None:
        cells = [self._routes.step(start, target)]
        while cells[-1] != target:
            cells.append(self._routes.step(cells[-1], target))
        noise = self._rng.uniform(0.0, _WAYPOINT_NOISE, size=(len(cells), 2))
        noise[-1] = 0.0
        self._waypoints = [
            (i - a, j - b) for (i, j), (a, b) in zip(cells, noise.tolist(), strict=True)
        ]
        self._target = target
        self._index = 0
        self._previous = start


def _cell(position: tuple[float, float]) -> Cell:
    """``Maze.xy_to_cell`` for D4RL's coordinates, without NumPy because it runs in every step."""
    i, j = (math.floor(coordinate - CELL_OFFSET + 0.5) for coordinate in position)
    return i, j
