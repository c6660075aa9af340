"""Comparison of two benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfplan.bench.compare import compare
from dfplan.bench.records import Run
from dfplan.errors import ConfigError, DataError

MakeRun = Callable[..., Run]
WriteRuns = Callable[..., Path]


def test_a_folder_has_not_changed_from_itself(
    bench_runs: list[Run], write_runs: WriteRuns, tmp_path: Path
) -> None:
    folder = write_runs(tmp_path, bench_runs)
    text = compare(folder, folder)
    assert f"0 changed significantly, 0 not significantly, {len(bench_runs)} are identical" in text
    assert text.count("| identical |") == len(bench_runs)
    for word in ("Only in", "Different problems", "Provenance", "better", "worse"):
        assert word not in text


def test_significant_and_other_changes(
    make_run: MakeRun, write_runs: WriteRuns, tmp_path: Path
) -> None:
    run = make_run("maze2d-large", "dfplan", late=10)
    gaps = {0: 5.0 * np.ones(20), 1: -5.0 * np.ones(20), 2: np.tile([3.0, -2.9], 10)}
    gaps[3] = np.zeros(20)
    olds, news = [], []
    for seed, gap in gaps.items():
        old = replace(run, header=replace(run.header, name=replace(run.name, seed=seed)))
        pairs = zip(old.episodes, gap, strict=True)
        rows = tuple(replace(row, score=row.score + float(each)) for row, each in pairs)
        plan = old.cost.plan
        assert plan is not None
        faster = replace(old.cost, plan=replace(plan, p50=plan.p50 / 2))
        olds.append(old)
        news.append(replace(old, episodes=rows, cost=faster))
    before, after = write_runs(tmp_path / "a", olds), write_runs(tmp_path / "b", news)
    text = compare(before, after)
    lines = [line for line in text.splitlines() if line.startswith("| maze2d-large")]
    verdicts = [line.split(" | ")[7] for line in lines]
    assert verdicts == ["better", "worse", "not significant", "identical"]
    assert "+5.0 ± 0.0" in lines[0] and all(line.endswith("| 0.50 |") for line in lines)
    assert "2 changed significantly, 1 not significantly, 1 are identical" in text
    back = [
        line.split(" | ")[7] for line in compare(after, before).splitlines() if "| maze" in line
    ]
    assert back == ["worse", "better", "not significant", "identical"]


def test_different_problems_are_not_compared(
    make_run: MakeRun, write_runs: WriteRuns, tmp_path: Path
) -> None:
    before = write_runs(tmp_path / "a", [make_run("maze2d-umaze", "dfplan")])
    other = make_run("maze2d-umaze", "dfplan", late=50, problems="1" * 64)
    text = compare(before, write_runs(tmp_path / "b", [other]))
    assert "0 runs are in both" in text and "1 have different problems" in text
    assert "11111111" in text and "worse" not in text


def test_a_shorter_run_is_compared_on_its_problems(
    make_run: MakeRun, write_runs: WriteRuns, tmp_path: Path
) -> None:
    run = make_run("maze2d-umaze", "dfplan")
    few = replace(
        run,
        episodes=run.episodes[:8],
        header=replace(run.header, episode_count=8, problems_digest="1" * 64),
    )
    whole, part = write_runs(tmp_path / "a", [run]), write_runs(tmp_path / "b", [few])
    for text in (compare(whole, part), compare(part, whole)):
        assert "0 not significantly, 1 are identical" in text
        assert "Only the first 8 problems" in text
    moved = replace(
        few, episodes=(*few.episodes[:7], replace(few.episodes[7], start=(0.0, 0.0, 0.0, 0.0)))
    )
    text = compare(whole, write_runs(tmp_path / "c", [moved]))
    assert "0 runs are in both" in text and "1 have different problems" in text


def test_runs_in_one_folder_and_provenance(
    make_run: MakeRun, write_runs: WriteRuns, tmp_path: Path
) -> None:
    run, extra = make_run("maze2d-umaze", "dfplan"), make_run("maze2d-umaze", "diffuser")
    source = replace(
        run.provenance, commit="f00d", versions={**run.provenance.versions, "numpy": "9"}
    )
    new = replace(run, provenance=source, header=replace(run.header, checkpoint_digest="b" * 64))
    before = write_runs(tmp_path / "a", [run, extra])
    text = compare(before, write_runs(tmp_path / "b", [new]))
    assert "Only in the first" in text and "diffuser · pursuit, seed 0" in text
    assert "| f00d |" in text and "| numpy | 2.4.6 | 9 |" in text and "| bbbbbbbb |" in text
    assert "machine" not in text


def test_two_folders_of_different_protocols(
    make_run: MakeRun, write_runs: WriteRuns, tmp_path: Path
) -> None:
    before = write_runs(tmp_path / "a", [make_run("maze2d-umaze", "dfplan")])
    after = write_runs(tmp_path / "b", [make_run("ogbench-medium-navigate", "dfplan")])
    with pytest.raises(ConfigError, match=r"d4rl-maze2d-v1 and .*ogbench-pointmaze-v0"):
        compare(before, after)


def test_another_format_is_refused(
    make_run: MakeRun, write_runs: WriteRuns, tmp_path: Path
) -> None:
    folder = write_runs(tmp_path, [make_run("maze2d-umaze", "dfplan")])
    (path,) = folder.glob("cells/*/*.jsonl")
    path.write_text(path.read_text().replace('"format": 2', '"format": 1', 1))
    with pytest.raises(DataError, match="format 1"):
        compare(folder, folder)
