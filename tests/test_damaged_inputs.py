"""Every command on inputs that are damaged: one line that names the file, and nothing is left.

A command that has no entry in :data:`ENTRIES` fails the first test.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import torch
import yaml

import dfplan
from dfplan import cli
from dfplan.data import from_arrays, write
from dfplan.pretrained import checkpoint_path
from dfplan.training.checkpoint import read_tensors, write_tensors
from dfplan.training.recipes.forcing import ForcingConfig

MAZE = "#####\n#OOO#\n#O#O#\n#OOO#\n#####\n"
NAME = next(name for name in dfplan.pretrained_names() if name.startswith("maze2d"))
DEEP = "[" * 100_000 + "]" * 100_000

Damage = Callable[[Path], Any]
"""Writes a damaged input to a path."""


class Said(NamedTuple):
    code: int
    out: str
    error: str


NAMES = [" ".join(names) for names, _ in cli.commands()]
# How each command takes each kind of input: {} stands for the file. Of trainings, see below.
PLANNED = {"checkpoint": ["{}", "1,1", "3,3"]}
DATA = {"data": ["{}"]}
ENTRIES: dict[str, dict[str, list[str]]] = {
    "view": {"checkpoint": ["--mazes={}"]},
    "bench run": {
        "results": ["--planner=controller", "--tasks=maze2d-umaze", "--out={}"],
        "absent": ["--planner=bc", "--tasks=maze2d-umaze", "--checkpoints={}"],
    },
    "bench compare": {"results": ["{}", "{}"], "absent": ["{}", "{}"]},
    "bench report": {"results": ["{}"], "absent": ["{}"]},
    "evaluate": {
        "checkpoint": ["{}", "--episodes=1"],
        "maze": [NAME, "--env={}", "--episodes=1"],
    },
    "tune": {"checkpoint": ["{}", "--episodes=1"]},
    "calibrate": {"checkpoint": ["{}", "--problems=1"]},
    "env": {"maze": ["{}"]},
    "plan": PLANNED,
    "video denoising": PLANNED,
    "video episode": {"checkpoint": ["{}"], "maze": [NAME, "--env={}"]},
    "video tree": PLANNED,
    "train own": {
        "maze": ["{}", "--data=gone", "--out=run"],
        "data": ["maze.txt", "--data={}", "--out=run"],
    },
    "data generate": {"maze": ["{}", "out.hdf5", "--steps=100"]},
    "data download": {"data": ["{}"]},
    "data info": DATA,
    "data check": DATA,
    "data convert": {"data": ["{}", "out.npz"]},
    "data checksum": {"absent": ["{}"]},
    "inspect": {"checkpoint": ["{}"]},
}
TRAININGS = [name for name in NAMES if name.startswith("train ") and name != "train own"]
ENTRIES |= {name: {"data": ["--data={}", "--out=run"]} for name in TRAININGS}
ALONE = {"data list"}  # takes no input


@cache
def small() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and description of a checkpoint like a shipped one, of a small network."""
    held, told = read_tensors(checkpoint_path(NAME))
    told["config"] |= {"width": 8, "layers": 1, "heads": 1}
    network = ForcingConfig.from_json(told["config"]).untrained().state_dict()
    kept = {name: value for name, value in held.items() if name.startswith("statistics.")}
    return kept | {f"network.{name}": value.half() for name, value in network.items()}, told


@cache
def small_bytes() -> bytes:
    with TemporaryDirectory() as folder:
        write_tensors(path := Path(folder, "small.safetensors"), *small())
        return path.read_bytes()


def changed(
    path: Path,
    header: Callable[[dict[str, Any]], Any] = lambda header: None,
    tensors: Callable[[dict[str, torch.Tensor]], Any] = lambda tensors: None,
) -> None:
    """A checkpoint with a valid digest whose content was changed before it was written."""
    held, told = deepcopy(small())
    header(told)
    tensors(held)
    write_tensors(path, held, told)


