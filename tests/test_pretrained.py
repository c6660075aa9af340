"""The shipped checkpoints, and names and paths of checkpoints."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dfplan
from dfplan.errors import CheckpointError, ConfigError, MazeError, ObservationError
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.planning.query import read_query
from dfplan.planning.single import ForcingPlanner
from dfplan.pretrained import checkpoint_path
from dfplan.suites import OGBENCH
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.presets import PRESETS

NAMES = dfplan.pretrained_names()
_D4RL = {"umaze": 1_000_000, "medium": 2_000_000, "large": 4_000_000}
shipped = pytest.mark.parametrize("name", NAMES)
forcing = pytest.mark.parametrize(
    "name", [name for name in NAMES if PRESETS[name].recipe.name == "forcing"]
)

STEPS = {
    **{f"maze2d-{maze}": steps for maze, steps in _D4RL.items()},
    # A million steps, and the last observation of each episode.
    "pointmaze-umaze": 1_012_995,
    "pointmaze-medium": 1_006_720,
    "pointmaze-large": 1_004_652,
    "ogbench-medium": 1_001_000,
    "ogbench-large": 1_001_000,
    "ogbench-giant": 1_000_500,
    "ogbench-teleport": 1_001_000,
    **{f"ogbench-{maze}-stitch": 1_005_000 for maze in ("medium", "large", "giant", "teleport")},
}
"""Rows of each suite's published data."""


def joined_cells(maze: Maze) -> np.ndarray:
    """Free cells with a path to the first one; no path leads out of a part of a teleport maze."""
    joined = []
    for cell in maze.free_cells.tolist():
        with suppress(MazeError):
            maze.shortest_path(cell, maze.free_cells[0].tolist())
            joined.append(cell)
    return np.array(joined)


def far_pairs(name: str, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Starts at rest and goals in cells of the planner's maze, far from each other."""
    maze = PRESETS[name].maze
    cells = maze.cell_to_xy(joined_cells(maze))
    starts, goals = cells[np.arange(count) % len(cells)], cells[-1 - np.arange(count) % len(cells)]
    return np.concatenate([starts, np.zeros((count, 2))], 1), goals


def test_planners_loaded_in_inference_mode_plan_the_same() -> None:
    name = "maze2d-umaze"
    states, goals = far_pairs(name, 2)
    with torch.inference_mode():
        planner = dfplan.load(name)
        inside = planner.plan(states, goals, seed=0)
    outside = dfplan.load(name).plan(states, goals, seed=0)
    for plan in (inside, planner.plan(states, goals, seed=0)):
        np.testing.assert_array_equal(plan.points, outside.points)


@shipped
def test_shipped_checkpoints_fit_their_presets(name: str) -> None:
    checkpoint = Checkpoint.load(checkpoint_path(name))
    preset = PRESETS[name]
    assert checkpoint.recipe == preset.recipe.name
    assert type(preset.recipe).from_json(checkpoint.config) == preset.recipe
    assert checkpoint.data["steps"] == STEPS[name]
    assert len(checkpoint.data["fingerprint"]) == 64
    assert "/" not in checkpoint.data["source"], "a path of somebody's machine"
    assert checkpoint.training["steps"] == preset.settings.steps
    assert parse_maze(checkpoint.maze).rows == preset.maze.rows


@shipped
def test_shipped_statistics_are_those_of_the_body(name: str) -> None:
    motion = Checkpoint.load(checkpoint_path(name)).statistics.motion
    if PRESETS[name].maze.suite is OGBENCH:
        assert motion.drag == pytest.approx(1.0, abs=1e-3) and not motion.has_inertia
        assert motion.max_step == pytest.approx(0.2, rel=1e-3)
        return
    assert motion.dt == pytest.approx(0.01, rel=1e-3)
    assert motion.drag == pytest.approx(0.00238, abs=5e-5)
    assert motion.gain == pytest.approx(0.2382, rel=1e-3)
    assert motion.limit == pytest.approx(5.0, rel=1e-3)


@forcing
def test_shipped_plans_reach_the_goal_around_walls(name: str) -> None:
    planner = dfplan.load(name)
    assert isinstance(planner, ForcingPlanner)
    starts, goals = far_pairs(name)
    plan = planner.plan(starts, goals, seed=0)
    np.testing.assert_allclose(plan.points[:, 0], starts[:, :2], atol=1e-3)
    np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-3)
    maze = PRESETS[name].maze
    share = np.linspace(0, 1, 20)[:, None]
    lines = plan.points[:, :-1, None] + share * np.diff(plan.points, axis=1)[:, :, None]
    # The support margin is how far a line may cut a corner.
    margin = planner.settings.support_margin * planner.model.statistics.motion.max_step
    assert (depth(maze, lines).max((1, 2)) <= margin).mean() > 0.9


