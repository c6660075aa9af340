"""Collects data like Minari's D4RL/pointmaze data sets.

A scripted waypoint controller moves in gymnasium-robotics' PointMaze with ``continuing_task`` and
``reset_target``: within 0.45 of the goal the episode ends and a new goal is drawn, and the ball
continues from its position. Gaussian noise of standard deviation 0.5 is added to the action, which
is then clipped to [-1, 1]. The behavior is that of ``scripts/pointmaze`` in Farama's
minari-dataset-generation-scripts, and of ``envs/maze/{maze_v4,point_maze}.py`` in
gymnasium-robotics. Positions are in the coordinates of the latter. A step is 0.01 s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from dfplan.collect.collector import DEFAULT_STEPS, SHARD_STEPS, CollectorEntry, StreamCollector
from dfplan.collect.shards import join_shards
from dfplan.collect.waypoint import Cell, Routes
from dfplan.data.formats.minari_write import write_minari
from dfplan.errors import ConfigError, MazeError
from dfplan.mazes import Maze
from dfplan.suites import CELL_OFFSET, GYMNASIUM
from dfplan.types import Recording

_P_GAIN = 10.0
_WAYPOINT_REACHED = 0.1
_WAYPOINT_NOISE = 0.2
_ACTION_NOISE = 0.5
_POSITION_NOISE = 0.25
_GOAL_REACHED = 0.45
_MIN_START_DISTANCE = 0.5
_DIRECTIONS = ((0, 1), (0, -1), (-1, 0), (1, 0))
"""Order of preference among equally short paths: that of the planner's actions."""

XY = tuple[float, float]


@dataclass(frozen=True)
class MinariCollector(StreamCollector):
    """Collects streams, each from a random start at rest, in gymnasium-robotics' coordinates.

    The published data sets are one stream each. Every free cell may be a goal.

    Attributes:
        depth_first: follow the paths of a depth-first search instead of the shortest paths.
            Minari's documentation names Q-iteration, which finds the shortest paths. Its script
            however uses the controller's default, which is depth-first search. Only with this are
            there as many episodes, of the same length, as in the published data sets of mazes with
            loops.

    Raises:
        MazeError: the maze has only one free cell.
        MissingSimulatorError: the packages that simulate mazes are not installed.
    """

    depth_first: bool = False

    version = "dfplan minari collector 1"

    def __post_init__(self) -> None:
        if len(self.maze.free_cells) < 2:
            raise MazeError(
                "The collector minari needs at least two free cells, because starts are away from "
                f"the goal; maze {self.maze.name!r} has one. Open a wall, or use the collector "
                "d4rl."
            )
        super().__post_init__()

    def collect(self, shard: int, seed: np.random.SeedSequence) -> Recording:
        """Collect one stream, with an episode for each goal; the last episode is truncated.

        ``goals`` are those in the environment's observations, which are one step late: the
        observation in which a goal is reached, which is also the first one of the next episode,
        still has the goal that was reached. The controller's first action is for that goal.
        """
        maze = replace(self.maze)  # a copy, so that its cache of paths is released at the end
        rng = np.random.default_rng(seed)
        noise = (_ACTION_NOISE * rng.standard_normal((self.shard_sizes[shard], 2))).tolist()
        controller = PointMazeController(maze, rng, self.depth_first)
        goal = _random_goal(maze, rng)
        state = (*_random_start(maze, rng, goal), 0.0, 0.0)
        ball, observed_goal, log = _Ball(maze, state), goal, _EpisodeLog()
        for ex, ey in noise:
            ax, ay = controller.act(*state, observed_goal)
            action = _clipped(ax + ex), _clipped(ay + ey)
            after = ball.advance(*action)
            reached = math.dist(after[:2], goal) <= _GOAL_REACHED
            log.add(state, action, observed_goal, reached)
            state, observed_goal = after, goal
            if reached:
                log.end(state, observed_goal)
                while math.dist(state[:2], goal) <= _GOAL_REACHED:
                    goal = _random_goal(maze, rng)
        if not log.ended:
            log.end(state, observed_goal)
        return log.recording()

    def require_path(self, path: Path) -> None:
        """Raise :class:`ConfigError` unless nothing exists at ``path``."""
        if path.exists():
            raise ConfigError(
                f"{path} exists already, but a Minari data set needs a new folder. Remove it, or "
                "choose another folder."
            )

    def write(self, files: Sequence[Path], seed: int, path: Path) -> None:
        """Write a Minari data set."""
        write_minari(join_shards(files, path.name, self.maze.text), path)


