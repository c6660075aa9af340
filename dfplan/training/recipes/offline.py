"""Offline reinforcement learning with d3rlpy: IQL and CQL, baselines that make no plans.

d3rlpy (https://github.com/takuseno/d3rlpy) trains an actor for one goal. Its weights are saved for
a :class:`~dfplan.planning.learned.LearnedPolicy`, which acts without d3rlpy.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dfplan.boundary import isolated, single_precision
from dfplan.data.storage import require_unchanged
from dfplan.errors import (
    ConfigError,
    DataError,
    MissingPackageError,
    require_name,
    require_numbers,
)
from dfplan.files import atomic_path, exclusive_lock, expand_path
from dfplan.networks.perceptron import Perceptron
from dfplan.planning.learned import LearnedPolicy
from dfplan.tokens.statistics import Statistics, fit_statistics
from dfplan.tokens.transitions import require_planar
from dfplan.training.checkpoint import Checkpoint, data_description
from dfplan.training.objective import Recipe
from dfplan.types import Trajectories

ALGORITHMS = {"iql": "IQLConfig", "cql": "CQLConfig"}
"""The class of d3rlpy that holds the settings of each algorithm.

IQL: arXiv 2110.06169; CQL: arXiv 2006.04779.
"""

_WIDTH, _LAYERS = 256, 2  # of the default encoder of d3rlpy


@dataclass(frozen=True)
class OfflineConfig(Recipe):
    """An actor and its critics, trained for one goal with the default settings of d3rlpy.

    For IQL, CORL (arXiv 2210.07105) uses the same settings in Maze2D: expectile 0.7, inverse
    temperature 3, discount 0.99, learning rate 3e-4. For CQL, CORL uses other ones: learning rate
    of the actor 3e-5 (here 1e-4), weight of the conservative term 10 (here 5), its threshold 5
    (here 10). As in CORL, the networks get scaled observations: positions are standardized,
    velocities are divided by the speed limit of the body.

    Attributes:
        algorithm: a key of :data:`ALGORITHMS`.
        goal: position [2] that is rewarded.
        radius: distance at which the goal is reached, in units of position.
    """

    algorithm: str
    goal: tuple[float, float]
    radius: float = 0.5

    def __post_init__(self) -> None:
        require_name("algorithm", self.algorithm, ALGORITHMS)
        if len(self.goal) != 2:
            raise ConfigError(f"A goal is a position of two numbers; got {self.goal}.")
        goal = {"goal[0]": self.goal[0], "goal[1]": self.goal[1]}
        require_numbers(goal)
        object.__setattr__(self, "goal", tuple(goal.values()))
        require_numbers(vars(self), "radius", above=0)

    @property
    def name(self) -> str:
        return self.algorithm

    def untrained(self) -> Perceptron:
        """Build an actor of the shape of d3rlpy's, with random weights."""
        return Perceptron(4, 2, _WIDTH, _LAYERS, activation="relu", bounded=True)

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> LearnedPolicy:
        """Build the policy of a checkpoint, whose network runs on ``device``."""
        network = checkpoint.restore(self.untrained, device).requires_grad_(requires_grad=False)
        return LearnedPolicy(
            lambda inputs: network(inputs.to(device)).cpu(),
            checkpoint.statistics,
            velocities=True,
            goal=self.goal,
            maze=checkpoint.maze,
        )


@dataclass(frozen=True)
class OfflineSettings:
    """Settings of the training with d3rlpy.

    Attributes:
        steps: updates of the actor and the critics.
        batch_size: transitions in an update.
        seed: random seed, which determines the initial weights and all batches.
        log_every: updates between two lines of metrics.
    """

    steps: int
    batch_size: int = 256
    seed: int = 0
    log_every: int = 500

    def __post_init__(self) -> None:
        require_numbers(vars(self), "steps", "batch_size", "log_every", integer=True, minimum=1)
        require_numbers(vars(self), "seed", integer=True, minimum=0, maximum=2**32 - 1)


@isolated(training=True)
def train_offline(
    recipe: OfflineConfig,
    trajectories: Trajectories,
    out: str | Path,
    *,
    settings: OfflineSettings,
    progress: bool = True,
) -> Checkpoint:
    """Train ``recipe`` on ``trajectories`` with d3rlpy, on the CPU.

    Writes into the folder ``out``: ``metrics.jsonl`` (the losses that d3rlpy reports, a line every
    ``log_every`` updates) and, when training ends, ``checkpoint.safetensors``. The same seed gives
    the same policy. The global random states, from which d3rlpy draws, are restored afterwards.

    Args:
        recipe: what to train.
        trajectories: the data, with velocities.
        out: folder to write to; created if missing.
        settings: how long.
        progress: show a progress bar.

    Raises:
        BusyError: another training uses ``out``.
        ConfigError: ``out`` already holds a checkpoint.
        DataError: the data has no velocities, no row at the goal, or no row away from it; or a
            file that ``trajectories`` is mapped from was changed.
        MissingPackageError: d3rlpy is not installed.
    """
    out = expand_path(out)
    with exclusive_lock(out, "a training"):
        return _train(recipe, trajectories, out, settings, progress)


