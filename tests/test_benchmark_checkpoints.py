"""The checkpoints that the benchmark has beside the shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfplan.pretrained import checkpoint_path
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.presets import PRESETS

FILES = sorted((Path(__file__).parents[1] / "benchmarks" / "checkpoints").glob("*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_they_are_those_of_their_presets_and_seeds(path: Path) -> None:
    # A preset's name may hold an -s, too.
    name, _, seed = (path.stem, "", "0") if path.stem in PRESETS else path.stem.rpartition("-s")
    checkpoint, preset = Checkpoint.load(path), PRESETS[name]
    assert checkpoint.recipe == preset.recipe.name
    assert type(preset.recipe).from_json(checkpoint.config) == preset.recipe
    assert checkpoint.training["steps"] == preset.settings.steps
    assert checkpoint.training["seed"] == int(seed)
    assert "/" not in checkpoint.data["source"], "a path of somebody's machine"
    if seed != "0":
        beside = path.with_name(f"{name}.safetensors")
        first = Checkpoint.load(beside if beside in FILES else checkpoint_path(name))
        assert checkpoint.data["fingerprint"] == first.data["fingerprint"]