def _plan(maze: Maze, steps: int | None, depth_first: bool = False) -> MinariCollector:
    return MinariCollector(maze, steps or DEFAULT_STEPS, SHARD_STEPS, depth_first)


COLLECTORS = {
    "minari": CollectorEntry((GYMNASIUM,), _plan),
    "minari-dfs": CollectorEntry((GYMNASIUM,), partial(_plan, depth_first=True)),
}
"""gymnasium-robotics' collectors by name."""


class PointMazeController:
    """Moves from cell to cell like Minari's PointMaze controller.

    The first waypoint of a path is the center of the next cell. Later waypoints are up to 0.2 less
    than the center along both axes, and the last one is the goal.

    Args:
        maze: a maze in gymnasium-robotics' coordinates.
        rng: draws the offset of each waypoint.
        depth_first: whether to follow depth-first paths, see :class:`MinariCollector`.
    """

    def __init__(self, maze: Maze, rng: np.random.Generator, depth_first: bool = False) -> None:
        self._maze = maze
        self._rng = rng
        self._routes = Routes(maze, _DIRECTIONS)
        self._depth_first = depth_first
        self._goal: XY | None = None
        self._waypoint: XY = (0.0, 0.0)
        self._path: deque[Cell] = deque()

    def path(self, start: Cell, target: Cell) -> list[Cell]:
        """The cells after ``start`` up to and including ``target``.

        If the two are equal, the shortest path leads to a neighbor and back. The path of the
        depth-first search is empty: the controller moves to the goal directly.
        """
        if self._depth_first:
            return self._routes.depth_first(start, target)
        cells = [self._routes.step(start, target)]
        if start == target:
            cells = [self._routes.neighbors(start)[0]]
        while cells[-1] != target:
            cells.append(self._routes.step(cells[-1], target))
        return cells

    def act(self, x: float, y: float, vx: float, vy: float, goal: XY) -> XY:
        """The forces along x and y, not clipped."""
        if goal != self._goal:
            self._goal = goal
            self._path = deque(self.path(self._cell((x, y)), self._cell(goal)))
            self._waypoint = self._center(self._path.popleft()) if self._path else goal
        if self._path and math.dist(self._waypoint, (x, y)) <= _WAYPOINT_REACHED:
            mx, my = self._center(self._path.popleft())
            if self._path:
                dx, dy = self._rng.uniform(0.0, _WAYPOINT_NOISE, 2).tolist()
                self._waypoint = mx - dx, my - dy
            else:
                self._waypoint = goal
        return _P_GAIN * (self._waypoint[0] - x) - vx, _P_GAIN * (self._waypoint[1] - y) - vy

    def _cell(self, position: XY) -> Cell:
        i, j = self._maze.xy_to_cell(np.array(position)).tolist()
        return i, j

    def _center(self, cell: Cell) -> XY:
        x, y = self._maze.cell_to_xy(cell).tolist()
        return x, y


class _Ball:
    """The point mass of D4RL, in gymnasium-robotics' coordinates."""

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


class _EpisodeLog:
    """Collects rows and ends of episodes."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []
        self._reached: list[bool] = []
        self._ends: list[int] = []  # row of the final observation of each episode

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
            final_observations=np.ones(len(ends), bool),
            source="",
        )


def _clipped(force: float) -> float:
    """Clip to [-1, 1] and round to float32, so that the recorded action is the applied one."""
    return float(np.float32(min(1.0, max(-1.0, force))))


def _random_goal(maze: Maze, rng: np.random.Generator) -> XY:
    """The center of a random free cell, plus up to 0.25 along each axis."""
    return _add_noise(_random_center(maze, rng), rng)


def _random_start(maze: Maze, rng: np.random.Generator, goal: XY) -> XY:
    """As :func:`_random_goal`, with a center that is farther than 0.5 from ``goal``."""
    center = _random_center(maze, rng)
    while math.dist(center, goal) <= _MIN_START_DISTANCE:
        center = _random_center(maze, rng)
    return _add_noise(center, rng)


def _random_center(maze: Maze, rng: np.random.Generator) -> XY:
    x, y = maze.cell_to_xy(maze.free_cells[rng.integers(len(maze.free_cells))]).tolist()
    return x, y


def _add_noise(position: XY, rng: np.random.Generator) -> XY:
    x, y = (np.array(position) + rng.uniform(-_POSITION_NOISE, _POSITION_NOISE, 2)).tolist()
    return x, y
