"""The training loop: the files that it writes, and runs that are resumed to the bit."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

import dfplan
from dfplan.data import from_arrays, segmented
from dfplan.errors import BusyError, CheckpointError, ConfigError, DataError, DfplanError
from dfplan.files import exclusive_lock
from dfplan.tokens.windows import TokenWindows
from dfplan.training import checkpoint as checkpoint_module
from dfplan.training import state as state_module
from dfplan.training.checkpoint import Checkpoint, read_tensors
from dfplan.training.loop import train
from dfplan.training.metrics import MetricsWarning
from dfplan.training.recipes import forcing as recipes_module
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Trajectories

SETTINGS = TrainSettings(steps=13, batch_size=8, warmup=3, save_every=4, log_every=2)


@pytest.fixture
def tiny(recipe: ForcingConfig) -> ForcingConfig:
    return replace(recipe, tokens=5, width=8, layers=1, heads=1)


@pytest.fixture(scope="module")
def unbroken(recipe: ForcingConfig, trajectories: Trajectories, tmp_path_factory: Any) -> Path:
    folder = Path(tmp_path_factory.mktemp("unbroken"))
    small = replace(recipe, tokens=5, width=8, layers=1, heads=1)
    train(small, trajectories, folder, settings=SETTINGS, progress=False)
    return folder


def metrics(folder: Path) -> list[dict[str, float]]:
    """The lines without the seconds, which differ between runs."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_tensors(path)[0]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


