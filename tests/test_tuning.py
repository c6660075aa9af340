"""The choice of clearance on validation episodes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import dfplan
from dfplan.errors import ConfigError
from dfplan.mazes import named_maze
from dfplan.planning.single import ForcingPlanner
from dfplan.pretrained import checkpoint_path
from dfplan.training.checkpoint import Checkpoint
from dfplan.tuning import tune_clearance, validation_tasks


def test_the_chosen_clearance_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "planner.safetensors"
    shutil.copy(checkpoint_path("maze2d-umaze"), path)
    chosen = tune_clearance(path, episodes=1)
    assert chosen is not None
    before, after = Checkpoint.load(checkpoint_path("maze2d-umaze")), Checkpoint.load(path)
    assert after.statistics.clearance == chosen
    assert after.network.keys() == before.network.keys()
    planner = dfplan.load(path)
    assert isinstance(planner, ForcingPlanner)
    assert planner.model.statistics.clearance == chosen


def test_only_validation_problems_of_the_maze_are_used() -> None:
    tasks = validation_tasks(named_maze("umaze").text)
    assert {task.id for task in tasks} == {"maze2d-umaze", "multi2d-umaze"}
    assert {task.split for task in tasks} == {"validation"}
    assert validation_tasks("####\n#OO#\n####") == validation_tasks(None) == []


def test_a_clearance_is_for_planners_by_diffusion_forcing() -> None:
    with pytest.raises(ConfigError, match="ForcingPlanner"):
        tune_clearance(Path("benchmarks/checkpoints/diffuser-umaze.safetensors"))