def first_of(tensors: dict[str, torch.Tensor], prefix: str = "network.") -> str:
    return next(name for name in sorted(tensors) if name.startswith(prefix))


def rewritten(path: Path, change: Callable[[bytes, bytes], bytes]) -> None:
    """A checkpoint whose header (JSON) and tensors are put together by ``change``."""
    raw = small_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    path.write_bytes(change(raw[8 : 8 + size], raw[8 + size :]))


def with_length(header: bytes, rest: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + rest


def deep(header: bytes, rest: bytes) -> bytes:
    told = json.loads(header)
    told["__metadata__"]["dfplan"] = DEEP
    return with_length(json.dumps(told).encode(), rest)


def cut(source: Callable[[], bytes], share: float) -> Damage:
    def damage(path: Path) -> None:
        raw = source()
        path.write_bytes(raw[: int(len(raw) * share)])

    return damage


def infinite(value: float, prefix: str = "network.") -> Damage:
    def damage(path: Path) -> None:
        changed(path, tensors=lambda held: held[first_of(held, prefix)].view(-1)[:1].fill_(value))

    return damage


def told(**settings: Any) -> Damage:
    """A checkpoint whose description says something else."""
    return lambda path: changed(path, header=lambda header: header.update(settings))


def configured(**settings: Any) -> Damage:
    return lambda path: changed(path, header=lambda header: header["config"].update(settings))


COMMON: dict[str, Damage] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
    "text": lambda path: path.write_text("Hello, world.\n" * 20),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "deep": lambda path: path.write_text(DEEP),
}
FOLDER: dict[str, Damage] = {"a folder": lambda path: path.mkdir()}
ABSENT = {**{name: COMMON[name] for name in ("missing", "a link to nothing")}, **FOLDER}

CHECKPOINTS: dict[str, Damage] = {
    **COMMON,
    **FOLDER,
    "cut short": cut(small_bytes, 0.999),
    "half of it": cut(small_bytes, 0.5),
    "its first bytes": cut(small_bytes, 0.001),
    "no header": lambda path: rewritten(path, lambda header, rest: bytes(8 + len(header)) + rest),
    "a huge header": lambda path: rewritten(
        path, lambda header, rest: struct.pack("<Q", 2**63) + header + rest
    ),
    "a header of no JSON": lambda path: rewritten(
        path, lambda header, rest: with_length(header.replace(b":", b";"), rest)
    ),
    "a header of no text": lambda path: rewritten(
        path, lambda header, rest: with_length(b"\xff" * len(header), rest)
    ),
    "a deep header": lambda path: rewritten(
        path, lambda header, rest: with_length(DEEP.encode(), rest)
    ),
    "a deep description": lambda path: rewritten(path, deep),
    "one bit flipped": lambda path: rewritten(
        path, lambda header, rest: with_length(header, bytes([rest[0] ^ 1]) + rest[1:])
    ),
    "NaN in the weights": infinite(float("nan")),
    "infinite weights": infinite(float("inf")),
    "NaN in the statistics": infinite(float("nan"), "statistics."),
    "a tensor of another shape": lambda path: changed(
        path, tensors=lambda held: held.update({first_of(held): torch.zeros(3)})
    ),
    "a tensor missing": lambda path: changed(path, tensors=lambda held: held.pop(first_of(held))),
    "statistics missing": lambda path: changed(
        path, tensors=lambda held: held.pop(first_of(held, "statistics."))
    ),
    "statistics of another shape": lambda path: changed(
        path, tensors=lambda held: held.update({first_of(held, "statistics."): torch.zeros(7, 7)})
    ),
    "a tensor too many": lambda path: changed(
        path, tensors=lambda held: held.update({"network.other": torch.zeros(1)})
    ),
    "only statistics": lambda path: changed(
        path,
        tensors=lambda held: [held.pop(name) for name in [*held] if name.startswith("network.")],
    ),
    "an unknown recipe": told(recipe="alchemy"),
    "a recipe of another network": told(recipe="policy"),
    "a tracker": told(recipe="inverse"),
    "no configuration": told(config=None),
    "an empty configuration": told(config={}),
    "a recipe that is no text": told(recipe=["forcing"]),
    "a setting too large": configured(tokens=10**9),
    "a setting that is no number": configured(width="wide"),
    "a setting that is unknown": configured(colour="red"),
    "statistics of another type": lambda path: changed(
        path, tensors=lambda held: held.update({"statistics.std": torch.ones(2).double()})
    ),
    "a scale of zero": infinite(0.0, "statistics.std"),
    "a maze that is none": told(maze="no maze"),
    "a maze that is no text": told(maze=7),
    "a later format": told(format=99),
}
# What says nothing false of itself is shown by `inspect`, or by whoever needs no maze.
SHOWN = {
    "a tensor of another shape",
    "a tensor missing",
    "a tensor too many",
    "an unknown recipe",
    "a recipe of another network",
    "a tracker",
    "an empty configuration",
    "a setting too large",
    "a setting that is no number",
    "a setting that is unknown",
}


