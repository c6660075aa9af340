"""The expert that walks OGBench's ant in a given direction.

OGBench's authors trained theirs by SAC (arXiv 1801.01290) in ``online-ant-v0`` with
``GymXYWrapper``, where the reward is the distance moved in a direction. It is not published.
``benchmarks/ant_expert.py`` trains this one in the same way. Its mean action is a network of three
layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources

import numpy as np


@cache
def ant_expert() -> Callable[[np.ndarray, tuple[float, float]], np.ndarray]:
    """Return the expert: a function from an observation [29] and a unit vector to torques [8]."""
    with resources.files(__package__).joinpath("ant_expert.npz").open("rb") as file:
        arrays = {name: array.astype(np.float32) for name, array in np.load(file).items()}
    first, second, last = ((arrays[f"weight{k}"], arrays[f"bias{k}"]) for k in range(3))

    def act(observation: np.ndarray, direction: tuple[float, float]) -> np.ndarray:
        seen = np.concatenate([observation[2:], direction]).astype(np.float32)
        for weight, bias in (first, second):
            seen = np.maximum(weight @ seen + bias, 0.0)
        return np.asarray(np.tanh(last[0] @ seen + last[1]))

    return act
