"""Draw a plan with an uncertain far future, the path that follows it, and its denoising.

In the pyramid matrix each token is one sampling step behind the token before it. If sampling stops
early, the near future is certain and the far future is still noise.
"""

import math
from pathlib import Path

import gymnasium
import numpy as np
from jsonargparse import auto_cli

import dfplan


def main(maze: str = "large", out: Path = Path("runs/picture")) -> None:
    planner = dfplan.load(f"maze2d-{maze}").with_settings(
        route_noise=math.inf, matrix="pyramid", stop_fraction=0.4
    )
    env = gymnasium.make(f"dfplan/multi2d-{maze}-v1")
    observation, info = env.reset(seed=8)

    plan = planner.plan(observation, info["goal"], seed=0, trace=True)
    print(plan.plot_denoising(out / "denoising.png"))

    policy = dfplan.Policy(planner, tolerance=None, seed=0)  # never replans
    visited, truncated = [observation[:2]], False
    while not (info["success"] or truncated):
        action = policy.act(observation, goal=info["goal"])
        observation, _, _, truncated, info = env.step(action)
        visited.append(observation[:2])
    print(policy.plan.plot(out / "plan.png", executed=np.array(visited)))


if __name__ == "__main__":
    auto_cli(main)
