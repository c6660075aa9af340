"""``dfplan train``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from dfplan.cli.arguments import maze_or_file
from dfplan.data import load_data
from dfplan.errors import ConfigError, require_numbers
from dfplan.training.loop import train
from dfplan.training.objective import LoopRecipe
from dfplan.training.presets import (
    CUSTOM_SETTINGS,
    PRESETS,
    OfflinePreset,
    Preset,
    custom_preset,
    preset_data,
)
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.offline import OfflineConfig, OfflineSettings, train_offline
from dfplan.training.settings import TrainSettings

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
        segment_by: Literal["none", "timeouts", "goals"] = "none",
        follow_links: bool = False,
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
            segment_by: cut episodes also after timeouts, or where the goal changes.
            follow_links: let hdf5 files refer to files outside their folder.
        """
        fabric = _fabric(accelerator, devices, precision)
        fabric.launch()
        with fabric.rank_zero_first():
            source = preset_data(preset, out) if data is None else data
        trajectories = load_data(source, segment_by=segment_by, follow_links=follow_links)
        train(recipe, trajectories, out, settings=settings, fabric=fabric, resume=resume)
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
        segment_by: Literal["none", "timeouts", "goals"] = "none",
        follow_links: bool = False,
    ) -> None:
        """Train a preset with d3rlpy on its own data, or on other data.

        Args:
            out: folder of the run: metrics.jsonl, checkpoint.safetensors.
            data: file, folder or name of a data set; default: the preset's data, collected into
                out.
            recipe: what to train, and for which goal.
            settings: steps, batch size and others.
            segment_by: cut episodes also after timeouts, or where the goal changes.
            follow_links: let hdf5 files refer to files outside their folder.
        """
        source = preset_data(preset, out) if data is None else data
        trajectories = load_data(source, segment_by=segment_by, follow_links=follow_links)
        train_offline(recipe, trajectories, out, settings=settings)
        print(out / "checkpoint.safetensors")

    return command


def train_own(
    maze: Path,
    out: Path = Path("runs/own"),
    data: str | None = None,
    tokens: int | None = None,
    settings: TrainSettings = CUSTOM_SETTINGS,
    resume: bool = False,
    follow_links: bool = False,
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
        follow_links: let hdf5 files refer to files outside their folder.
    """
    preset = custom_preset(maze_or_file(str(maze)))
    recipe = preset.recipe if tokens is None else ForcingConfig(tokens=tokens)
    trajectories = load_data(
        preset_data(preset, out) if data is None else data, follow_links=follow_links
    )
    train(recipe, trajectories, out, settings=settings, resume=resume)
    print(out / "checkpoint.safetensors")


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


COMMANDS = {
    **{name: _train_command(name, preset) for name, preset in PRESETS.items()},
    "own": train_own,
}
"""The commands by name."""
