"""The checkpoints of the benchmark that are not shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfplan.pretrained import checkpoint_path
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.presets import PRESETS

FILES = sorted((Path(__file__).parents[1] / "benchmarks" / "checkpoints").glob("*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_checkpoints_fit_their_presets_and_seeds(path: Path) -> None:
    # The name of a preset may contain "-s" itself.
    name, _, seed = (path.stem, "", "0") if path.stem in PRESETS else path.stem.rpartition("-s")
    checkpoint, preset = Checkpoint.load(path), PRESETS[name]
    assert checkpoint.recipe == preset.recipe.name
    assert type(preset.recipe).from_json(checkpoint.config) == preset.recipe
    assert checkpoint.training["steps"] == preset.settings.steps
    assert checkpoint.training["seed"] == int(seed)
    assert "/" not in checkpoint.data["source"], "a path of somebody's machine"
    if seed != "0":
        sibling = path.with_name(f"{name}.safetensors")
        first = Checkpoint.load(sibling if sibling in FILES else checkpoint_path(name))
        assert checkpoint.data["fingerprint"] == first.data["fingerprint"]
