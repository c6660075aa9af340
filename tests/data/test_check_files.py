"""``dfplan data check`` of whole files, long files, and its pictures."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.collect import generate
from dfplan.data.anomalies import sample_steps
from dfplan.data.checks.check import check, draw_check
from dfplan.tokens.motion import fit_motion
from dfplan.types import Recording


def walk(count: int) -> Recording:
    """A body that goes to and fro in the upper corridor of D4RL's umaze."""
    velocity = 2 * np.sin(np.arange(count)[:, None] / 50) * [0.0, 1.0]
    position = [0.8, 1.0] + 0.01 * np.cumsum(velocity, axis=0)
    return Recording(
        observations=np.concatenate([position, velocity], axis=1).astype(np.float32),
        actions=np.zeros((count, 2), np.float32),
        episodes=np.array([0, count // 2]),
        source="walk",
        rewards=(np.arange(count) % 7 == 0).astype(np.float32),
        goals=np.ones((count, 2), np.float32),
        terminals=np.zeros(count, bool),
        timeouts=np.zeros(count, bool),
        maze="umaze",
    )


def test_memory_does_not_grow_with_the_data(
    monkeypatch: pytest.MonkeyPatch, limit_blocks: Callable[[int], None]
) -> None:
    def peak(count: int) -> int:
        data = walk(count)
        check(data)
        tracemalloc.start()
        check(data)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    def fewer(parts: np.ndarray, maximum: int) -> np.ndarray:
        return sample_steps(parts, min(maximum, 1000))

    limit_blocks(1000)
    for module in ("dfplan.data.anomalies", "dfplan.data.checks.training"):
        monkeypatch.setattr(f"{module}.sample_steps", fewer)
    monkeypatch.setattr(
        "dfplan.data.checks.training.fit_motion", lambda data, rows: fit_motion(data, 1000)
    )
    small, large = peak(10_000), peak(100_000)
    assert large - small < 90_000 / 8


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    pytest.importorskip("mujoco")
    path = tmp_path_factory.mktemp("data") / "umaze.hdf5"
    generate("umaze", 5000, seed=0, path=path, workers=1, progress=False)
    with h5py.File(path) as file:
        return Recording(
            observations=file["observations"][()],
            actions=file["actions"][()],
            episodes=file["metadata/joints"][()],
            source=path.name,
            rewards=file["rewards"][()],
            goals=file["infos/goal"][()],
            terminals=file["terminals"][()],
            timeouts=file["timeouts"][()],
            maze=file.attrs["maze"],
        )


def test_generated_data_is_sound(generated: Recording) -> None:
    report = check(generated)
    assert report.findings == ()
    assert report.facts["coverage"] == "7 of 7 free cells visited (100%)"
    assert report.facts["measured at"].startswith("the row's own position")


def test_a_picture_of_the_report_is_drawn_even_of_bad_data(tmp_path: Path) -> None:
    data = walk(1000)
    data.observations[100:120] = [0.9, 0.9, 1, 1]
    data.observations[600] = np.nan
    for maze in ("umaze", "###\n#", None):
        data = replace(data, maze=maze)
        assert draw_check(tmp_path / "check.png", data, check(data)).stat().st_size > 1000
