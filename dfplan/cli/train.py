"""``dfplan train``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from dfplan.calibrating import calibrate as calibrate_uncertainty
from dfplan.cli.arguments import Names, maze_or_file
from dfplan.cli.data import reading
from dfplan.data import load_data
from dfplan.errors import ConfigError, require_numbers
from dfplan.mazes import parse_maze
from dfplan.pretrained import checkpoint_path, read_checkpoint, rebuilding
from dfplan.tokens.layout import token_features
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train
from dfplan.training.objective import LoopRecipe
from dfplan.training.presets import (
    CUSTOM_SETTINGS,
    PRESETS,
    OfflinePreset,
    Preset,
    custom_preset,
    forcing_for,
    preset_data,
    within_walks,
)
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.offline import OfflineConfig, OfflineSettings, train_offline
from dfplan.training.registry import recipe_of
from dfplan.training.settings import TrainSettings
from dfplan.tuning import tune_clearance
from dfplan.types import Trajectories

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def _train_command(name: str, preset: Preset | OfflinePreset) -> Callable[..., None]:
    """The command that trains a preset. The preset's values are its defaults."""
    if isinstance(preset, OfflinePreset):
        return _offline_command(name, preset)

    def command(
        out: Path = Path("runs") / name,
        data: str | None = None,
        recipe: LoopRecipe = preset.recipe,
        settings: TrainSettings = preset.settings,
        accelerator: str = "auto",
        devices: int = 1,
        precision: Precision = "32-true",
        resume: bool = False,
        tune_episodes: NonNegativeInt = 100,
        **how: Any,
    ) -> None:
        """Train a preset on its own data, or on other data.

        Args:
            out: folder of the run: metrics.jsonl, state.safetensors, checkpoint.safetensors.
            data: file, folder or name of a data set; default: the preset's data, collected into
                out.
            recipe: what to train.
            settings: steps, batch size, learning rate and others.
            accelerator: cpu, gpu, mps or auto.
            devices: number of devices.
            precision: 32-true, bf16-mixed or 16-mixed.
            resume: continue from the state in out.
            tune_episodes: validation episodes of each task, by which a planner by Diffusion Forcing
                gets its clearance after the training (dfplan tune), and a third of the problems by
                which its uncertainty is measured then (dfplan calibrate); 0 does neither. Mazes of
                no suite have no such problems; use dfplan calibrate.
            **how: how to read the data.
        """
        fabric = _fabric(accelerator, devices, precision)
        fabric.launch()
        with fabric.rank_zero_first():
            source = preset_data(preset, out) if data is None else data
        trajectories = _load(source, **how)
        train(recipe, trajectories, out, settings=settings, fabric=fabric, resume=resume)
        if isinstance(recipe, ForcingConfig) and tune_episodes and fabric.is_global_zero:
            chosen = tune_clearance(out, tune_episodes)
            if chosen is not None and recipe.ahead is None:
                calibrate_uncertainty(out, 6 * tune_episodes)
        print(out / "checkpoint.safetensors")

    # The parser would lose the preset's values as defaults of a union.
    command.__annotations__["recipe"] = type(preset.recipe)
    return command


def _offline_command(name: str, preset: OfflinePreset) -> Callable[..., None]:
    """The command of a preset that d3rlpy trains."""

    def command(
        out: Path = Path("runs") / name,
        data: str | None = None,
        recipe: OfflineConfig = preset.recipe,
        settings: OfflineSettings = preset.settings,
        **how: Any,
    ) -> None:
        """Train a preset with d3rlpy on its own data, or on other data.

        Args:
            out: folder of the run: metrics.jsonl, checkpoint.safetensors.
            data: file, folder or name of a data set; default: the preset's data, collected into
                out.
            recipe: what to train, and for which goal.
            settings: steps, batch size and others.
            **how: how to read the data.
        """
        source = preset_data(preset, out) if data is None else data
        trajectories = _load(source, **how)
        train_offline(recipe, trajectories, out, settings=settings)
        print(out / "checkpoint.safetensors")

    return command


def train_data(
    data: str,
    out: Path = Path("runs/data"),
    features: Names | None = None,
    from_: str | None = None,
    tokens: PositiveInt | None = None,
    settings: TrainSettings = CUSTOM_SETTINGS,
    accelerator: str = "auto",
    resume: bool = False,
    **how: Any,
) -> None:
    """Train a planner by Diffusion Forcing on a data file or folder.

    Args:
        data: file or folder of data.
        out: folder of the run: metrics.jsonl, state.safetensors, checkpoint.safetensors.
        features: what tokens hold, of position, velocity, observation, action and reward;
            default: position.
        from_: checkpoint to continue from (fine-tuning): a shipped name, a file, or the folder of
            a training. Its tokens are used.
        tokens: length of a window in tokens of 20 steps; default: enough for the longest path in
            the maze that the file names, otherwise 28; fewer if the walks of the data are shorter.
        settings: steps, batch size, learning rate and others.
        accelerator: cpu, gpu, mps or auto.
        resume: continue from the state in out.
        **how: how to read the data.
    """
    fabric = _fabric(accelerator, 1, "32-true")
    start: Checkpoint | None = None
    recipe: LoopRecipe | None = None
    if from_ is not None:
        if features is not None or tokens is not None:
            raise ConfigError("--from brings its own features and tokens; leave these out.")
        start = read_checkpoint(from_)
        with rebuilding(checkpoint_path(from_)):
            recipe = recipe_of(start)  # type: ignore[assignment]
    trajectories = _load(data, **how)
    if recipe is None:
        recipe = _recipe_for(trajectories, features or Names("position"), tokens)
    train(recipe, trajectories, out, settings=settings, start=start, fabric=fabric, resume=resume)
    print(out / "checkpoint.safetensors")