def _train(
    recipe: OfflineConfig,
    trajectories: Trajectories,
    out: Path,
    settings: OfflineSettings,
    progress: bool,
) -> Checkpoint:
    if (out / "checkpoint.safetensors").exists():
        raise ConfigError(f"{out} already holds a trained policy; choose another folder.")
    require_unchanged(trajectories.mapped)
    statistics = fit_statistics(trajectories)
    began, cpu_began = time.perf_counter(), time.process_time()
    with _seeded(settings.seed), single_precision():
        algorithm = _algorithm(recipe, statistics, settings.batch_size)
        data = _replay(recipe, trajectories)
        algorithm.build_with_dataset(data)
        _fit(algorithm, data, out / "metrics.jsonl", settings, progress)
    require_unchanged(trajectories.mapped)
    checkpoint = Checkpoint(
        recipe=recipe.name,
        config=recipe.to_json(),
        network=_actor(algorithm),
        statistics=statistics,
        data=data_description(trajectories),
        training={
            **asdict(settings),
            "step": settings.steps,
            "seconds": round(time.perf_counter() - began, 1),
            "cpu_seconds": round(time.process_time() - cpu_began, 1),
            "d3rlpy": _d3rlpy().__version__,
        },
        maze=trajectories.maze,
    )
    checkpoint.save(out / "checkpoint.safetensors")
    return checkpoint


def goal_rewards(recipe: OfflineConfig, trajectories: Trajectories) -> np.ndarray:
    """Return the reward of the action of each row, float32 [N].

    It is 1 if the next row of the segment is within the radius of the goal, else 0. The last row of
    a segment gets 0, since its successor is unknown. Rewards stored in the data are ignored.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # rows outside of all segments
        positions = trajectories.layout.positions(trajectories.observations)
        offsets = positions - np.array(recipe.goal)
        reached = np.linalg.norm(offsets, axis=1) <= recipe.radius
    rewards = np.append(reached[1:], False).astype(np.float32)
    rewards[trajectories.segments[:, 1] - 1] = 0.0
    return rewards


def _d3rlpy() -> Any:
    try:
        import d3rlpy
        import structlog
    except ImportError as error:
        raise MissingPackageError(
            "Training by IQL or CQL", error.name or "d3rlpy", "d3rlpy"
        ) from error
    # Without this, d3rlpy logs each shape that it finds in the data.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    return d3rlpy


def _algorithm(recipe: OfflineConfig, statistics: Statistics, batch_size: int) -> Any:
    """Build the algorithm of d3rlpy, with its defaults and our scaling of observations."""
    d3rlpy = _d3rlpy()
    normalizer, limit = statistics.normalizer, statistics.motion.limit
    scaler = d3rlpy.preprocessing.StandardObservationScaler(
        mean=np.array([*normalizer.mean.tolist(), 0.0, 0.0], np.float32),
        std=np.array([*normalizer.std.tolist(), limit, limit], np.float32),
        eps=0.0,
    )
    config = getattr(d3rlpy.algos, ALGORITHMS[recipe.algorithm])
    return config(batch_size=batch_size, observation_scaler=scaler).create(device="cpu")


def _replay(recipe: OfflineConfig, trajectories: Trajectories) -> Any:
    """Build the replay buffer of the transitions within segments; none of them is terminal."""
    require_planar(trajectories, recipe.algorithm.upper(), velocities=True)
    rewards = goal_rewards(recipe, trajectories)
    if not any(rewards[first:last].any() for first, last in trajectories.segments):
        raise DataError(
            f"No row of {trajectories.source} is within {recipe.radius} of the goal "
            f"{list(recipe.goal)}, so there is nothing to learn. Does the goal use the coordinates "
            "of the data?"
        )
    if all(rewards[first : last - 1].all() for first, last in trajectories.segments):
        raise DataError(
            f"All rows of {trajectories.source} are within {recipe.radius} of the goal "
            f"{list(recipe.goal)}, so there is nothing to learn. Does the radius use the unit of "
            "the data?"
        )
    dataset = _d3rlpy().dataset
    observations = trajectories.observations.astype(np.float32, copy=False)
    actions = np.clip(trajectories.actions, -1.0, 1.0).astype(np.float32, copy=False)
    episodes = [
        dataset.Episode(
            observations[first:last],
            actions[first:last],
            rewards[first:last, None],
            terminated=False,
        )
        for first, last in trajectories.segments.tolist()
        if last - first > 1
    ]
    return dataset.create_infinite_replay_buffer(episodes)


def _fit(
    algorithm: Any, data: Any, metrics: Path, settings: OfflineSettings, progress: bool
) -> None:
    """Do the same updates as ``fit`` of d3rlpy, and write metrics."""
    lines: list[str] = []
    sums: dict[str, float] = {}
    count, began = 0, time.perf_counter()
    for step in tqdm(range(1, settings.steps + 1), desc="train", unit="step", disable=not progress):
        losses = algorithm.update(data.sample_transition_batch(settings.batch_size))
        count += 1
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        if step % settings.log_every == 0 or step == settings.steps:
            means = {name: value / count for name, value in sums.items()}
            seconds = time.perf_counter() - began
            lines.append(json.dumps({"step": step, **means, "seconds": seconds}) + "\n")
            with atomic_path(metrics) as temporary:
                temporary.write_text("".join(lines))
            sums, count = {}, 0


def _actor(algorithm: Any) -> dict[str, torch.Tensor]:
    """Return the weights of d3rlpy's actor under the names of our network, float32."""
    weights = algorithm.impl.modules.policy.state_dict()
    layers = [f"_encoder._layers.{2 * layer}" for layer in range(_LAYERS)]
    return {
        f"stack.{2 * place}.{kind}": weights[f"{layer}.{kind}"].detach().clone()
        for place, layer in enumerate([*layers, "_mu"])
        for kind in ("weight", "bias")
    }


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global random states that d3rlpy draws from, and restore them afterwards."""
    # These are also restored after the import of d3rlpy, which draws numbers.
    before, python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)
            random.setstate(python)