def walk(rows: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Observations and actions of a body that goes round in the maze."""
    angle = np.arange(rows) * 0.01
    position = np.stack([1.8 + np.cos(angle), 1.8 + np.sin(angle)], 1)
    velocity = np.stack([-np.sin(angle), np.cos(angle)], 1)
    actions = -0.9 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.concatenate([position, velocity], 1).astype("f4"), actions.astype("f4")


OBSERVATIONS, ACTIONS = walk()
ENDS = np.arange(len(ACTIONS)) % 500 == 499
WHOLE = replace(from_arrays(OBSERVATIONS, ACTIONS, ENDS, source="walk"), maze=MAZE)


def npz(**fields: Any) -> bytes:
    memory = io.BytesIO()
    arrays = {"observations": OBSERVATIONS, "actions": ACTIONS, "terminals": ENDS, **fields}
    np.savez(memory, **{name: value for name, value in arrays.items() if value is not None})
    return memory.getvalue()


def arrays(**fields: Any) -> Damage:
    return lambda path: path.write_bytes(npz(**fields))


def torn(path: Path) -> None:
    """The header of an array overwritten."""
    raw = bytearray(npz())
    first = raw.index(b"'fortran_order'")
    raw[first : first + 80] = bytes(80)
    path.write_bytes(raw)


def claiming(path: Path) -> None:
    """An array that says it is larger than any disk."""
    raw = npz()
    shape = f"({len(ACTIONS)}, 4), ".encode()
    larger = shape.replace(b"1500, 4", b"9999999999999999999, 4")
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(shape, larger))


def hdf5(change: Callable[[h5py.File], Any] = lambda file: None) -> Damage:
    def damage(path: Path) -> None:
        write(WHOLE, path, "d4rl")
        with h5py.File(path, "r+") as file:
            change(file)

    return damage


def placed(name: str, value: Any) -> Callable[[h5py.File], None]:
    """Another value in the place of a dataset."""

    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


def hdf5_bytes() -> bytes:
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["observations"], file["actions"] = OBSERVATIONS, ACTIONS
        file["rewards"], file["terminals"] = np.zeros(len(ENDS), "f4"), ENDS
        file["timeouts"] = ENDS
    return memory.getvalue()


def minari(change: Callable[[Path], Any]) -> Damage:
    def damage(path: Path) -> None:
        (path / "data").mkdir(parents=True)
        with h5py.File(path / "data" / "main_data.hdf5", "w") as file:
            group = file.create_group("episode_0")
            group["observations"], group["actions"] = OBSERVATIONS, ACTIONS[1:]
            for name in ("rewards", "terminations", "truncations"):
                group[name] = np.zeros(len(ACTIONS) - 1)
        (path / "data" / "metadata.json").write_text("{}")
        change(path / "data")

    return damage


def with_value(value: float) -> np.ndarray:
    observations = OBSERVATIONS.astype("f8")
    observations[100, 0] = value
    return observations


UNREADABLE: dict[str, Damage] = {
    **COMMON,
    **FOLDER,
    "an array torn": torn,
    "an npz cut short": cut(npz, 0.9),
    "an npz's first bytes": cut(npz, 0.01),
    "an array larger than it is": claiming,
    "an npz of nothing": lambda path: zipfile.ZipFile(path, "w").close(),
    "an npz of text": arrays(observations=np.array(["here", "there"])),
    "an npz of objects": arrays(observations=np.array([{}, []], object)),
    "an npz of complex numbers": arrays(observations=OBSERVATIONS.astype("c8")),
    "an npz of pairs": arrays(observations=np.zeros(9, [("x", "f4"), ("y", "f4")])),
    "observations of one number": arrays(observations=np.float32(3)),
    "observations of three columns": arrays(observations=OBSERVATIONS[:, :3]),
    "fewer actions than observations": arrays(actions=ACTIONS[:-9]),
    "no observations": arrays(observations=None),
    "an hdf5 cut short": cut(hdf5_bytes, 0.9),
    "an hdf5's first bytes": cut(hdf5_bytes, 0.02),
    "an hdf5 without actions": hdf5(placed("actions", None)),
    "an hdf5 of text": hdf5(placed("observations", "here")),
    "an hdf5 with a folder for an array": hdf5(
        lambda file: (file.pop("actions"), file.create_group("actions"))
    ),
    "an hdf5 of too few actions": hdf5(placed("actions", ACTIONS[:7])),
    "an hdf5 of pairs": hdf5(placed("observations", np.zeros(9, [("x", "f4"), ("y", "f4")]))),
    "a Minari folder without episodes": minari(
        lambda data: h5py.File(data / "main_data.hdf5", "w").close()
    ),
    "a Minari folder without its file": minari(lambda data: (data / "main_data.hdf5").unlink()),
    "a Minari file cut short": minari(lambda data: os.truncate(data / "main_data.hdf5", 3000)),
    "metadata that are deep": minari(lambda data: (data / "metadata.json").write_text(DEEP)),
    "metadata that are no JSON": minari(lambda data: (data / "metadata.json").write_text("{")),
    "metadata that are no text": minari(
        lambda data: (data / "metadata.json").write_bytes(b"\xff\xfe\xff")
    ),
    "metadata that are a list": minari(lambda data: (data / "metadata.json").write_text("[1]")),
    "metadata of another format": minari(
        lambda data: (data / "metadata.json").write_text('{"data_format": "arrow"}')
    ),
}
"""Data that no command can read."""

LYING: dict[str, Damage] = {
    "NaN everywhere": arrays(observations=np.full_like(OBSERVATIONS, np.nan)),
    "NaN in an action": arrays(actions=np.where(ENDS[:, None], np.nan, ACTIONS)),
    "one NaN": arrays(observations=with_value(np.nan)),
    "one infinity": arrays(observations=with_value(np.inf)),
    "one huge number": arrays(observations=with_value(1e300)),
    "a huge number for single precision": arrays(observations=with_value(3e38).astype("f4")),
    "huge actions": arrays(actions=ACTIONS * 1e30),
    "a body at rest": arrays(observations=OBSERVATIONS * 0),
    "no rows": arrays(observations=OBSERVATIONS[:0], actions=ACTIONS[:0], terminals=ENDS[:0]),
    "one row": arrays(observations=OBSERVATIONS[:1], actions=ACTIONS[:1], terminals=ENDS[:1]),
    "every row an end": arrays(terminals=~ENDS | True),
}
"""Data that can be read and may or may not be used: what is said of it is not prescribed."""

MAZES: dict[str, Damage] = {
    **COMMON,
    **FOLDER,
    "one row": lambda path: path.write_text("#####\n"),
    "rows of other lengths": lambda path: path.write_text("#####\n#OO#\n#####\n"),
    "a hole in the border": lambda path: path.write_text(MAZE.replace("#####", "#O###", 1)),
    "walls only": lambda path: path.write_text("###\n###\n###\n"),
    "two goals": lambda path: path.write_text(MAZE.replace("OOO", "GOG", 1)),
    "another character": lambda path: path.write_text(MAZE.replace("OOO", "O?O", 1)),
    "two parts": lambda path: path.write_text("#####\n#O#O#\n#####\n"),
    "an unknown frame": lambda path: path.write_text("frame of mine\n" + MAZE),
    "a huge one": lambda path: path.write_text(("#" * 3000 + "\n") * 3000),
    "Latin": lambda path: path.write_bytes(MAZE.replace("OOO", "Oé\xe9", 1).encode("latin-1")),
}


def result(change: Callable[[Path, Path], Any]) -> Damage:
    """The folder of a benchmark with one cell, whose lines and costs are changed."""

    def damage(path: Path) -> None:
        folder = path / "cells" / "maze2d-umaze"
        folder.mkdir(parents=True)
        lines, aside = folder / "controller+none+0.jsonl", folder / "controller+none+0.json"
        name = {"protocol": "d4rl-maze2d-v1", "task": "maze2d-umaze", "planner": "controller"}
        head = {"format": 2, **name, "tracker": "none", "seed": 0, "episodes": 1}
        head |= {"split": "test", "problems": "0" * 64, "model": None, "follows": None}
        row = {"episode": 0, "part": 0, "start": [1.0, 1.0], "goal": [1.0, 1.0], "score": 1.0}
        row |= {"most": 2.0, "reward": 1.0, "latched": 1.0, "steps_to_goal": None, "steps": 3}
        row |= {"success_any": False, "success_last": False, "fault": None}
        lines.write_text(json.dumps(head) + "\n" + json.dumps(row) + "\n")
        aside.write_text("{}")
        change(lines, aside)

    return damage


def line_of(**values: Any) -> Damage:
    def change(lines: Path, _: Path) -> None:
        first, second = lines.read_text().splitlines()
        lines.write_text(f"{first}\n{json.dumps({**json.loads(second), **values})}\n")

    return result(change)


RESULTS: dict[str, Damage] = {
    "a file": lambda path: path.write_text("results"),
    "no costs": result(lambda lines, aside: aside.unlink()),
    "costs of nothing": result(lambda lines, aside: None),
    "costs that are deep": result(lambda lines, aside: aside.write_text(DEEP)),
    "costs that are no text": result(lambda lines, aside: aside.write_bytes(b"\xff\xfe")),
    "empty lines": result(lambda lines, aside: lines.write_bytes(b"")),
    "lines of noise": result(lambda lines, aside: lines.write_bytes(bytes(range(256)) * 9)),
    "lines that are deep": result(lambda lines, aside: lines.write_text(DEEP)),
    "a folder for the lines": result(lambda lines, aside: (lines.unlink(), lines.mkdir())),
    "another format": result(lambda lines, aside: lines.write_text('{"format": 1}\n')),
    "a list for a line": result(lambda lines, aside: lines.write_text("[1, 2]\n")),
    "NaN in a score": line_of(score=float("nan")),
    "an infinite score": line_of(score=float("inf")),
    "a score of many digits": line_of(score=10**400),
    "a text for a score": line_of(score="good"),
}

CONFIGS: dict[str, Damage] = {
    **{name: damage for name, damage in COMMON.items() if name != "text"},
    **FOLDER,
    "a sentence": lambda path: path.write_text("Hello, world."),
    "a list": lambda path: path.write_text("- 1\n- 2\n"),
    "a key twice": lambda path: path.write_text("config: 1\nconfig: 2\n"),
    "tabs": lambda path: path.write_text("a:\n\tb: 1\n"),
    "an open bracket": lambda path: path.write_text("a: [\n"),
    "an unknown key": lambda path: path.write_text("colour: red\n"),
    "a key that is a number": lambda path: path.write_text("7: 8\n"),
    "a key that is a list": lambda path: path.write_text("? [a]\n: 1\n"),
    "an object of Python": lambda path: path.write_text("a: !!python/object/apply:os.abort []\n"),
    "an alias of itself": lambda path: path.write_text("a: &a [*a]\n"),
    "aliases of aliases": lambda path: path.write_text(
        "a: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    ),
    "a number of many digits": lambda path: path.write_text(f"a: {'9' * 5000}\n"),
    "a number in base 16 of many digits": lambda path: path.write_text(f"a: 0x{'f' * 5000}\n"),
    "UTF-16": lambda path: path.write_text("a: 1\n", encoding="utf-16"),
    "Latin": lambda path: path.write_bytes("a: é\n".encode("latin-1")),
    "more than is read": lambda path: path.write_text("a: 1 # " + "long" * 300_000),
}

INPUTS = {
    "absent": ABSENT,
    "checkpoint": CHECKPOINTS,
    "data": UNREADABLE,
    "maze": MAZES,
    "results": RESULTS,
    "lying": LYING,
    "config": CONFIGS,
}
ENDINGS = {"checkpoint": ".safetensors", "maze": ".txt"}


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """Every damaged input, made once: paths by the kind of input and by the damage."""
    folder = tmp_path_factory.mktemp("damaged")
    made: dict[str, dict[str, Path]] = {}
    for kind, damages in INPUTS.items():
        made[kind] = {}
        for damage, make in damages.items():
            path = folder / f"{kind}-{damage.replace(' ', '-')}{ENDINGS.get(kind, '')}"
            make(path)
            made[kind][damage] = path
    return made


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Runs a command in this process, in a folder with a maze and nothing else."""
    monkeypatch.chdir(tmp_path)
    for variable in ("D4RL_DATASET_DIR", "OGBENCH_DATASET_DIR", "MINARI_DATASETS_PATH"):
        monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / "maze.txt").write_text(MAZE)

    def call(command: str, *arguments: str) -> Said:
        return Said(cli.main([*command.split(), *arguments]), *capsys.readouterr())

    return call


