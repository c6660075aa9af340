"""The training loop: any recipe, any device, resumable to the bit."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from dfplan.boundary import isolated, single_precision
from dfplan.data.storage import require_unchanged
from dfplan.errors import CheckpointError, ConfigError, DfplanError, require_numbers
from dfplan.files import atomic_path, exclusive, expanded
from dfplan.tokens.statistics import Statistics, fit_statistics
from dfplan.training.checkpoint import Checkpoint, read_tensors, write_tensors
from dfplan.training.recipes.forcing import Batch, Objective
from dfplan.types import Trajectories


class MetricsWarning(UserWarning):
    """Lines of a run's metrics were damaged and have been removed."""


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast to train.

    Attributes:
        steps: optimizer steps.
        batch_size: windows a step, over all devices.
        learning_rate: the peak, reached after ``warmup`` steps; falls to 0 as a cosine.
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        ema_decay: of the averaged weights that the checkpoint keeps. The average begins with the
            weights at the end of the warm-up, so it holds none of the initial ones.
        clip: largest norm of a gradient.
        seed: of the initial weights and of every batch.
        save_every: steps between two saved states.
        log_every: steps between two lines of metrics.
        keep_every: steps between two checkpoints that are kept on the way, a multiple of
            ``save_every``; by default there is one, at the end.
    """

    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 1e-3
    ema_decay: float = 0.995
    clip: float = 1.0
    seed: int = 0
    save_every: int = 500
    log_every: int = 50
    keep_every: int | None = None

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "save_every", "log_every")
        require_numbers(vars(self), *counts, whole=True, least=1)
        require_numbers(vars(self), "warmup", whole=True, least=0)
        require_numbers(vars(self), "seed", whole=True, least=0, most=2**64 - 1)
        require_numbers(vars(self), "learning_rate", above=0, most=1)
        require_numbers(vars(self), "weight_decay", least=0)
        require_numbers(vars(self), "ema_decay", least=0, below=1)
        require_numbers(vars(self), "clip", above=0, most=math.inf)
        if self.save_every % self.log_every:
            raise ConfigError(
                "save_every must be a multiple of log_every, so that a resumed run logs the same "
                f"lines; got {self.save_every} and {self.log_every}."
            )
        if self.keep_every is not None:
            require_numbers(vars(self), "keep_every", whole=True, least=1)
            if self.keep_every % self.save_every:
                raise ConfigError(
                    "keep_every must be a multiple of save_every, so that a resumed run keeps the "
                    f"same checkpoints; got {self.keep_every} and {self.save_every}."
                )


class Recipe(Protocol):
    """What is trained: see :mod:`dfplan.training.recipes.forcing`. A frozen dataclass."""

    @property
    def name(self) -> str: ...

    def untrained(self) -> nn.Module: ...

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective: ...

    def to_json(self) -> dict[str, Any]: ...


@isolated(training=True)
def train(
    recipe: Recipe,
    trajectories: Trajectories,
    out: str | Path,
    *,
    settings: TrainSettings,
    fabric: Fabric | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train ``recipe`` on ``trajectories``.

    Writes into the folder ``out``: ``metrics.jsonl`` (a line every ``log_every`` steps),
    ``state.safetensors`` (to resume from), ``checkpoint-<step>.safetensors`` where ``keep_every``
    asks for it and, at the end, ``checkpoint.safetensors``. Each batch is drawn from a generator
    seeded by the run's seed and the step, so a resumed run goes on with the very numbers of an
    unbroken one.

    Args:
        recipe: what to train.
        trajectories: the data.
        out: folder to write to; made if missing.
        settings: how long and how fast.
        fabric: device, number of devices and precision; by default what Fabric finds best.
        resume: go on from ``state.safetensors`` in ``out``.
        progress: show a progress bar.

    Raises:
        BusyError: another training uses ``out``.
        ConfigError: ``out`` holds a run and ``resume`` is False.
        CheckpointError: nothing to resume from, or it was made with other settings.
        DataError: a file that ``trajectories`` is mapped from was changed. That is checked at the
            beginning and whenever something is saved.
        DfplanError: training diverged.
    """
    fabric = fabric or Fabric(accelerator="auto", devices=1)
    out = expanded(out)
    with exclusive(out, "a training") if fabric.is_global_zero else nullcontext():
        return _train(recipe, trajectories, out, settings, fabric, resume, progress)


