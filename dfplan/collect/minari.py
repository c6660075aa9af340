"""The recipe of Minari's D4RL/pointmaze data.

A scripted waypoint controller walks in gymnasium-robotics' PointMaze with ``continuing_task`` and
``reset_target``: within 0.45 of the goal the episode is cut and another goal is drawn, and the
ball goes on from where it is. Gaussian noise of standard deviation 0.5 is added to the action,
which is then clipped to [-1, 1]. After ``scripts/pointmaze`` of Farama's
minari-dataset-generation-scripts and ``envs/maze/{maze_v4,point_maze}.py`` of gymnasium-robotics.
Positions in the latter's frame; a step is 0.01 s.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from dfplan.collect.waypoint import Cell, Routes
from dfplan.errors import MazeError
from dfplan.mazes import Maze
from dfplan.suites import CELL_OFFSET
from dfplan.types import Recording

_P_GAIN = 10.0
_WAYPOINT_REACHED = 0.1
_WAYPOINT_NOISE = 0.2
_ACTION_NOISE = 0.5
_PLACE_NOISE = 0.25
_GOAL_REACHED = 0.45
_LEAST_START = 0.5
_DIRECTIONS = ((0, 1), (0, -1), (-1, 0), (1, 0))
"""Order in which the planner takes equally short ways, that of its actions."""

XY = tuple[float, float]


@dataclass(frozen=True)
class MinariRecipe:
    """Streams of ``shard`` steps, each from a random start at rest.

    The published sets are one stream each. Any free cell may hold a goal.

    Attributes:
        maze: in gymnasium-robotics' frame, with at least two free cells.
        steps: of all streams.
        shard: steps of a stream; the last may be shorter.
        depth_first: take the ways that a depth-first search finds, and not the shortest. Minari
            names Q-iteration, which finds the shortest, but its script leaves the controller's
            default, which is this; and only with this do the episodes become as many, and so as
            long, as in the published sets whose mazes have loops.

    Raises:
        MazeError: the maze has only one free cell.
        MissingSimulatorError: the packages that simulate mazes are not installed.
    """

    maze: Maze
    steps: int
    shard: int
    depth_first: bool = False

    version = "dfplan minari collector 1"

    def __post_init__(self) -> None:
        from dfplan.envs.dynamics import PointMass

        if len(self.maze.free_cells) < 2:
            raise MazeError(
                f"The minari recipe needs at least two free cells, to start away from the goal; "
                f"maze {self.maze.name!r} has one. Open a wall, or collect with recipe d4rl."
            )
        PointMass(self.maze)  # a missing simulator shows here, before a worker is started

    @property
    def sizes(self) -> list[int]:
        """Environment steps of each stream."""
        return [min(self.shard, self.steps - first) for first in range(0, self.steps, self.shard)]

    def collect(self, shard: int, seed: np.random.SeedSequence) -> Recording:
        """One stream, an episode a goal; the last is cut where the stream ends.

        ``goals`` are those that the environment's observations hold. They lag one step behind: the
        observation in which a goal is reached, and with it the first of the next episode, still
        holds the reached one, and so the controller's first action is for that.
        """
        maze = replace(self.maze)  # a copy, so that the routes it remembers go when this ends
        rng = np.random.default_rng(seed)
        steps = self.sizes[shard]
        noise = (_ACTION_NOISE * rng.standard_normal((steps, 2))).tolist()
        controller = PointMazeController(maze, rng, self.depth_first)
        goal = _place(maze, rng)
        state = (*_start(maze, rng, goal), 0.0, 0.0)
        ball = _Ball(maze, state)
        shown = goal
        log = _Log()
        for ex, ey in noise:
            ax, ay = controller.act(*state, shown)
            action = _clipped(ax + ex), _clipped(ay + ey)
            after = ball.advance(*action)
            reached = math.dist(after[:2], goal) <= _GOAL_REACHED
            log.add(state, action, shown, reached)
            state, shown = after, goal
            if reached:
                log.end(state, shown)
                while math.dist(state[:2], goal) <= _GOAL_REACHED:
                    goal = _place(maze, rng)
        if not log.ended:
            log.end(state, shown)
        return log.recording()


class PointMazeController:
    """Walks from cell to cell as Minari's PointMaze controller does.

    The first waypoint of a way is the middle of the next cell, later ones are up to 0.2 below it
    on both axes, and the last is the goal.

    Args:
        maze: in gymnasium-robotics' frame.
        rng: draws the offset of each waypoint.
        depth_first: how ways are found, see :class:`MinariRecipe`.
    """

    def __init__(self, maze: Maze, rng: np.random.Generator, depth_first: bool = False) -> None:
        self._maze = maze
        self._rng = rng
        self._routes = Routes(maze, _DIRECTIONS)
        self._depth_first = depth_first
        self._goal: XY | None = None
        self._aim: XY = (0.0, 0.0)
        self._way: deque[Cell] = deque()

    def way(self, start: Cell, target: Cell) -> list[Cell]:
        """The cells after ``start`` up to and with ``target``.

        Where the two are one, the shortest leads to a neighbor and back, and the depth-first search
        finds none: then the goal is walked to at once.
        """
        if self._depth_first:
            return self._routes.depth_first(start, target)
        cells = [self._routes.step(start, target)]
        if start == target:
            cells = [self._routes.beside(start)[0]]
        while cells[-1] != target:
            cells.append(self._routes.step(cells[-1], target))
        return cells

    def act(self, x: float, y: float, vx: float, vy: float, goal: XY) -> XY:
        """The forces along x and y, not limited yet."""
        if goal != self._goal:
            self._goal = goal
            self._way = deque(self.way(self._cell((x, y)), self._cell(goal)))
            self._aim = self._middle(self._way.popleft()) if self._way else goal
        if self._way and math.dist(self._aim, (x, y)) <= _WAYPOINT_REACHED:
            mx, my = self._middle(self._way.popleft())
            if self._way:
                dx, dy = self._rng.uniform(0.0, _WAYPOINT_NOISE, 2).tolist()
                self._aim = mx - dx, my - dy
            else:
                self._aim = goal
        return _P_GAIN * (self._aim[0] - x) - vx, _P_GAIN * (self._aim[1] - y) - vy

    def _cell(self, position: XY) -> Cell:
        i, j = self._maze.xy_to_cell(np.array(position)).tolist()
        return i, j

    def _middle(self, cell: Cell) -> XY:
        x, y = self._maze.cell_to_xy(cell).tolist()
        return x, y


class _Ball:
    """The point mass seen in gymnasium-robotics' frame."""

    def __init__(self, maze: Maze, state: tuple[float, float, float, float]) -> None:
        from dfplan.envs.dynamics import PointMass

        self._ball = PointMass(maze)
        x0, y0 = maze.cell_to_xy((0, 0)).tolist()
        self._x0, self._y0 = x0 - CELL_OFFSET, y0 + CELL_OFFSET
        x, y, vx, vy = state
        self._ball.set_state(np.array([self._y0 - y, x - self._x0]), np.array([-vy, vx]))

    def advance(self, ax: float, ay: float) -> tuple[float, float, float, float]:
        q0, q1, v0, v1 = self._ball.advance(-ay, ax)
        return q1 + self._x0, self._y0 - q0, v1, -v0


