"""The command line: what it takes, what it prints, and how it refuses."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from inspect import Parameter, signature
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

import dfplan
from dfplan import cli
from dfplan.cli.arguments import Position
from dfplan.data import from_arrays, load_data, read, write
from dfplan.mazes import parse_maze
from dfplan.training.checkpoint import Checkpoint, read_tensors
from dfplan.training.state import TrainingState
from dfplan.types import Recording

TINY = [
    "--tune_episodes=0",
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
        "bench run",
        "bench compare",
        "plan",
        "inspect",
        "train",
        "train maze2d-umaze",
        "train diffuser-large",
        "train value-umaze",
        "train bc-ogbench-giant",
        "train inverse-umaze",
        "train full-sequence-large",
        "train iql-umaze",
        "data",
        "data generate",
        "data download",
        "data check",
        "data info",
        "data list",
        "data convert",
        "env",
        "evaluate",
        "train own",
        "train ogbench-giant",
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
    assert "--planner.sampling.matrix" in run("plan", "--help").out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("benhc", r"'benhc'.*Did you mean 'bench'\?"),
        ("data generat umaze x", "Did you mean 'generate'"),
        ("train maze2d-umazze", "Did you mean 'maze2d-umaze'"),
        ("train maze2d-umaze --recipe.toknes 5", "toknes 5. Did you mean '--recipe.tokens"),
        ("train maze2d-umaze stray --settings.stepz=5", "Did you mean '--settings.steps'"),
        ("train maze2d-umaze --precision bf16-mixd", "Did you mean 'bf16-mixed'"),
        ("train maze2d-umaze --settings.steps two", "settings.steps: .*whole number.*got two"),
        ("train maze2d-umaze --settings.steps 0", "steps must .* at least 1; got 0"),
        ("train maze2d-umaze --settings.learning_rate=-1", "learning_rate must .* at most 1"),
        ("train maze2d-umaze --settings.ema_decay 1.5", "ema_decay must .* below 1; got 1.5"),
        ("train maze2d-umaze --settings.seed=-1", "seed must be .* at least 0.*; got -1"),
        ("train maze2d-umaze --recipe.tokens 1", "tokens must be .* at least 2.*; got 1"),
        ("train maze2d-umaze --recipe.levels.rising=-1", "rising must be .* at least 0.*; got -1"),
        ("train maze2d-umaze --accelerator abacus", "Cannot train on accelerator 'abacus'"),
        ("train maze2d-umaze --devices 0", "with 0 devices"),
        ("train maze2d-umaze --config gone.yaml", "File does not exist: .*gone.yaml"),
        ("train iql-umaze --settings.stepz=5", "Did you mean '--settings.steps'"),
        ("train cql-umaze --settings.steps 0", "steps must .* at least 1; got 0"),
        ("train bc-umaze --recipe.discount 2", "discount must .* below 1; got 2.0"),
        ("train maze2d-umaze --data gone.hdf5", "no data at gone.hdf5"),
        ("bench --taks x", "Did you mean '--tasks'"),
        ("bench --tasks multi2d-large,maze2d-umazee", "Unknown task 'maze2d-umazee'. Did you mean"),
        ("bench --planner dfplann", "Unknown planner 'dfplann'. Did you mean 'dfplan'"),
        ("bench --planner no_such_module:make", "cannot be imported"),
        ("bench --protocol d4rl-maze2d", "Unknown protocol.*Did you mean 'd4rl-maze2d-v1'"),
        ("bench --tracker persuit", "Unknown tracker 'persuit'. Did you mean 'pursuit'"),
        ("bench --split tset", "Did you mean 'test'"),
        ("bench --backend proceses", "Did you mean 'processes'"),
        ("bench --backend rya", "Unknown backend 'rya'. Did you mean 'ray'"),
        ("bench --columns score,latchd", "Unknown column 'latchd'. Did you mean 'latched'"),
        ("bench --full --episodes 3", "Expected --full or --episodes 3, not both"),
        ("bench --workers 0", r"workers.*at least 1"),
        ("bench --seeds one", "seeds.*one"),
        ("bench --checkpoints gone", "folder of checkpoints at gone; there is none"),
        ("bench --planner bc", "checkpoint 'bc-umaze'.*dfplan train bc-umaze"),
        (
            "bench --protocol dfplan-v1 --planner controller --episodes 101",
            "episodes of dfplan-.* must be .* at most 100; got 101",
        ),
        ("bench --limit 0", "must be .* above 0; got 0"),
        ("bench comprae", "Did you mean 'compare'"),
        ("bench run --taks x", "Did you mean '--tasks'"),
        ("bench compare gone", "required: .*second"),
        ("bench compare gone lost", "gone.*there are none"),
        ("bench --episodes 0", "episodes of .* must be .* at least 1, .*; got 0"),
        ("plan nothing.safetensors 1,1 2,2", "No checkpoint at nothing.safetensors"),
        ("plan x 1,1", "required: goal"),
        ("plan x 1,1 2", "two numbers.*got '2'"),
        ("plan x 1,1 2,north", "goal.*north"),
        ("plan x 1,1 2,2 --planner.sampling.matrix=pyramyd", "Did you mean 'pyramid'"),
        ("plan x 1,1 2,2 --planner.schedule=pyramid", r"schedule=pyramid\. See"),
        ("data check gone.hdf5", "no data at gone.hdf5"),
        ("data generate umazee out.hdf5", "Unknown maze 'umazee'. Did you mean 'umaze'"),
        ("data generate umaze out.hdf5 --steps=0", "steps must be.*got 0"),
        ("data generate ogbench-giantt out.npz", "Unknown maze 'ogbench-giantt'. Did you mean"),
        (
            "data generate umaze out.hdf5 --collector=dr4l",
            "Unknown collector.*Did you mean 'd4rl'",
        ),
        ("data generate umaze out.hdf5 --collector=stitch", "ogbench"),
        ("data info gone.npz", "no data at gone.npz"),
        ("data download maze2d-lage-v1", "Unknown data set.*Did you mean 'maze2d-large-v1'"),
        ("data check pointmaze-giant-navigat-v0", "Did you mean 'pointmaze-giant-navigate-v0'"),
        ("data convert gone.hdf5 out.npz", "no data at gone.hdf5"),
        ("data check gone.npz --keys observations", "observations=obs,ends=done"),
        ("data check gone.npz --keys=3", "keys: .*observations=obs.*got '3'"),
        ("data check gone.npz --segment_by=timeout", "Did you mean 'timeouts'"),
        ("data generate umaze out.hdf5 --steps=x", "steps: .*whole number.*got x"),
        ("data generate umaze out.hdf5 --seed=1.5", "seed: .*whole number.*got 1.5"),
        ("data generate maze2d-lage out.hdf5", "Did you mean 'maze2d-large'"),
        ("train maze2d-umaze --settings=3", "settings: .*by name.*got '3'"),
        ("train maze2d-umaze --precision=8", "precision: .*'32-true'.*got 8"),
        ("env pointmaze-lagre", "Unknown environment 'pointmaze-lagre'. Did you mean 'pointmaze-l"),
        ("train own gone.txt", "Unknown maze 'gone.txt'"),
        ("evaluate nothing", "Unknown checkpoint 'nothing'"),
        ("evaluate nothing --episodes=one", "episodes: .*above 0; got 'one'"),
        ("evaluate nothing --episodes=0", "episodes: .*above 0; got 0"),
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
    assert not re.search("<class|typing|Union|Parser key|Not of type", line), "names of types"
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


def test_the_command_line_overrules_a_config_file(run: Run, ring: Path, tmp_path: Path) -> None:
    here, there, config = ring / "ring.hdf5", tmp_path / "there.npz", tmp_path / "config.yaml"
    write(read(here), there)
    flags = ["--out=first", "--tokens=5"]
    config.write_text(run("train", there, *flags, "--print_config").out)
    for given in (["--config", config, "--out=last"], ["--out=last", f"--config={config}"]):
        values = yaml.safe_load(run("train", here, *given, "--print_config").out)
        assert (values["data"], values["out"], values["tokens"]) == (str(here), "last", 5)
    config.write_text(run("data", "info", there, "--print_config").out)
    assert run("data", "info", here, "--config", config) == run("data", "info", here)
    assert "argument" in run("data", "info", here, "--config").error


@pytest.mark.parametrize("written", ["-1,1", "-.5,-1", "[-1,1]"])
def test_a_position_may_begin_with_a_minus(run: Run, written: str) -> None:
    printed = run("plan", "maze2d-umaze", written, written, "--out=a.svg", "--print_config").out
    assert yaml.safe_load(printed)["start"][0] < 0


def test_names_and_positions_are_written_with_commas_or_as_lists(run: Run, tmp_path: Path) -> None:
    for written in ("multi2d-large,maze2d-umaze", "[multi2d-large, maze2d-umaze]"):
        printed = run("bench", "--tasks", written, "--print_config").out
        assert yaml.safe_load(printed)["tasks"] == ["multi2d-large", "maze2d-umaze"]
    config = tmp_path / "config.yaml"
    config.write_text(printed)
    assert run("bench", "--config", config, "--print_config").out == printed
    for written in ("1,-7.5", "[1, -7.5]", "(1,-7.5)"):
        assert Position(written) == (1, -7.5)


def test_data_is_generated_and_checked(run: Run, data: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.hdf5"
    said = run("data", "generate", "umaze", again, "--steps=3000", "--workers=1")
    assert said.code == 0 and said.out.splitlines()[-1] == str(again)
    first, second = load_data(data), load_data(again)
    assert len(first) == 3000 and first.fingerprint == second.fingerprint
    checked = run("data", "check", data)
    assert checked.code == 0
    assert "3,000 of" in checked.out and "No problems" in checked.out
    other = run("data", "generate", "umaze", again, "--steps=3000", "--workers=1", "--seed=1")
    assert other.code == 0 and load_data(again).fingerprint != first.fingerprint


def test_data_of_a_maze_of_ones_own(run: Run, tmp_path: Path) -> None:
    maze, file = tmp_path / "ring.txt", tmp_path / "ring.hdf5"
    maze.write_text("#####\n#OOO#\n#O#O#\n#OOO#\n#####\n")
    assert run("data", "generate", maze, file, "--steps=500", "--workers=1").code == 0
    assert "500 of" in run("data", "check", file).out
    broken = tmp_path / "cut.hdf5"
    broken.write_bytes(file.read_bytes()[:3000])
    said = run("data", "check", broken)
    assert said.code == 2 and "cut.hdf5" in said.error


RING = "#####\n#OOO#\n#O#O#\n#OOO#\n#####\n"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a maze of one's own and data of it."""
    folder: Path = tmp_path_factory.mktemp("ring")
    (folder / "ring.txt").write_text(RING)
    generate = ["data", "generate", str(folder / "ring.txt"), str(folder / "ring.hdf5")]
    assert cli.main([*generate, "--steps=3000", "--workers=1"]) == 0
    return folder