Run = Callable[..., Said]
Made = dict[str, dict[str, Path]]


def faults(
    run: Run,
    folder: Path,
    command: str,
    arguments: list[str],
    inputs: Mapping[str, Path],
    also: Mapping[str, tuple[int, ...]] = {},
) -> list[str]:
    """What is wrong with what a command says of damaged inputs; empty if nothing is.

    The exit code must be 2, or one of those of the damage in ``also``.
    """
    wrong = []
    before = {*folder.iterdir()}
    for damage, path in inputs.items():
        said = run(command, *[argument.format(path) for argument in arguments])
        lines = said.error.splitlines()
        errors = [line for line in lines if line.startswith("dfplan: error: ")]
        if said.code not in (2, *also.get(damage, ())):
            fault = f"exit code {said.code}"
        elif said.code != 2:
            fault = "an error and no exit code 2" if errors else ""
        elif len(lines) != 1 or len(errors) != 1:
            fault = f"{len(lines)} lines"
        elif path.stem not in errors[0]:
            fault = "the file is not named"
        else:
            left = {*folder.iterdir()} - before
            fault = f"left behind: {[each.name for each in left]}" if left else ""
        if fault:
            wrong.append(f"{damage}: {fault}; {said.error.strip()[-300:]}")
    return wrong


