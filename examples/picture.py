"""Draw a plan on its way, the path that follows it, its spread, and its denoising.

The near future is denoised first, from the expected way with much noise. The picture shows half of
the tokens clean: the near future is certain, and prediction regions show where the rest may end.
"""

from pathlib import Path

import gymnasium
import numpy as np
from jsonargparse import auto_cli

import dfplan
from dfplan.planning.settings import MUCH_NOISE


def main(maze: str = "large", out: Path = Path("runs/picture")) -> None:
    planner = dfplan.load(f"maze2d-{maze}").with_settings(matrix="pyramid", route_noise=MUCH_NOISE)
    env = gymnasium.make(f"dfplan/multi2d-{maze}-v1")
    observation, info = env.reset(seed=8)

    plan = planner.plan(observation, info["goal"], seed=0, trace=True)
    print(plan.plot_denoising(out / "denoising.png"))

    tracker, visited = planner.tracker(), [observation[:2]]
    tracker.assign(np.array([0]), plan)
    truncated = False
    while not (info["success"] or truncated):
        observation, _, _, truncated, info = env.step(tracker.act(observation[None])[0])
        visited.append(observation[:2])
    print(plan.plot(out / "plan.png", executed=np.array(visited)))
    print(f"{plan.times[0, -1]:.0f} steps needed, {len(visited) - 1} taken")


if __name__ == "__main__":
    auto_cli(main)
