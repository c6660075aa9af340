"""Presets: what is trained for each of D4RL's mazes, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dfplan.data import generate
from dfplan.mazes import parse_maze
from dfplan.training.diffuser import DIFFUSER, DiffuserConfig
from dfplan.training.loop import TrainSettings
from dfplan.training.recipes import ForcingConfig
from dfplan.training.value import ValueConfig


@dataclass(frozen=True)
class Preset:
    """One training run.

    Attributes:
        maze: name of the maze whose data it is trained on.
        data_steps: environment steps of that data, as many as D4RL's file has.
        recipe: what is trained.
        settings: how long and how fast.
    """

    maze: str
    data_steps: int
    recipe: ForcingConfig | DiffuserConfig | ValueConfig
    settings: TrainSettings


_DATA_STEPS = {"umaze": 1_000_000, "medium": 2_000_000, "large": 4_000_000}

# Tokens of 20 steps each, enough for the longest walk between two cells in the data.
_FORCING = {
    "umaze": (ForcingConfig(tokens=12), TrainSettings(steps=2000, batch_size=64)),
    "medium": (ForcingConfig(tokens=20), TrainSettings(steps=2000, batch_size=64)),
    "large": (ForcingConfig(tokens=29), TrainSettings(steps=2000, batch_size=64)),
}

# As many steps as take the same seconds of computing as the preset above. Diffuser's own rate of
# 2e-4 is for two million steps. In 250 steps on umaze 1e-3 reached the lower training loss; on the
# score the two were not told apart.
_DIFFUSER = {
    maze: (
        DIFFUSER[maze],
        TrainSettings(steps=steps, batch_size=32, learning_rate=1e-3, weight_decay=0.0),
    )
    for maze, steps in (("umaze", 580), ("medium", 400), ("large", 430))
}

_VALUE = {
    maze: (ValueConfig(), TrainSettings(steps=2000, batch_size=1024, save_every=1000))
    for maze in _DATA_STEPS
}

PRESETS: dict[str, Preset] = {
    f"{prefix}-{maze}": Preset(maze, _DATA_STEPS[maze], recipe, settings)
    for prefix, recipes in (("maze2d", _FORCING), ("diffuser", _DIFFUSER), ("value", _VALUE))
    for maze, (recipe, settings) in recipes.items()
}
"""Every preset by name: ``maze2d-*`` is Diffusion Forcing, ``diffuser-*`` the baseline, ``value-*``
a value to plan by."""


def preset_data(preset: Preset, folder: Path) -> Path:
    """The preset's data file in ``folder``, generated if it is not there."""
    file = folder / "data.hdf5"
    if not file.exists():
        generate(parse_maze(preset.maze), preset.data_steps, seed=0, path=file)
    return file
