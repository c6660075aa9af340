"""Presets: named trainings for the mazes of each suite."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dfplan.diffusion.levels import FULL_SEQUENCE, TEACHER_FORCING, LevelMixture, with_known_ends
from dfplan.errors import ConfigError
from dfplan.files import remove_folder
from dfplan.mazes import Maze, named_maze
from dfplan.observations import PLANAR
from dfplan.registry import Registry
from dfplan.suites import OGBENCH_ANT
from dfplan.tokens.layout import token_features
from dfplan.training.objective import LoopRecipe
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.recipes.diffuser import DIFFUSER
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.inverse import InverseConfig
from dfplan.training.recipes.low_level import LowLevelConfig
from dfplan.training.recipes.offline import ALGORITHMS, OfflineConfig, OfflineSettings
from dfplan.training.recipes.value import ValueConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Trajectories


@dataclass(frozen=True)
class Preset:
    """A training by :func:`dfplan.training.loop.train`.

    Attributes:
        maze: the maze of the data.
        recipe: what is trained.
        settings: how long and how fast.
        data_steps: environment steps of the data; by default as many as the suite published.
        collector: how the data is collected, see :func:`dfplan.collect.generate.generate`; by
            default the first collector of the suite.
    """

    maze: Maze
    recipe: LoopRecipe
    settings: TrainSettings
    data_steps: int | None = None
    collector: str | None = None


@dataclass(frozen=True)
class OfflinePreset:
    """A training by :func:`dfplan.training.recipes.offline.train_offline`.

    Attributes:
        maze: the maze of the data; its goal is rewarded.
        recipe: what is trained.
        settings: how long.
        data_steps: see :class:`Preset`.
        collector: see :class:`Preset`.
    """

    maze: Maze
    recipe: OfflineConfig
    settings: OfflineSettings
    data_steps: int | None = None
    collector: str | None = None


# (tokens, training steps). A token has 20 steps; plans are long enough for the longest walk
# between two cells in the data.
_FORCING = {
    "maze2d-umaze": (12, 2000),
    "maze2d-medium": (20, 2000),
    "maze2d-large": (29, 2000),
    "pointmaze-umaze": (12, 2000),
    "pointmaze-medium": (20, 2000),
    "pointmaze-large": (29, 2000),
    "ogbench-medium": (18, 2000),
    "ogbench-large": (28, 2000),
}

# Tokens of 40 steps: with 44 tokens of 20 steps and 13 minutes of training, half of the episodes
# failed.
_GIANT = Preset(
    named_maze("ogbench-giant"),
    ForcingConfig(tokens=23, frame_stack=4),
    TrainSettings(steps=8000, batch_size=64),
)
_OPEN_ENDS = LevelMixture(known_start=0.5, known_goal=0.5)
"""Levels for windows shorter than plans: those inside a plan have no known end."""

# For data of short walks, or where chance decides the way.
_SHORT_WINDOWS = ForcingConfig(tokens=11, width=64, layers=3, levels=_OPEN_ENDS)
_SHORT = Preset(
    named_maze("ogbench-teleport"), _SHORT_WINDOWS, TrainSettings(steps=3000, batch_size=64)
)
_MAX_TOKENS = 40  # longer plans get half as many tokens of 40 steps, as in giant

# The authors of Diffuser use a rate of 2e-4 for two million steps. In 250 steps on umaze, 1e-3
# reached the lower training loss, and the scores did not differ significantly. On medium and large,
# where plans are longer and a step is slower, scores did not grow after step 1000
# (benchmarks/results/learning_curve.md).
_DIFFUSER = {
    maze: TrainSettings(
        steps=steps, batch_size=32, learning_rate=1e-3, weight_decay=0.0, keep_every=1000
    )
    for maze, steps in (("umaze", 10_000), ("medium", 3000), ("large", 3000))
}

# As many steps as fit into the training time of the forcing network for the same maze.
_BRIEF_STEPS = {"umaze": 580, "medium": 400, "large": 430}

_PLANNERS = {
    suite: Preset(
        named_maze(suite),
        ForcingConfig(tokens=tokens),
        TrainSettings(steps=steps, batch_size=64),
    )
    for suite, (tokens, steps) in _FORCING.items()
} | {"ogbench-giant": _GIANT, "ogbench-teleport": _SHORT}
_STITCH = {
    f"{suite}-stitch": replace(_SHORT, maze=preset.maze, collector="stitch")
    for suite, preset in _PLANNERS.items()
    if not preset.maze.suite.continuous_data
}

_ANTS = {
    f"{OGBENCH_ANT.prefix}-{size}" + (f"-{kind}" if number else ""): replace(
        _SHORT,
        maze=named_maze(f"{OGBENCH_ANT.prefix}-{size}"),
        recipe=replace(
            _SHORT_WINDOWS,
            observation=OGBENCH_ANT.observation,
            low_level=LowLevelConfig(OGBENCH_ANT.action_size),
        ),
        collector=kind if number else None,
    )
    for number, (kind, sizes) in enumerate(OGBENCH_ANT.kinds.items())
    for size in sizes
}

# Short windows, so that a plan is as fast as the data is in any of its parts; plans to the goal are
# only as fast as whole walks in the data.
_ACTIONS = {
    f"{name}-actions": replace(
        preset,
        recipe=ForcingConfig(
            features=token_features(("position", "velocity", "action"), PLANAR, 2, stride=5),
            tokens=6,
            frame_stack=1,
            stride=5,
            width=64,
            layers=3,
            levels=LevelMixture(known_goal=0.9),
            ahead=25,
        ),
        settings=TrainSettings(steps=4000, batch_size=256),
    )
    for name, preset in _PLANNERS.items()
    if preset.maze.suite.step_length is None
}

_BASELINE_LEVELS = {
    "full-sequence": with_known_ends(FULL_SEQUENCE),
    "next-token": with_known_ends(TEACHER_FORCING),
}


def _policies(planner: Preset) -> dict[str, Preset]:
    """Return presets of behavior cloning and inverse dynamics with the data of ``planner``."""
    suite = planner.maze.suite
    discount = 0.99 if suite.continuous_data else None
    name = planner.maze.name + (f"-{planner.collector}" if planner.collector else "")
    settings = TrainSettings(steps=10_000, batch_size=512, save_every=5000, log_every=500)
    return {
        f"bc-{name}": replace(
            planner,
            recipe=CloningConfig(suite.has_velocity, discount),
            settings=settings,
        ),
        f"inverse-{name}": replace(
            planner,
            recipe=InverseConfig(velocities=suite.has_velocity),
            settings=replace(settings, steps=5000),
        ),
    }


def _offline(algorithm: str, maze: Maze, steps: int) -> OfflinePreset:
    if maze.goal is None:
        raise ConfigError(f"{algorithm} needs a maze with a goal; {maze.name} has none.")
    first, second = maze.goal.tolist()
    recipe = OfflineConfig(algorithm, (first, second), maze.suite.goal_radius)
    return OfflinePreset(maze, recipe, OfflineSettings(steps))


# About eight minutes each on one thread; CORL trains both for a million steps.
_OFFLINE_STEPS = {"iql": 20_000, "cql": 4000}

PRESETS: Registry[Preset | OfflinePreset] = Registry(
    "preset",
    {
        **_PLANNERS,
        **_STITCH,
        **_ANTS,
        **_ACTIONS,
        **{
            f"diffuser-{maze}": Preset(named_maze(maze), recipe, _DIFFUSER[maze])
            for maze, recipe in DIFFUSER.items()
        },
        **{
            f"diffuser-brief-{maze}": Preset(
                named_maze(maze),
                DIFFUSER[maze],
                replace(_DIFFUSER[maze], steps=steps, keep_every=None),
            )
            for maze, steps in _BRIEF_STEPS.items()
        },
        **{
            f"{kind}-{maze}": replace(
                _PLANNERS[f"maze2d-{maze}"],
                recipe=ForcingConfig(tokens=_FORCING[f"maze2d-{maze}"][0], levels=levels),
            )
            for kind, levels in _BASELINE_LEVELS.items()
            for maze in DIFFUSER
        },
        **{
            f"value-{maze}": Preset(
                named_maze(maze),
                ValueConfig(),
                TrainSettings(steps=2000, batch_size=1024, save_every=1000),
            )
            for maze in DIFFUSER
        },
        **{
            name: preset
            for planner in (_PLANNERS | _STITCH).values()
            for name, preset in _policies(planner).items()
        },
        **{
            f"{algorithm}-{maze}": _offline(algorithm, named_maze(maze), _OFFLINE_STEPS[algorithm])
            for algorithm in ALGORITHMS
            for maze in DIFFUSER
        },
    },
)
"""Every preset by name.