class StopError(Exception):
    """Interrupts a run."""


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make the loss raise at this step, counted from now."""
    left = iter(range(step))
    loss = recipes_module.forcing_loss

    def failing(*arguments: Any) -> torch.Tensor:
        if next(left, None) is None:
            raise StopError
        return loss(*arguments)

    monkeypatch.setattr(recipes_module, "forcing_loss", failing)


def test_metrics_have_a_line_each_interval_and_a_last_one(unbroken: Path) -> None:
    lines = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12, 13]
    for line in lines:
        assert set(line) >= {"step", "loss", "learning_rate", "seconds"}
        assert np.isfinite(line["loss"]) and line["learning_rate"] > 0
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert lines[-1]["learning_rate"] < lines[1]["learning_rate"] <= SETTINGS.learning_rate


def test_loss_falls(trained: Any) -> None:
    losses = [line["loss"] for line in trained.metrics()]
    assert losses[-1] < 0.5 * losses[0]


def test_the_checkpoint_holds_the_averaged_weights(unbroken: Path, tiny: ForcingConfig) -> None:
    kept = Checkpoint.load(unbroken / "checkpoint.safetensors").network
    state = tensors(unbroken / "state.safetensors")
    for name, value in kept.items():
        averaged = state[f"averaged.module.{name}"]
        assert torch.equal(value, averaged.to(value.dtype))
        assert not torch.equal(averaged, state[f"network.{name}"])
    tiny.untrained().load_state_dict(kept)


@pytest.mark.parametrize("stop", [5, 8, 11])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    unbroken: Path,
    tiny: ForcingConfig,
    trajectories: Trajectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, stop)
        with pytest.raises(StopError):
            train(tiny, trajectories, tmp_path, settings=SETTINGS, progress=False)
    assert not (tmp_path / "checkpoint.safetensors").exists()
    torch.manual_seed(stop)  # the state of the process must not matter
    train(tiny, trajectories, tmp_path, settings=SETTINGS, resume=True, progress=False)
    assert metrics(tmp_path) == metrics(unbroken)
    for name in ("state.safetensors", "checkpoint.safetensors"):
        assert same(tensors(tmp_path / name), tensors(unbroken / name)), name
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "checkpoint.safetensors",
        "metrics.jsonl",
        "state.safetensors",
    ]


@pytest.fixture
def interrupted(
    tiny: ForcingConfig, trajectories: Trajectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder of a run that stopped between two saved states."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(StopError):
            train(tiny, trajectories, tmp_path, settings=SETTINGS, progress=False)
    return tmp_path


@pytest.mark.parametrize(
    "damage",
    [
        b'{"step": 8, "lo',
        b'{"step": 2}',
        bytes(700),
        b"\xff\xfe\n",
        b"[1]\n",
        b'{"step": []}\n',
        b"[" * 100_000,
        '{"step": 8, "loss": 1.0}\n'.encode("utf-16"),
    ],
)
def test_damaged_lines_of_metrics_are_removed(
    damage: bytes,
    unbroken: Path,
    interrupted: Path,
    tiny: ForcingConfig,
    trajectories: Trajectories,
) -> None:
    with (interrupted / "metrics.jsonl").open("ab") as file:
        file.write(damage)
    with pytest.warns(MetricsWarning, match="damaged"):
        train(tiny, trajectories, interrupted, settings=SETTINGS, resume=True, progress=False)
    assert metrics(interrupted) == metrics(unbroken)


@pytest.mark.parametrize("left", [b"", None, b'{"step": 2}\n'])
def test_missing_lines_of_metrics_give_a_warning(
    left: bytes | None, interrupted: Path, tiny: ForcingConfig, trajectories: Trajectories
) -> None:
    path = interrupted / "metrics.jsonl"
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    with pytest.warns(MetricsWarning, match=f"after step {2 if left else 0} are missing"):
        train(tiny, trajectories, interrupted, settings=SETTINGS, resume=True, progress=False)


def test_resuming_a_finished_run_changes_nothing(
    unbroken: Path, tiny: ForcingConfig, trajectories: Trajectories
) -> None:
    kept = ("metrics.jsonl", "state.safetensors")
    before = {name: (unbroken / name).read_bytes() for name in kept}
    weights = tensors(unbroken / "checkpoint.safetensors")
    train(tiny, trajectories, unbroken, settings=SETTINGS, resume=True, progress=False)
    for name, content in before.items():
        assert (unbroken / name).read_bytes() == content
    assert same(tensors(unbroken / "checkpoint.safetensors"), weights)


def test_the_seed_determines_the_run(
    unbroken: Path, tiny: ForcingConfig, trajectories: Trajectories, tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    for name, seed in (("same", SETTINGS.seed), ("other", 7)):
        settings = replace(SETTINGS, seed=seed)
        train(tiny, trajectories, tmp_path / name, settings=settings, progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert metrics(tmp_path / "same") == metrics(unbroken)
    first, same_seed, other = (
        tensors(folder / "state.safetensors")
        for folder in (unbroken, tmp_path / "same", tmp_path / "other")
    )
    assert same(first, same_seed) and not same(first, other)


def test_no_batch_is_drawn_twice(
    tiny: ForcingConfig, trajectories: Trajectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    loss = recipes_module.forcing_loss

    def recording(denoiser: Any, clean: torch.Tensor, *others: Any) -> torch.Tensor:
        seen.append(clean.numpy().tobytes())
        return loss(denoiser, clean, *others)

    monkeypatch.setattr(recipes_module, "forcing_loss", recording)
    for seed in (0, 1):
        settings = replace(SETTINGS, seed=seed)
        train(tiny, trajectories, tmp_path / str(seed), settings=settings, progress=False)
    assert len(set(seen)) == len(seen) == 2 * SETTINGS.steps


def test_rate_warmup_and_clip_bound_the_first_step(
    tiny: ForcingConfig, trajectories: Trajectories, tmp_path: Path
) -> None:
    """The first step of Adam moves a weight by the learning rate at most."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = tiny.untrained().state_dict()

    def farthest(name: str, **changes: float) -> float:
        settings = replace(SETTINGS, steps=1, weight_decay=0.0, **changes)  # type: ignore[arg-type]
        train(tiny, trajectories, tmp_path / name, settings=settings, progress=False)
        state = tensors(tmp_path / name / "state.safetensors")
        return max(float((state[f"network.{n}"] - start[n]).abs().max()) for n in start)

    assert farthest("plain", learning_rate=1e-3, warmup=1) == pytest.approx(1e-3, rel=0.01)
    assert farthest("faster", learning_rate=2e-3, warmup=1) == pytest.approx(2e-3, rel=0.01)
    assert farthest("warm", learning_rate=1e-3, warmup=10) == pytest.approx(1e-4, rel=0.01)
    assert farthest("clipped", learning_rate=1e-3, warmup=1, clip=1e-12) < 1e-6


