"""The controllers that collected the data, as policies: the row that every planner has to beat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dfplan.collect.minari import PointMazeController
from dfplan.collect.waypoint import Routes, WaypointController
from dfplan.errors import MazeError, ObservationError
from dfplan.mazes import Maze
from dfplan.suites import D4RL, OGBENCH

_OGBENCH_ORDER = ((-1, 0), (0, -1), (1, 0), (0, 1))
"""In which OGBench's oracle takes equally short ways."""

Driver = Callable[[list[float], tuple[float, float]], tuple[float, ...]]
"""From an observation and a goal to an action."""


class DataController:
    """What walked when the data of a maze's suite was collected, without noise on its actions.

    It is given the maze, so it is a reference and not a planner. D4RL's finds a fresh route each
    episode, to the integer cell nearest to the goal; gymnasium-robotics' is that of Minari's
    PointMaze data, on shortest ways; OGBench's heads for the middle of one cell after another and
    ends in the middle of the goal's, from where a noisy goal can be out of reach.

    Args:
        maze: the maze that it walks in, in the suite's frame.
    """

    def __init__(self, maze: Maze) -> None:
        self._maze = maze
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Forget all routes. Row ``b`` draws its waypoints from ``seed + b``."""
        self._seed = seed
        self._drivers: list[Driver] = []

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """Actions in [-1, 1].

        Args:
            observation: position, and velocity where the suite shows one, [4] or [2], or [B, 4]
                or [B, 2].
            goal: [2] or [B, 2].

        Returns:
            [2] or [B, 2].

        Raises:
            ObservationError: no goal was given, or the batch changed without :meth:`reset`.
        """
        if goal is None:
            raise ObservationError("The data's controller needs a goal; pass goal=... to act.")
        states = np.atleast_2d(observation)
        goals = np.broadcast_to(goal, (len(states), 2))
        if not self._drivers:
            seeds = [None if self._seed is None else self._seed + b for b in range(len(states))]
            self._drivers = [_driver(self._maze, np.random.default_rng(seed)) for seed in seeds]
        if len(self._drivers) != len(states):
            raise ObservationError(
                f"Expected the {len(self._drivers)} episodes that began together; got "
                f"{len(states)}. Call reset() before another batch."
            )
        rows = zip(self._drivers, states.tolist(), goals.tolist(), strict=True)
        actions = np.array([drive(state, (g0, g1)) for drive, state, (g0, g1) in rows])
        return np.asarray(actions.clip(-1.0, 1.0).reshape((*np.shape(observation)[:-1], 2)))


def _driver(maze: Maze, rng: np.random.Generator) -> Driver:
    if maze.suite is D4RL:
        waypoints = WaypointController(maze, rng)
        return lambda state, goal: waypoints.act(state[0], state[1], state[2], state[3], goal)[:2]
    if maze.suite is OGBENCH:
        routes = Routes(maze, _OGBENCH_ORDER)
        return lambda state, goal: _to_next_cell(maze, routes, state, goal)
    walker = PointMazeController(maze, rng)
    return lambda state, goal: walker.act(state[0], state[1], state[2], state[3], goal)


def _to_next_cell(
    maze: Maze, routes: Routes, state: list[float], goal: tuple[float, float]
) -> tuple[float, ...]:
    here, there = (tuple(maze.xy_to_cell(np.array(at[:2])).tolist()) for at in (state, goal))
    try:
        aim = maze.cell_to_xy(routes.step(here, there))
    except MazeError:  # a teleport may lead there, of which OGBench's oracle knows nothing either
        aim = maze.cell_to_xy(here)
    ahead = aim - state[:2]
    return tuple((ahead / (np.linalg.norm(ahead) + 1e-6)).tolist())
