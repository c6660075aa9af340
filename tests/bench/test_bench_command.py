"""``dfplan bench``: what it plays, writes, prints and returns."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dfplan import cli
from dfplan.bench import executor as module
from dfplan.bench import plan as bench_module
from dfplan.bench.job import BEAT, Files, Job, LostCellError
from dfplan.bench.plan import Roster
from dfplan.bench.records import read_cells
from dfplan.bench.worker import play
from dfplan.files import exclusive

HERE = Path(__file__).parent
SHORT = "dfplan-maze2d-umaze"


class Said(NamedTuple):
    code: int
    out: str
    error: str


Run = Callable[..., Said]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Jobs that are played, here and without a process."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    jobs: list[Job] = []

    def played(job: Job) -> list[Files]:
        if job.planner == "entrants:leaves":
            raise LostCellError(f"{job.task} is lost")
        jobs.append(job)
        folder = tmp_path / "jobs" / str(len(jobs))
        folder.mkdir(parents=True)
        (folder / BEAT).touch()
        play(job, folder)
        texts = [
            [(folder / f"{index}{ending}").read_text() for ending in (".jsonl", ".json")]
            for index in range(len(job.trackers))
        ]
        names = [job.head(tracker).name for tracker in job.trackers]
        return [Files(name, *text) for name, text in zip(names, texts, strict=True)]

    monkeypatch.setattr(module, "run", played)
    return jobs


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: Any) -> Said:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["dfplan", *words])
        try:
            code = cli.main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Said(code, *capsys.readouterr())

    return call


def test_it_plays_what_is_missing_and_reports_all(
    run: Run, asked: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a run"
    flags = ["--out", out, "--tasks", SHORT, "--episodes=3", "--workers=1"]
    # What a run leaves that is killed.
    temporary = tmp_path / "temporary"
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    left = [out / "cells" / SHORT / ".dfplan-1", out / ".dfplan-sweep-2", out / ".dfplan-3"]
    for folder in (*left, temporary / "dfplan-job-4", temporary / "dfplan-import-5"):
        folder.mkdir(parents=True)
        (folder / "half").write_text("half")
    (out / ".lock").write_text("a benchmark: process 1 on nowhere")
    said = run("bench", *flags, "--planner=controller")
    assert said.code == 0, said.error
    assert [path.name for path in temporary.iterdir()] == ["dfplan-import-5"]
    assert not [path.name for path in out.rglob(".*")]
    assert [job.planner for job in asked] == ["controller"]
    assert "controller" in said.out and said.out.splitlines()[-1].startswith("Written: ")
    assert sorted(path.name for path in out.iterdir()) == ["cells", "report.html", "report.md"]
    (cell,) = read_cells(out)
    wanted = f"dfplan bench --out '{out}' --tasks {SHORT} --episodes=3 --workers=1"
    assert cell.provenance.command == f"{wanted} --planner=controller"

    both = "--planner=controller,entrants:tracked"
    again = run("bench", "run", *flags, both)
    assert again.code == 0 and [job.planner for job in asked][1:] == ["entrants:tracked"]
    assert len(read_cells(out)) == 2 and "entrants:tracked" in again.out
    assert not list(temporary.iterdir())  # a planner of one's own was imported for a try
    assert read_cells(out)[1].provenance.command == f"{wanted} {both}"
    assert run("bench", *flags, both).code == 0 and len(asked) == 2

    compared = run("bench", "compare", out, out)
    assert compared.code == 0 and "entrants:tracked" in compared.out


def test_a_folder_in_which_another_plays_is_let_be(
    run: Run, asked: list[Job], tmp_path: Path
) -> None:
    with exclusive(tmp_path / "out", "a benchmark"):
        said = run("bench", "--out", tmp_path / "out", f"--tasks={SHORT}", "--planner=controller")
    assert said.code == 2 and not asked
    assert said.error.startswith("dfplan: error: ") and said.error.count("\n") == 1
    assert "a benchmark: process" in said.error
    assert not list(tmp_path.glob("out/*"))


def test_what_is_lost_is_said_and_the_rest_is_reported(
    run: Run, asked: list[Job], tmp_path: Path
) -> None:
    flags = ["--out", tmp_path / "out", f"--tasks={SHORT}", "--episodes=2", "--workers=2"]
    said = run("bench", *flags, "--planner=entrants:leaves,controller,entrants:raises_in_make")
    assert said.code == 1
    assert said.error.splitlines()[-1] == f"dfplan: error: {SHORT} is lost"
    assert len(read_cells(tmp_path / "out")) == 2 and "Written: " in said.out
    assert "raised ValueError" in (tmp_path / "out" / "report.md").read_text()


def test_nothing_but_lost_cells_is_an_error(run: Run, asked: list[Job], tmp_path: Path) -> None:
    flags = ["--out", tmp_path / "out", f"--tasks={SHORT}", "--episodes=2", "--workers=1"]
    said = run("bench", *flags, "--planner=entrants:leaves")
    assert said.code == 1 and said.out == "" and f"{SHORT} is lost" in said.error


@pytest.mark.parametrize("words", [["bench"], ["bench", "run"], ["bench", "--full"]])
def test_bench_alone_is_the_shipped_planners_on_d4rls_mazes(
    words: list[str], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entered: list[Roster] = []

    def instead(out: Path, roster: Roster, **how: Any) -> list[str]:
        assert out == Path("runs/bench") and how["backend"] == "processes"
        entered.append(roster)
        raise bench_module.ConfigError("enough")

    monkeypatch.setattr(cli, "bench", instead)
    monkeypatch.chdir(tmp_path)
    said = run(*words)
    assert said.code == 2 and said.error == "dfplan: error: enough\n"
    (roster,) = entered
    assert {job.played.protocol.id for job in roster.jobs} == {"d4rl-maze2d-v1"}
    assert {job.planner for job in roster.jobs} == {*bench_module.DEFAULT}
    assert {job.episodes for job in roster.jobs} == {500 if "--full" in words else 20}
    assert {job.command for job in roster.jobs} == {
        "dfplan bench --full" if "--full" in words else "dfplan bench"
    }


def test_a_folder_that_cannot_be_is_said_in_one_line(
    run: Run, asked: list[Job], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/dfplan")):
        said = run("bench", "--out", out, f"--tasks={SHORT}", "--planner=controller")
        assert said.code == 2 and not asked
        (line,) = [line for line in said.error.splitlines() if "error" in line]
        assert line.startswith("dfplan: error: ") and out.name in line
    assert (tmp_path / "file").read_text() == "mine"


def test_what_cannot_be_played_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(out: Path, roster: Roster, **how: Any) -> list[str]:
        assert {job.planner for job in roster.jobs} == {"diffuser-brief"}
        raise bench_module.ConfigError("enough")

    monkeypatch.setattr(cli, "bench", instead)
    said = run("bench", f"--tasks={SHORT}", "--planner=all", "--tracker=diffused")
    assert said.error == "dfplan: error: enough\n"
    assert f"left out: dfplan on {SHORT}: plans no actions\n" in said.out
    assert f"left out: iql on {SHORT}: knows one goal\n" in said.out
