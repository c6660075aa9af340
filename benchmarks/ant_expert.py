"""Train the expert that walks OGBench's ant, and store its mean action as arrays.

    python benchmarks/ant_expert.py

Soft actor-critic (arXiv 1801.01290) of Stable-Baselines3 in ``online-ant-v0`` with
``GymXYWrapper``, as OGBench's authors trained theirs (``data_gen_scripts/commands.sh``): 400,000
steps, two layers of 256, batches of 256, one update a step, a target entropy of -4. The learning
rate is 3e-4 instead of 1e-4. An interrupted training continues. "moved" is the distance along the
wanted direction in an episode of 1000 steps.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli
from stable_baselines3 import SAC

EXPERT = Path(__file__).parent.parent / "dfplan/collect/ant_expert.npz"

_PART = 20_000
"""Steps between two tests."""


def main(
    steps: int = 400_000, folder: Path = Path("runs/ant_expert"), out: Path = RESULTS, seed: int = 0
) -> None:
    """Train it.

    Args:
        steps: environment steps, with an update each.
        folder: where the training is kept, so that it can continue.
        out: folder for the results.
        seed: of the training.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    file, buffer, log = folder / "model.zip", folder / "buffer.pkl", folder / "moved.csv"
    env = walking()
    np.random.seed(seed)  # the wrapper draws directions from NumPy's global generator
    torch.set_num_threads(1)
    if file.exists():
        model = SAC.load(file, env=env)
        model.load_replay_buffer(buffer)
    else:
        model = SAC(
            "MlpPolicy",
            env,
            learning_rate=3e-4,
            buffer_size=steps,
            learning_starts=10_000,
            target_entropy=-4.0,
            policy_kwargs={"net_arch": [256, 256]},
            seed=seed,
            device="cpu",
        )
    while model.num_timesteps < steps:
        model.learn(min(_PART, steps - model.num_timesteps), reset_num_timesteps=False)
        with log.open("a") as lines:
            lines.write(f"{model.num_timesteps},{tested(model):.1f}\n")
        model.save(folder / "new.zip")
        model.save_replay_buffer(folder / "new.pkl")
        os.replace(folder / "new.pkl", buffer)
        os.replace(folder / "new.zip", file)
    with EXPERT.open("wb") as arrays:
        np.savez(arrays, **mean_action(model))
    rows = [line.split(",") for line in log.read_text().splitlines()]
    table = [{"steps": int(count), "moved": float(moved)} for count, moved in rows]
    publish(out, "ant_expert", __doc__, started, {"training": table})


def walking() -> Any:
    """The ant, rewarded for moving in a direction that changes every 100 steps."""
    import ogbench.online_locomotion  # noqa: F401
    from ogbench.online_locomotion.wrappers import GymXYWrapper

    return GymXYWrapper(gymnasium.make("online-ant-v0"), resample_interval=100)


def tested(model: SAC, episodes: int = 5) -> float:
    """The mean distance moved along the wanted direction in an episode."""
    env, total = walking(), 0.0
    for _ in range(episodes):
        observation, _ = env.reset()
        done = False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, done = total + float(reward), terminated or truncated
    return total / episodes


def mean_action(model: SAC) -> dict[str, Any]:
    """The weights and biases of the network of the mean action, by layer, float16."""
    weights = model.actor.state_dict()
    layers = ("latent_pi.0", "latent_pi.2", "mu")
    return {
        f"{kind}{number}": weights[f"{layer}.{kind}"].numpy().astype(np.float16)
        for number, layer in enumerate(layers)
        for kind in ("weight", "bias")
    }


if __name__ == "__main__":
    auto_cli(main)
