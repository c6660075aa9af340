"""The controllers that collected the data, as policies. They are reference methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dfplan.collect.minari import PointMazeController
from dfplan.collect.ogbench import BODIES
from dfplan.collect.waypoint import Routes, WaypointController
from dfplan.errors import MazeError, ObservationError
from dfplan.mazes import Maze
from dfplan.suites import D4RL, GYMNASIUM, Suite

_OGBENCH_ORDER = ((-1, 0), (0, -1), (1, 0), (0, 1))
"""Order of preference among equally short paths of OGBench's oracle."""

ControlLaw = Callable[[list[float], tuple[float, float]], tuple[float, ...]]
"""Computes an action from an observation and a goal."""


class DataController:
    """The controller that collected the data of a maze's suite, without noise on its actions.

    It knows the maze, so it is a reference and not a planner. D4RL's controller plans a new path in
    each episode, to the integer point of the goal's cell. gymnasium-robotics' controller is that of
    Minari's PointMaze data, with shortest paths. OGBench's controller moves to the center of one
    cell after another; an ant walks there by the expert of its data. It stops in the center of the
    goal's cell, from where a goal with noise may be out of reach.

    Args:
        maze: the maze, in its suite's coordinates.
    """

    def __init__(self, maze: Maze) -> None:
        self._maze = maze
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Discard all paths. Row ``b`` of a batch draws its waypoints from ``seed + b``."""
        self._seed = seed
        self._laws: list[ControlLaw] = []

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """Compute actions in [-1, 1].

        Args:
            observation: of the suite, [S] or [B, S].
            goal: [2] or [B, 2].

        Returns:
            [A] or [B, A].

        Raises:
            ObservationError: there is no goal, or the size of the batch has changed since
                :meth:`reset`.
        """
        if goal is None:
            raise ObservationError("A controller needs a goal; pass goal=... to act.")
        states = np.atleast_2d(observation)
        goals = np.broadcast_to(goal, (len(states), 2))
        if not self._laws:
            seeds = [None if self._seed is None else self._seed + b for b in range(len(states))]
            make = CONTROL_LAWS[self._maze.suite]
            self._laws = [make(self._maze, np.random.default_rng(seed)) for seed in seeds]
        if len(self._laws) != len(states):
            raise ObservationError(
                f"Expected a batch of the {len(self._laws)} episodes that began together; got "
                f"{len(states)}. Call reset() before another batch."
            )
        rows = zip(self._laws, states.tolist(), goals.tolist(), strict=True)
        actions = np.array([law(state, (g0, g1)) for law, state, (g0, g1) in rows])
        return np.asarray(actions.clip(-1.0, 1.0).reshape((*np.shape(observation)[:-1], -1)))


def _d4rl(maze: Maze, rng: np.random.Generator) -> ControlLaw:
    waypoints = WaypointController(maze, rng)
    return lambda state, goal: waypoints.act(state[0], state[1], state[2], state[3], goal)[:2]


def _gymnasium(maze: Maze, rng: np.random.Generator) -> ControlLaw:
    controller = PointMazeController(maze, rng)
    return lambda state, goal: controller.act(state[0], state[1], state[2], state[3], goal)


def _ogbench(maze: Maze, rng: np.random.Generator) -> ControlLaw:
    routes, walk = Routes(maze, _OGBENCH_ORDER), BODIES[maze.suite].walker()

    def law(state: list[float], goal: tuple[float, float]) -> tuple[float, ...]:
        here, there = (tuple(maze.xy_to_cell(np.array(xy[:2])).tolist()) for xy in (state, goal))
        try:
            target = maze.cell_to_xy(routes.step(here, there))
        except MazeError:  # only a teleport leads there, and OGBench's oracle ignores teleports too
            target = maze.cell_to_xy(here)
        offset = target - state[:2]
        x, y = (offset / (np.linalg.norm(offset) + 1e-6)).tolist()
        return tuple(walk(np.array(state), (x, y)).tolist())

    return law


CONTROL_LAWS: dict[Suite, Callable[[Maze, np.random.Generator], ControlLaw]] = {
    D4RL: _d4rl,
    GYMNASIUM: _gymnasium,
    **dict.fromkeys(BODIES, _ogbench),
}
"""Makes the control law of each suite for a maze, with a generator for random waypoints."""
