from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfplan.errors import DataError
from dfplan.evaluation.bounds import return_bounds
from dfplan.evaluation.protocols import TASKS, named_task, problems
from dfplan.evaluation.provenance import Provenance, provenance
from dfplan.evaluation.report import (
    Row,
    bound_row,
    markdown,
    measured_row,
    published_rows,
    read_rows,
    terminal,
    write_markdown,
    write_rows,
)
from dfplan.evaluation.rollout import Latency, Rollouts

SOURCE = provenance("dfplan bench --episodes 20", seconds=12.3)


def _episodes(name: str, arrival: int, count: int = 20, digest: str | None = None) -> Rollouts:
    """Made-up episodes that arrive around a step and stay."""
    task = named_task(name)
    arrivals = arrival + 5 * np.arange(count)[:, None]
    return Rollouts(
        task=task,
        digest=digest or problems(task, count).digest,
        rewards=(np.arange(1, task.max_steps + 1) >= arrivals).astype(np.float32),
        positions=np.zeros((count, task.max_steps + 1, 2), dtype=np.float32),
        seconds=1.0,
        policy_seconds=0.5,
    )


def _rows() -> list[Row]:
    timing = Latency(seconds=np.linspace(0.08, 0.12, 9), evaluations=np.full(9, 200))
    rows = []
    for name in TASKS:
        task = named_task(name)
        drawn = problems(task, 20)
        bounds = return_bounds(task, drawn)
        controller, ours = _episodes(name, 100), _episodes(name, 70)
        rows += [
            bound_row(task, drawn),
            measured_row("data's own controller", controller, bounds),
            measured_row(
                "dfplan without Monte Carlo guidance",
                ours,
                bounds,
                tracker="pursuit",
                reference=controller,
                latency=timing,
            ),
            *published_rows(task),
        ]
    return rows


ROWS = _rows()


def test_rows_read_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    write_rows(path, ROWS, SOURCE)
    assert read_rows(path) == (ROWS, SOURCE)


def test_measured_row_says_how_it_was_made() -> None:
    row = next(row for row in ROWS if row.tracker and row.task == "maze2d-large")
    assert row.n == 20 and row.scored == "true" and row.spread_kind == "95%"
    assert row.problems == problems(named_task("maze2d-large"), 20).digest
    assert row.protocol is not None and "800 steps" in row.protocol
    assert row.difference == pytest.approx(30 / 267.29 * 100)
    assert row.difference_ci95 == pytest.approx(0.0, abs=1e-9)
    assert row.evaluations == 200 and row.plan_p50 == pytest.approx(0.1)
    assert row.latched == pytest.approx(row.score)


def test_reference_must_have_met_the_same_problems() -> None:
    ours, other = _episodes("maze2d-umaze", 70), _episodes("maze2d-umaze", 70, digest="0" * 64)
    with pytest.raises(DataError, match="different problems"):
        measured_row("dfplan", ours, np.full(20, 250.0), reference=other)


def test_terminal_fits_and_aligns() -> None:
    lines = terminal(ROWS).splitlines()
    assert max(map(len, lines)) <= 110
    start = lines.index(next(line for line in lines if line.startswith("maze2d-large (")))
    table = lines[start + 2 : start + 9]
    assert "Score" in table[0] and "controller" in table[1]


@pytest.mark.parametrize("render", [terminal, lambda rows: markdown(rows, SOURCE)])
def test_reader_sees_n_protocol_and_spread(render: object) -> None:
    text = " ".join(render(ROWS).split())  # type: ignore[operator]
    assert "half of the 95% t interval" in text
    assert "random goal per episode, 800 steps" in text
    assert "true sum of rewards" in text and "latched or unclear: not comparable" in text


def test_unclear_figures_never_stand_in_a_table_with_true_ones() -> None:
    sections = markdown(ROWS, SOURCE).split("## ")
    unclear = [part for part in sections if "| Diffusion Forcing |" in part]
    assert len(unclear) == 2  # once a suite
    for part in unclear:
        assert "not comparable" in part.splitlines()[0]
        assert "| true |" not in part and "pursuit" not in part


def test_single_episode_has_no_interval() -> None:
    row = measured_row("dfplan", _episodes("maze2d-umaze", 70, count=1), np.array([250.0]))
    assert row.spread is None
    assert terminal([row]).count("±") == 1  # in the legend


def test_markdown_names_command_machine_and_commit(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    write_markdown(path, ROWS, SOURCE)
    text = path.read_text(encoding="utf-8")
    assert "`dfplan bench --episodes 20`" in text
    assert f"{SOURCE.cores} cores" in text and SOURCE.cpu in text
    assert f"numpy {np.__version__}" in text


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    write_rows(path, ROWS, SOURCE)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_rows(path, [replace(ROWS[0], score=float("nan"))], SOURCE)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["rows.json"]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"format": 2}', '{"format": 1, "provenance": {}, "rows": [{"a": 1}]}'],
)
def test_foreign_files_are_errors(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"rows\.json"):
        read_rows(path)


def test_provenance_describes_this_machine() -> None:
    assert isinstance(SOURCE, Provenance)
    assert SOURCE.cores >= 1 and SOURCE.cpu
    assert {"python", "numpy", "mujoco"} <= SOURCE.versions.keys()
