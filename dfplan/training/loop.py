"""The training loop. It trains any recipe on any device, and can be resumed to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from dfplan.boundary import isolated
from dfplan.data.storage import require_unchanged
from dfplan.errors import ConfigError, DataError
from dfplan.files import exclusive_lock, expand_path
from dfplan.record import Record
from dfplan.tokens.statistics import Statistics, fit_statistics
from dfplan.training.batches import draw_batches
from dfplan.training.checkpoint import Checkpoint, data_description
from dfplan.training.metrics import MetricsLog
from dfplan.training.objective import Batch, LoopRecipe, Objective
from dfplan.training.registry import recipe_of
from dfplan.training.settings import TrainSettings
from dfplan.training.state import TrainingState
from dfplan.types import Trajectories


@isolated(training=True)
def train(
    recipe: LoopRecipe,
    trajectories: Trajectories,
    out: str | Path,
    *,
    settings: TrainSettings,
    start: Checkpoint | None = None,
    fabric: Fabric | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train ``recipe`` on ``trajectories``.

    Writes into the folder ``out``: ``metrics.jsonl`` (a line every ``log_every`` steps),
    ``state.safetensors`` (to resume from), ``checkpoint-<step>.safetensors`` every ``keep_every``
    steps and, when training ends, ``checkpoint.safetensors``. A resumed run gives the same
    numbers as an uninterrupted one.

    Args:
        recipe: what to train.
        trajectories: the data.
        out: folder to write to; created if missing.
        settings: how long and how fast.
        start: a checkpoint of the same recipe, whose weights and normalization training continues
            from (fine-tuning); by default the weights are random.
        fabric: device, number of devices and precision; by default the best single device.
        resume: continue from ``state.safetensors`` in ``out``.
        progress: show a progress bar.

    Returns:
        The final checkpoint.

    Raises:
        BusyError: another training uses ``out``.
        ConfigError: ``out`` holds a run and ``resume`` is False, or ``start`` is of another recipe.
        CheckpointError: there is no state to resume from, or it was made with other settings.
        DataError: ``trajectories`` do not fit the recipe; or a file that they are mapped from was
            changed. This is checked at the beginning, before each batch and before each save.
        DfplanError: training diverged.
    """
    fabric = fabric or Fabric(accelerator="auto", devices=1)
    out = expand_path(out)
    with exclusive_lock(out, "a training") if fabric.is_global_zero else nullcontext():
        return _train(recipe, trajectories, out, settings, start, fabric, resume, progress)


def _train(
    recipe: LoopRecipe,
    trajectories: Trajectories,
    out: Path,
    settings: TrainSettings,
    start: Checkpoint | None,
    fabric: Fabric,
    resume: bool,
    progress: bool,
) -> Checkpoint:
    if not resume and (out / "state.safetensors").exists():
        raise ConfigError(f"{out} already holds a run; resume it, or choose another folder.")
    require_unchanged(trajectories.mapped)
    if start is None:
        statistics = fit_statistics(trajectories, recipe.features)
    else:
        _require_same_recipe(recipe, start)
        _require_same_actions(recipe, trajectories)
        statistics = replace(fit_statistics(trajectories), normalizer=start.statistics.normalizer)
    data = data_description(trajectories)
    state = TrainingState(recipe, settings, fabric, start)
    run = _Run(recipe, trajectories, data, statistics, settings, start, state, out)
    if resume:
        state.load(out / "state.safetensors", run.description())
    objective = _check_data(recipe.objective(trajectories, statistics), trajectories)
    _fit(state, objective, out / "metrics.jsonl", settings, fabric, run.save, progress)
    last = run.checkpoint()
    if fabric.is_global_zero:
        last.save(out / "checkpoint.safetensors")
    return last


