"""Training and planning from arrays, without a maze or an environment."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

import dfplan
from dfplan.data import from_arrays, segmented
from dfplan.training.loop import train
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings

PACKAGE = Path(dfplan.__file__).parent
FORBIDDEN = ("mazes", "envs")
PACKAGES = ("planning", "training", "diffusion", "networks", "sampling", "tokens")
EXEMPT = {PACKAGE / "training" / "presets.py"}  # a table with the mazes of the data


def room(half: float, walkers: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(observations, actions, ends) of bodies that roam an empty square room around (100, -7)."""
    rng = np.random.default_rng(0)
    middle = np.array([100.0, -7.0])
    position = middle + rng.uniform(-half, half, (walkers, 2))
    velocity, states, actions = np.zeros((walkers, 2)), [], []
    target = middle + rng.uniform(-half, half, (walkers, 2))
    for _ in range(steps):
        arrived = np.linalg.norm(position - target, axis=1) < 0.2
        aims = middle + rng.uniform(-half, half, (walkers, 2))
        target = np.where(arrived[:, None], aims, target)
        action = np.clip(2 * (target - position) - 3 * velocity, -1, 1)
        states.append(np.concatenate([position, velocity], 1))
        actions.append(action)
        velocity = 0.95 * velocity + 0.05 * action
        position = position + 0.25 * velocity
    ends = np.arange(walkers * steps) % steps == steps - 1
    return np.stack(states, 1).reshape(-1, 4), np.stack(actions, 1).reshape(-1, 2), ends


@pytest.fixture
def watched() -> Iterator[list[str]]:
    """The calls into mazes or environments during the test."""
    calls: list[str] = []
    files = [PACKAGE / "mazes.py", *(PACKAGE / "envs").glob("*.py")]
    forbidden = {str(path) for path in files}

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename in forbidden:
            calls.append(f"{frame.f_code.co_filename}: {frame.f_code.co_name}")

    sys.setprofile(watch)
    yield calls
    sys.setprofile(None)


def test_training_and_planning_in_a_room_without_a_maze(watched: list[str], tmp_path: Path) -> None:
    data = segmented(from_arrays(*room(half=4.0, walkers=20, steps=300), source="a room"))
    assert data.maze is None
    recipe = ForcingConfig(tokens=9, stride=4, noise_levels=10, width=16, layers=1, heads=1)
    settings = TrainSettings(
        steps=150, batch_size=32, learning_rate=5e-3, warmup=10, ema_decay=0.95, save_every=150
    )
    train(recipe, data, tmp_path, settings=settings, progress=False)

    planner = dfplan.load(tmp_path)
    assert planner.maze is None
    starts = np.array([[97.5, -9.0, 0, 0], [103.0, -4.5, 0, 0], [100.0, -7.0, 0.1, 0]])
    goals = np.array([[102.5, -4.5], [98.0, -9.5], [103.0, -7.5]])
    plan = planner.plan(starts, goals, seed=0)
    np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-3)
    direct = np.linalg.norm(goals - starts[:, :2], axis=1)
    length = np.linalg.norm(np.diff(plan.points, axis=1), axis=-1).sum(1)
    assert (length < 1.25 * direct).all(), "nothing is in the way"

    policy, state = dfplan.Policy(planner, seed=0), starts
    for _ in range(120):
        action = policy.act(state, goals)
        velocity = 0.95 * state[:, 2:] + 0.05 * action
        state = np.concatenate([state[:, :2] + 0.25 * velocity, velocity], 1)
    assert np.linalg.norm(state[:, :2] - goals, axis=1).max() < 0.3
    assert not watched


def test_positions_alone_suffice_for_planning(watched: list[str], tmp_path: Path) -> None:
    observations, _, ends = room(half=4.0, walkers=10, steps=300)
    data = segmented(from_arrays(observations[:, :2], ends=ends))
    recipe = ForcingConfig(tokens=9, stride=4, noise_levels=10, width=16, layers=1, heads=1)
    settings = TrainSettings(steps=20, batch_size=16, warmup=5, save_every=50)
    train(recipe, data, tmp_path, settings=settings, progress=False)
    planner = dfplan.load(tmp_path)
    plan = planner.plan(np.array([98.0, -7, 0, 0]), np.array([102.0, -7]), seed=0)
    assert np.isfinite(plan.points).all()
    with pytest.raises(dfplan.DfplanError, match="actions"):
        dfplan.Policy(planner)
    assert not watched


def test_the_fixture_records_calls(watched: list[str]) -> None:
    dfplan.parse_maze("#####\n#OOO#\n#####")
    assert any("mazes.py: parse_maze" in call for call in watched)


@pytest.mark.parametrize(
    "path",
    sorted({path for name in PACKAGES for path in (PACKAGE / name).rglob("*.py")} - EXEMPT),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_planning_and_training_import_no_mazes_or_environments(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            assert not name.startswith(tuple(f"dfplan.{name}" for name in FORBIDDEN)), name
            assert "gymnasium" not in name and "mujoco" not in name, name


def test_the_maze_text_changes_no_plan(planner: Any, corridor: Any) -> None:
    state = np.concatenate([corridor.at(np.array(3.0)), [0, 0]])
    goal = corridor.at(np.array(30.0))
    without = planner.plan(state, goal, seed=0)
    other = replace(planner, maze="not even a maze").plan(state, goal, seed=0)
    assert without.maze is None and other.maze == "not even a maze"
    assert torch.equal(torch.from_numpy(without.points), torch.from_numpy(other.points))
