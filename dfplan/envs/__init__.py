"""Gymnasium environments: D4RL's Maze2D protocol on the maintained PointMaze dynamics.

Importing this room registers nothing and needs no simulator; :func:`register`, which
``import dfplan`` calls, only tells Gymnasium the names.
"""

from __future__ import annotations

import gymnasium

from dfplan.suites import CUSTOM_EPISODE_STEPS, D4RL

_ENTRY_POINT = "dfplan.envs.maze2d:Maze2DEnv"


def register() -> None:
    """Tell Gymnasium the environments; calling it again changes nothing.

    ``dfplan/maze2d-{umaze,medium,large}-v1`` have D4RL's fixed goal,
    ``dfplan/multi2d-{umaze,medium,large}-v1`` a random one each episode, and
    ``dfplan/maze2d-v1`` takes any maze: ``gymnasium.make("dfplan/maze2d-v1", maze=...)``.
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