def test_every_command_has_an_entry() -> None:
    assert set(NAMES) == ENTRIES.keys() | ALONE


@pytest.mark.parametrize("command", [name for name in ENTRIES if name not in TRAININGS])
def test_damage_is_said_in_one_line(run: Run, damaged: Made, command: str, tmp_path: Path) -> None:
    wrong = []
    for kind, arguments in ENTRIES[command].items():
        also = dict.fromkeys(SHOWN, (0,)) if command == "inspect" else {}
        wrong += faults(run, tmp_path, command, arguments, damaged[kind], also)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("place", range(0, len(TRAININGS), 4))
def test_trainings_say_damage_in_one_line(
    run: Run, damaged: Made, place: int, tmp_path: Path
) -> None:
    """Each of them on some of the inputs, so that every input comes about as often."""
    wrong = []
    for number, command in enumerate(TRAININGS[place : place + 4], place):
        for kind in ("data", "config"):
            inputs = [*damaged[kind].items()]
            some = dict(inputs[number % 8 :: 8])
            arguments = ["--data={}", "--out=run"] if kind == "data" else ["--config={}"]
            found = faults(run, tmp_path, command, arguments, some)
            wrong += [f"{command}: {each}" for each in found]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("command", [name for name in ENTRIES if name not in TRAININGS])
