"""OGBench's collectors: motion and oracle of its package, and no files left."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from dfplan.collect import ogbench as collect_ogbench
from dfplan.collect.ogbench import OGBenchCollector, Oracle, cells_at, junctions
from dfplan.errors import ConfigError
from dfplan.mazes import named_maze, parse_maze
from dfplan.suites import OGBENCH, OGBENCH_ANT
from dfplan.types import Recording

SEED = np.random.SeedSequence(0)


def collector(
    name: str, kind: str = "navigate", episodes: int = 2, length: int = 400
) -> OGBenchCollector:
    maze = named_maze(f"ogbench-{name}")
    return OGBenchCollector(maze, kind, episodes, length, episodes * length)


def made(name: str) -> Any:
    import ogbench.locomaze  # noqa: F401

    return gymnasium.make(f"pointmaze-{name}-v0", terminate_at_goal=False, max_episode_steps=2001)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return collector("giant", length=1000).collect(0, SEED)


def test_the_actions_replayed_in_the_shipped_environment_lead_where_they_led(
    recording: Recording,
) -> None:
    env = made("giant")
    replayed = np.empty_like(recording.observations)
    for start in recording.episodes.tolist():
        env.reset(options={"task_id": 1})
        env.unwrapped.set_xy(recording.observations[start])
        observation = env.unwrapped.get_ob()
        for row in range(start, start + 1000):
            replayed[row] = observation
            observation = env.step(recording.actions[row])[0]
    np.testing.assert_allclose(recording.observations, replayed, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["giant", "teleport"])
def test_asking_the_oracle_at_every_step_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = collector(name).collect(0, SEED)
    asked = []

    class Forgetful(Oracle):
        def __init__(self, env: Any) -> None:
            self.env = env

        def direction(self) -> tuple[float, float]:
            asked.append(Oracle(self.env).direction())
            return asked[-1]

    monkeypatch.setattr(collect_ogbench, "Oracle", Forgetful)
    every = collector(name).collect(0, SEED)
    assert len(asked) == 800
    np.testing.assert_array_equal(once.observations, every.observations)
    np.testing.assert_array_equal(once.actions, every.actions)
    noise = every.actions - np.array(asked)
    inner = noise[np.abs(every.actions) < 1]
    assert np.abs(every.actions).max() == 1.0
    assert 0.35 < inner.std() < 0.5  # of N(0, 0.5²), what the limits cut off is the widest


def test_a_teleport_takes_the_ball_elsewhere() -> None:
    data = collector("teleport", episodes=4, length=500).collect(0, SEED)
    steps = np.linalg.norm(np.diff(data.observations, axis=0), axis=1)
    steps[data.episodes[1:] - 1] = 0.0
    assert (steps > 5).any() and np.median(steps) < 0.5


def test_nothing_depends_on_what_was_before_and_nothing_is_left() -> None:
    files = set(Path(tempfile.gettempdir()).glob("*.xml"))
    collector("giant", episodes=1, length=1).collect(0, SEED)  # one environment is kept
    np.random.seed(5)
    fresh = collector("medium").collect(0, SEED)
    after = np.random.uniform()
    collector("medium").collect(0, np.random.SeedSequence(8))  # the environment is used in between
    np.random.seed(6)
    again = collector("medium").collect(0, SEED)
    np.random.seed(5)
    assert np.random.uniform() == after
    np.testing.assert_array_equal(fresh.observations, again.observations)
    np.testing.assert_array_equal(fresh.actions, again.actions)
    assert set(Path(tempfile.gettempdir()).glob("*.xml")) <= files


@pytest.mark.parametrize("kind", ["navigate", "stitch", "explore"])
def test_ants_walk_and_their_rows_are_the_published_files(kind: str) -> None:
    made = collector("antmaze-medium", kind, episodes=2, length=150)
    data, again = (made.collect(0, SEED) for _ in range(2))
    assert data.observations.shape == (300, 29) and data.actions.shape == (300, 8)
    assert data.layout == OGBENCH_ANT.observation and data.episodes.tolist() == [0, 150]
    assert np.abs(data.actions).max() <= 1
    np.testing.assert_array_equal(data.observations, again.observations)
    moved = np.linalg.norm(np.diff(data.observations[:150, :2], axis=0), axis=1)
    assert 0.03 < moved.mean() < 0.5


def test_rows_are_the_published_files() -> None:
    data = collector("medium", episodes=3, length=50).collect(0, SEED)
    assert data.observations.shape == data.actions.shape == (150, 2)
    assert data.observations.dtype == data.actions.dtype == np.float32
    assert data.episodes.tolist() == [0, 50, 100]
    assert data.terminals is data.timeouts is data.goals is data.rewards is None


def test_stitch_goes_four_cells_and_stays() -> None:
    maze = named_maze("ogbench-giant")
    data = collector("giant", kind="stitch", episodes=12, length=201).collect(0, SEED)
    for start in data.episodes.tolist():
        first, last = maze.xy_to_cell(data.observations[[start, start + 200]])
        # At rest it may lean over the edge of the goal's cell, and hardly further.
        assert 3 <= len(maze.shortest_path(first, last)) <= 5 or (first == last).all()


def test_a_tenth_as_many_episodes_are_for_validation() -> None:
    plan = OGBenchCollector(named_maze("ogbench-giant"), "navigate", 500, 2001, 10_000)
    assert plan.training_shards == 125
    assert sum(plan.shard_sizes[:125]) == 500 * 2001
    assert sum(plan.shard_sizes[125:]) == 50 * 2001
    assert collector("medium", episodes=3).validation_episodes == 1


@pytest.mark.parametrize("name", ["medium", "large", "giant", "teleport"])
def test_the_cells_are_the_packages(name: str) -> None:
    maze = named_maze(f"ogbench-{name}")
    walls = made(name).unwrapped.maze_map == 1
    np.testing.assert_array_equal(maze.walls, walls)
    ways = {(-1, 0), (1, 0), (0, -1), (0, 1)}
    straight = [{(-1, 0), (1, 0)}, {(0, -1), (0, 1)}]
    expected = [
        [i, j]
        for i, j in maze.free_cells.tolist()
        if {(a, b) for a, b in ways if not walls[i + a, j + b]} not in straight
    ]
    assert junctions(maze).tolist() == expected
    start = tuple(maze.free_cells[7].tolist())
    reached, away = np.zeros_like(walls), np.zeros_like(walls)
    reached[start] = away[start] = True
    for _ in range(4):
        grown = sum(np.roll(away, way, (0, 1)) for way in ways).astype(bool)
        away = grown & ~walls & ~reached
        reached |= away
    assert cells_at(maze, start, 4).tolist() == np.argwhere(away).tolist()


def test_other_mazes_are_refused() -> None:
    with pytest.raises(ConfigError, match="its package can build"):
        OGBenchCollector(parse_maze("####\n#OO#\n####", suite=OGBENCH), "navigate", 1, 10, 10)


def test_a_missing_package_is_named_with_its_cure() -> None:
    program = """
import sys
sys.modules["ogbench"] = None
from dfplan.collect import generate
try:
    generate("ogbench-medium", seed=0, path="a.npz")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ogbench" in done.stdout and "pip install 'dfplan[ogbench]'" in done.stdout, done