def _train(
    recipe: Recipe,
    trajectories: Trajectories,
    out: Path,
    settings: TrainSettings,
    fabric: Fabric,
    resume: bool,
    progress: bool,
) -> Checkpoint:
    if not resume and (out / "state.safetensors").exists():
        raise ConfigError(f"{out} already holds a run; resume it, or choose another folder.")
    require_unchanged(trajectories.mapped)
    statistics = fit_statistics(trajectories)
    data = {
        "source": trajectories.source,
        "fingerprint": trajectories.fingerprint,
        "steps": len(trajectories),
    }
    description = {
        "recipe": recipe.name,
        "config": recipe.to_json(),
        "settings": asdict(settings),
        "data": data,
    }
    run = _Run(recipe, settings, fabric)
    if resume:
        run.load(out / "state.safetensors", description)

    def checkpoint() -> Checkpoint:
        return Checkpoint(
            recipe=recipe.name,
            config=recipe.to_json(),
            network=run.averaged_weights(),
            statistics=statistics,
            data=data,
            training={
                **asdict(settings),
                "step": run.step,
                "seconds": round(run.seconds, 1),
                "cpu_seconds": round(run.cpu_seconds, 1),
                "waited_seconds": round(run.waited, 2),
            },
            maze=trajectories.maze,
        )

    def saved() -> None:
        require_unchanged(trajectories.mapped)
        # The state last: a run that is killed in between comes here again when it is resumed.
        if settings.keep_every and run.step % settings.keep_every == 0:
            checkpoint().save(out / f"checkpoint-{run.step}.safetensors")
        run.save(out / "state.safetensors", description)

    run.fit(recipe.objective(trajectories, statistics), out, saved, progress)
    last = checkpoint()
    if fabric.is_global_zero:
        last.save(out / "checkpoint.safetensors")
    return last


