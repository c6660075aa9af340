"""D4RL's Maze2D (:class:`~dfplan.envs.maze2d.Maze2DEnv`) as a :class:`MazeEnv`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dfplan.envs.adapters import Adapter, Spec
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.suites import D4RL


class Maze2D(Adapter):
    """The environment of ``maze2d-*``, whose goal is fixed, and of ``multi2d-*``."""

    suite = D4RL

    @classmethod
    def names(cls) -> dict[str, Spec]:
        """``maze2d-*`` first, so that a maze has that name."""
        return {
            f"{kind}-{size}": Spec(named_maze(size), f"dfplan/{kind}-{size}-v1")
            for kind in ("maze2d", "multi2d")
            for size in D4RL.mazes
        }

    @classmethod
    def custom(cls, maze: Maze) -> Spec:
        """Like ``maze2d-*`` where a cell is marked G, else like ``multi2d-*``."""
        return Spec(maze, "dfplan/maze2d-v1", {"maze": maze})

    @classmethod
    def recorded_spec(cls, maze: Maze, *, continuing: bool) -> EnvSpec | None:
        """The environment's own."""
        if maze.text in D4RL.mazes:
            return gymnasium.spec(f"dfplan/maze2d-{maze.text}-v1")
        spec = gymnasium.spec("dfplan/maze2d-v1")
        steps = spec.max_episode_steps
        arguments = {"maze": maze.text}
        return EnvSpec(spec.id, spec.entry_point, max_episode_steps=steps, kwargs=arguments)

    @classmethod
    def recorded_maze(cls, name: str, arguments: dict[str, Any]) -> Maze | None:
        """Inverse of :meth:`recorded_spec`."""
        known = name.startswith("dfplan/") and "maze" in arguments
        return parse_maze(arguments["maze"]) if known else None

    def _begin(
        self,
        seed: int | None,
        start: np.ndarray | None,
        goal: np.ndarray | None,
        task: int | None,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        state, info = self.env.reset(seed=seed, options={"start": start, "goal": goal})
        return state, info["goal"], info
