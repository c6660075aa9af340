from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import dfplan
from dfplan.errors import CheckpointError
from dfplan.planning.single import ForcingPlanner
from dfplan.training import checkpoint as module
from dfplan.training.checkpoint import Checkpoint, read_tensors, write_tensors
from dfplan.training.recipes.forcing import ForcingConfig


@pytest.fixture
def checkpoint(trained: Any) -> Checkpoint:
    return Checkpoint.load(trained.checkpoint)


def rewrite(checkpoint: Checkpoint, path: Path, *, without: str = "", **header: Any) -> Path:
    """Save, then change the header and drop the tensors whose names start with ``without``."""
    tensors, described = read_tensors(checkpoint.save(path))
    kept = {n: t for n, t in tensors.items() if not (without and n.startswith(without))}
    write_tensors(path, kept, {**described, **header})
    return path


def disk_full(tensors: Any, path: Path, metadata: Any) -> None:
    """Write half of a file, as a full disk does."""
    Path(path).write_bytes(b"half of a file")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_save_and_load_are_inverse(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint = replace(checkpoint, maze="###\n#O#\n###")
    path = tmp_path / "deep" / "er" / "checkpoint.safetensors"
    assert checkpoint.save(path) == path
    back = Checkpoint.load(path)
    assert back.describe() == checkpoint.describe()
    assert json.loads(json.dumps(back.describe())) == back.describe()
    assert back.network.keys() == checkpoint.network.keys()
    for name, value in checkpoint.network.items():
        assert torch.equal(back.network[name], value) and back.network[name].dtype == value.dtype
    for name, value in checkpoint.statistics.to_tensors().items():
        assert torch.equal(back.statistics.to_tensors()[name], value)
    again = tmp_path / "again.safetensors"
    back.save(again)
    assert again.read_bytes() == path.read_bytes()


def test_a_reloaded_planner_plans_the_same_bit_for_bit(
    planner: ForcingPlanner, checkpoint: Checkpoint, corridor: Any, tmp_path: Path
) -> None:
    other = dfplan.load(checkpoint.save(tmp_path / "copy.safetensors"))
    state = np.concatenate([corridor.at(np.array(3.0)), [0, 0]])
    goal = corridor.at(np.array(35.0))
    first, second = planner.plan(state, goal, seed=0), other.plan(state, goal, seed=0)
    np.testing.assert_array_equal(first.points, second.points)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_describe_names_recipe_data_and_training(
    checkpoint: Checkpoint, recipe: ForcingConfig
) -> None:
    found = checkpoint.describe()
    assert found["recipe"] == "forcing"
    assert ForcingConfig.from_json(found["config"]) == recipe
    assert found["data"]["source"] == "corridor" and found["data"]["steps"] == 16_000
    assert len(found["data"]["fingerprint"]) == 64
    assert found["training"]["steps"] > 0 and found["training"]["seconds"] > 0


def test_a_full_disk_leaves_the_old_file(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint.save(tmp_path / "checkpoint.safetensors")
    before = path.read_bytes()
    monkeypatch.setattr(module, "save_file", disk_full)
    for wanted in (path, tmp_path / "new.safetensors"):
        with pytest.raises(OSError, match="No space left"):
            replace(checkpoint, maze="other").save(wanted)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_that_does_not_fit_is_an_os_error(tmp_path: Path) -> None:
    """In a process that may not write more than 4 kB to a file."""
    code = (
        "import resource, sys, torch\n"
        "from dfplan.training.checkpoint import write_tensors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    write_tensors(sys.argv[1], {'weight': torch.zeros(9999)}, {})\n"
        "except OSError as error:\n    print(error)\n"
    )
    path = tmp_path / "checkpoint.safetensors"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and f"{path} could not be written" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


def test_an_interrupt_leaves_the_old_file(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint.save(tmp_path / "checkpoint.safetensors")
    before = path.read_bytes()

    def interrupted(tensors: Any, path: Path, metadata: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_damaged(checkpoint: Checkpoint, tmp_path: Path, share: float) -> None:
    path = checkpoint.save(tmp_path / "cut.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors is damaged"):
        dfplan.load(path)


@pytest.mark.parametrize("content", [b"\x80\x04pickle", b"PK\x03\x04" + 100 * b"0", b"\x00" * 64])
def test_files_of_other_kinds_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        dfplan.load(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors_are_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="dfplan did not write it"):
        dfplan.load(path)


def test_a_changed_description_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "checkpoint.safetensors")
    whole = path.read_bytes()
    assert whole.count(b'\\"stride\\": 5') == 1
    path.write_bytes(whole.replace(b'\\"stride\\": 5', b'\\"stride\\": 9'))
    with pytest.raises(CheckpointError, match=r"damaged"):
        dfplan.load(path)


def test_statistics_of_another_shape_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "checkpoint.safetensors")
    tensors, header = read_tensors(path)
    tensors["statistics.motion"] = tensors["statistics.motion"][:3]
    write_tensors(path, tensors, header)
    with pytest.raises(CheckpointError, match=r"motion.*wrong"):
        dfplan.load(path)


def test_a_header_that_is_not_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    for text in ("{half", "[1, 2]"):
        save_file({"weight": torch.zeros(3)}, path, metadata={"dfplan": text})
        with pytest.raises(CheckpointError, match="damaged"):
            dfplan.load(path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_refused(checkpoint: Checkpoint, tmp_path: Path, version: Any) -> None:
    path = rewrite(checkpoint, tmp_path / "old.safetensors", format=version)
    with pytest.raises(CheckpointError, match=rf"format {version}"):
        dfplan.load(path)


@pytest.mark.parametrize("name", ["mean", "support.visited", "motion", "roadmap.edges", ""])
def test_missing_statistics_are_named(checkpoint: Checkpoint, tmp_path: Path, name: str) -> None:
    path = rewrite(checkpoint, tmp_path / "bare.safetensors", without=f"statistics.{name}")
    with pytest.raises(CheckpointError, match=f"'{name or '.*'}' is missing"):
        dfplan.load(path)


def test_no_weights_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = rewrite(checkpoint, tmp_path / "empty.safetensors", without="network.")
    with pytest.raises(CheckpointError, match="holds no weights"):
        dfplan.load(path)


def test_weights_that_do_not_fit_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "bent.safetensors"
    for change in ({"width": 64}, {"layers": 3}, {"frame_stack": 3}):
        rewrite(checkpoint, path, config={**checkpoint.config, **change})
        with pytest.raises(CheckpointError, match="does not fit"):
            dfplan.load(path)
    rewrite(checkpoint, path, without="network.head")
    with pytest.raises(CheckpointError, match=r"(?s)does not fit.*head\.weight"):
        dfplan.load(path)


def test_wrong_configurations_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "bent.safetensors"
    for config in ({**checkpoint.config, "depth": 3}, {"tokens": 9}, {}):
        rewrite(checkpoint, path, config=config)
        with pytest.raises(CheckpointError, match="does not fit its own configuration"):
            dfplan.load(path)
    rewrite(checkpoint, path, recipe="tree")
    with pytest.raises(CheckpointError, match="recipe 'tree'"):
        dfplan.load(path)


def test_a_training_state_is_refused(trained: Any) -> None:
    with pytest.raises(CheckpointError, match="format"):
        dfplan.load(trained.state)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"No checkpoint at .*gone\.safetensors"):
        dfplan.load(tmp_path / "gone.safetensors")


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "tensors.safetensors"
    write_tensors(path, {"weight": torch.arange(100.0)}, {})
    whole = bytearray(path.read_bytes())
    whole[-50] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="damaged"):
        read_tensors(path)


def test_later_changes_of_the_file_do_not_matter(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "c.safetensors")
    loaded = Checkpoint.load(path)
    with path.open("rb+") as file:  # in place, as cp writes
        file.write(bytes(path.stat().st_size // 2))
        file.truncate()
    for name, value in checkpoint.network.items():
        assert torch.equal(loaded.network[name], value)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_anywhere_is_refused(checkpoint: Checkpoint, tmp_path: Path, data: Any) -> None:
    """Flipped bits, zeroed blocks, and files that are cut or too long."""
    whole = checkpoint.save(tmp_path / "c.safetensors").read_bytes()
    damaged = bytearray(whole)
    # Half of the damage is in the header, which is a small part of the file.
    place = data.draw(st.integers(0, 3000) | st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["bit", "zeros", "cut", "more"]))
    if kind == "bit":
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "zeros":
        damaged[place : place + 512] = bytes(len(damaged[place : place + 512]))
    elif kind == "cut":
        del damaged[place:]
    else:
        damaged += b"x"
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damaged)
    if bytes(damaged) != whole:
        with pytest.raises(CheckpointError, match="damaged"):
            dfplan.load(path)


NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "description", [NESTED, f'{{"config": {NESTED}}}', "[]", "1", "{", "9" * 5000, '{"a": 1}']
)
def test_headers_of_another_kind_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, description: str
) -> None:
    path = tmp_path / "c.safetensors"
    save_file(checkpoint.network, path, metadata={"dfplan": description})
    with pytest.raises(CheckpointError, match="damaged"):
        dfplan.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layers", 10**6),
        ("width", 2**17),
        ("width", 2**62),
        ("tokens", 10**8),
        ("noise_levels", 10**9),
        ("frame_stack", 10**8),
        ("stride", 10**12),
        ("heads", 10**9),
        ("tokens", "12"),
        ("tokens", None),
        ("tokens", 1e400),
        ("levels", []),
        ("network", ["transformer"]),
    ],
)
def test_a_configuration_that_does_not_fit_the_tensors_is_refused_quickly(
    checkpoint: Checkpoint, tmp_path: Path, key: str, value: Any
) -> None:
    config = {**checkpoint.config, key: value}
    path = rewrite(checkpoint, tmp_path / "c.safetensors", config=config)
    with pytest.raises(CheckpointError, match=r"c\.safetensors"):
        dfplan.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, value: float
) -> None:
    for tensor in (checkpoint.network["head.bias"], checkpoint.statistics.normalizer.std):
        before = tensor.clone()
        tensor.reshape(-1)[0] = value
        path = checkpoint.save(tmp_path / "c.safetensors")
        tensor.copy_(before)
        with pytest.raises(CheckpointError, match=r"head\.bias|std"):
            dfplan.load(path)


@pytest.mark.parametrize(
    "wrong", [{"recipe": ["forcing"]}, {"config": 3}, {"maze": 1}, {"data": []}, {"training": None}]
)
def test_header_fields_of_another_kind_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError):
        dfplan.load(rewrite(checkpoint, tmp_path / "c.safetensors", **wrong))
