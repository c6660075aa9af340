"""An interrupted collection continues, and gives the same file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dfplan.collect import d4rl, generate
from dfplan.collect.d4rl import D4RLCollector
from dfplan.collect.minari import MinariCollector
from dfplan.collect.ogbench import OGBenchCollector
from dfplan.collect.shards import collect_shards, join_shards
from dfplan.errors import ConfigError, DataError
from dfplan.mazes import named_maze
from dfplan.types import Recording

RUN = """
import sys
from dfplan.collect import d4rl, generate
d4rl.SHARD_STEPS = 1000
if __name__ == "__main__":
    generate("umaze", 40_000, seed=3, path=sys.argv[1], workers=1, progress=False)
"""


class _NoBar:
    def update(self, steps: int) -> None:
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_collection_continues_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    path = tmp_path / "data.hdf5"
    parts = tmp_path / "data.hdf5.parts"
    run = subprocess.Popen([sys.executable, script, path], stderr=subprocess.DEVNULL)
    until(lambda: len(list(parts.glob("0*.npz"))) > 3)
    run.send_signal(number)
    run.wait(60)
    assert not path.exists()
    kept = {file.name: file.stat().st_mtime_ns for file in parts.glob("0*.npz")}
    assert 3 < len(kept) < 40

    monkeypatch.setattr(d4rl, "SHARD_STEPS", 1000)
    began: list[int] = []
    collect = D4RLCollector.collect

    def counted(collector: D4RLCollector, shard: int, seed: np.random.SeedSequence) -> Recording:
        began.append(shard)
        return collect(collector, shard, seed)

    monkeypatch.setattr(D4RLCollector, "collect", counted)
    generate("umaze", 40_000, seed=3, path=path, workers=1, progress=False)
    assert len(began) == 40 - len(kept)
    assert not parts.exists()
    whole = generate(
        "umaze", 40_000, seed=3, path=tmp_path / "whole.hdf5", workers=1, progress=False
    )
    assert path.read_bytes() == whole.read_bytes()


def test_workers_do_not_outlive_a_killed_run(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN.replace("workers=1", "workers=2").replace("40_000", "400_000"))
    parts = tmp_path / "data.hdf5.parts"
    run = subprocess.Popen(
        [sys.executable, script, tmp_path / "data.hdf5"],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: len(list(parts.glob("0*.npz"))) > 1)
    run.kill()
    run.wait(60)
    until(lambda: not group_lives(run.pid))


def test_an_interrupt_does_not_wait_for_the_parts_in_work(tmp_path: Path) -> None:
    """Each of the two would take minutes."""
    script = tmp_path / "run.py"
    endless = RUN.replace("workers=1", "workers=2").replace("40_000", "40_000_000")
    script.write_text(endless.replace("STEPS = 1000", "STEPS = 20_000_000"))
    run = subprocess.Popen(
        [sys.executable, script, tmp_path / "data.hdf5"],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until((tmp_path / "data.hdf5.parts" / "header.json").exists)
    time.sleep(1.5)  # the workers begin
    run.send_signal(signal.SIGINT)
    assert run.wait(30) != 0
    assert list(tmp_path.iterdir()) == [script]
    until(lambda: not group_lives(run.pid))


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def until(fulfilled: object, seconds: float = 100.0) -> None:
    end = time.monotonic() + seconds
    while not fulfilled():  # type: ignore[operator]
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


PLANS = {
    "d4rl": lambda: D4RLCollector(named_maze("umaze"), 1000, 300),
    "minari": lambda: MinariCollector(named_maze("pointmaze-umaze"), 1000, 300),
    "ogbench": lambda: OGBenchCollector(named_maze("ogbench-medium"), "stitch", 4, 60, 60),
}


@pytest.mark.parametrize("name", PLANS)
def test_an_interrupt_changes_no_number(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = PLANS[name]()
    collect = type(plan).collect

    def run(folder: Path) -> Recording:
        files = collect_shards(plan, 7, folder, {"seed": 7}, 1, _NoBar())  # type: ignore[arg-type]
        return join_shards(files, "test", plan.maze.text)

    whole = run(tmp_path / "whole")

    def broken_off(collector: object, shard: int, seed: np.random.SeedSequence) -> Recording:
        if shard == 2:
            raise KeyboardInterrupt
        return collect(collector, shard, seed)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(plan), "collect", broken_off)
        run(tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("0*.npz"))) == 2
    again = run(tmp_path / "parts")
    for field, values in vars(whole).items():
        np.testing.assert_array_equal(values, getattr(again, field), err_msg=field)
    assert sum(plan.shard_sizes) == len(whole) - (
        0 if whole.final_observations is None else int(whole.final_observations.sum())
    )


def test_every_shard_is_other_data(tmp_path: Path) -> None:
    plan = PLANS["minari"]()
    files = collect_shards(plan, 7, tmp_path / "p", {}, 1, _NoBar())  # type: ignore[arg-type]
    starts = [np.load(file)["observations"][0].tolist() for file in files]
    assert len({tuple(start) for start in starts}) == len(files) == 4


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of a collection (umaze, 1000 steps, seed 0) that was broken off."""
    monkeypatch.setattr(d4rl, "SHARD_STEPS", 300)
    collect = D4RLCollector.collect

    def broken_off(collector: D4RLCollector, shard: int, seed: np.random.SeedSequence) -> Recording:
        if shard == 2:
            raise KeyboardInterrupt
        return collect(collector, shard, seed)

    path = tmp_path / "a.hdf5"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(D4RLCollector, "collect", broken_off)
        generate("umaze", 1000, seed=0, path=path, workers=1, progress=False)
    return path


@pytest.mark.parametrize(
    ("maze", "steps", "seed", "said"),
    [
        ("umaze", 1000, 1, "seed 0 instead of 1"),
        ("umaze", 900, 0, "steps 1000 instead of 900"),
        ("medium", 1000, 0, "maze 'umaze' instead of 'medium'"),
    ],
)
def test_other_arguments_are_refused(
    half: Path, maze: str, steps: int, seed: int, said: str
) -> None:
    before = {file: file.read_bytes() for file in half.with_name("a.hdf5.parts").iterdir()}
    with pytest.raises(ConfigError, match=rf"a.hdf5.parts contains .*{said}.*Delete the folder"):
        generate(maze, steps, seed=seed, path=half, workers=1, progress=False)
    assert before == {f: f.read_bytes() for f in half.with_name("a.hdf5.parts").iterdir()}


def test_completed_parts_are_shown(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("umaze", 1000, seed=0, path=half, workers=1)
    assert "1.00k/1.00k" in capsys.readouterr().err


def test_a_damaged_part_is_named(half: Path) -> None:
    part = half.with_name("a.hdf5.parts") / "000001.npz"
    part.write_bytes(part.read_bytes()[:500])
    with pytest.raises(DataError, match=r"000001.npz is damaged.*[Dd]elete it and run"):
        generate("umaze", 1000, seed=0, path=half, workers=1, progress=False)
    part.unlink()
    assert generate("umaze", 1000, seed=0, path=half, workers=1, progress=False).exists()


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a.hdf5.parts"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"parts .*other files.*Move them away"):
        generate("umaze", 100, seed=0, path=tmp_path / "a.hdf5", workers=1, progress=False)
    assert [file.name for file in folder.iterdir()] == ["mine.txt"]
