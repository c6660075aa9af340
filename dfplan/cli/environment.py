"""``dfplan env``."""

from __future__ import annotations

from pathlib import Path

from dfplan.cli.arguments import suite_or_maze
from dfplan.envs.make import make
from dfplan.envs.picture import save_frame


def environment(name: str, out: Path | None = None, seed: int = 0) -> None:
    """Make an environment, describe it and draw its first state.

    Args:
        name: a name such as maze2d-large or ogbench-giant, or a text file of # and O.
        out: picture (PNG) to write.
        seed: seed of the start and goal.
    """
    env = make(suite_or_maze(name), render_mode="rgb_array")
    observation, _ = env.reset(seed=seed)
    print(f"{env.name}: {env.maze.shape[0]} x {env.maze.shape[1]} cells, {env.max_steps} steps")
    print(f"observation {env.observation_space}")
    print(f"action {env.action_space}; goal within {env.goal_radius}")
    print(f"starts at {observation['observation'].round(2).tolist()}")
    print(f"goal {observation['desired_goal'].round(2).tolist()}")
    frame = env.render()
    if out is not None and frame is not None:
        print(save_frame(out, frame))
    env.close()