def damaged(source: Path, out: Path, field: str, rows: list[int]) -> Path:
    """The same data with NaN in some rows of an array."""
    recording = read(source)
    array = np.array(getattr(recording, field))
    array[rows] = np.nan
    return write(replace(recording, **{field: array}), out)


def same(first: Recording, second: Recording) -> bool:
    """Whether two recordings hold the same arrays, of the same types."""
    for name, value in vars(first).items():
        other = getattr(second, name)
        if isinstance(value, np.ndarray):
            if value.dtype != other.dtype or not np.array_equal(value, other):
                return False
        elif name != "source" and value != other:
            return False
    return True


def test_generating_reports_and_draws(run: Run, ring: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "own.hdf5", tmp_path / "seen.svg"
    generate = ["data", "generate", ring / "ring.txt", out, "--steps=500", "--workers=1"]
    said = run(*generate, "--picture", picture)
    assert said.code == 0, said.error
    assert said.out.splitlines()[-2:] == [str(picture), str(out)]
    assert picture.read_text().startswith("<?xml") and not list(tmp_path.glob("*.png"))
    assert "500 of" in said.out
    assert parse_maze(str(read(out).maze)).ascii == RING.strip()


def test_check_says_whether_training_would_stop(run: Run, ring: Path, tmp_path: Path) -> None:
    good, picture = ring / "ring.hdf5", tmp_path / "seen.png"
    said = run("data", "check", good, "--picture", picture)
    assert said.code == 0 and said.out.splitlines()[-1] == str(picture)
    assert picture.stat().st_size > 1000
    bad = damaged(good, tmp_path / "bad.npz", "actions", [7, 8])
    said = run("data", "check", bad)
    assert said.code == 1 and said.error == ""
    assert "Actions with NaN" in said.out and sorted(tmp_path.iterdir()) == [bad, picture]
    mended = damaged(good, tmp_path / "mended.npz", "observations", [7, 8])
    assert run("data", "check", mended).code == 0


def test_info_says_what_there_is_and_not_its_faults(run: Run, ring: Path, tmp_path: Path) -> None:
    bad = damaged(ring / "ring.hdf5", tmp_path / "bad.npz", "actions", [7])
    told, checked = run("data", "info", bad), run("data", "check", bad)
    assert told.code == 0 and "3,000" in told.out
    assert told.out.strip() in checked.out and "NaN" not in told.out


def test_the_list_says_which_data_is_here(
    run: Run, ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("D4RL_DATASET_DIR", "OGBENCH_DATASET_DIR", "MINARI_DATASETS_PATH"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    said = run("data", "list")
    names = [line.split()[0] for line in said.out.splitlines()]
    assert said.code == 0 and names == sorted(names)
    assert {"maze2d-large-v1", "pointmaze-giant-navigate-v0"} <= set(names)
    assert all(line.split()[1:] == ["-"] for line in said.out.splitlines())
    recording = read(ring / "ring.hdf5")
    for name in ("pointmaze-medium-stitch-v0", "pointmaze-large-stitch-v0"):
        write(recording, tmp_path / "OGBENCH_DATASET_DIR" / f"{name}.npz")
    # Of medium the file for validation is there, too.
    write(recording, tmp_path / "OGBENCH_DATASET_DIR" / "pointmaze-medium-stitch-v0-val.npz")
    write(recording, tmp_path / "MINARI_DATASETS_PATH" / "own" / "ring-v0")
    where = dict(line.split() for line in run("data", "list").out.splitlines())
    assert {name for name in where if where[name] != "-"} == {
        "pointmaze-medium-stitch-v0",
        "pointmaze-medium-stitch-v0-val",
        "own/ring-v0",
    }
    assert where["own/ring-v0"] == str(tmp_path / "MINARI_DATASETS_PATH" / "own" / "ring-v0")


def test_nothing_is_lost_in_other_layouts(run: Run, ring: Path, tmp_path: Path) -> None:
    files = [ring / "ring.hdf5", tmp_path / "a.npz", tmp_path / "b-v0", tmp_path / "c.hdf5"]
    for source, out in pairwise(files):
        said = run("data", "convert", source, out)
        assert said == (0, f"{out}\n", ""), said.error
    wanted = read(files[0])
    for file in files[1:]:
        assert same(wanted, read(file)), file
    said = run("data", "convert", files[0], tmp_path / "d.csv")
    assert said.code == 2 and "ending" in said.error
    said = run("data", "convert", files[0], tmp_path / "d.csv", "--format=ogbenhc")
    assert said.code == 2 and "Did you mean 'ogbench'" in said.error
    assert not (tmp_path / "d.csv").exists()


def test_arrays_of_other_names(run: Run, ring: Path, tmp_path: Path) -> None:
    recording = read(ring / "ring.hdf5")
    ends = np.arange(len(recording)) % 100 == 99
    file, out = tmp_path / "mine.npz", tmp_path / "out.hdf5"
    np.savez(file, obs=recording.observations, act=recording.actions, done=ends)
    keys = "--keys=observations=obs,actions=act,ends=done"
    assert run("data", "check", file, keys).code == 0
    assert "30 episodes" in run("data", "info", file, keys).out
    assert run("data", "convert", file, out, keys).code == 0
    assert same(from_arrays(recording.observations, recording.actions, ends), read(out))
    config = tmp_path / "config.yaml"
    config.write_text("keys:\n  observations: obs\n  actions: act\n  ends: done\n")
    assert "30 episodes" in run("data", "info", file, "--config", config).out
    printed = run("data", "info", file, keys, "--print_config").out
    assert yaml.safe_load(printed)["keys"] == yaml.safe_load(config.read_text())["keys"]
    said = run("data", "check", file)
    assert said.code == 2 and "keys={'observations': 'obs'" in said.error
    for wrong, message in (
        ("observations:obs", r"observations=obs,ends=done"),
        ("observations=obs,endz=done", r"Unknown field 'endz'\. Did you mean 'ends'"),
        ("observations=obs,ends=doen", r"'doen'\. Did you mean 'done'"),
        ("actions=act", r"observations"),
    ):
        said = run("data", "check", file, f"--keys={wrong}")
        assert said.code == 2 and len(said.error.splitlines()) == 1
        assert re.search(message, said.error), said.error


def test_data_of_any_width_names_its_position(run: Run, tmp_path: Path) -> None:
    time, file, out = np.arange(400) / 30, tmp_path / "ant.npz", tmp_path / "ant.hdf5"
    rows = np.random.default_rng(0).normal(size=(400, 29)).astype(np.float32)
    rows[:, 2:4] = np.stack([np.cos(time), np.sin(time)], 1)
    np.savez(file, observations=rows, actions=np.zeros((400, 8), np.float32), terminals=0 * time)
    assert "--position 0,1" in run("data", "check", file).error
    assert run("data", "check", file, "--position", "2,3").code == 0
    assert "action 8" in run("data", "info", file, "--position=2,3").out
    assert run("data", "convert", file, out, "--position=2,3").code == 0
    assert run("data", "check", out).code == 0
    assert read(out).layout == read(file, position=(2, 3)).layout
    for wrong, words in (
        ("2", "2 columns"),
        ("2,29", "29 columns"),
        ("2,2", "twice"),
        ("-1,0", "counted from 0"),
        ("x", "whole"),
        ("", "whole"),
    ):
        said = run("data", "check", file, "--position", wrong)
        assert said.code and words in said.error and "Union" not in said.error


def test_an_environment_of_ones_own_is_shown(run: Run, ring: Path, tmp_path: Path) -> None:
    picture = tmp_path / "ring.png"
    said = run("env", ring / "ring.txt", "--out", picture)
    assert said.code == 0, said.error
    assert said.out.startswith("ring: 5 x 5 cells, 1000 steps")
    assert said.out.splitlines()[-1] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = run("env", ring / "ring.txt", "--seed=1")
    assert again.code == 0 and list(tmp_path.iterdir()) == [picture]
    assert again.out.splitlines()[-2:] != said.out.splitlines()[-3:-1]


QUICK = [
    "--settings.steps=2",
    "--settings.batch_size=4",
    "--settings.log_every=1",
    "--settings.save_every=1",
]


@pytest.fixture(scope="module")
def own_run(ring: Path) -> Path:
    """A planner of the ring that has hardly been trained."""
    command = ["train", "own", str(ring / "ring.txt"), "--data", str(ring / "ring.hdf5")]
    assert cli.main([*command, "--out", str(ring / "run"), "--tokens=4", *QUICK]) == 0
    return ring / "run"


def test_a_maze_of_ones_own_is_trained_on_and_evaluated(
    run: Run, own_run: Path, tmp_path: Path
) -> None:
    checkpoint = Checkpoint.load(own_run / "checkpoint.safetensors")
    assert checkpoint.config["tokens"] == 4 and checkpoint.training["steps"] == 2
    assert parse_maze(str(checkpoint.maze)).ascii == RING.strip()
    picture = tmp_path / "first.png"
    said = run("evaluate", own_run, "--episodes=1", "--out", picture)
    assert said.code == 0, said.error
    assert re.match(r"\w+: 1 episodes, success (0|100)\.0%", said.out)
    assert said.out.splitlines()[-1] == str(picture)
    assert list(tmp_path.iterdir()) == [picture] and picture.stat().st_size > 1000
    told = run("evaluate", own_run, "--episodes=1", "--env", own_run.parent / "ring.txt")
    assert told.code == 0 and told.out.startswith("ring: 1 episodes")
    train = ["train", "own", own_run.parent / "ring.txt", "--out", tmp_path / "run"]
    none = run(*train, "--data", own_run.parent / "ring.hdf5", "--tokens=0")
    assert none.code == 2 and "tokens must be" in none.error and "got 0" in none.error
    wrong = run("evaluate", own_run, "--episodes=1", "--env", "maze2d-umazee")
    assert wrong.code == 2 and "Did you mean 'maze2d-umaze'" in wrong.error


def test_a_large_maze_of_ones_own_is_evaluated(run: Run, own_run: Path, tmp_path: Path) -> None:
    """Its text is longer than a file's name may be."""
    checkpoint = Checkpoint.load(own_run / "checkpoint.safetensors")
    rows = ["#####" + "#" * 16, *[row + "#" * 16 for row in RING.split()[1:]], *["#" * 21] * 16]
    replace(checkpoint, maze="\n".join(rows)).save(tmp_path / "large.safetensors")
    said = run("evaluate", tmp_path / "large.safetensors", "--episodes=1")
    assert said.code == 0, said.error
    assert "1 episodes" in said.out


def test_a_preset_is_trained_on_data_of_any_layout(run: Run, ring: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "data.npz", tmp_path / "run"
    write(read(ring / "ring.hdf5"), file)
    said = run("train", "maze2d-umaze", "--data", file, "--out", out, *TINY, "--settings.steps=1")
    assert said.code == 0, said.error
    kept = Checkpoint.load(out / "checkpoint.safetensors")
    assert kept.data["source"] == "data.npz"
    assert kept.data["fingerprint"] == load_data(ring / "ring.hdf5").fingerprint


@pytest.mark.filterwarnings("always::dfplan.data.segments.DataWarning")
def test_faults_of_data_are_said_in_one_line(run: Run, ring: Path, tmp_path: Path) -> None:
    train = ["train", "maze2d-umaze", *TINY, "--settings.steps=1", "--out", tmp_path / "run"]
    bad = damaged(ring / "ring.hdf5", tmp_path / "bad.npz", "actions", [7, 8])
    said = run(*train, "--data", bad)
    (line,) = said.error.splitlines()
    assert said.code == 2 and line.startswith("dfplan: error: ") and "row 7" in line
    assert "`dfplan data check`" in line and not (tmp_path / "run").exists()
    lost = damaged(ring / "ring.hdf5", tmp_path / "lost.npz", "observations", [40, 41])
    said = run(*train, "--data", lost)
    assert said.code == 0, said.error
    (line,) = [line for line in said.error.splitlines() if "lost.npz" in line]
    assert line.startswith("dfplan: warning: lost.npz: 2 rows are excluded: not finite")
    assert "`dfplan data check`" in line and "Warning" not in said.error
    assert "warnings.warn" not in said.error and "segmented" not in said.error


def test_other_warnings_stay_what_they_are(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warned(*_: Any) -> None:
        warnings.warn("something else", FutureWarning, stacklevel=1)

    monkeypatch.setattr("dfplan.cli.inspect.inspect", warned)
    before = warnings.showwarning
    with pytest.warns(FutureWarning, match="something else"):
        cli.main(["inspect"])
    assert warnings.showwarning is before


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
    update, calls = TrainingState.update, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return update(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "update", interrupted)
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
    shown = dfplan.load(trained.folder).with_settings(matrix="pyramid", route_noise=200.0)
    plan = shown.plan(state, target, seed=3)
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
        "--planner.route_noise=.inf",
        "--planner.candidates=2",
        "--planner.replans=0",
        "--planner.sampling.matrix=full_sequence",
        "--planner.sampling.steps=5",
        "--horizon=100",
    )
    assert few.out.startswith("horizon 100 steps, ") and "10 evaluations" in few.out
    for wrong, message in ((["[50,50]"], "goal"), ([goal, "--horizon=0"], "from 1 to")):
        refused = run("plan", trained.folder, start, *wrong)
        assert refused.code == 2 and message in refused.error


def test_a_probability_of_success_is_said_once_it_is_calibrated(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    stored = Checkpoint.load(dfplan.pretrained.checkpoint_path("maze2d-umaze"))
    replace(stored, calibration=None).save(file)
    command = ("plan", file, "1,1", "3,1", "--out", tmp_path / "plan.png")
    assert ", success" not in run(*command).out
    assert run("calibrate", file, "--problems=3").code == 0
    assert re.search(r", success \d+%$", run(*command).out, re.MULTILINE)


@pytest.mark.parametrize("name", dfplan.pretrained_names()[:1])
def test_shipped_checkpoints_are_known_by_name(run: Run, name: str) -> None:
    assert (
        json.loads(run("inspect", name).out)["recipe"]
        == Checkpoint.load(dfplan.pretrained.checkpoint_path(name)).recipe
    )
    said = run("inspect", f"{name[:-1]}")
    assert said.code == 2 and f"Did you mean '{name}'" in said.error


def test_a_policy_is_trained_and_played_but_plans_nothing(
    run: Run, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bc"
    tiny = ["--recipe.width=8", "--recipe.layers=1", *TINY[-4:], "--settings.steps=2"]
    assert run("train", "bc-umaze", f"--data={data}", f"--out={out}", *tiny).code == 0
    assert json.loads(run("inspect", out).out)["recipe"] == "policy"
    said = run("evaluate", out, "--episodes=1")
    assert said.code == 0 and "1 episodes" in said.out
    for command in (("plan", out, "1,1", "2,1"), ("evaluate", out, "--out", tmp_path / "a.png")):
        said = run(*command)
        assert said.code == 2 and "is a policy" in said.error


@pytest.mark.parametrize("name", [n for n in dfplan.pretrained_names() if "diffuser" in n][:1])
def test_settings_of_another_planner_are_refused(run: Run, name: str) -> None:
    said = run("plan", name, "[1,1]", "[1,1]", "--planner.sampling.steps=2")
    assert said.code == 2 and "leave out --planner" in said.error


def test_without_the_simulator_everything_runs_that_needs_none(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('mujoco', 'gymnasium_robotics'):\n    sys.modules[name] = None\n"
        "from dfplan.cli import main\n"
        "print(main(['inspect', sys.argv[1]]))\n"
        "print(main(['bench', '--planner=controller', '--episodes=1', '--out', sys.argv[2]]))\n"
    )
    command = [sys.executable, "-c", code, dfplan.pretrained_names()[0], str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0" in done.stdout.splitlines() and done.stdout.splitlines()[-1] == "2"
    (line,) = done.stderr.splitlines()
    assert line.startswith("dfplan: error: ") and "pip install" in line
    assert not (tmp_path / "nowhere").exists()


def test_the_console_command_runs() -> None:
    command = [sys.executable, "-m", "dfplan", "inspect", "nothing.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("dfplan: error: No checkpoint at nothing.safetensors")


# Runs commands in processes of their own, each with other standard streams, which are forked since
# the imports take long. What a process says goes to a file, what it exits with to the last line.
STREAMS = """
import json, os, signal, sys, threading, traceback
from dfplan.cli import data, inspect, main, plan, train, view

def full(number):
    os.dup2(os.open("/dev/full", os.O_WRONLY), number)

def unread(number):
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, number)

def codes_of(cases):
    for name, (streams, arguments) in cases.items():
        child = os.fork()
        if child:
            yield name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            continue
        for number in (1, 2):
            file = os.open(f"{name}-{number}", os.O_WRONLY | os.O_CREAT)
            os.dup2(file, number)
        ended_by = streams.pop("signal", None)
        for number, how in streams.items():
            {"closed": os.close, "full": full, "unread": unread}.get(how, id)(int(number))
        for number, stream in ((1, "stdout"), (2, "stderr")):
            closed = streams.get(str(number)) == "closed"
            encoding = "ascii" if streams.get(str(number)) == "ascii" else "utf-8"
            opened = None if closed else open(number, "w", encoding=encoding, closefd=False)
            setattr(sys, stream, opened)
        if ended_by:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            kill = [os.getpid(), signal.Signals[ended_by]]
            threading.Timer(1.0, os.kill, kill).start()
        try:
            code = main(arguments)
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()  # what Python does at the end, which takes long
        except BaseException:
            traceback.print_exc()
            code = 120
        os._exit(code)

codes = dict(codes_of(json.loads(sys.argv[1])))
print(json.dumps(codes))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_streams_of_any_kind_and_signals_end_in_no_traceback(ring: Path, tmp_path: Path) -> None:
    show, miss = ["inspect", dfplan.pretrained_names()[0]], ["inspect", "nothing"]
    convert = ["data", "convert", str(ring / "ring.hdf5"), "\xe9.npz"]
    train = ["train", "own", str(ring / "ring.txt"), "--data", str(ring / "ring.hdf5")]
    train += ["--tokens=4", "--settings.steps=1000000", "--settings.batch_size=2"]
    full = "dfplan: error: [Errno 28] No space left on device"
    cases: dict[str, tuple[dict[str, str], list[str], int, str]] = {
        "closed": ({"1": "closed"}, show, 0, ""),
        "none": ({"0": "closed", "1": "closed", "2": "closed"}, show, 0, ""),
        "written": ({"1": "closed"}, convert, 0, ""),
        "full": ({"1": "full"}, show, 2, full),
        "help": ({"1": "full"}, ["plan", "--help"], 2, full),
        "config": ({"1": "full"}, ["view", "--print_config"], 2, full),
        "unread": ({"1": "unread"}, show, 1, ""),
        "help-unread": ({"1": "unread"}, ["plan", "--help"], 1, ""),
        "ascii": ({"1": "ascii", "2": "ascii"}, convert, 0, ""),
        "silent": ({"2": "closed"}, miss, 2, ""),
        "silent-full": ({"2": "full"}, miss, 2, ""),
        "silent-unread": ({"2": "unread"}, miss, 2, ""),
        "interrupted": ({"signal": "SIGINT"}, [*train, "--out=a"], 130, "dfplan: interrupted"),
        "ended": ({"signal": "SIGTERM"}, [*train, "--out=b"], 143, ""),
    }
    asked = {name: case[:2] for name, case in cases.items()}
    command = [sys.executable, "-c", STREAMS, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    for name, (_, _, code, line) in cases.items():
        said = (tmp_path / f"{name}-2").read_text(encoding="utf-8")
        last = said.splitlines()[-1] if line and said else said
        progress = "signal" in cases[name][0]
        assert codes[name] == code and "Traceback" not in said, (name, codes[name], said)
        assert (last if not progress else last[-len(line) :] if line else "") == line, (name, said)
    assert (tmp_path / "ascii-1").read_text(encoding="ascii") == "\\xe9.npz\n"
    assert (tmp_path / "\xe9.npz").is_file()
    assert not [path for path in tmp_path.rglob(".*") if "partial" in path.name]


@pytest.mark.parametrize("written", ["~/{}", "~{user}/{}"])
def test_a_tilde_is_the_home_folder_everywhere(
    run: Run, ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    if "user" in written:
        monkeypatch.setattr("pwd.getpwnam", lambda name: SimpleNamespace(pw_dir=str(home)))
    else:
        monkeypatch.setenv("HOME", str(home))

    def at(name: str) -> str:
        return written.replace("{user}", "me").format(name)

    for name in ("ring.txt", "ring.hdf5"):
        shutil.copy(ring / name, home / name)
    tiny = ["--tokens=4", *QUICK]
    config = home / "config.yaml"
    config.write_text(f"out: {at('configured.npz')}\n")
    for command, made in (
        (("env", at("ring.txt"), "--out", at("env.png")), "env.png"),
        (("data", "check", at("ring.hdf5"), "--picture", at("seen.png")), "seen.png"),
        (("data", "convert", at("ring.hdf5"), at("pics/data.npz")), "pics/data.npz"),
        (("data", "convert", at("ring.hdf5"), at("data-v0")), "data-v0"),
        (("data", "convert", at("ring.hdf5"), "--config", at("config.yaml")), "configured.npz"),
        (
            ("train", "own", at("ring.txt"), "--data", at("ring.hdf5"), "--out", at("run"), *tiny),
            "run/checkpoint.safetensors",
        ),
        (("plan", at("run"), "0.8,0.8", "0.8,1.8", "--out", at("plan.png")), "plan.png"),
    ):
        said = run(*command)
        assert said.code == 0, said.error
        assert (home / made).exists(), command
        assert said.out.splitlines()[-1] == str(home / made)
    assert json.loads(run("inspect", at("run")).out)["recipe"] == "forcing"
    assert not list(here.iterdir())


def test_a_home_that_is_not_known_is_refused(
    run: Run, ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (
        ("data", "convert", ring / "ring.hdf5", "~no-such-user/data.npz"),
        ("data", "check", "~no-such-user/data.npz"),
        ("inspect", "~no-such-user/run"),
        ("bench", "compare", ring, "~no-such-user/bench"),
    ):
        said = run(*command)
        assert said.code == 2 and "home folder" in said.error
    assert not list(tmp_path.iterdir())
    said = run("data", "convert", ring / "ring.hdf5", "~data.npz")  # a file of that name
    assert said.code == 0 and (tmp_path / "~data.npz").is_file()


def test_places_of_data_sets_may_begin_with_a_tilde(
    run: Run, ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("D4RL_DATASET_DIR", "OGBENCH_DATASET_DIR", "MINARI_DATASETS_PATH"):
        monkeypatch.setenv(variable, f"~/{variable}")
    recording = read(ring / "ring.hdf5")
    write(recording, tmp_path / "D4RL_DATASET_DIR" / "maze2d-umaze-sparse-v1.hdf5")
    write(recording, tmp_path / "OGBENCH_DATASET_DIR" / "pointmaze-large-stitch-v0.npz")
    write(recording, tmp_path / "OGBENCH_DATASET_DIR" / "pointmaze-large-stitch-v0-val.npz")
    write(recording, tmp_path / "MINARI_DATASETS_PATH" / "own" / "ring-v0")
    for name in ("maze2d-umaze-v1", "pointmaze-large-stitch-v0", "own/ring-v0"):
        assert run("data", "info", name).code == 0
        assert re.search(rf"^{name} +{tmp_path}", run("data", "list").out, re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [command for command in cli.commands() if command[0][0] in ("video", "bench", "data")],
    ids=lambda command: " ".join(command[0]),
)
def test_every_printed_config_is_read_as_it_was_printed(
    run: Run, command: tuple[tuple[str, ...], Callable[..., Any]], tmp_path: Path
) -> None:
    words, function = command
    if not signature(function).parameters:
        return
    needed = [
        "1,2" if name in ("start", "goal") else "x"
        for name, parameter in signature(function).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not Parameter.VAR_KEYWORD
    ]
    printed = run(*words, *needed, "--print_config")
    assert printed.code == 0 and printed.error == ""
    (tmp_path / "config.yaml").write_text(printed.out)
    assert run(*words, "--config", tmp_path / "config.yaml", "--print_config") == printed


def test_help_that_needs_no_planner_imports_no_torch() -> None:
    light = [name for name, _ in cli.commands() if name[0] in ("data", "view", "inspect")]
    light += [("bench", "report"), ("bench", "compare"), ()]
    code = (
        "import sys\n"
        "from dfplan.cli import main\n"
        "for names in map(str.split, sys.argv[1:]):\n"
        "    main([*names, '--help'])\n"
        "    assert 'torch' not in sys.modules, names\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *map(" ".join, light)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert len(light) > 8


def test_short_walks_in_a_maze_of_ones_own_train_short_windows(run: Run, tmp_path: Path) -> None:
    maze, file, out = (tmp_path / name for name in ("ring.txt", "ring.hdf5", "run"))
    maze.write_text(RING)
    made = run("data", "generate", maze, file, "--collector=d4rl-stitch", "--steps=4000")
    assert made.code == 0, made.error
    walks = np.diff(load_data(file).segments, axis=1)
    assert (walks == 200).all() and len(walks) == 20
    short = ["--settings.steps=2", "--settings.batch_size=4", "--accelerator=cpu"]
    trained = run("train", file, "--out", out, *short)
    assert trained.code == 0, trained.error
    planner = dfplan.load(out)
    assert planner.model.layout.longest_horizon == 180, "the longest that a walk contains"
    plan = planner.plan(np.array([1.0, 1.0]), np.array([3.0, 3.0]), seed=0)
    assert plan.arrival is not None and np.isfinite(plan.points).all()
