"""The command line: what it takes, what it prints, and how it refuses."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

import dfplan
from dfplan import cli
from dfplan.data import load_data
from dfplan.training.checkpoint import Checkpoint, read_tensors

TINY = [
    "--recipe.tokens=4",
    "--recipe.width=8",
    "--recipe.layers=1",
    "--recipe.heads=1",
    "--settings.batch_size=4",
    "--settings.log_every=1",
    "--settings.save_every=1",
    "--accelerator=cpu",
]


class Said(NamedTuple):
    code: int
    out: str
    error: str


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process."""

    def call(*arguments: Any) -> Said:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file, collected by the command."""
    file: Path = tmp_path_factory.mktemp("data") / "umaze.hdf5"
    assert cli.main(["data", "generate", "umaze", str(file), "--steps=3000", "--workers=1"]) == 0
    return file


@pytest.mark.parametrize(
    "command",
    [
        "",
        "bench",
        "plan",
        "inspect",
        "train",
        "train maze2d-umaze",
        "train diffuser-large",
        "train value-umaze",
        "data",
        "data generate",
        "data download",
        "data check",
    ],
)
def test_every_command_has_help(run: Run, command: str) -> None:
    said = run(*command.split(), "--help")
    assert said.code == 0 and said.error == ""
    assert said.out.startswith("usage: dfplan")
    assert "None" not in said.out.replace("default: null", "")


def test_help_names_every_setting(run: Run) -> None:
    said = run("train", "maze2d-large", "--help").out
    for flag in ("--recipe.tokens", "--recipe.levels.known_goal", "--settings.steps", "--resume"):
        assert flag in said
    assert "--planner.matrix" in run("plan", "--help").out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("benhc", r"invalid choice: 'benhc'.*Did you mean 'bench'\?"),
        ("data generat umaze x", "Did you mean 'generate'"),
        ("train maze2d-umazze", "Did you mean 'maze2d-umaze'"),
        ("train maze2d-umaze --recipe.toknes 5", "toknes 5. Did you mean '--recipe.tokens"),
        ("train maze2d-umaze stray --settings.stepz=5", "Did you mean '--settings.steps'"),
        ("train maze2d-umaze --precision bf16-mixd", "Did you mean 'bf16-mixed'"),
        ("train maze2d-umaze --settings.steps two", 'settings.steps": Expected.*Got value: two'),
        ("train maze2d-umaze --settings.steps 0", "steps must .* at least 1; got 0"),
        ("train maze2d-umaze --settings.learning_rate=-1", "learning_rate must .* at most 1"),
        ("train maze2d-umaze --settings.ema_decay 1.5", "ema_decay must .* below 1; got 1.5"),
        ("train maze2d-umaze --settings.seed=-1", "seed must be .* at least 0; got -1"),
        ("train maze2d-umaze --recipe.tokens 1", "tokens must be .* at least 2; got 1"),
        ("train maze2d-umaze --recipe.levels.rising=-1", "rising must be .* at least 0; got -1"),
        ("train maze2d-umaze --accelerator abacus", "Cannot train on accelerator 'abacus'"),
        ("train maze2d-umaze --devices 0", "with 0 devices"),
        ("train maze2d-umaze --config gone.yaml", "File does not exist: .*gone.yaml"),
        ("train maze2d-umaze --data gone.hdf5", "no data file at gone.hdf5"),
        ("bench --taks x", "Did you mean '--tasks'"),
        ("bench --tasks multi2d-large,maze2d-umazee", "Unknown task 'maze2d-umazee'. Did you mean"),
        ("bench --methods dfplann", "Unknown method 'dfplann'. Did you mean 'dfplan'"),
        ("bench --episodes 0", "PositiveInt: 0 does not"),
        ("plan nothing.safetensors 1,1 2,2", "No checkpoint at nothing.safetensors"),
        ("plan x 1,1", "required: plan.goal"),
        ("plan x 1,1 2", "two numbers with a comma between; got '2'"),
        ("plan x 1,1 2,north", "goal.*north"),
        ("plan x 1,1 2,2 --planner.matrix=pyramyd", "Did you mean 'pyramid'"),
        ("plan x 1,1 2,2 --planner.schedule=pyramid", r"schedule=pyramid\. See"),
        ("data check gone.hdf5", "no data file at gone.hdf5"),
        ("data generate umazee out.hdf5", "Unknown maze 'umazee'. Did you mean 'umaze'"),
        ("data generate umaze out.hdf5 --steps=0", "steps must be.*got 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    run: Run,
    command: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(*command.split())
    assert said.code == 2
    (line,) = said.error.splitlines()
    assert line.startswith("dfplan: error: ")
    assert re.search(message, line), line
    assert not list(tmp_path.iterdir()), "something was written"


def test_unknown_keys_of_a_config_file_are_errors(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    for text, name in (
        ("recipe:\n  toknes: 3\n", "--recipe.tokens"),
        ("settings:\n  stepz: 3\n", "--settings.steps"),
        ("acelerator: cpu\n", "--accelerator"),
    ):
        config.write_text(text)
        said = run("train", "maze2d-umaze", "--config", config)
        assert said.code == 2 and f"Did you mean '{name}'" in said.error
    config.write_text("recipe: [\n")
    assert "Problems parsing config" in run("train", "maze2d-umaze", "--config", config).error


def test_a_printed_config_is_one_that_is_read(run: Run, tmp_path: Path) -> None:
    changes = ["--recipe.tokens=7", "--settings.seed=3"]
    printed = run("train", "maze2d-medium", *changes, "--print_config")
    assert printed.code == 0
    config = tmp_path / "config.yaml"
    config.write_text(printed.out)
    again = run("train", "maze2d-medium", "--config", config, "--print_config")
    assert again.out == printed.out
    values = yaml.safe_load(printed.out)
    assert values["recipe"]["tokens"] == 7 and values["settings"]["seed"] == 3
    overridden = run(
        "train",
        "maze2d-medium",
        "--config",
        config,
        "--settings.seed=4",
        "--recipe.levels.rising=0.9",
        "--print_config",
    )
    other = yaml.safe_load(overridden.out)
    assert other["settings"]["seed"] == 4 and other["recipe"]["levels"]["rising"] == 0.9
    other["settings"]["seed"], other["recipe"]["levels"]["rising"] = 3, 0.3
    assert other == values


def test_names_and_positions_are_written_with_commas_or_as_lists(run: Run, tmp_path: Path) -> None:
    for written in ("multi2d-large,maze2d-umaze", "[multi2d-large, maze2d-umaze]"):
        printed = run("bench", "--tasks", written, "--print_config").out
        assert yaml.safe_load(printed)["tasks"] == ["multi2d-large", "maze2d-umaze"]
    config = tmp_path / "config.yaml"
    config.write_text(printed)
    assert run("bench", "--config", config, "--print_config").out == printed
    for written in ("1,-7.5", "[1, -7.5]", "(1,-7.5)"):
        assert cli.Position(written) == (1, -7.5)


def test_data_is_generated_and_checked(run: Run, data: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.hdf5"
    said = run("data", "generate", "umaze", again, "--steps=3000", "--workers=1")
    assert said == (0, f"{again}\n", said.error)
    first, second = load_data(data), load_data(again)
    assert len(first) == 3000 and first.fingerprint == second.fingerprint
    checked = run("data", "check", data)
    assert checked.code == 0
    assert "3000 steps in " in checked.out and first.fingerprint in checked.out
    other = run("data", "generate", "umaze", again, "--steps=3000", "--workers=1", "--seed=1")
    assert other.code == 0 and load_data(again).fingerprint != first.fingerprint


def test_data_of_a_maze_of_ones_own(run: Run, tmp_path: Path) -> None:
    maze, file = tmp_path / "ring.txt", tmp_path / "ring.hdf5"
    maze.write_text("#####\n#OOO#\n#O#O#\n#OOO#\n#####\n")
    assert run("data", "generate", maze, file, "--steps=500", "--workers=1").code == 0
    assert "500 steps" in run("data", "check", file).out
    broken = tmp_path / "cut.hdf5"
    broken.write_bytes(file.read_bytes()[:3000])
    said = run("data", "check", broken)
    assert said.code == 2 and "cut.hdf5" in said.error


def test_train_resume_inspect_and_plan(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train = ["train", "maze2d-umaze", "--out", out, "--data", data, *TINY]
    said = run(*train, "--settings.steps=3")
    assert said.code == 0, said.error
    assert said.out.splitlines()[-1] == str(out / "checkpoint.safetensors")
    assert "3/3" in said.error
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]

    again = run(*train, "--settings.steps=3")
    assert again.code == 2 and "already holds a run; resume it" in again.error
    other = run(*train, "--settings.steps=4", "--resume")
    assert other.code == 2 and "made with other settings" in other.error
    before = (out / "checkpoint.safetensors").read_bytes()
    assert run(*train, "--settings.steps=3", "--resume").code == 0
    assert (out / "checkpoint.safetensors").read_bytes() == before

    told = json.loads(run("inspect", out).out)
    assert told == Checkpoint.load(out / "checkpoint.safetensors").describe()
    assert told["config"]["tokens"] == 4 and told["training"]["steps"] == 3

    planned = run("plan", out, "[0.8,0.8]", "[0.8,1.8]", "--out", tmp_path / "plan.png")
    assert planned.code == 0, planned.error
    assert planned.out.splitlines()[-1] == str(tmp_path / "plan.png")
    assert "evaluations" in planned.out and (tmp_path / "plan.png").stat().st_size > 1000


def test_an_interrupted_run_is_resumed(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train = ["train", "maze2d-umaze", "--out", out, "--data", data, *TINY, "--settings.steps=3"]
    loss, calls = cli.train.__globals__["_Run"]._update, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(cli.train.__globals__["_Run"], "_update", interrupted)
        said = run(*train)
    assert said.code == 130 and "interrupted" in said.error
    assert read_tensors(out / "state.safetensors")[1]["step"] == 2
    assert run(*train, "--resume").code == 0
    assert (out / "checkpoint.safetensors").is_file()


def test_a_full_disk_is_said(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dfplan.training.checkpoint.save_file", full)
    out = tmp_path / "run"
    said = run("train", "maze2d-umaze", "--out", out, "--data", data, *TINY, "--settings.steps=1")
    assert said.code == 2
    assert said.error.splitlines()[-1].endswith("No space left on device")
    assert [file.name for file in out.iterdir()] == ["metrics.jsonl"]


def test_plan_draws_what_the_planner_plans(run: Run, trained: Any, tmp_path: Path) -> None:
    picture = tmp_path / "plan.svg"
    start, goal = "[-18,40]", "[0,58]"
    said = run("plan", trained.folder, start, goal, "--out", picture, "--seed=3")
    assert said.code == 0, said.error
    state, target = np.array([-18.0, 40, 0, 0]), np.array([0.0, 58])
    plan = dfplan.load(trained.folder).plan(state, target, seed=3)
    assert said.out.startswith(f"horizon {plan.steps[0]} steps, ")
    assert f"{plan.evaluations} evaluations" in said.out
    assert picture.read_text().startswith("<?xml")
    few = run(
        "plan",
        trained.folder,
        start,
        goal,
        "--out",
        picture,
        "--planner.candidates=2",
        "--planner.steps=5",
        "--horizon=100",
    )
    assert few.out.startswith("horizon 100 steps, ") and "10 evaluations" in few.out
    for wrong, message in ((["[50,50]"], "must lie where"), ([goal, "--horizon=999"], "1 to 130")):
        refused = run("plan", trained.folder, start, *wrong)
        assert refused.code == 2 and message in refused.error


@pytest.mark.parametrize("name", dfplan.pretrained_names()[:1])
def test_shipped_checkpoints_are_known_by_name(run: Run, name: str) -> None:
    assert (
        json.loads(run("inspect", name).out)["recipe"]
        == Checkpoint.load(cli.checkpoint_path(name)).recipe
    )
    said = run("inspect", f"{name[:-1]}")
    assert said.code == 2 and f"Did you mean '{name}'" in said.error


@pytest.mark.parametrize("name", [n for n in dfplan.pretrained_names() if "diffuser" in n][:1])
def test_settings_of_another_planner_are_refused(run: Run, name: str) -> None:
    said = run("plan", name, "[1,1]", "[1,1]", "--planner.steps=2")
    assert said.code == 2 and "leave out --planner" in said.error


def test_without_the_simulator_everything_runs_that_needs_none() -> None:
    code = (
        "import sys\n"
        "for name in ('mujoco', 'gymnasium_robotics'):\n    sys.modules[name] = None\n"
        "from dfplan.cli import main\n"
        "print(main(['inspect', sys.argv[1]]))\n"
        "print(main(['bench', '--episodes=1', '--out', sys.argv[2]]))\n"
    )
    command = [sys.executable, "-c", code, dfplan.pretrained_names()[0], "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0" in done.stdout.splitlines() and done.stdout.splitlines()[-1] == "2"
    assert done.stderr.startswith("dfplan: error: ") and "pip install" in done.stderr


def test_the_console_command_runs() -> None:
    command = [sys.executable, "-m", "dfplan", "inspect"]
    done = subprocess.run([*command, "nothing.safetensors"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("dfplan: error: No checkpoint at nothing.safetensors")
    name = dfplan.pretrained_names()[0]
    with subprocess.Popen([*command, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as head:
        assert head.stdout is not None and head.stderr is not None
        head.stdout.close()  # before anything is printed
        assert head.stderr.read() == b"" and head.wait() == 1