def depth(maze: Maze, positions: np.ndarray) -> np.ndarray:
    """Depth of positions [..., 2] inside walls, in units of position."""
    gap = np.abs(maze.xy_to_grid(positions)[..., None, :] - maze.free_cells) - 0.5
    distance = np.linalg.norm(np.maximum(gap, 0.0), axis=-1).min(-1)
    return np.asarray(distance * maze.suite.cell_size)


@forcing
def test_shipped_planners_refuse_walls(name: str) -> None:
    planner = dfplan.load(name)
    starts, _ = far_pairs(name, count=1)
    maze = PRESETS[name].maze
    outside = maze.cell_to_xy([-1, -1]), maze.cell_to_xy(10.0 + np.array(maze.shape))
    for wrong in (*outside, np.array([np.nan, 1.0])):
        with pytest.raises(ObservationError, match="goal"):
            planner.plan(starts, wrong)


@pytest.mark.parametrize("name", ["maze2d-umaze", "maze2d-medium", "maze2d-large"])
def test_default_distances_separate_free_places_from_walls(name: str) -> None:
    """The claims of the docstring of MAX_START_DISTANCE about the mazes of D4RL."""
    planner, maze = dfplan.load(name), named_maze(name.split("-")[1])
    assert isinstance(planner, ForcingPlanner)

    def require_near(starts: np.ndarray, goals: np.ndarray | None) -> None:
        states = np.concatenate([starts, np.zeros_like(starts)], 1)
        limits = planner.settings.max_start_distance, planner.settings.max_goal_distance
        read_query(states, goals).require_near_data(planner.model.statistics, *limits)

    rows, columns = maze.shape
    grid = np.stack(np.meshgrid(np.arange(-1, rows, 0.1), np.arange(-1, columns, 0.1)), -1)
    grid = grid.reshape(-1, 2)
    clear = grid[maze.is_free(grid)]
    require_near(clear, None)
    near = np.stack(np.meshgrid(*2 * [np.linspace(-0.2, 0.2, 9)]), -1).reshape(-1, 1, 2)
    goals = (maze.cell_to_xy(maze.free_cells) + near).reshape(-1, 2)
    require_near(goals, goals)
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    around = 0.32 * np.stack([np.cos(turns), np.sin(turns)], -1)
    deep = grid[~maze.is_free(grid[:, None] + around, radius=0.0).any(1)]
    deep = deep[~maze.is_free(deep, radius=0.0)]
    assert len(deep) > 100
    nearest = deep[
        planner.model.statistics.support.distance(torch.from_numpy(deep).float()).argmin()
    ]
    with pytest.raises(ObservationError, match=r"goal must be less than"):
        require_near(clear[:1], nearest[None])


@pytest.mark.parametrize("wrong", [None, 3, ""])
def test_wrong_names_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=f"Unknown checkpoint {wrong!r}.* Known: .*maze2d-large"):
        dfplan.load(wrong)


@pytest.mark.parametrize("device", ["gpuu", "cuda:99"])
def test_missing_devices_are_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=f"No network can run on device '{device}'"):
        dfplan.load(NAMES[0], device)


def test_paths_and_names_give_the_same_file(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoint_path(trained.folder) == trained.checkpoint
    assert checkpoint_path(str(trained.checkpoint)) == trained.checkpoint
    monkeypatch.chdir(trained.folder)
    assert checkpoint_path(".").resolve() == trained.checkpoint.resolve()
    for name in NAMES:
        assert checkpoint_path(name).name == f"{name}.safetensors"
    assert sorted(NAMES) == NAMES


def test_unknown_names_suggest_the_closest() -> None:
    for name in NAMES:
        with pytest.raises(ConfigError, match=f"'{name}'"):
            dfplan.load(name[:4] + name[5:])
    with pytest.raises(ConfigError, match="/no/where.*" + ", ".join(NAMES[:5])):
        dfplan.load("/no/where")


def test_a_folder_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"No checkpoint at .*checkpoint\.safetensors"):
        dfplan.load(tmp_path)