The name of a maze alone is Diffusion Forcing. ``full-sequence-*`` and ``next-token-*`` are its
baselines with the same network and number of steps; ``diffuser-*`` is another baseline. ``bc-*``,
``iql-*`` and ``cql-*`` are policies that make no plans, ``inverse-*`` are trackers, and ``value-*``
are learned values.
"""

CUSTOM_SETTINGS = TrainSettings(steps=2000, batch_size=64)
"""Settings of :func:`custom_preset`."""


def custom_preset(maze: Maze) -> Preset:
    """Return a preset of Diffusion Forcing for any maze.

    The plans are long enough for the longest shortest path of the maze, as in the presets of the
    suites. The data grows with the number of free cells, about as in D4RL, within bounds.
    """
    steps = min(max(50_000 * len(maze.free_cells), 500_000), 4_000_000)
    return Preset(maze, forcing_for(maze), CUSTOM_SETTINGS, data_steps=steps)


def forcing_for(maze: Maze) -> ForcingConfig:
    """Return Diffusion Forcing with plans as long as the longest shortest path of ``maze``."""
    tokens = 6 + math.ceil(1.25 * maze.diameter)
    if tokens <= _MAX_TOKENS:
        return ForcingConfig(tokens=tokens)
    return ForcingConfig(tokens=1 + tokens // 2, frame_stack=4)


def within_walks(recipe: ForcingConfig, trajectories: Trajectories) -> ForcingConfig:
    """The recipe, with windows as short as the data's walks if its own are longer.

    A window fits into as many segments as hold half of the rows.
    """
    lengths = np.sort(np.diff(trajectories.segments, axis=1)[:, 0])
    usual = lengths[np.searchsorted(lengths.cumsum(), lengths.sum() / 2)]
    tokens = 1 + (int(usual) - 1) // (recipe.frame_stack * recipe.stride)
    if not 2 <= tokens < recipe.tokens:
        return recipe
    return replace(recipe, tokens=tokens, levels=_OPEN_ENDS)


def preset_data(preset: Preset | OfflinePreset, folder: Path) -> Path:
    """Return the path of the data of ``preset`` in ``folder``; collect it if it is missing."""
    # Imported here, because the table of presets does not need the environments.
    from dfplan.collect.generate import generate, parts_folder

    file = folder / preset.maze.suite.data_name
    if file.exists():
        remove_folder(parts_folder(file))  # left by a run that was killed after it wrote the data
    else:
        generate(preset.maze, preset.data_steps, seed=0, path=file, collector=preset.collector)
    return file
