from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfplan.data import load_data
from dfplan.evaluation.protocols import named_task
from dfplan.mazes import named_maze, parse_maze
from dfplan.suites import OGBENCH
from dfplan.tokens.windows import TokenWindows
from dfplan.training.presets import PRESETS, Preset, custom_preset, preset_data
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.inverse import InverseConfig
from dfplan.training.recipes.offline import OfflineConfig

MAZES = ("umaze", "medium", "large")
SUITES = (
    *(
        f"{suite}-{maze}"
        for suite in ("maze2d", "pointmaze")
        for maze in ("umaze", "medium", "large")
    ),
    *(
        f"ogbench-{maze}{stitch}"
        for maze in ("medium", "large", "giant", "teleport")
        for stitch in ("", "-stitch")
    ),
    *(
        f"ogbench-antmaze-{maze}{kind}"
        for kind in ("", "-stitch", "-explore")
        for maze in ("medium", "large", "giant", "teleport")
        if (maze, kind) != ("giant", "-explore")
    ),
    *(f"{suite}-{maze}-actions" for suite in ("maze2d", "pointmaze") for maze in MAZES),
)
SHORT = [
    name
    for name in SUITES
    if any(part in name for part in ("stitch", "teleport", "antmaze", "actions"))
]
"""Presets whose windows are shorter than plans."""
RECIPES = {
    "diffuser": "diffuser",
    "diffuser-brief": "diffuser",
    "value": "value",
    "full-sequence": "forcing",
    "next-token": "forcing",
    "bc": "policy",
    "inverse": "inverse",
    "iql": "iql",
    "cql": "cql",
}
"""Recipes of the presets that are named after one of D4RL's mazes, by the rest of the name."""
EVERYWHERE = [
    f"{kind}-{suite.removeprefix('maze2d-')}"
    for kind in ("bc", "inverse")
    for suite in SUITES
    if "antmaze" not in suite and "actions" not in suite
]


def test_every_suite_has_presets_and_d4rl_has_those_of_baselines() -> None:
    baselines = {f"{kind}-{maze}" for kind in RECIPES for maze in MAZES}
    assert set(PRESETS) == {*SUITES, *baselines, *EVERYWHERE}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_use_the_maze_and_data_that_their_name_says(name: str) -> None:
    preset = PRESETS[name]
    collector = next((kind for kind in ("stitch", "explore") if name.endswith(f"-{kind}")), None)
    kind, maze = name.removesuffix(f"-{collector}").removesuffix("-actions").rsplit("-", 1)
    suites = ("pointmaze", "ogbench-antmaze", "ogbench")
    suite = next((name for name in suites if name in kind), None)
    recipe = kind.removesuffix(f"-{suite}")
    assert preset.maze == named_maze(f"{suite}-{maze}" if suite else maze)
    assert preset.data_steps is None
    assert preset.collector == collector
    assert preset.recipe.name == RECIPES.get(recipe, "forcing")
    preset.recipe.untrained()
    tokens = [preset.recipe.stored_tokens] if isinstance(preset.recipe, ForcingConfig) else []
    again: Any = type(preset.recipe).from_json
    assert again(preset.recipe.to_json(), *tokens) == preset.recipe


@pytest.mark.parametrize("maze", MAZES)
def test_baselines_differ_only_in_their_levels(maze: str) -> None:
    own = PRESETS[f"maze2d-{maze}"]
    assert isinstance(own.recipe, ForcingConfig)
    for kind, pattern in (("full-sequence", "common"), ("next-token", "teacher_forcing")):
        other = PRESETS[f"{kind}-{maze}"]
        assert isinstance(other.recipe, ForcingConfig)
        levels, mixture = other.recipe.levels, own.recipe.levels
        assert sum(levels.weights) == getattr(levels, pattern) == 1
        assert (levels.known_start, levels.known_goal) == (mixture.known_start, mixture.known_goal)
        assert replace(other, recipe=replace(other.recipe, levels=mixture)) == own


@pytest.mark.parametrize("name", EVERYWHERE)
def test_networks_get_velocities_if_the_suite_has_them(name: str) -> None:
    recipe = PRESETS[name].recipe
    assert isinstance(recipe, CloningConfig | InverseConfig)
    assert recipe.velocities == ("ogbench" not in name)


@pytest.mark.parametrize("maze", MAZES)
@pytest.mark.parametrize("algorithm", ["iql", "cql"])
def test_offline_goals_are_those_of_the_benchmark(algorithm: str, maze: str) -> None:
    recipe = PRESETS[f"{algorithm}-{maze}"].recipe
    task = named_task(f"maze2d-{maze}")
    assert isinstance(recipe, OfflineConfig) and task.goal is not None
    assert recipe.goal == tuple(task.goal) and recipe.radius == task.maze.suite.goal_radius


@pytest.mark.parametrize("name", [name for name in SUITES if name not in SHORT])
def test_plans_are_long_enough_for_the_longest_path(name: str) -> None:
    require_long_enough(PRESETS[name])


@pytest.mark.parametrize("name", [name for name in SHORT if "actions" not in name])
def test_short_windows_are_trained_without_a_known_goal_too(name: str) -> None:
    """Where they are joined, the windows inside have neither start nor goal."""
    recipe = PRESETS[name].recipe
    assert isinstance(recipe, ForcingConfig) and recipe.tokens > 2
    assert recipe.levels.known_start == recipe.levels.known_goal == 0.5


@pytest.mark.parametrize("side", [3, 9, 25])
def test_plans_in_a_custom_maze_are_long_enough(side: int) -> None:
    rows = [
        [0 < i < side + 1 and 0 < j < side + 1 for j in range(side + 2)] for i in range(side + 2)
    ]
    preset = custom_preset(parse_maze(~np.array(rows)))
    require_long_enough(preset)
    assert preset.data_steps is not None and 500_000 <= preset.data_steps <= 4_000_000


def require_long_enough(preset: Preset) -> None:
    """The plan is a tenth longer than the longest shortest path at top speed, some 20 steps a cell.

    The longest path is found by breadth-first search from every cell.
    """
    recipe, maze = preset.recipe, preset.maze
    assert isinstance(recipe, ForcingConfig)
    free = {tuple(cell) for cell in maze.free_cells.tolist()}
    longest = 0
    for start in free:
        reached, ring, steps = {start}, {start}, 0
        while ring:
            longest, steps = max(longest, steps), steps + 1
            around = {
                (i + a, j + b) for i, j in ring for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))
            }
            ring = (around & free) - reached
            reached |= ring
    assert maze.diameter == longest
    steps_a_cell = 1 / 0.0523 if maze.suite is not OGBENCH else 4 / 0.2
    assert (recipe.tokens - 1) * recipe.layout.token_steps > 1.1 * longest * steps_a_cell


def test_data_is_collected_once(tmp_path: Path) -> None:
    small = replace(PRESETS["maze2d-umaze"], data_steps=3000)
    file = preset_data(small, tmp_path)
    data = load_data(file)
    assert file.parent == tmp_path and len(data) == 3000 and data.maze is not None
    TokenWindows(data, ForcingConfig(tokens=12).layout)
    before = file.stat()
    assert preset_data(small, tmp_path) == file and file.stat() == before