class _Log:
    """What happened, row by row."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []
        self._reached: list[bool] = []
        self._ends: list[int] = []  # the bare row of each episode

    @property
    def ended(self) -> bool:
        return bool(self._ends) and self._ends[-1] == len(self._rows) - 1

    def add(self, state: tuple[float, ...], action: XY, goal: XY, reached: bool) -> None:
        self._rows.append((*state, *action, *goal))
        self._reached.append(reached)

    def end(self, state: tuple[float, ...], goal: XY) -> None:
        self._ends.append(len(self._rows))
        self.add(state, (0.0, 0.0), goal, False)

    def recording(self) -> Recording:
        rows = np.array(self._rows)
        ends = np.array(self._ends)
        timeouts = np.zeros(len(rows), bool)
        timeouts[ends - 1] = True
        return Recording(
            observations=rows[:, :4],
            actions=rows[:, 4:6].astype(np.float32),
            rewards=np.array(self._reached, float),
            goals=rows[:, 6:],
            terminals=np.zeros(len(rows), bool),
            timeouts=timeouts,
            episodes=np.concatenate([[0], ends[:-1] + 1]),
            bare_ends=np.ones(len(ends), bool),
            source="",
        )


def _clipped(force: float) -> float:
    """In [-1, 1], and a float32: what is recorded is what was applied."""
    return float(np.float32(min(1.0, max(-1.0, force))))


def _place(maze: Maze, rng: np.random.Generator) -> XY:
    """A random free cell's middle, moved by up to 0.25 an axis."""
    return _moved(_free_middle(maze, rng), rng)


def _start(maze: Maze, rng: np.random.Generator, goal: XY) -> XY:
    """The same, of the cells whose middle is farther than 0.5 from the goal."""
    middle = _free_middle(maze, rng)
    while math.dist(middle, goal) <= _LEAST_START:
        middle = _free_middle(maze, rng)
    return _moved(middle, rng)


def _free_middle(maze: Maze, rng: np.random.Generator) -> XY:
    x, y = maze.cell_to_xy(maze.free_cells[rng.integers(len(maze.free_cells))]).tolist()
    return x, y


def _moved(position: XY, rng: np.random.Generator) -> XY:
    x, y = (np.array(position) + rng.uniform(-_PLACE_NOISE, _PLACE_NOISE, 2)).tolist()
    return x, y
