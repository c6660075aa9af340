"""Train on custom data, a data file or arrays, and plan with the result.

The arrays here are positions of boats that circle an island. They do not contain the island.
"""

from pathlib import Path

import numpy as np
from jsonargparse import auto_cli

import dfplan
from dfplan.data import from_arrays, load_data, segmented
from dfplan.training.loop import train
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings


def boats(count: int = 100, steps: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, 2], and whether each is the last of its boat, bool [N]."""
    phase, speed, drift = np.random.default_rng(0).uniform(-3, 3, (3, count, 1))
    time = np.arange(steps) / 300
    angle, radius = phase + speed * time, 3 + np.sin(drift + 3 * time)
    positions = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return positions.reshape(-1, 2), np.tile(np.arange(steps) == steps - 1, count)


def main(file: Path | None = None, out: Path = Path("runs/own_data"), steps: int = 400) -> None:
    positions, ends = boats()
    data = load_data(file) if file else segmented(from_arrays(positions, ends=ends))
    train(ForcingConfig(tokens=20, width=64), data, out, settings=TrainSettings(steps=steps))

    start = data.observations[0]
    farthest = np.linalg.norm(data.observations[:, :2] - start[:2], axis=1).argmax()
    plan = dfplan.load(out).plan(start, data.observations[farthest, :2], seed=0)
    print(plan.plot(out / "plan.png"))


if __name__ == "__main__":
    auto_cli(main)
