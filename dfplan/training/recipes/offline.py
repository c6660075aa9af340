"""Offline reinforcement learning by d3rlpy: IQL and CQL for one goal, baselines without a plan.

d3rlpy (https://github.com/takuseno/d3rlpy) trains; what it has trained is saved as the weights of a
:class:`~dfplan.planning.learned.LearnedPolicy`, which needs no d3rlpy to act.
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
    require_numbers,
    unknown_name,
)
from dfplan.files import atomic_path, exclusive, expanded
from dfplan.networks.perceptron import Perceptron
from dfplan.planning.learned import LearnedPolicy
from dfplan.tokens.statistics import Statistics, fit_statistics
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.recipes.cloning import require_velocities
from dfplan.types import Trajectories

ALGORITHMS = {"iql": "IQLConfig", "cql": "CQLConfig"}
"""Algorithms, and what d3rlpy calls their settings: IQL (arXiv 2110.06169), CQL (2006.04779)."""

_WIDTH, _LAYERS = 256, 2  # of d3rlpy's default encoder


@dataclass(frozen=True)
class OfflineConfig:
    """An actor and its critics, trained for one goal by d3rlpy's defaults.

    Those are the settings of IQL that CORL (arXiv 2210.07105) trains with in Maze2D: expectile 0.7,
    inverse temperature 3, discount 0.99, rate 3e-4. Of CQL it has others: for the actor's rate 3e-5
    (here 1e-4), for the weight of the conservative term 10 (here 5), for its threshold 5 (here 10).
    As there, the networks see scaled observations: positions of unit variance, velocities by the
    body's limit.

    Attributes:
        algorithm: a key of :data:`ALGORITHMS`.
        goal: position [2] that is paid for.
        radius: within which the goal is reached, in units of position.
    """

    algorithm: str
    goal: tuple[float, float]
    radius: float = 0.5

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise unknown_name("algorithm", self.algorithm, ALGORITHMS)
        if len(self.goal) != 2:
            raise ConfigError(f"A goal is a position of two numbers; got {self.goal}.")
        goal = {"goal[0]": self.goal[0], "goal[1]": self.goal[1]}
        require_numbers(goal)
        object.__setattr__(self, "goal", tuple(goal.values()))
        require_numbers(vars(self), "radius", above=0)

    @property
    def name(self) -> str:
        """What a checkpoint calls this recipe."""
        return self.algorithm

    def to_json(self) -> dict[str, Any]:
        """The configuration; :meth:`from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> OfflineConfig:
        """Rebuild from :meth:`to_json`."""
        first, second = config["goal"]
        return cls(**{**config, "goal": (first, second)})

    def untrained(self) -> Perceptron:
        """An actor with random weights, of the shape of d3rlpy's."""
        return Perceptron(4, 2, _WIDTH, _LAYERS, activation="relu", bounded=True)

    def policy(self, checkpoint: Checkpoint, device: str = "cpu") -> LearnedPolicy:
        """The policy of a trained actor, which runs on ``device``."""
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
    """How long d3rlpy trains.

    Attributes:
        steps: updates of the actor and the critics.
        batch_size: transitions an update.
        seed: of the initial weights and of every batch.
        log_every: updates between two lines of metrics.
    """

    steps: int
    batch_size: int = 256
    seed: int = 0
    log_every: int = 500

    def __post_init__(self) -> None:
        require_numbers(vars(self), "steps", "batch_size", "log_every", whole=True, least=1)
        require_numbers(vars(self), "seed", whole=True, least=0, most=2**32 - 1)


@isolated(training=True)
def train_offline(
    recipe: OfflineConfig,
    trajectories: Trajectories,
    out: str | Path,
    *,
    settings: OfflineSettings,
    progress: bool = True,
) -> Checkpoint:
    """Train ``recipe`` on ``trajectories`` by d3rlpy, on one CPU thread or as many as torch has.

    Writes into the folder ``out``: ``metrics.jsonl`` (a line every ``log_every`` updates, what
    d3rlpy says of them) and, at the end, ``checkpoint.safetensors``. The same seed trains the same
    policy; the global random states that d3rlpy draws from are as before afterwards.

    Args:
        recipe: what to train.
        trajectories: the data, with velocities.
        out: folder to write to; made if missing.
        settings: how long.
        progress: show a progress bar.

    Raises:
        BusyError: another training uses ``out``.
        ConfigError: ``out`` holds a checkpoint already.
        DataError: no velocities, or no body of the data ever reached the goal, or none was ever
            elsewhere; or a file that ``trajectories`` is mapped from was changed.
        MissingPackageError: d3rlpy is not installed.
    """
    out = expanded(out)
    with exclusive(out, "a training"):
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
        data={
            "source": trajectories.source,
            "fingerprint": trajectories.fingerprint,
            "steps": len(trajectories),
        },
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


def paid(recipe: OfflineConfig, trajectories: Trajectories) -> np.ndarray:
    """What the environment pays for the action of each row, float32 [N].

    One where the next row of the segment lies within the goal's radius, else 0; 0 at a segment's
    last row, whose next is not known. The file's own rewards are not looked at.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # rows that are outside of all segments
        away = trajectories.observations[:, :2] - np.array(recipe.goal)
        reached = np.linalg.norm(away, axis=1) <= recipe.radius
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
    # d3rlpy notes each shape that it finds in the data.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    return d3rlpy


def _algorithm(recipe: OfflineConfig, statistics: Statistics, batch_size: int) -> Any:
    """d3rlpy's algorithm, with its defaults and our scale of observations."""
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
    """d3rlpy's replay buffer of the transitions within segments; none of them is terminal."""
    require_velocities(trajectories, velocities=True)
    rewards = paid(recipe, trajectories)
    inside = [rewards[first:last].any() for first, last in trajectories.segments]
    if not any(inside):
        raise DataError(
            f"No body of {trajectories.source} ever comes within {recipe.radius} of the goal "
            f"{list(recipe.goal)}, so there is nothing to learn. Is the goal in the data's frame?"
        )
    if all(rewards[first : last - 1].all() for first, last in trajectories.segments):
        raise DataError(
            f"All rows of {trajectories.source} are within {recipe.radius} of the goal "
            f"{list(recipe.goal)}, so there is nothing to learn. Is the radius in the data's unit?"
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
    """What d3rlpy's own ``fit`` does, with our lines of metrics."""
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
    """The weights of d3rlpy's actor by the names that our network has for them, float32."""
    weights = algorithm.impl.modules.policy.state_dict()
    layers = [f"_encoder._layers.{2 * layer}" for layer in range(_LAYERS)]
    return {
        f"stack.{2 * place}.{kind}": weights[f"{layer}.{kind}"].detach().clone()
        for place, layer in enumerate([*layers, "_mu"])
        for kind in ("weight", "bias")
    }


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds the global random states that d3rlpy draws from, and puts them back."""
    before, python = np.random.get_state(), random.getstate()  # importing d3rlpy draws, too
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)
            random.setstate(python)