@dataclass(frozen=True)
class _Run(Record):
    """What a training run stores: its description, its state and its checkpoints."""

    recipe: LoopRecipe
    trajectories: Trajectories
    data: dict[str, Any]
    statistics: Statistics
    settings: TrainSettings
    start: Checkpoint | None
    state: TrainingState
    out: Path

    def description(self) -> dict[str, Any]:
        """What must be equal when the run is resumed, as JSON."""
        start = self.start
        return {
            "recipe": self.recipe.name,
            "config": self.recipe.to_json(),
            "settings": asdict(self.settings),
            "data": self.data,
            "tokens": self.recipe.stored_tokens,
            "start": None if start is None else start.data | start.training,
        }

    def checkpoint(self) -> Checkpoint:
        """A checkpoint of the present weights."""
        state = self.state
        return Checkpoint(
            recipe=self.recipe.name,
            config=self.recipe.to_json(),
            network=state.averaged_weights(),
            statistics=self.statistics,
            data=self.data,
            training={
                **asdict(self.settings),
                "step": state.step,
                "seconds": round(state.seconds, 1),
                "cpu_seconds": round(state.cpu_seconds, 1),
                "waited_seconds": round(state.waited, 2),
                **({} if self.start is None else {"start": self.start.data}),
            },
            maze=self.trajectories.maze,
            tokens=self.recipe.stored_tokens,
        )

    def save(self) -> None:
        """Write the state, and before it a checkpoint if ``keep_every`` says so."""
        require_unchanged(self.trajectories.mapped)
        step, keep_every = self.state.step, self.settings.keep_every
        # The state is written last, so that a run killed in between repeats this after a resume.
        if keep_every and step % keep_every == 0:
            self.checkpoint().save(self.out / f"checkpoint-{step}.safetensors")
        self.state.save(self.out / "state.safetensors", self.description())


def _require_same_recipe(recipe: LoopRecipe, start: Checkpoint) -> None:
    """Raise :class:`ConfigError` unless training can continue from the checkpoint."""
    if not (isinstance(recipe, LoopRecipe) and recipe.can_continue):  # the command line loads any
        raise ConfigError(
            f"The recipe {recipe.name!r} cannot continue from a checkpoint, since its inputs are "
            "scaled by the data. Train it from the start."
        )
    before = recipe_of(start)
    if before != recipe:
        found, wanted = vars(before), vars(recipe)
        values = [
            f"{name} {found.get(name)} and {value}"
            for name, value in wanted.items()
            if found.get(name) != value
        ]
        raise ConfigError(
            f"Training can continue only with the checkpoint's recipe ({start.recipe}) and tokens; "
            f"got {recipe.name} with other values: {'; '.join(values)}. Use "
            "dfplan.training.registry.recipe_of(checkpoint)."
        )


def _require_same_actions(recipe: LoopRecipe, trajectories: Trajectories) -> None:
    """Raise :class:`DataError` unless the feature ``action`` is the whole action of the data."""
    width = trajectories.actions.shape[1]
    for feature in recipe.features:
        if feature.name == "action" and len(feature.columns) != width:
            raise DataError(
                f"{trajectories.source}: the checkpoint has actions of {len(feature.columns)} "
                f"numbers; this data has {width}. Use data with the same actions, or train a new "
                "model on this data (without --from)."
            )


def _check_data(objective: Objective, trajectories: Trajectories) -> Objective:
    """Check before each batch that the data has not changed.

    Reading a mapped file that was cut would end the process.
    """

    def draw(size: int, generator: torch.Generator) -> Batch:
        require_unchanged(trajectories.mapped)
        return objective.draw(size, generator)

    return replace(objective, draw=draw)


def _fit(
    state: TrainingState,
    objective: Objective,
    metrics: Path,
    settings: TrainSettings,
    fabric: Fabric,
    save: Callable[[], None],
    progress: bool,
) -> None:
    """Train until ``settings.steps``; write metrics and call ``save`` at the set intervals."""
    main = fabric.is_global_zero
    log = MetricsLog(metrics, state.step) if main else None
    began = time.perf_counter() - state.seconds
    cpu_began = time.process_time() - state.cpu_seconds
    batches = draw_batches(
        objective,
        range(state.step, settings.steps),
        max(1, settings.batch_size // fabric.world_size),
        settings.seed,
        fabric.global_rank,
    )
    bar = tqdm(
        total=settings.steps,
        initial=state.step,
        desc="train",
        unit="step",
        disable=not (progress and main),
    )
    total = torch.zeros((), dtype=torch.float32, device=fabric.device)
    with bar, closing(batches):
        for batch, generator, waited in batches:
            state.waited += waited
            total += state.update(objective, batch, generator)
            state.seconds = time.perf_counter() - began
            state.cpu_seconds = time.process_time() - cpu_began
            bar.update()
            last = state.step == settings.steps
            if state.step % settings.log_every == 0 or last:
                loss = float(total) / ((state.step - 1) % settings.log_every + 1)
                total.zero_()
                bar.set_postfix(loss=f"{loss:.4f}")
                if log is not None:
                    log.write(state.step, loss, settings.rate(state.step - 1), state.seconds)
            if main and (state.step % settings.save_every == 0 or last):
                save()