def test_damaged_settings_are_said_in_one_line(
    run: Run, damaged: Made, command: str, tmp_path: Path
) -> None:
    wrong = faults(run, tmp_path, command, ["--config={}"], damaged["config"])
    assert not wrong, "\n".join(wrong)


QUICK = ["--settings.steps=1", "--settings.batch_size=2", "--accelerator=cpu", "--out=run"]


@pytest.mark.filterwarnings("always::dfplan.data.segments.DataWarning")
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("data info", ["{}"]),
        ("data check", ["{}", "--picture=seen.png"]),
        ("data convert", ["{}", "out.hdf5"]),
        ("train maze2d-umaze", ["--data={}", *QUICK, "--recipe.width=8"]),
        ("train bc-umaze", ["--data={}", *QUICK, "--recipe.width=8"]),
    ],
)
def test_lying_data_ends_in_no_raw_error(
    run: Run, damaged: Made, command: str, arguments: list[str], tmp_path: Path
) -> None:
    for damage, path in damaged["lying"].items():
        said = run(command, *[argument.format(path) for argument in arguments])
        errors = [line for line in said.error.splitlines() if line.startswith("dfplan: error: ")]
        assert (said.code, len(errors)) in ((0, 0), (1, 0), (2, 1)), (damage, said.error)
        if errors:
            assert path.name in errors[0], (damage, said.error)
        for left in ("run", "out.hdf5", "seen.png"):
            there = tmp_path / left
            shutil.rmtree(there, ignore_errors=True) if there.is_dir() else there.unlink(True)


