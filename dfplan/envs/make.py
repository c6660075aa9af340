"""Makes the environments of all suites.

gymnasium-robotics and OGBench are imported when one of their environments is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium

from dfplan.envs.d4rl import D4RLMazeEnv
from dfplan.envs.maze_env import MazeEnv, MazeSpec
from dfplan.envs.ogbench import OGBenchAntEnv
from dfplan.envs.ogbench_point import OGBenchPointEnv
from dfplan.envs.pointmaze import GymnasiumMazeEnv
from dfplan.errors import lookup, require_name, require_numbers
from dfplan.mazes import Maze, parse_maze
from dfplan.suites import Suite

ADAPTERS: dict[Suite, type[MazeEnv]] = {
    adapter.suite: adapter
    for adapter in (D4RLMazeEnv, GymnasiumMazeEnv, OGBenchPointEnv, OGBenchAntEnv)
}
"""The environment class of each suite."""

_SPECS = {name: spec for adapter in ADAPTERS.values() for name, spec in adapter.specs().items()}

NAMES = tuple(_SPECS)
"""Names of all environments of the suites."""


def make(
    maze: Maze | str | Sequence[Sequence[object]],
    *,
    render_mode: str | None = None,
    max_steps: int | None = None,
) -> MazeEnv:
    """Make a suite's environment by name, or an environment with a custom maze.

    ============================================ =================================================
    ``maze2d-{umaze,medium,large}``              D4RL's Maze2D with its fixed goal
                                                 (:class:`dfplan.envs.maze2d.Maze2DEnv`)
    ``multi2d-{umaze,medium,large}``             the same with random goals
    ``pointmaze-{umaze,medium,large}``           gymnasium-robotics' ``PointMaze_*-v3``
    ``ogbench-{medium,large,giant,teleport}``    OGBench's ``pointmaze-*-v0``
    ``ogbench-antmaze-{medium,...,teleport}``    OGBench's ``antmaze-*-v0``
    a maze in D4RL's coordinates                 like ``maze2d`` if it has a cell G, otherwise like
                                                 ``multi2d``
    a maze in gymnasium-robotics' coordinates    like ``pointmaze``; if it has a cell G, all goals
                                                 are in it, with the suite's noise
    ============================================ =================================================

    OGBench's teleports take effect one observation late: the observation of the step that reaches
    a teleport still has the body at the entrance.

    Args:
        maze: a name, or a maze as :func:`dfplan.mazes.parse_maze` accepts it. ``Maze.text`` of a
            suite's maze gives that suite's environment (``large``: ``maze2d-large``).
        render_mode: ``"rgb_array"``, a view from above that needs no display; default: none.
        max_steps: length of an episode; default: the suite's (300, 600, 800 steps for umaze,
            medium, large; 1000 for OGBench and for custom mazes).

    Raises:
        ConfigError: an unknown name or render mode, ``max_steps`` is not a positive integer, or a
            custom maze in OGBench's coordinates, which OGBench does not support.
        MazeError: the maze cannot be read, or has only one free cell in gymnasium-robotics'
            coordinates.
        MissingSimulatorError: the suite's package is not installed.
    """
    if render_mode is not None:
        require_name("render mode", render_mode, ("rgb_array",))
    name, spec = _resolve(maze)
    arguments = dict(spec.arguments)
    if max_steps is not None:
        require_numbers({"max_steps": max_steps}, integer=True, minimum=1)
        arguments["max_episode_steps"] = int(max_steps)
    adapter = ADAPTERS[spec.maze.suite]
    adapter.import_packages()
    env = gymnasium.make(
        spec.id,
        disable_env_checker=True,  # the caller cannot fix what it warns about in a suite
        render_mode=render_mode,
        **arguments,
    )
    return adapter(env, name, spec.maze)


def _resolve(maze: Maze | str | Sequence[Sequence[object]]) -> tuple[str, MazeSpec]:
    """Find the name and specification of an environment."""
    by_maze = {spec.maze.text: name for name, spec in reversed(_SPECS.items())}
    one_line = isinstance(maze, str) and "\\" not in maze and len(maze.splitlines()) < 2
    if isinstance(maze, str) and one_line and maze not in by_maze:
        return maze, lookup("environment", maze, _SPECS)
    maze = parse_maze(maze)
    if maze.text not in by_maze:
        return maze.name, ADAPTERS[maze.suite].custom_spec(maze)
    name = by_maze[maze.text]
    return name, _SPECS[name]
