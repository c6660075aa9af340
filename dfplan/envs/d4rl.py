"""D4RL's Maze2D with the common interface :class:`~dfplan.envs.maze_env.MazeEnv`."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from dfplan.envs.maze_env import Given, MazeEnv, MazeSpec, ResetResult
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.suites import D4RL


class D4RLMazeEnv(MazeEnv):
    """Wraps :class:`~dfplan.envs.maze2d.Maze2DEnv`: ``maze2d-*`` and ``multi2d-*``."""

    suite = D4RL

    @classmethod
    def specs(cls) -> dict[str, MazeSpec]:
        """``maze2d-*`` (fixed goal), then ``multi2d-*`` (random goals)."""
        return {
            f"{kind}-{size}": MazeSpec(named_maze(size), f"dfplan/{kind}-{size}-v1")
            for kind in ("maze2d", "multi2d")
            for size in D4RL.mazes
        }

    @classmethod
    def custom_spec(cls, maze: Maze) -> MazeSpec:
        """Like ``maze2d-*`` if the maze has a cell G, otherwise like ``multi2d-*``."""
        return MazeSpec(maze, "dfplan/maze2d-v1", {"maze": maze})

    @classmethod
    def dataset_spec(cls, maze: Maze, *, continuing: bool) -> EnvSpec | None:
        """The registered environment, with a custom maze as text."""
        if maze.text in D4RL.mazes:
            return gymnasium.spec(f"dfplan/maze2d-{maze.text}-v1")
        spec = gymnasium.spec("dfplan/maze2d-v1")
        steps = spec.max_episode_steps
        arguments = {"maze": maze.text}
        return EnvSpec(spec.id, spec.entry_point, max_episode_steps=steps, kwargs=arguments)

    @classmethod
    def maze_of_spec(cls, name: str, arguments: dict[str, Any]) -> Maze | None:
        """Inverse of :meth:`dataset_spec`."""
        known = name.startswith("dfplan/") and "maze" in arguments
        return parse_maze(arguments["maze"]) if known else None

    def _reset_suite(
        self, seed: int | None, start: Given, goal: Given, pair: int | None
    ) -> ResetResult:
        state, info = self.env.reset(seed=seed, options={"start": start, "goal": goal})
        return state, info["goal"], info
