"""Training on a large file, which is read during the whole run and must not change."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfplan.data import load_data, storage
from dfplan.errors import DataError
from dfplan.training import state as state_module
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train
from dfplan.training.objective import Batch, Objective
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.offline import OfflineConfig, OfflineSettings, train_offline
from dfplan.training.settings import TrainSettings
from dfplan.types import Trajectories

SETTINGS = TrainSettings(steps=6, batch_size=8, warmup=3, save_every=2, log_every=2)


@pytest.fixture
def tiny(recipe: ForcingConfig) -> ForcingConfig:
    return replace(recipe, tokens=5, width=8, layers=1, heads=1)


@pytest.fixture
def file(trajectories: Trajectories, tmp_path: Path) -> Path:
    ends = np.zeros(len(trajectories), bool)
    ends[trajectories.segments[:, 1] - 1] = True
    observations, actions = trajectories.observations, trajectories.actions
    np.savez(tmp_path / "data.npz", observations=observations, actions=actions, terminals=ends)
    return tmp_path / "data.npz"


@pytest.fixture
def mapped(file: Path, monkeypatch: pytest.MonkeyPatch) -> Trajectories:
    monkeypatch.setattr(storage, "LARGE", 1)
    data = load_data(file)
    assert [stamp.path for stamp in data.mapped] == [file]
    return data


def test_a_mapped_file_trains_the_same_as_a_copied_one(
    tiny: ForcingConfig,
    file: Path,
    mapped: Trajectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    copied = load_data(file)
    assert not copied.mapped and copied == mapped
    one, other = (
        train(tiny, data, tmp_path / name, settings=SETTINGS, progress=False)
        for name, data in (("mapped", mapped), ("copied", copied))
    )
    assert all((one.network[name] == other.network[name]).all() for name in one.network)


def test_a_changed_file_is_refused_at_the_beginning(
    tiny: ForcingConfig, file: Path, mapped: Trajectories, tmp_path: Path
) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")
    with pytest.raises(DataError, match=r"data\.npz was changed"):
        train(tiny, mapped, tmp_path / "run", settings=SETTINGS, progress=False)
    offline = OfflineConfig("iql", goal=(0.0, 40.0))
    with pytest.raises(DataError, match=r"data\.npz was changed"):
        train_offline(
            offline, mapped, tmp_path / "run", settings=OfflineSettings(steps=1), progress=False
        )
    assert not list(tmp_path.rglob("*.safetensors"))


def test_nothing_is_saved_after_the_file_has_changed(
    tiny: ForcingConfig,
    file: Path,
    mapped: Trajectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file changes after the first state was saved, from which the run can resume."""
    save = state_module.write_tensors

    def change(path: Path, *content: object) -> None:
        save(path, *content)
        with file.open("ab") as opened:
            opened.write(b"more")

    monkeypatch.setattr(state_module, "write_tensors", change)
    with pytest.raises(DataError, match=r"data\.npz was changed"):
        train(tiny, mapped, tmp_path / "run", settings=SETTINGS, progress=False)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    monkeypatch.setattr(state_module, "write_tensors", save)
    data = load_data(file)
    resumed = train(tiny, data, tmp_path / "run", settings=SETTINGS, resume=True, progress=False)
    assert isinstance(resumed, Checkpoint) and resumed.training["step"] == SETTINGS.steps


def test_a_file_that_is_cut_between_two_saves_is_an_error(
    file: Path, mapped: Trajectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the missing part of a mapped file would end the process."""
    objective = CloningConfig.objective

    def cutting(recipe: CloningConfig, *data: Any) -> Objective:
        whole, draws = objective(recipe, *data), count()

        def draw(size: int, generator: torch.Generator) -> Batch:
            batch = whole.draw(size, generator)
            if next(draws) == 4:  # in the thread that reads, which is not reading now
                os.truncate(file, 1000)
            return batch

        return replace(whole, draw=draw)

    monkeypatch.setattr(CloningConfig, "objective", cutting)
    settings = replace(SETTINGS, steps=100, save_every=100)
    with pytest.raises(DataError, match=r"data\.npz was changed"):
        train(CloningConfig(width=8), mapped, tmp_path / "run", settings=settings, progress=False)
