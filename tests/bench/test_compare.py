"""What is said of two benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfplan.bench.compare import compare
from dfplan.bench.records import Cell
from dfplan.errors import ConfigError, DataError

MakeCell = Callable[..., Cell]
WriteCells = Callable[..., Path]


def test_a_folder_has_not_changed_from_itself(
    bench_cells: list[Cell], write_cells: WriteCells, tmp_path: Path
) -> None:
    folder = write_cells(tmp_path, bench_cells)
    text = compare(folder, folder)
    assert f"0 changed, 0 by no more than noise, {len(bench_cells)} not at all" in text
    assert text.count("| the same |") == len(bench_cells)
    for word in ("Only in", "Different problems", "Where they come from", "better", "worse"):
        assert word not in text


def test_what_changed_and_what_is_noise(
    make_cell: MakeCell, write_cells: WriteCells, tmp_path: Path
) -> None:
    cell = make_cell("maze2d-large", "dfplan", late=10)
    gaps = {0: 5.0 * np.ones(20), 1: -5.0 * np.ones(20), 2: np.tile([3.0, -2.9], 10)}
    gaps[3] = np.zeros(20)
    olds, news = [], []
    for seed, gap in gaps.items():
        old = replace(cell, head=replace(cell.head, name=replace(cell.name, seed=seed)))
        pairs = zip(old.rows, gap, strict=True)
        rows = tuple(replace(row, score=row.score + float(each)) for row, each in pairs)
        plan = old.cost.plan
        assert plan is not None
        faster = replace(old.cost, plan=replace(plan, p50=plan.p50 / 2))
        olds.append(old)
        news.append(replace(old, rows=rows, cost=faster))
    before, after = write_cells(tmp_path / "a", olds), write_cells(tmp_path / "b", news)
    text = compare(before, after)
    lines = [line for line in text.splitlines() if line.startswith("| maze2d-large")]
    verdicts = [line.split(" | ")[7] for line in lines]
    assert verdicts == ["better", "worse", "noise", "the same"]
    assert "+5.0 ± 0.0" in lines[0] and all(line.endswith("| 0.50 |") for line in lines)
    assert "2 changed, 1 by no more than noise, 1 not at all" in text
    back = [
        line.split(" | ")[7] for line in compare(after, before).splitlines() if "| maze" in line
    ]
    assert back == ["worse", "better", "noise", "the same"]


def test_other_problems_are_not_paired(
    make_cell: MakeCell, write_cells: WriteCells, tmp_path: Path
) -> None:
    before = write_cells(tmp_path / "a", [make_cell("maze2d-umaze", "dfplan")])
    other = make_cell("maze2d-umaze", "dfplan", late=50, problems="1" * 64)
    text = compare(before, write_cells(tmp_path / "b", [other]))
    assert "0 cells are in both" in text and "1 met different problems" in text
    assert "11111111" in text and "worse" not in text


def test_a_slice_is_compared_on_its_own_problems(
    make_cell: MakeCell, write_cells: WriteCells, tmp_path: Path
) -> None:
    cell = make_cell("maze2d-umaze", "dfplan")
    few = replace(cell, rows=cell.rows[:8], head=replace(cell.head, episodes=8, problems="1" * 64))
    whole, part = write_cells(tmp_path / "a", [cell]), write_cells(tmp_path / "b", [few])
    for text in (compare(whole, part), compare(part, whole)):
        assert "0 by no more than noise, 1 not at all" in text
        assert "Compared are the first 8 of the problems." in text
    moved = replace(few, rows=(*few.rows[:7], replace(few.rows[7], start=(0.0, 0.0, 0.0, 0.0))))
    text = compare(whole, write_cells(tmp_path / "c", [moved]))
    assert "0 cells are in both" in text and "1 met different problems" in text


def test_what_is_in_one_alone_and_where_it_comes_from(
    make_cell: MakeCell, write_cells: WriteCells, tmp_path: Path
) -> None:
    cell, extra = make_cell("maze2d-umaze", "dfplan"), make_cell("maze2d-umaze", "diffuser")
    source = replace(
        cell.provenance, commit="f00d", versions={**cell.provenance.versions, "numpy": "9"}
    )
    new = replace(cell, provenance=source, head=replace(cell.head, model="b" * 64))
    before = write_cells(tmp_path / "a", [cell, extra])
    text = compare(before, write_cells(tmp_path / "b", [new]))
    assert "Only in the first" in text and "diffuser · pursuit, seed 0" in text
    assert "| f00d |" in text and "| numpy | 2.4.6 | 9 |" in text and "| bbbbbbbb |" in text
    assert "machine" not in text


def test_two_folders_of_different_protocols(
    make_cell: MakeCell, write_cells: WriteCells, tmp_path: Path
) -> None:
    before = write_cells(tmp_path / "a", [make_cell("maze2d-umaze", "dfplan")])
    after = write_cells(tmp_path / "b", [make_cell("ogbench-medium-navigate", "dfplan")])
    with pytest.raises(ConfigError, match=r"d4rl-maze2d-v1 and .* holds ogbench-pointmaze-v0"):
        compare(before, after)


def test_a_folder_of_another_format(
    make_cell: MakeCell, write_cells: WriteCells, tmp_path: Path
) -> None:
    folder = write_cells(tmp_path, [make_cell("maze2d-umaze", "dfplan")])
    (path,) = folder.glob("cells/*/*.jsonl")
    path.write_text(path.read_text().replace('"format": 2', '"format": 1', 1))
    with pytest.raises(DataError, match="format 1"):
        compare(folder, folder)
