"""Train on data of your own, a file in D4RL's layout or bare arrays, and plan in it.

The arrays here are boats that circle an island; nothing says where the island is.
"""

from pathlib import Path

import numpy as np
from jsonargparse import auto_cli

import dfplan
from dfplan.data import from_arrays, load_data, segmented
from dfplan.training.loop import TrainSettings, train
from dfplan.training.recipes.forcing import ForcingConfig


def boats(count: int = 100, steps: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, 2], and whether each is the last of its boat [N]."""
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
