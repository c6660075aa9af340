"""The suites' environments with one common interface.

D4RL's Maze2D is implemented here on the maintained dynamics of PointMaze. Importing this package
needs no simulator; :func:`register_environments`, which ``import dfplan`` calls, registers names
with Gymnasium.
"""

from __future__ import annotations

import gymnasium

from dfplan.suites import CUSTOM_EPISODE_STEPS, D4RL

_ENTRY_POINT = "dfplan.envs.maze2d:Maze2DEnv"


def register_environments() -> None:
    """Register dfplan's environments with Gymnasium; calling it again changes nothing.

    ``dfplan/maze2d-{umaze,medium,large}-v1`` have D4RL's fixed goal,
    ``dfplan/multi2d-{umaze,medium,large}-v1`` a random goal in each episode, and
    ``dfplan/maze2d-v1`` accepts any maze: ``gymnasium.make("dfplan/maze2d-v1", maze=...)``.
    """
    _register("dfplan/maze2d-v1", CUSTOM_EPISODE_STEPS, {})
    for maze, steps in D4RL.episode_steps.items():
        _register(f"dfplan/maze2d-{maze}-v1", steps, {"maze": maze})
        _register(f"dfplan/multi2d-{maze}-v1", steps, {"maze": maze, "goal": "random"})


def _register(name: str, steps: int, arguments: dict[str, str]) -> None:
    if name not in gymnasium.registry:
        gymnasium.register(
            name, entry_point=_ENTRY_POINT, max_episode_steps=steps, kwargs=arguments
        )
