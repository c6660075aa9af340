"""``dfplan bench``: what it runs, writes, prints and returns."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dfplan import cli
from dfplan.bench import executor
from dfplan.bench import plan as planning
from dfplan.bench.launcher import HEARTBEAT, LostRunError, RunFiles
from dfplan.bench.plan import RunPlan
from dfplan.bench.records import read_runs
from dfplan.bench.spec import RunSpec
from dfplan.bench.worker import run_worker
from dfplan.files import exclusive_lock

HERE = Path(__file__).parent
SHORT = "dfplan-maze2d-umaze"
FOLDER = f"--checkpoints={HERE.parent.parent / 'benchmarks' / 'checkpoints'}"


class Output(NamedTuple):
    code: int
    out: str
    error: str


Run = Callable[..., Output]


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """Jobs that are played, here and without a process."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    jobs: list[RunSpec] = []

    def launch_here(job: RunSpec) -> list[RunFiles]:
        if job.method == "toy_plugins:leaves":
            raise LostRunError(f"{job.task_id} is lost")
        jobs.append(job)
        folder = tmp_path / "jobs" / str(len(jobs))
        folder.mkdir(parents=True)
        (folder / HEARTBEAT).touch()
        run_worker(job, folder)
        texts = [
            [(folder / f"{index}{ending}").read_text() for ending in (".jsonl", ".json")]
            for index in range(len(job.trackers))
        ]
        names = [job.header(tracker).name for tracker in job.trackers]
        return [RunFiles(name, *text) for name, text in zip(names, texts, strict=True)]

    monkeypatch.setattr(executor, "launch", launch_here)
    return jobs


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: Any) -> Output:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["dfplan", *words])
        try:
            code = cli.main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Output(code, *capsys.readouterr())

    return call


def test_it_runs_what_is_missing_and_reports_everything(
    run: Run, launched: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a run"
    flags = ["--out", out, "--tasks", SHORT, "--episodes=3", "--workers=1"]
    # Folders that a killed process leaves.
    temporary = tmp_path / "temporary"
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    left = [out / "cells" / SHORT / ".dfplan-00000001", out / ".dfplan-00000002"]
    left += [temporary / "dfplan-job-00000003", temporary / "dfplan-import-00000004"]
    for folder in left:
        folder.mkdir(parents=True)
    (out / ".lock").write_text("a benchmark: process 1 on nowhere")
    output = run("bench", *flags, "--planner=controller")
    assert output.code == 0, output.error
    assert [path.name for path in temporary.iterdir()] == ["dfplan-import-00000004"]
    assert not [path.name for path in out.rglob(".*")]
    assert [job.method for job in launched] == ["controller"]
    assert "controller" in output.out and output.out.splitlines()[-1].startswith("Written: ")
    assert sorted(path.name for path in out.iterdir()) == ["cells", "report.html", "report.md"]
    (first,) = read_runs(out)
    wanted = f"dfplan bench --out '{out}' --tasks {SHORT} --episodes=3 --workers=1"
    assert first.provenance.command == f"{wanted} --planner=controller"

    both = "--planner=controller,toy_plugins:tracked"
    again = run("bench", "run", *flags, both)
    assert again.code == 0 and [job.method for job in launched][1:] == ["toy_plugins:tracked"]
    assert len(read_runs(out)) == 2 and "toy_plugins:tracked" in again.out
    assert not list(temporary.iterdir())  # of the trial import of the plugin
    assert read_runs(out)[1].provenance.command == f"{wanted} {both}"
    monkeypatch.setattr(planning, "require_importable", lambda name: None)
    assert run("bench", *flags, both).code == 0 and len(launched) == 2

    compared = run("bench", "compare", out, out)
    assert compared.code == 0 and "toy_plugins:tracked" in compared.out


def test_a_folder_in_use_is_refused(run: Run, launched: list[RunSpec], tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "out", "a benchmark"):
        output = run("bench", "--out", tmp_path / "out", f"--tasks={SHORT}", "--planner=controller")
    assert output.code == 2 and not launched
    assert output.error.startswith("dfplan: error: ") and output.error.count("\n") == 1
    assert "a benchmark: process" in output.error
    assert not list(tmp_path.glob("out/*"))


def test_lost_runs_are_printed_and_the_others_reported(
    run: Run, launched: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "require_importable", lambda name: None)
    flags = ["--out", tmp_path / "out", f"--tasks={SHORT}", "--episodes=2", "--workers=2"]
    output = run(
        "bench",
        *flags,
        "--planner=toy_plugins:leaves,controller,toy_plugins:raises_in_make",
    )
    assert output.code == 1
    assert output.error.splitlines()[-1] == f"dfplan: error: {SHORT} is lost"
    assert len(read_runs(tmp_path / "out")) == 2 and "Written: " in output.out
    assert "raised ValueError" in (tmp_path / "out" / "report.md").read_text()


def test_only_lost_runs_is_an_error(
    run: Run, launched: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "require_importable", lambda name: None)
    flags = ["--out", tmp_path / "out", f"--tasks={SHORT}", "--episodes=2", "--workers=1"]
    output = run("bench", *flags, "--planner=toy_plugins:leaves")
    assert output.code == 1 and output.out == "" and f"{SHORT} is lost" in output.error


@pytest.mark.parametrize("words", [["bench"], ["bench", "run"], ["bench", "--full"]])
def test_the_default_is_the_shipped_planners_on_the_mazes_of_d4rl(
    words: list[str], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned: list[RunPlan] = []

    def stop(out: Path, plan: RunPlan, **how: Any) -> list[str]:
        assert out == Path("runs/bench") and how["backend"] == "processes"
        planned.append(plan)
        raise planning.ConfigError("enough")

    monkeypatch.setattr("dfplan.cli.bench.run_benchmark", stop)
    monkeypatch.chdir(tmp_path)
    output = run(*words)
    assert output.code == 2 and output.error == "dfplan: error: enough\n"
    (plan,) = planned
    assert {job.task.protocol.id for job in plan.specs} == {"d4rl-maze2d-v1"}
    assert {job.method for job in plan.specs} == {*planning.DEFAULT_METHODS}
    assert {job.episodes for job in plan.specs} == {500 if "--full" in words else 20}
    assert {job.command for job in plan.specs} == {
        "dfplan bench --full" if "--full" in words else "dfplan bench"
    }


def test_an_impossible_folder_is_a_short_error(
    run: Run, launched: list[RunSpec], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/dfplan")):
        output = run("bench", "--out", out, f"--tasks={SHORT}", "--planner=controller")
        assert output.code == 2 and not launched
        (line,) = [line for line in output.error.splitlines() if "error" in line]
        assert line.startswith("dfplan: error: ") and out.name in line
    assert (tmp_path / "file").read_text() == "mine"


def test_what_cannot_run_is_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(out: Path, plan: RunPlan, **how: Any) -> list[str]:
        assert {job.method for job in plan.specs} == {
            "diffuser",
            "diffuser-brief",
            "diffuser-replan",
        }
        raise planning.ConfigError("enough")

    monkeypatch.setattr("dfplan.cli.bench.run_benchmark", stop)
    output = run("bench", f"--tasks={SHORT}", "--planner=all", "--tracker=planned-actions", FOLDER)
    assert output.error == "dfplan: error: enough\n"
    assert f"skipped: dfplan on {SHORT}: plans no actions\n" in output.out
    assert f"skipped: iql on {SHORT}: only knows one fixed goal\n" in output.out
