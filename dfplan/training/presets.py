"""Presets: what is trained for each suite's mazes, and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from dfplan.collect.generate import generate, parts_folder
from dfplan.diffusion.levels import FULL_SEQUENCE, TEACHER_FORCING, ends_known
from dfplan.errors import ConfigError
from dfplan.files import remove_folder
from dfplan.mazes import Maze, named_maze
from dfplan.training.loop import TrainSettings
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.recipes.diffuser import DIFFUSER, DiffuserConfig
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.inverse import InverseConfig
from dfplan.training.recipes.offline import ALGORITHMS, OfflineConfig, OfflineSettings
from dfplan.training.recipes.value import ValueConfig


@dataclass(frozen=True)
class Preset:
    """One training run.

    Attributes:
        maze: whose data it is trained on, collected by the maze's suite's own recipe
            (see :func:`dfplan.collect.generate.generate`).
        recipe: what is trained.
        settings: how long and how fast.
        data_steps: environment steps of that data; by default as many as the suite published.
        collected: by which of the suite's recipes; by default its first.
    """

    maze: Maze
    recipe: ForcingConfig | DiffuserConfig | ValueConfig | CloningConfig | InverseConfig
    settings: TrainSettings
    data_steps: int | None = None
    collected: str | None = None


@dataclass(frozen=True)
class OfflinePreset:
    """One training run by d3rlpy.

    Attributes:
        maze: whose data it is trained on, and whose goal is paid for.
        recipe: what is trained.
        settings: how long.
        data_steps: as of a :class:`Preset`.
    """

    maze: Maze
    recipe: OfflineConfig
    settings: OfflineSettings
    data_steps: int | None = None


# Tokens of 20 steps each, enough for the longest walk between two cells in the data.
_FORCING = {
    "maze2d-umaze": (12, 2000),
    "maze2d-medium": (20, 2000),
    "maze2d-large": (29, 2000),
    "pointmaze-umaze": (12, 2000),
    "pointmaze-medium": (20, 2000),
    "pointmaze-large": (29, 2000),
    "ogbench-medium": (18, 2000),
    "ogbench-large": (28, 2000),
    "ogbench-teleport": (32, 2000),
}

# Of 40 steps each: with 44 tokens of 20 steps, 13 minutes of training, half of the episodes failed.
_GIANT = Preset(
    named_maze("ogbench-giant"),
    ForcingConfig(tokens=23, frame_stack=4),
    TrainSettings(steps=8000, batch_size=64),
)
_MOST_TOKENS = 40  # more of them are put into half as many, as for giant

# Diffuser's own rate of 2e-4 is for two million steps. In 250 steps on umaze 1e-3 reached the lower
# training loss; on the score the two were not told apart. On medium and large, whose longer plans
# take longer a step, scores did not grow after 1000 (benchmarks/results/learning_curve.md).
_DIFFUSER = {
    maze: TrainSettings(
        steps=steps, batch_size=32, learning_rate=1e-3, weight_decay=0.0, keep_every=1000
    )
    for maze, steps in (("umaze", 10_000), ("medium", 3000), ("large", 3000))
}

# As many steps as take the same seconds of computing as dfplan's network for the maze.
_BRIEFLY = {"umaze": 580, "medium": 400, "large": 430}

_PLANNERS = {
    suite: Preset(
        named_maze(suite),
        ForcingConfig(tokens=tokens),
        TrainSettings(steps=steps, batch_size=64),
    )
    for suite, (tokens, steps) in _FORCING.items()
} | {"ogbench-giant": _GIANT}
_STITCHERS = {
    f"{suite}-stitch": replace(preset, collected="stitch")
    for suite, preset in _PLANNERS.items()
    if not preset.maze.suite.streams
}

_RIVAL_LEVELS = {
    "full-sequence": ends_known(FULL_SEQUENCE),
    "next-token": ends_known(TEACHER_FORCING),
}


def _policies(planner: Preset) -> dict[str, Preset]:
    """Behaviour cloning and inverse dynamics on the data of a planner's preset, by name."""
    suite = planner.maze.suite
    name = planner.maze.name + (f"-{planner.collected}" if planner.collected else "")
    settings = TrainSettings(steps=10_000, batch_size=512, save_every=5000, log_every=500)
    return {
        f"bc-{name}": replace(
            planner,
            recipe=CloningConfig(suite.has_velocity, discount=0.99 if suite.streams else None),
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
        raise ConfigError(f"{algorithm} is trained for one goal, and {maze.name} marks none.")
    first, second = maze.goal.tolist()
    recipe = OfflineConfig(algorithm, (first, second), maze.suite.goal_radius)
    return OfflinePreset(maze, recipe, OfflineSettings(steps))


# Some eight minutes of computing on one thread each; CORL trains both for a million steps.
_OFFLINE_STEPS = {"iql": 20_000, "cql": 4000}

PRESETS: dict[str, Preset | OfflinePreset] = {
    **_PLANNERS,
    **_STITCHERS,
    **{
        f"diffuser-{maze}": Preset(named_maze(maze), recipe, _DIFFUSER[maze])
        for maze, recipe in DIFFUSER.items()
    },
    **{
        f"diffuser-brief-{maze}": Preset(
            named_maze(maze), DIFFUSER[maze], replace(_DIFFUSER[maze], steps=steps, keep_every=None)
        )
        for maze, steps in _BRIEFLY.items()
    },
    **{
        f"{kind}-{maze}": replace(
            _PLANNERS[f"maze2d-{maze}"],
            recipe=ForcingConfig(tokens=_FORCING[f"maze2d-{maze}"][0], levels=levels),
        )
        for kind, levels in _RIVAL_LEVELS.items()
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
        for planner in (_PLANNERS | _STITCHERS).values()
        for name, preset in _policies(planner).items()
    },
    **{
        f"{algorithm}-{maze}": _offline(algorithm, named_maze(maze), _OFFLINE_STEPS[algorithm])
        for algorithm in ALGORITHMS
        for maze in DIFFUSER
    },
}
"""Every preset by name: a suite's own name is Diffusion Forcing; ``full-sequence-*`` and
``next-token-*`` are its rivals, with the same network and as many steps, ``diffuser-*`` another;
``bc-*``, ``iql-*`` and ``cql-*`` are policies without a plan, ``inverse-*`` a tracker and
``value-*`` a value to plan by."""


OWN_SETTINGS = TrainSettings(steps=2000, batch_size=64)
"""How long to train for a maze of one's own."""


def own_preset(maze: Maze) -> Preset:
    """Diffusion Forcing for a maze of one's own.

    Tokens for its longest walk as the suites' presets have them for theirs, and data for its free
    cells about as D4RL has for its mazes, within bounds.
    """
    tokens = 6 + math.ceil(1.25 * maze.longest_way)
    recipe = (
        ForcingConfig(tokens=tokens)
        if tokens <= _MOST_TOKENS
        else ForcingConfig(tokens=1 + tokens // 2, frame_stack=4)
    )
    steps = min(max(50_000 * len(maze.free_cells), 500_000), 4_000_000)
    return Preset(maze, recipe, OWN_SETTINGS, data_steps=steps)


def preset_data(preset: Preset | OfflinePreset, folder: Path) -> Path:
    """The preset's data in ``folder``, generated if it is not there."""
    file = folder / preset.maze.suite.data_name
    if file.exists():
        # A run that was killed just after it wrote the data left them.
        remove_folder(parts_folder(file))
    else:
        collected = preset.collected if isinstance(preset, Preset) else None
        generate(preset.maze, preset.data_steps, seed=0, path=file, recipe=collected)
    return file
