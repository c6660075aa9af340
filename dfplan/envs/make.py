"""Every suite's mazes by name, as :class:`~dfplan.envs.maze_env.MazeEnv`.

Neither gymnasium-robotics nor OGBench is imported before one of its environments is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium

from dfplan.envs.adapters import Adapter, Spec
from dfplan.envs.d4rl import Maze2D
from dfplan.envs.maze_env import MazeEnv
from dfplan.envs.ogbench import OGBench
from dfplan.envs.pointmaze import PointMaze
from dfplan.errors import require_numbers, unknown_name
from dfplan.mazes import Maze, parse_maze
from dfplan.suites import Suite

ADAPTERS: dict[Suite, type[Adapter]] = {
    adapter.suite: adapter for adapter in (Maze2D, PointMaze, OGBench)
}
"""The adapter of each suite."""

_SPECS = {name: spec for adapter in ADAPTERS.values() for name, spec in adapter.names().items()}

NAMES = tuple(_SPECS)
"""The environments that have a name."""


def make(
    maze: Maze | str | Sequence[Sequence[object]],
    *,
    render_mode: str | None = None,
    max_steps: int | None = None,
) -> MazeEnv:
    """A suite's environment by name, or one with a maze of one's own.

    ============================================ =================================================
    ``maze2d-{umaze,medium,large}``              D4RL's Maze2D, its goal fixed
    ``multi2d-{umaze,medium,large}``             the same with a random goal
                                                 (:class:`dfplan.envs.maze2d.Maze2DEnv`)
    ``pointmaze-{umaze,medium,large}``           gymnasium-robotics' ``PointMaze_*-v3``
    ``ogbench-{medium,large,giant,teleport}``    OGBench's ``pointmaze-*-v0``
    a maze in D4RL's frame                       like ``maze2d`` where a cell is marked G, else
                                                 like ``multi2d``
    a maze in gymnasium-robotics' frame          like ``pointmaze``; a cell marked G is where all
                                                 goals lie, with the suite's noise
    ============================================ =================================================

    OGBench's teleports take effect in its environment's next observation: that of the step which
    reaches one still shows the ball at its entrance.

    Args:
        maze: a name, or what :func:`dfplan.mazes.parse_maze` reads. ``Maze.text`` of a suite's
            maze gives that suite's environment (``large``: ``maze2d-large``).
        render_mode: None or ``"rgb_array"``: a top view that needs no display.
        max_steps: length of an episode, instead of the suite's (300, 600, 800 steps for umaze,
            medium, large; 1000 for OGBench's and for own mazes).

    Raises:
        ConfigError: an unknown name or render mode, no positive number of steps, or an own maze
            in OGBench's frame, whose environments take none.
        MazeError: the maze cannot be read, or has a single free cell in gymnasium-robotics'
            frame, whose starts keep away from the goal.
        MissingSimulatorError: the suite's package is not installed.
    """
    if render_mode not in (None, "rgb_array"):
        raise unknown_name("render mode", render_mode, ("rgb_array",))
    name, spec = _resolve(maze)
    arguments = dict(spec.arguments)
    if max_steps is not None:
        require_numbers({"max_steps": max_steps}, whole=True, least=1)
        arguments["max_episode_steps"] = int(max_steps)
    kind = ADAPTERS[spec.maze.suite]
    kind.require()
    env = gymnasium.make(
        spec.id,
        disable_env_checker=True,  # what it warns of in a suite is not the caller's to mend
        render_mode=render_mode,
        **arguments,
    )
    return kind(env, name, spec.maze)


def _resolve(maze: Maze | str | Sequence[Sequence[object]]) -> tuple[str, Spec]:
    """The environment's name and spec."""
    by_maze = {spec.maze.text: name for name, spec in reversed(_SPECS.items())}
    one_line = isinstance(maze, str) and "\\" not in maze and len(maze.splitlines()) < 2
    if isinstance(maze, str) and one_line and maze not in by_maze:
        if maze not in _SPECS:
            raise unknown_name("environment", maze, _SPECS)
        return maze, _SPECS[maze]
    maze = parse_maze(maze)
    if maze.text not in by_maze:
        return maze.name, ADAPTERS[maze.suite].custom(maze)
    name = by_maze[maze.text]
    return name, _SPECS[name]