def test_a_run_is_not_overwritten(
    unbroken: Path, tiny: ForcingConfig, trajectories: Trajectories
) -> None:
    before = (unbroken / "state.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="already holds a run; resume it"):
        train(tiny, trajectories, unbroken, settings=SETTINGS, progress=False)
    assert (unbroken / "state.safetensors").read_bytes() == before


def test_a_run_is_resumed_with_the_same_recipe_settings_and_data(
    unbroken: Path, tiny: ForcingConfig, trajectories: Trajectories, corridor: Any
) -> None:
    states, actions = corridor.record(walkers=2, steps=300, seed=9)
    other = segmented(
        from_arrays(states.reshape(-1, 4), actions.reshape(-1, 2), np.arange(600) % 300 == 299)
    )
    changes: dict[str, tuple[ForcingConfig, Trajectories, TrainSettings]] = {
        "settings": (tiny, trajectories, replace(SETTINGS, learning_rate=0.5)),
        "config": (replace(tiny, layers=2), trajectories, SETTINGS),
        "data": (tiny, other, SETTINGS),
    }
    before = {file: file.read_bytes() for file in unbroken.iterdir()}
    for what, (recipe, data, settings) in changes.items():
        with pytest.raises(CheckpointError, match=f"made with other {what}"):
            train(recipe, data, unbroken, settings=settings, resume=True, progress=False)
    assert {file: file.read_bytes() for file in unbroken.iterdir()} == before


def test_a_missing_state_is_an_error(
    tiny: ForcingConfig, trajectories: Trajectories, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"No checkpoint at .*state\.safetensors"):
        train(tiny, trajectories, tmp_path, settings=SETTINGS, resume=True, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_not_a_state(
    unbroken: Path, tiny: ForcingConfig, trajectories: Trajectories, tmp_path: Path
) -> None:
    content = (unbroken / "checkpoint.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError):
        train(tiny, trajectories, tmp_path, settings=SETTINGS, resume=True, progress=False)
    (tmp_path / "state.safetensors").write_bytes(content[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        train(tiny, trajectories, tmp_path, settings=SETTINGS, resume=True, progress=False)


def test_a_full_disk_leaves_a_state_to_resume_from(
    unbroken: Path,
    tiny: ForcingConfig,
    trajectories: Trajectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = []
    save = checkpoint_module.save_file

    def third_time_full(content: Any, path: Path, metadata: Any) -> None:
        written.append(path)
        if len(written) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, path, metadata=metadata)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "save_file", third_time_full)
        with pytest.raises(OSError, match="No space left"):
            train(tiny, trajectories, tmp_path, settings=SETTINGS, progress=False)
    assert read_tensors(tmp_path / "state.safetensors")[1]["step"] == 8
    assert len(list(tmp_path.iterdir())) == 2
    train(tiny, trajectories, tmp_path, settings=SETTINGS, resume=True, progress=False)
    assert metrics(tmp_path) == metrics(unbroken)


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_precision_can_be_chosen(
    tiny: ForcingConfig,
    trajectories: Trajectories,
    unbroken: Path,
    tmp_path: Path,
    precision: Any,
) -> None:
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    train(tiny, trajectories, tmp_path, settings=SETTINGS, fabric=fabric, progress=False)
    losses, full = ([line["loss"] for line in metrics(run)] for run in (tmp_path, unbroken))
    np.testing.assert_allclose(losses, full, rtol=0.1)
    assert (losses == full) == (precision == "32-true")
    state = tensors(tmp_path / "state.safetensors")
    assert all(value.dtype == torch.float32 for n, value in state.items() if "network." in n)


def test_progress_shows_steps_and_loss(
    tiny: ForcingConfig,
    trajectories: Trajectories,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    train(tiny, trajectories, tmp_path / "a", settings=SETTINGS, progress=False)
    assert capfd.readouterr().err == ""
    train(tiny, trajectories, tmp_path / "b", settings=SETTINGS)
    shown = capfd.readouterr().err
    assert "13/13" in shown and "loss=" in shown


def test_data_too_short_for_a_window_is_refused_before_anything_is_written(
    tiny: ForcingConfig, tmp_path: Path, corridor: Any
) -> None:
    states, actions = corridor.record(walkers=1, steps=8, seed=0)
    with pytest.raises(DataError, match="longest"):
        train(
            tiny,
            segmented(from_arrays(states[0], actions[0])),
            tmp_path,
            settings=SETTINGS,
            progress=False,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["steps", "batch_size", "save_every", "log_every"])
def test_wrong_settings_are_refused(name: str) -> None:
    for wrong in (0, 1.5):
        with pytest.raises(ConfigError, match=f"{name} must be .* at least 1; got {wrong}"):
            TrainSettings(**{name: wrong})
    with pytest.raises(ConfigError, match="save_every must be a multiple of log_every"):
        TrainSettings(save_every=5, log_every=2)


def test_settings_and_config_are_json(tiny: ForcingConfig) -> None:
    assert TrainSettings(**json.loads(json.dumps(asdict(SETTINGS)))) == SETTINGS
    assert ForcingConfig.from_json(json.loads(json.dumps(tiny.to_json()))) == tiny


def test_the_folder_of_a_run_can_be_loaded(unbroken: Path, trained: Any, tmp_path: Path) -> None:
    assert dfplan.load(unbroken).model.layout.tokens == 5
    assert dfplan.load(str(trained.folder)).model.layout.tokens == 14
    with pytest.raises(CheckpointError, match="No checkpoint at"):
        dfplan.load(tmp_path)


def draw_in_the_same_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw each batch when it is needed, in the thread of the training."""

    class Delayed:
        def __init__(self, function: Any, *arguments: Any) -> None:
            self._function, self._arguments = function, arguments

        def result(self) -> Any:
            return self._function(*self._arguments)

    class SameThread:
        def __init__(self, workers: int) -> None: ...

        def __enter__(self) -> SameThread:
            return self

        def __exit__(self, *_: Any) -> None: ...

        submit = staticmethod(Delayed)

    monkeypatch.setattr("dfplan.training.batches.ThreadPoolExecutor", SameThread)


def test_batches_drawn_ahead_are_the_same(
    unbroken: Path,
    tiny: ForcingConfig,
    trajectories: Trajectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw_in_the_same_thread(monkeypatch)
    train(tiny, trajectories, tmp_path, settings=SETTINGS, progress=False)
    assert metrics(tmp_path) == metrics(unbroken)
    for name in ("state.safetensors", "checkpoint.safetensors"):
        assert same(tensors(tmp_path / name), tensors(unbroken / name)), name


def test_each_batch_is_drawn_once_in_another_thread(
    tiny: ForcingConfig,
    trajectories: Trajectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []
    draw = TokenWindows.draw

    def recording(self: TokenWindows, *arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return draw(self, *arguments)

    monkeypatch.setattr(TokenWindows, "draw", recording)
    train(tiny, trajectories, tmp_path, settings=SETTINGS, progress=False)
    assert len(threads) == SETTINGS.steps and threading.get_ident() not in threads


@pytest.mark.parametrize("failing", [1, 6, SETTINGS.steps])
def test_an_error_in_drawing_reaches_the_caller(
    unbroken: Path,
    tiny: ForcingConfig,
    trajectories: Trajectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: int,
) -> None:
    draw, calls = TokenWindows.draw, iter(range(1, 100))

    def broken(self: TokenWindows, *arguments: Any) -> Any:
        if next(calls) == failing:
            raise StopError
        return draw(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TokenWindows, "draw", broken)
        with pytest.raises(StopError):
            train(tiny, trajectories, tmp_path, settings=SETTINGS, progress=False)
    assert not (tmp_path / "checkpoint.safetensors").exists()
    # All steps before the failing one were done.
    made = [line for line in metrics(unbroken) if line["step"] < failing]
    assert metrics(tmp_path) == made


def test_waiting_time_adds_up_over_resumes(
    tiny: ForcingConfig,
    trajectories: Trajectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw, delay = TokenWindows.draw, 0.05

    def slow(self: TokenWindows, *arguments: Any) -> Any:
        time.sleep(delay)
        return draw(self, *arguments)

    monkeypatch.setattr(TokenWindows, "draw", slow)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 8)
        with pytest.raises(StopError):
            train(tiny, trajectories, tmp_path, settings=SETTINGS, progress=False)
    waited = read_tensors(tmp_path / "state.safetensors")[1]["waited_seconds"]
    assert delay <= waited < 60
    train(tiny, trajectories, tmp_path, settings=SETTINGS, resume=True, progress=False)
    training = Checkpoint.load(tmp_path / "checkpoint.safetensors").training
    assert waited + delay / 2 < training["waited_seconds"] <= training["seconds"] + 0.05
    assert training["cpu_seconds"] >= 0


def test_a_kill_between_two_writes_loses_no_checkpoint(
    tiny: ForcingConfig, trajectories: Trajectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever write is the last one, the resumed run ends with the same files."""
    settings = replace(SETTINGS, keep_every=4)
    train(tiny, trajectories, tmp_path / "whole", settings=settings, progress=False)
    expected = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert "checkpoint-8.safetensors" in expected
    write = checkpoint_module.write_tensors
    for last in range(1, 8):
        left = iter(range(last))

        def stopping(*arguments: Any, left: Any = left) -> None:
            if next(left, None) is None:
                raise StopError
            write(*arguments)

        out = tmp_path / str(last)
        with monkeypatch.context() as patch:
            for module in (checkpoint_module, state_module):
                patch.setattr(module, "write_tensors", stopping)
            with pytest.raises(StopError):
                train(tiny, trajectories, out, settings=settings, progress=False)
        resume = (out / "state.safetensors").exists()
        train(tiny, trajectories, out, settings=settings, resume=resume, progress=False)
        assert sorted(path.name for path in out.iterdir()) == expected
        for name in expected:
            if name != "metrics.jsonl":
                assert same(tensors(out / name), tensors(tmp_path / "whole" / name)), name


def test_a_folder_takes_one_training_at_a_time(
    tiny: ForcingConfig, trajectories: Trajectories, tmp_path: Path
) -> None:
    with exclusive_lock(tmp_path, "a training"):
        for resume in (False, True):
            with pytest.raises(BusyError, match=f"process {os.getpid()} on"):
                train(
                    tiny, trajectories, tmp_path, settings=SETTINGS, resume=resume, progress=False
                )
    train(tiny, trajectories, tmp_path, settings=SETTINGS, progress=False)


def test_the_average_starts_after_the_warm_up(
    tiny: ForcingConfig, trajectories: Trajectories, tmp_path: Path
) -> None:
    """With a decay near 1 the average stays at the weights at the end of the warm-up."""
    settings = replace(SETTINGS, ema_decay=1 - 1e-9, save_every=2, keep_every=2, warmup=4)
    train(tiny, trajectories, tmp_path, settings=settings, progress=False)
    last = Checkpoint.load(tmp_path / "checkpoint.safetensors").network
    at_warm_up = Checkpoint.load(tmp_path / "checkpoint-4.safetensors").network
    before = Checkpoint.load(tmp_path / "checkpoint-2.safetensors").network
    assert same(last, at_warm_up) and not same(last, before)


def test_divergence_is_an_error(
    recipe: ForcingConfig, trajectories: Trajectories, tmp_path: Path
) -> None:
    settings = TrainSettings(steps=20, batch_size=4, weight_decay=1e30)
    with pytest.raises(DfplanError, match=r"diverged: at step \d+ .* weight_decay \(1e\+30\)"):
        train(recipe, trajectories, tmp_path, settings=settings, progress=False)
