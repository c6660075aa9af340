"""The registry of recipes, and what reading a checkpoint imports."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import dfplan
from dfplan.errors import CheckpointError, ConfigError
from dfplan.pretrained import pretrained_names
from dfplan.training.checkpoint import STORED_NAMES, Checkpoint, from_stored, to_stored
from dfplan.training.presets import PRESETS
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.registry import RECIPES, RecipeEntry, recipe_class, recipe_of


def test_the_recipe_of_each_preset_is_registered_under_its_name() -> None:
    assert {preset.recipe.name for preset in PRESETS.values()} == set(RECIPES)
    for preset in PRESETS.values():
        assert recipe_class(preset.recipe.name) is type(preset.recipe)


@pytest.fixture
def registered() -> Any:
    """Removes what a test registers."""
    before = dict(RECIPES)
    yield
    RECIPES.clear()
    RECIPES.update(before)


def test_a_new_recipe_can_be_loaded(registered: None, trained: Any, tmp_path: Any) -> None:
    RECIPES["mine"] = RecipeEntry(f"{ForcingConfig.__module__}:ForcingConfig", "planner")
    checkpoint = Checkpoint.load(trained.checkpoint)
    path = Checkpoint(**{**vars(checkpoint), "recipe": "mine"}).save(tmp_path / "c.safetensors")
    assert dfplan.load(path).model.layout == dfplan.load(trained.checkpoint).model.layout
    with pytest.raises(CheckpointError, match=r"tracker.*planner.*mine"):
        dfplan.load_inverse(path)


def test_names_are_unique_and_known(registered: None) -> None:
    entry = RECIPES["forcing"]
    RECIPES["forcing"] = entry  # the same again
    with pytest.raises(ConfigError, match="already a recipe"):
        RECIPES["forcing"] = RecipeEntry("other.module:Config", "planner")
    with pytest.raises(ConfigError, match="Class"):
        RecipeEntry("no.colon", "planner")
    with pytest.raises(ConfigError, match="Did you mean 'forcing'"):
        recipe_class("forcin")


def test_stored_names_are_the_inverse_of_settings() -> None:
    config = ForcingConfig(network="causal_transformer", parallel_teacher_forcing=True)
    stored = config.to_json()
    assert stored["clean_past"] is True and not STORED_NAMES.keys() & stored.keys()
    assert ForcingConfig.from_json(stored) == config
    assert to_stored(from_stored(stored)) == stored


@pytest.mark.parametrize("name", pretrained_names())
def test_settings_of_shipped_checkpoints_keep_their_stored_names(name: str) -> None:
    checkpoint = dfplan.pretrained.read_checkpoint(name)
    recipe = recipe_of(checkpoint)
    stored = json.loads(json.dumps(recipe.to_json()))
    assert checkpoint.config.keys() <= stored.keys()
    assert type(recipe).from_json(stored) == recipe


def test_reading_a_checkpoint_imports_no_networks_or_planners() -> None:
    code = (
        "import sys, torch; before = {*sys.modules}\n"
        "from dfplan.pretrained import read_checkpoint\n"
        "read_checkpoint(sys.argv[1]).describe()\n"
        "print(*{'.'.join(name.split('.')[:2]) for name in {*sys.modules} - before})"
    )
    name = pretrained_names()[0]
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = {name.removeprefix("dfplan.") for name in done.stdout.split()}
    heavy = {"networks", "planning", "sampling", "diffusion", "data", "lightning_fabric"}
    assert not {name.partition(".")[0] for name in loaded} & (heavy | {"scipy", "matplotlib"})