def _recipe_for(trajectories: Trajectories, features: Names, tokens: int | None) -> ForcingConfig:
    """Diffusion Forcing of these features; without ``tokens``, for the maze of the data if any."""
    maze = trajectories.maze
    if tokens is not None:
        base = ForcingConfig(tokens=tokens)
    else:
        base = ForcingConfig() if maze is None else forcing_for(parse_maze(maze))
        base = within_walks(base, trajectories)
    actions = trajectories.actions.shape[1]
    held = token_features(features, trajectories.layout, actions, base.stride)
    return replace(base, features=held, observation=trajectories.layout)


def train_own(
    maze: Path,
    out: Path = Path("runs/own"),
    data: str | None = None,
    tokens: int | None = None,
    settings: TrainSettings = CUSTOM_SETTINGS,
    resume: bool = False,
    **how: Any,
) -> None:
    """Train a planner for any maze. If no data is given, collect data first.

    Args:
        maze: text file of # (wall) and O (free), one line for each row.
        out: folder of the run.
        data: file, folder or name of a data set; default: collected into out.
        tokens: length of the longest plan in tokens of 20 steps; default: enough for the longest
            path in the maze.
        settings: steps, batch size, learning rate and others.
        resume: continue from the state in out.
        **how: how to read the data.
    """
    preset = custom_preset(maze_or_file(str(maze)))
    recipe = preset.recipe if tokens is None else ForcingConfig(tokens=tokens)
    trajectories = _load(preset_data(preset, out) if data is None else data, **how)
    train(recipe, trajectories, out, settings=settings, resume=resume)
    print(out / "checkpoint.safetensors")


def _load(
    source: str | Path, segment_by: Literal["none", "timeouts", "goals"] = "none", **how: Any
) -> Trajectories:
    """Read training data. The commands take these arguments from here.

    Args:
        source: file, folder or name of a data set.
        segment_by: cut episodes also after timeouts, or where the goal changes.
        **how: how to read the data.
    """
    return load_data(source, segment_by=segment_by, **reading(**how))


def _fabric(accelerator: str, devices: int, precision: Precision) -> Fabric:
    # Fabric accepts any number of processes on a CPU.
    most = max(os.cpu_count() or 1, 8)
    require_numbers({"devices": devices}, integer=True, maximum=most)
    try:
        return Fabric(accelerator=accelerator, devices=devices, precision=precision)
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise ConfigError(
            f"Cannot train on accelerator {accelerator!r} with {devices} devices in {precision}: "
            f"{error} Without the three flags the training uses the hardware that it finds."
        ) from error


def tune(checkpoint: str, episodes: PositiveInt = 100) -> None:
    """Choose how far plans stay from walls, by validation episodes in the maze of a checkpoint.

    Presets do this after the training.

    Args:
        checkpoint: file, or the folder of a training; it is changed.
        episodes: of each task.
    """
    clearance = tune_clearance(checkpoint, episodes)
    if clearance is None:
        print("No suite has the maze of this checkpoint, so there are no validation episodes.")
    else:
        print(f"edge {clearance.edge:g}, contact {clearance.contact:g} steps at top speed")


def calibrate(checkpoint: str, problems: PositiveInt = 600) -> None:
    """Measure how true the uncertainty of a checkpoint's plans is, and store it.

    Presets do this after the training.

    Args:
        checkpoint: file, or the folder of a training; it is changed.
        problems: to plan for; half as many from pure noise.
    """
    regions, episodes = calibrate_uncertainty(checkpoint, problems)
    half, most = regions.noise.radii[-1].mean(0)
    print(f"pure noise ends within {half:.3g} (50%) and {most:.3g} (90%) of its estimate")
    print(
        f"paths pass plans within {episodes.stretch:.3g} times the distance of simulated ones, "
        f"and {episodes.tracking:.3g} (90%)"
    )
    print(
        f"log odds of success: {episodes.slope:.3g} times the simulated ones, {episodes.shift:+.3g}"
    )


COMMANDS = {
    **{name: _train_command(name, preset) for name, preset in PRESETS.items()},
    "own": train_own,
}
"""The commands by name."""
