from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dfplan.data import load_data
from dfplan.data.windows import Windows
from dfplan.mazes import named_maze
from dfplan.training import presets
from dfplan.training.presets import PRESETS, preset_data
from dfplan.training.recipes import ForcingConfig

D4RL_STEPS = {"umaze": 1_000_000, "medium": 2_000_000, "large": 4_000_000}

RECIPES = {"maze2d": "forcing", "diffuser": "diffuser", "value": "value"}


def test_every_maze_has_a_preset_of_each_method() -> None:
    assert set(PRESETS) == {f"{method}-{maze}" for method in RECIPES for maze in D4RL_STEPS}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_of_their_maze_at_d4rls_size(name: str) -> None:
    preset = PRESETS[name]
    method, maze = name.split("-")
    assert preset.maze == maze
    assert preset.data_steps == D4RL_STEPS[preset.maze]
    assert preset.recipe.name == RECIPES[method]
    preset.recipe.untrained()
    assert type(preset.recipe).from_json(preset.recipe.to_json()) == preset.recipe


@pytest.mark.parametrize("maze", D4RL_STEPS)
def test_plans_are_long_enough_for_the_longest_way(maze: str) -> None:
    recipe = PRESETS[f"maze2d-{maze}"].recipe
    assert isinstance(recipe, ForcingConfig)
    built = named_maze(maze)
    cells = built.free_cells
    ways = (len(built.shortest_cells(start, goal)) for start in cells for goal in cells)
    steps_a_cell = 1 / 0.0523
    assert (recipe.tokens - 1) * recipe.layout.token_steps > 1.1 * max(ways) * steps_a_cell


def test_data_is_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(PRESETS["maze2d-umaze"], data_steps=3000)
    file = preset_data(small, tmp_path)
    data = load_data(file)
    assert file.parent == tmp_path and len(data) == 3000 and data.maze is not None
    Windows(data, ForcingConfig(tokens=12).layout)
    monkeypatch.setattr(presets, "generate", None)  # would raise if it were called
    assert preset_data(small, tmp_path) == file
