"""``dfplan train FILE``: training, fine-tuning and planning with the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import dfplan
from dfplan import cli
from dfplan.data import from_arrays, load_data, segmented, write
from dfplan.errors import CheckpointError, ConfigError
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.single import ForcingPlanner
from dfplan.training.checkpoint import Checkpoint, read_tensors
from dfplan.training.loop import train
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.offline import OfflineConfig
from dfplan.training.recipes.value import ValueConfig
from dfplan.training.registry import recipe_of
from dfplan.training.settings import TrainSettings
from dfplan.training.state import TrainingState
from dfplan.types import Recording

QUICK = ["--settings.steps=1", "--settings.batch_size=4", "--accelerator=cpu", "--tokens=4"]
SMALL = TrainSettings(steps=2, batch_size=4, warmup=1)
ENDINGS = {"d4rl": "walk.hdf5", "minari": "walk-v0", "ogbench": "walk.npz"}

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that succeeds; returns what it prints."""

    def call(*arguments: Any) -> str:
        assert cli.main([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that fails; returns what it says."""

    def call(*arguments: Any) -> str:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr().err
        assert code == 2 and said.startswith("dfplan: error: ") and "Traceback" not in said
        return said

    return call


@pytest.fixture(scope="module")
def narrow(wide: Recording) -> Recording:
    """The positions of the walks, and their displacements as velocities and actions."""
    positions = wide.observations[:, :2]
    moves = np.diff(positions, axis=0, append=positions[-1:])
    moves[99::100] = 0
    velocities = np.roll(moves, 1, axis=0)
    return replace(
        wide,
        observations=np.concatenate([positions, velocities], 1),
        actions=5 * moves,
        layout=PLANAR,
    )


@pytest.fixture(scope="module")
def started(wide: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small training on the positions of the walks, to continue from."""
    data = segmented(wide)
    features = ForcingConfig().features
    recipe = ForcingConfig(features, data.layout, tokens=4, width=8, layers=1, heads=1)
    folder = tmp_path_factory.mktemp("started")
    train(recipe, data, folder, settings=SMALL, progress=False)
    return folder


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("kind", ["wide", "narrow"])
def test_a_file_of_any_format_and_width_is_trained_on(
    run: Run, wide: Recording, narrow: Recording, kind: str, ending: str, tmp_path: Path
) -> None:
    path = write(wide if kind == "wide" else narrow, tmp_path / ending)
    said = run("train", path, "--position", "0,1", *QUICK, "--out", tmp_path / "out")
    assert said.split() == [str(tmp_path / "out" / "checkpoint.safetensors")]
    planner = dfplan.load(tmp_path / "out")
    assert isinstance(planner, ForcingPlanner)
    assert planner.observation_layout.width == (29 if kind == "wide" else 4)
    assert planner.model.layout.tokens == 4 and planner.model.layout.holds_positions_alone
    quick = planner.with_settings(candidates=2, refine_steps=0)
    plan = quick.plan([0.0, 0.0], [1.0, 1.0], seed=0)
    assert np.isfinite(plan.points).all()


@pytest.mark.parametrize("ending", ["bare.npz", "bare.hdf5"])
def test_a_file_of_bare_arrays_is_trained_on(
    run: Run, refused: Run, wide: Recording, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / ending
    ends = np.zeros(len(wide), bool)
    ends[99::100] = True
    arrays = {"obs": wide.observations, "act": wide.actions, "done": ends}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    keys = "--keys=observations=obs,actions=act,ends=done"
    features = "--features=action,observation,position"
    run("train", path, keys, "--position=0,1", features, *QUICK, "--out", tmp_path / "a")
    planner = dfplan.load(tmp_path / "a")
    assert isinstance(planner, ForcingPlanner)
    names = [feature.name for feature in planner.model.layout.features]
    assert names == ["position", "observation", "action"]
    layout = planner.model.layout
    assert layout.width == 29 + 8 * layout.stride, "the actions of all steps of a frame"
    assert "--position" in refused("train", path, keys, *QUICK, "--out", tmp_path / "b")


def test_a_velocity_in_any_columns_is_named(run: Run, narrow: Recording, tmp_path: Path) -> None:
    """The body of such a model can be driven without a tracker of the user."""
    rows = np.pad(narrow.observations, ((0, 0), (0, 11)))[:, [0, 1, *range(4, 15), 2, 3]]
    path, model = tmp_path / "body.npz", tmp_path / "model"
    ends = np.arange(len(rows)) % 100 == 99
    np.savez(path, obs=rows, act=narrow.actions, done=ends)
    how = ["--keys=observations=obs,actions=act,ends=done", "--position=0,1", "--velocity=13,14"]
    assert "velocities" in run("data", "info", path, *how)
    assert not run("data", "check", path, *how).count("error")
    run("train", path, *how, "--features=position,velocity", *QUICK, "--out", model)
    planner = dfplan.load(model)
    assert isinstance(planner, ForcingPlanner)
    assert planner.observation_layout == ObservationLayout(15, (0, 1), (13, 14))
    quick = planner.with_settings(candidates=2, refine_steps=0)
    action = dfplan.Policy(quick, seed=0).act(rows[0], goal=rows[90, :2])
    assert action.shape == (2,) and np.isfinite(action).all()


@pytest.mark.parametrize("width", [2, 4])
def test_actions_that_are_no_forces_are_trained_on_where_that_is_said(
    run: Run, refused: Run, width: int, tmp_path: Path
) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    velocities = np.zeros((2000, 2))
    for step in range(1, 2000):
        velocities[step] = 0.9 * velocities[step - 1] - 0.1 * actions[step - 1]  # backward
    rows = np.concatenate([np.cumsum(velocities, 0), velocities], 1)[:, :width]
    path, model = write(from_arrays(rows, actions), tmp_path / "a.hdf5"), tmp_path / "model"
    assert "--velocity none" in refused("train", path, *QUICK, "--out", model)
    command = ["train", path, "--velocity=none", "--features=position,action", *QUICK]
    with pytest.warns(UserWarning, match="no forces") as said:
        run(*command, "--out", model)
    assert len(said) == 1
    planner = dfplan.load(model)
    assert isinstance(planner, ForcingPlanner)
    with pytest.raises(ConfigError, match="PlannedActions"):
        dfplan.Policy(planner)
    dfplan.Policy(planner, dfplan.PlannedActions())


@pytest.mark.parametrize("command", ["maze2d-umaze", "own"])
def test_presets_read_arrays_of_any_names(
    run: Run, narrow: Recording, command: str, tmp_path: Path
) -> None:
    path, maze = tmp_path / "arrays.npz", tmp_path / "maze.txt"
    ends = np.arange(len(narrow)) % 100 == 99
    np.savez(path, obs=narrow.observations, act=narrow.actions, done=ends)
    maze.write_text("####\n#OO#\n####\n")
    small = ["--settings.steps=1", "--settings.batch_size=4", "--out", tmp_path / "out"]
    small += (
        ["--tokens=4", maze] if command == "own" else ["--recipe.tokens=4", "--tune_episodes=0"]
    )
    keys = "--keys=observations=obs,actions=act,ends=done"
    how = ["--position=0,1", "--velocity=2,3", "--segment_by=none"]
    run("train", command, *small, "--data", path, keys, *how)
    assert dfplan.load(tmp_path / "out").model.layout.observation == PLANAR


def test_features_are_named_in_any_order(run: Run, narrow: Recording, tmp_path: Path) -> None:
    path = write(narrow, tmp_path / "walk.hdf5")
    layouts = []
    for number, names in enumerate(("position,velocity,action", "action,position,velocity")):
        run("train", path, "--features", names, *QUICK, "--out", tmp_path / str(number))
        planner = dfplan.load(tmp_path / str(number))
        assert isinstance(planner, ForcingPlanner)
        layouts.append(planner.model.layout)
    assert layouts[0] == layouts[1]
    first, second = (read_tensors(tmp_path / each / "checkpoint.safetensors") for each in "01")
    assert all(torch.equal(first[0][name], second[0][name]) for name in first[0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--position=0,1,2"], "2 columns"),
        (["--position=0"], "2 columns"),
        (["--position=0,29"], "exist"),
        (["--position=3,3"], "twice"),
        (["--position=x"], "whole numbers"),
        ([], "--position"),
        (["--position=0,1", "--features=position,velocity"], "velocity"),
        (["--position=0,1", "--features=position,speed"], "speed"),
        (["--position=0,1", "--features=action"], "position"),
        (["--position=0,1", "--features=position,reward"], "recorded"),
        (["--position=0,1", "--tokens=1"], "tokens"),
        (["--position=0,1", "--keys=obs"], "observations=obs"),
    ],
)
def test_what_the_data_lacks_is_said(
    refused: Run, wide: Recording, flags: list[str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "walk.npz"
    ends = np.arange(len(wide)) % 100 == 99
    np.savez(path, obs=wide.observations, done=ends, act=wide.actions)
    keys = [] if any("keys" in flag for flag in flags) else ["--keys=observations=obs,ends=done"]
    quick = [flag for flag in QUICK if not any(flag.split("=")[0] in other for other in flags)]
    said = refused("train", path, *keys, *flags, *quick, "--out", tmp_path / "out")
    assert message in said


def test_fine_tuning_starts_from_the_weights_of_a_checkpoint(
    run: Run, wide: Recording, started: Path, tmp_path: Path
) -> None:
    path = write(wide, tmp_path / "walk.npz")
    before = Checkpoint.load(started / "checkpoint.safetensors")
    still = ["--settings.learning_rate=1e-12", "--settings.batch_size=4", "--settings.steps=1"]
    for name in (started, started / "checkpoint.safetensors"):
        out = tmp_path / f"out-{Path(name).name}"
        run("train", path, "--from", name, *still, "--accelerator=cpu", "--out", out)
        after = Checkpoint.load(out / "checkpoint.safetensors")
        for key, value in before.network.items():
            torch.testing.assert_close(after.network[key], value, rtol=0, atol=1e-6)
        assert after.statistics.normalizer == before.statistics.normalizer
        assert after.training["start"] == before.data
        assert (after.tokens, after.config) == (before.tokens, before.config)


def test_a_resumed_fine_tuning_equals_an_uninterrupted_one(
    run: Run, refused: Run, wide: Recording, started: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    path = write(wide, tmp_path / "walk.npz")
    flags = ["--settings.batch_size=4", "--settings.save_every=2", "--settings.log_every=1"]

    def tune(out: str, *more: str) -> list[Any]:
        return ["train", path, "--from", started, *flags, "--out", tmp_path / out, *more]

    run(*tune("whole", "--settings.steps=4"))

    update = TrainingState.update

    def stopping(state: TrainingState, *arguments: Any) -> torch.Tensor:
        if state.step == 2:
            raise RuntimeError("stopped")
        return update(state, *arguments)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(TrainingState, "update", stopping)
        cli.main([str(word) for word in tune("broken", "--settings.steps=4")])
    run(*tune("broken", "--settings.steps=4", "--resume"))
    whole, broken = (
        read_tensors(tmp_path / out / "checkpoint.safetensors")[0] for out in ("whole", "broken")
    )
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)

    recipe = recipe_of(Checkpoint.load(started / "checkpoint.safetensors"))
    settings = TrainSettings(steps=4, batch_size=4, save_every=2, log_every=1)
    data = load_data(path, position=(0, 1))
    with pytest.raises(CheckpointError, match="other start"):
        train(recipe, data, tmp_path / "broken", settings=settings, resume=True, progress=False)


def test_fine_tuning_needs_the_recipe_and_the_data_of_the_checkpoint(
    refused: Run, wide: Recording, narrow: Recording, started: Path, tmp_path: Path
) -> None:
    path, other = write(wide, tmp_path / "wide.npz"), write(narrow, tmp_path / "narrow.npz")
    out = ["--settings.steps=1", "--accelerator=cpu", "--out", tmp_path / "out"]
    assert "columns" in refused("train", other, "--from", started, *out)
    assert "columns" in refused("train", path, "--position=3,4", "--from", started, *out)
    assert "features" in refused("train", path, "--from", started, "--features=position", *out)
    assert "tokens" in refused("train", path, "--from", started, "--tokens=4", *out)
    said = refused("train", path, "--from", "nowhere", *out)
    assert "nowhere" in said and "folder" in said
    assert "finish" in refused("train", path, "--from", tmp_path, *out)

    checkpoint = Checkpoint.load(started / "checkpoint.safetensors")
    for recipe in (ValueConfig(), OfflineConfig("iql", (0.0, 0.0), 1.0)):
        config = json.loads(json.dumps(recipe.to_json()))
        other = replace(checkpoint, recipe=recipe.name, config=config, tokens=None)
        other.save(tmp_path / "other.safetensors")
        assert recipe.name in refused("train", path, "--from", tmp_path / "other.safetensors", *out)


def test_fine_tuning_needs_the_actions_of_the_checkpoint(
    run: Run, refused: Run, wide: Recording, tmp_path: Path
) -> None:
    path, start = write(wide, tmp_path / "wide.npz"), tmp_path / "start"
    run("train", path, "--features=position,action", *QUICK, "--out", start)
    flags = ["--from", start, "--settings.steps=1", "--accelerator=cpu", "--out", tmp_path / "out"]
    for width in (7, 9):
        actions = np.resize(wide.actions, (len(wide), width))
        other = write(replace(wide, actions=actions), tmp_path / f"{width}.npz")
        assert re.search(rf"8 .*{width}\.", refused("train", other, *flags))
    run("train", path, *flags)


@pytest.mark.parametrize("part", ["recipe", "network"])
def test_a_part_of_another_package_is_said_to_be_missing(
    refused: Run, wide: Recording, started: Path, part: str, tmp_path: Path
) -> None:
    path, start = write(wide, tmp_path / "wide.npz"), tmp_path / "start.safetensors"
    made = Checkpoint.load(started / "checkpoint.safetensors")
    if part == "recipe":
        replace(made, recipe="mine").save(start)
    else:
        replace(made, config={**made.config, "network": "mine"}).save(start)
    out = ["--out", tmp_path / "out"]
    for command in (["train", path, "--from", start, *out], ["plan", start, "0,0", "1,1", *out]):
        said = refused(*command)
        assert all(word in said for word in (part, "'mine'", "package", "start.safetensors"))


def test_another_recipe_does_not_continue_from_a_checkpoint(
    wide: Recording, started: Path, tmp_path: Path
) -> None:
    checkpoint = Checkpoint.load(started / "checkpoint.safetensors")
    recipe = ForcingConfig.from_json(checkpoint.config, checkpoint.tokens)
    for other in (replace(recipe, stride=5), replace(recipe, width=16)):
        with pytest.raises(dfplan.DfplanError, match="recipe"):
            train(
                other,
                segmented(wide),
                tmp_path,
                settings=SMALL,
                start=checkpoint,
                progress=False,
            )


@pytest.mark.parametrize("ending", ["d4rl", "minari"])
def test_data_with_the_name_of_a_preset_is_ambiguous(
    run: Run, refused: Run, narrow: Recording, ending: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write(narrow, tmp_path / "maze2d-umaze", ending)
    for more in (["--help"], QUICK):
        said = refused("train", "maze2d-umaze", *more)
        assert "command" in said and "./maze2d-umaze" in said
    assert "--features" in run("train", "./maze2d-umaze", "--help")
    run("train", "./maze2d-umaze", *QUICK, "--out=out")
    assert isinstance(dfplan.load("out"), ForcingPlanner)
    said = refused("train", "nothing.hdf5", *QUICK)
    assert "preset" in said and "file" in said


def test_a_run_in_a_folder_with_the_name_of_its_preset_is_resumed(
    run: Run, narrow: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write(narrow, tmp_path / "data.hdf5")
    flags = ["--settings.batch_size=4", "--recipe.tokens=4", "--accelerator=cpu"]
    flags += ["--tune_episodes=0"]
    for more in ([], ["--resume"]):
        command = ["train", "maze2d-umaze", "--data", data, "--settings.steps=1", *flags, *more]
        assert "maze2d-umaze" in run(*command, "--out=maze2d-umaze")
    assert isinstance(dfplan.load(tmp_path / "maze2d-umaze"), ForcingPlanner)


def test_a_plan_is_made_for_a_reward(run: Run, started: Path, tmp_path: Path) -> None:
    reward = "Reach([1, 1]) + 100 * KeepOut([Disc([0.5, 0.5], 0.2), Box([2, 2], [3, 3])])"
    out = tmp_path / "plan.svg"
    small = ["--planner.candidates=2", "--planner.sampling.steps=2"]
    said = run("plan", started, "0,0", "1,1", "--reward", reward, *small, "--out", out)
    assert re.match(r"horizon \d+ steps", said) and out.stat().st_size


def test_a_plan_starts_at_the_whole_observation_where_tokens_hold_more(
    run: Run, refused: Run, narrow: Recording, tmp_path: Path
) -> None:
    path, model = write(narrow, tmp_path / "walk.npz"), tmp_path / "model"
    run("train", path, "--features=position,velocity", *QUICK, "--out", model)
    out = ["--planner.candidates=2", "--out", tmp_path / "plan.svg"]
    assert "horizon" in run("plan", model, "1,1,0.1,0", "0,0", *out)
    assert "more than the position" in refused("plan", model, "1,1", "0,0", *out)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("Raech([1, 1])", "Reach"),
        ("Reach([1, 1]", "never closed"),
        ("Reach([1, 1, 1])", "numbers"),
        ("Reach()", "target"),
        ("2", "reward"),
        ("Disc([1, 1], 1)", "reward"),
        ("Reach([1, 1]) - 1", "reward"),
        ("Reach([1, 1]) + 1", "function"),
        ("Reach.__init__", "neither"),
        ("__import__('os').system('true')", "neither"),
        ("open('x', 'w')", "reward"),
    ],
)
def test_a_reward_that_cannot_be_read_is_an_error(
    refused: Run, started: Path, reward: str, message: str, tmp_path: Path
) -> None:
    out = tmp_path / "plan.svg"
    assert message in refused("plan", started, "0,0", "1,1", "--reward", reward, "--out", out)
    assert not out.exists()