NUMBERS = ["-1", "nan", "1e400", "9" * 500, ""]


def settings_of(shown: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Names of all settings, as flags have them."""
    for name, value in shown.items():
        if isinstance(value, dict):
            yield from settings_of(value, f"{before}{name}.")
        else:
            yield f"--{before}{name}"


@pytest.mark.parametrize(
    "command",
    [
        "env maze.txt",
        "data generate maze.txt out.hdf5 --steps=50 --workers=1",
        "train maze2d-umaze --data=gone",
        "train iql-umaze --data=gone",
        "plan gone.safetensors 1,1 3,3",
        "video tree gone.safetensors 1,1 3,3",
        "evaluate gone.safetensors",
        "bench run --checkpoints=gone",
    ],
)
def test_no_value_of_a_setting_gives_a_raw_error(run: Run, command: str) -> None:
    """Where a value is one, the command goes on, to an input that is not there."""
    shown = yaml.safe_load(run(command, "--print_config").out)
    for flag in settings_of(shown):
        for number in NUMBERS:
            said = run(command, f"{flag}={number}")
            errors = [line for line in said.error.splitlines() if line.startswith("dfplan: error")]
            assert (said.code, len(errors)) in ((0, 0), (2, 1)), (flag, number, said)


def test_what_is_not_damaged_is_read(run: Run, tmp_path: Path) -> None:
    """So that the inputs above are refused for their damage."""
    (tmp_path / "small.safetensors").write_bytes(small_bytes())
    (tmp_path / "walk.npz").write_bytes(npz())
    hdf5()(tmp_path / "walk.hdf5")
    minari(lambda data: None)(tmp_path / "walk-v0")
    for command in (
        "inspect small.safetensors",
        "plan small.safetensors 1,1 3,3 --planner.sampling.steps=2",
        "data check walk.npz",
        "data check walk.hdf5",
        "data info walk-v0",
        "env maze.txt",
        "train own maze.txt --data=walk.npz --out=run --tokens=4 --settings.steps=1",
    ):
        said = run(command)
        assert said.code == 0, (command, said.error)
