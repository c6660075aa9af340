"""The controller that collected the data, as a policy: the row that every planner has to beat."""

from __future__ import annotations

import numpy as np

from dfplan.data.waypoint import WaypointController
from dfplan.errors import ObservationError
from dfplan.mazes import Maze


class WaypointPolicy:
    """D4RL's waypoint controller, with a fresh route each episode.

    It is given the maze, so it is a reference and not a planner. It heads for the integer cell
    nearest to the goal, as it does when it collects data.

    Args:
        maze: the maze that it walks in.
    """

    def __init__(self, maze: Maze) -> None:
        self._maze = maze
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Forget all routes. Row ``b`` draws its waypoints from ``seed + b``."""
        self._seed = seed
        self._drivers: list[WaypointController] = []

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """Forces in [-1, 1].

        Args:
            observation: position and velocity in D4RL's frame, [4] or [B, 4].
            goal: [2] or [B, 2].

        Returns:
            [2] or [B, 2].

        Raises:
            ObservationError: no goal was given, or the batch changed without :meth:`reset`.
        """
        if goal is None:
            raise ObservationError("The waypoint controller needs a goal; pass goal=... to act.")
        states = np.atleast_2d(observation)
        goals = np.broadcast_to(goal, (len(states), 2))
        if not self._drivers:
            seeds = [None if self._seed is None else self._seed + b for b in range(len(states))]
            self._drivers = [
                WaypointController(self._maze, np.random.default_rng(seed)) for seed in seeds
            ]
        if len(self._drivers) != len(states):
            raise ObservationError(
                f"Expected the {len(self._drivers)} episodes that began together; got "
                f"{len(states)}. Call reset() before another batch."
            )
        rows = zip(self._drivers, states.tolist(), goals.tolist(), strict=True)
        actions = [
            driver.act(q0, q1, v0, v1, (g0, g1))[:2] for driver, (q0, q1, v0, v1), (g0, g1) in rows
        ]
        return np.array(actions).reshape((*np.shape(observation)[:-1], 2))
