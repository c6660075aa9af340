"""The scripted controller that collected D4RL's maze2d data.

It walks a shortest path of the grid from waypoint to waypoint with a proportional-derivative
law. Behaviour after D4RL's ``d4rl/pointmaze/waypoint_controller.py``.
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
"""Order in which D4RL's planner takes equally short ways: it shapes where the data lies."""

Cell = tuple[int, int]


class Routes:
    """Ways from cell to cell; remembers the shortest that it found.

    Args:
        maze: the maze to walk in.
        order: the four directions (rows down, columns right) in which neighbors are looked at; of
            equally short ways the one whose first step comes first here is taken.
    """

    def __init__(self, maze: Maze, order: Sequence[Cell]) -> None:
        self._maze = maze
        self._order = order
        self._next: dict[tuple[Cell, Cell], Cell] = {}

    def step(self, cell: Cell, target: Cell) -> Cell:
        """The cell after ``cell`` on the way to ``target``; ``target`` itself at its end."""
        if (cell, target) not in self._next:
            left = len(self._maze.shortest_cells(cell, target))
            nearer = (
                beside
                for beside in self.beside(cell)
                if len(self._maze.shortest_cells(beside, target)) < left
            )
            self._next[cell, target] = target if left == 1 else next(nearer)
        return self._next[cell, target]

    def depth_first(self, start: Cell, target: Cell) -> list[Cell]:
        """The way after ``start``, up to and with ``target``, that a depth-first search finds.

        It goes on from the neighbor seen last; a cell's way is that by which it was first seen.
        """
        before = {start: start}
        stack = [start]
        while (cell := stack.pop()) != target:
            for beside in self.beside(cell):
                if beside not in before:
                    before[beside] = cell
                    stack.append(beside)
        way = []
        while cell != start:
            way.append(cell)
            cell = before[cell]
        return way[::-1]

    def beside(self, cell: Cell) -> list[Cell]:
        """The free cells next to ``cell``, in the order of the directions."""
        around = [(cell[0] + i, cell[1] + j) for i, j in self._order]
        return [beside for beside in around if not self._maze.walls[beside]]


class WaypointController:
    """Drives a point mass to the integer point of the goal's cell; positions in D4RL's frame.

    A route is planned once per target cell, so a controller that is not :meth:`reset` keeps
    driving along its old route when only the start has changed. D4RL's published reference
    scores were made that way.

    Args:
        maze: the maze to walk in.
        rng: draws the offset of each waypoint, U(0, 0.2) an axis below the integer cell.
    """

    def __init__(self, maze: Maze, rng: np.random.Generator) -> None:
        self._routes = Routes(maze, _NEIGHBORS)
        self._rng = rng
        self.reset()

    def reset(self) -> None:
        """Forget the route and the last position."""
        self._target: Cell | None = None
        self._waypoints: list[tuple[float, float]] = []
        self._index = 0
        self._previous = (0.0, 0.0)

    def act(
        self, q0: float, q1: float, v0: float, v1: float, goal: tuple[float, float]
    ) -> tuple[float, float, bool]:
        """The action (two forces in [-1, 1]) and whether the goal's cell was reached."""
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
    """``Maze.xy_to_cell`` for a position of D4RL's frame, in plain numbers: it runs every step."""
    i, j = (math.floor(coordinate - CELL_OFFSET + 0.5) for coordinate in position)
    return i, j