class _Run:
    """Everything that changes while training."""

    def __init__(self, recipe: Recipe, settings: TrainSettings, fabric: Fabric) -> None:
        with torch.random.fork_rng(), single_precision():
            torch.manual_seed(settings.seed)
            network = recipe.untrained()
        optimizer = torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._averaged = AveragedModel(
            network,
            multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay),  # type: ignore[no-untyped-call]
        ).to(fabric.device)
        self._bare = network
        self._network, self._optimizer = fabric.setup(network, optimizer)
        self._settings = settings
        self._fabric = fabric
        self.step = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.waited = 0.0

    def fit(
        self, objective: Objective, out: Path, save: Callable[[], None], progress: bool
    ) -> None:
        """Train until ``settings.steps``, logging and calling ``save`` on the way."""
        settings, fabric = self._settings, self._fabric
        metrics = _Metrics(out / "metrics.jsonl", self.step, enabled=fabric.is_global_zero)
        began = time.perf_counter() - self.seconds
        cpu_began = time.process_time() - self.cpu_seconds
        bar = tqdm(
            total=settings.steps,
            initial=self.step,
            desc="train",
            unit="step",
            disable=not (progress and fabric.is_global_zero),
        )
        total = torch.zeros((), dtype=torch.float32, device=fabric.device)
        with bar, ThreadPoolExecutor(1) as loader:
            drawn = loader.submit(self._draw, objective, self.step)
            while self.step < settings.steps:
                asked = time.perf_counter()
                batch, generator = drawn.result()
                self.waited += time.perf_counter() - asked
                if self.step + 1 < settings.steps:
                    drawn = loader.submit(self._draw, objective, self.step + 1)
                total += self._update(objective, batch, generator)
                self.step += 1
                self.seconds = time.perf_counter() - began
                self.cpu_seconds = time.process_time() - cpu_began
                bar.update()
                if self.step % settings.log_every == 0 or self.step == settings.steps:
                    count = (self.step - 1) % settings.log_every + 1
                    loss = float(total) / count
                    total.zero_()
                    bar.set_postfix(loss=f"{loss:.4f}")
                    metrics.write(self.step, loss, self._rate(self.step - 1), self.seconds)
                last = self.step == settings.steps
                if (self.step % settings.save_every == 0 or last) and fabric.is_global_zero:
                    save()

    def _draw(self, objective: Objective, step: int) -> tuple[Batch, torch.Generator]:
        """The batch of ``step``, and its generator for what comes after."""
        settings, fabric = self._settings, self._fabric
        generator = torch.Generator()
        generator.manual_seed(_batch_seed(settings.seed, step, fabric.global_rank))
        return objective.draw(
            max(1, settings.batch_size // fabric.world_size), generator
        ), generator

    def _update(
        self, objective: Objective, batch: Batch, generator: torch.Generator
    ) -> torch.Tensor:
        settings, fabric = self._settings, self._fabric
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(self.step)
        loss = objective.loss(self._network, batch, generator)
        self._optimizer.zero_grad()
        fabric.backward(loss)
        try:
            fabric.clip_gradients(self._network, self._optimizer, max_norm=settings.clip)
        except RuntimeError as error:
            raise DfplanError(
                f"Training has diverged: at step {self.step + 1} the gradients are not finite. "
                f"Lower learning_rate ({settings.learning_rate:g}) or weight_decay "
                f"({settings.weight_decay:g}), and look at the data: `dfplan data check`."
            ) from error
        self._optimizer.step()
        if self.step < settings.warmup:
            self._averaged.n_averaged.zero_()  # so that the update copies the weights
        self._averaged.update_parameters(self._bare)
        return loss.detach()

    def _rate(self, step: int) -> float:
        settings = self._settings
        warm = min(1.0, (step + 1) / max(1, settings.warmup))
        return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))

    def averaged_weights(self) -> dict[str, torch.Tensor]:
        """The exponential moving average of the weights, by name, in half precision.

        That halves the checkpoint and moves a plan far less than another seed does.
        """
        weights: dict[str, torch.Tensor] = self._averaged.module.state_dict()
        return {name: value.half() for name, value in weights.items()}

    def save(self, path: Path, description: dict[str, Any]) -> None:
        """Write what :meth:`load` goes on from."""
        tensors = {f"network.{k}": v for k, v in self._bare.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self._averaged.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
        header = {
            **description,
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "waited_seconds": self.waited,
        }
        write_tensors(path, tensors, header)

    def load(self, path: Path, description: dict[str, Any]) -> None:
        """Inverse of :meth:`save`; the run must have been made as ``description`` says."""
        tensors, header = read_tensors(path)
        for key, wanted in json.loads(json.dumps(description)).items():
            if header.get(key) != wanted:
                raise CheckpointError(
                    f"{path} was made with other {key}: {header.get(key)}; this run has {wanted}. "
                    "Resume with what it was started with, or train into another folder."
                )
        self._bare.load_state_dict(_strip(tensors, "network."))
        self._averaged.load_state_dict(_strip(tensors, "averaged."))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _strip(tensors, "optimizer.").items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step = header["step"]
        self.seconds, self.cpu_seconds = header["seconds"], header["cpu_seconds"]
        self.waited = header["waited_seconds"]


class _Metrics:
    """Appends JSON lines.

    Lines past the step that is resumed from are dropped first, and so are damaged or repeated ones.
    """

    def __init__(self, path: Path, step: int, enabled: bool) -> None:
        self._path = path
        self._enabled = enabled
        if enabled:
            lines = path.read_bytes().splitlines() if step and path.exists() else []
            kept, last, damaged = [], 0, 0
            for line in lines:
                logged = _logged_step(line)
                if logged is None or logged <= last:
                    damaged += 1
                elif logged <= step:
                    kept.append(line + b"\n")
                    last = logged
            # A state is saved where a line is logged.
            missing = f"; those after step {last} are missing" if last < step else ""
            if damaged or missing:
                warnings.warn(
                    f"{path} had {damaged} damaged or repeated lines, which were removed{missing}. "
                    "The state is whole, and the run goes on.",
                    MetricsWarning,
                    stacklevel=2,
                )
            with atomic_path(path) as temporary:
                temporary.write_bytes(b"".join(kept))

    def write(self, step: int, loss: float, rate: float, seconds: float) -> None:
        if self._enabled:
            line = {"step": step, "loss": loss, "learning_rate": rate, "seconds": seconds}
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")


def _logged_step(line: bytes) -> int | None:
    """The step of a line of metrics; None where it is damaged."""
    try:
        step = dict(json.loads(line))["step"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return step if isinstance(step, int) else None


def _strip(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _batch_seed(seed: int, step: int, rank: int) -> int:
    """One seed a (run, step, device), far apart from every other."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)
