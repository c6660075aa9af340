"""A custom maze: collect data in it, train for a minute, then plan and act in it."""

from pathlib import Path

import gymnasium
import numpy as np
from jsonargparse import auto_cli

import dfplan
from dfplan.collect import generate
from dfplan.data import load_data
from dfplan.training.loop import train
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings

MAZE = """
#########
#OOOOOOO#
#O#####O#
#OOO#OOO#
#O#OOO#G#
#########
"""


def main(out: Path = Path("runs/own_maze"), data_steps: int = 200_000, steps: int = 600) -> None:
    data = load_data(generate(MAZE, data_steps, seed=0, path=out / "data.hdf5"))
    train(ForcingConfig(tokens=16, width=64), data, out, settings=TrainSettings(steps=steps))

    env = gymnasium.make("dfplan/maze2d-v1", maze=MAZE)
    policy = dfplan.Policy(dfplan.load(out), tolerance=None, seed=0)
    observation, info = env.reset(options={"start": [1, 1]})
    visited, truncated = [observation[:2]], False
    while not (info["success"] or truncated):
        observation, _, _, truncated, info = env.step(policy.act(observation, goal=info["goal"]))
        visited.append(observation[:2])
    print(f"{'at' if info['success'] else 'not at'} the goal after {len(visited) - 1} steps")
    print(policy.plan.plot(out / "plan.png", executed=np.array(visited)))


if __name__ == "__main__":
    auto_cli(main)
