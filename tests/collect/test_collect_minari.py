"""Minari's collector: motion and goals of the real environment, paths, published lengths."""

from __future__ import annotations

import itertools
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from dfplan.collect.minari import MinariCollector, PointMazeController
from dfplan.errors import MazeError
from dfplan.mazes import named_maze, parse_maze
from dfplan.suites import GYMNASIUM
from dfplan.types import Recording

MAPS = {"umaze": "UMaze", "medium": "Medium", "large": "Large"}
EPISODES = {"umaze": 13_210, "medium": 4_752}
"""Of D4RL/pointmaze/umaze-v2 and medium-v2, a million steps each."""


def collected(name: str, steps: int, seed: int = 0, depth_first: bool = False) -> Recording:
    collector = MinariCollector(named_maze(f"pointmaze-{name}"), steps, steps, depth_first)
    return collector.collect(0, np.random.SeedSequence(seed))


def bounds(recording: Recording) -> list[tuple[int, int]]:
    """First and last row of each episode; the last is an observation alone."""
    ends = np.append(recording.episodes[1:], len(recording)) - 1
    return list(zip(recording.episodes.tolist(), ends.tolist(), strict=True))


@pytest.fixture(scope="module")
def recording() -> Recording:
    return collected("large", 3000)


@pytest.mark.parametrize("name", MAPS)
def test_the_actions_replayed_in_point_maze_lead_where_they_led(name: str) -> None:
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    env = gymnasium.make(f"PointMaze_{MAPS[name]}-v3", continuing_task=True).unwrapped
    env.reset(seed=0)
    recording = collected(name, 1500)
    env.point_env.set_state(recording.observations[0, :2], recording.observations[0, 2:])
    replayed = recording.observations.copy()
    for first, last in bounds(recording):
        for row in range(first, last):
            step = env.step(recording.actions[row])
            replayed[row + 1] = step[0]["observation"]
            distance = np.linalg.norm(recording.observations[row + 1, :2] - recording.goals[last])
            assert recording.rewards[row] == (distance <= 0.45 and row == last - 1)
    np.testing.assert_allclose(recording.observations, replayed, rtol=0, atol=1e-9)


def test_episodes_end_at_their_goals_and_the_next_goes_on_from_there(recording: Recording) -> None:
    pairs = bounds(recording)
    assert len(pairs) > 5
    for (first, last), (following, _) in itertools.pairwise(pairs):
        np.testing.assert_array_equal(
            recording.observations[last], recording.observations[following]
        )
        goals = recording.goals[first + 1 : last + 1]
        assert (goals == goals[0]).all()
        away = np.linalg.norm(recording.observations[first : last + 1, :2] - goals[0], axis=1)
        assert (away[:-1] > 0.45).all() and away[-1] <= 0.45
        # The environment shows the new goal a step late.
        np.testing.assert_array_equal(recording.goals[following], goals[0])
        assert (recording.goals[following + 1] != goals[0]).any()
    ends = [last - 1 for _, last in pairs]
    assert np.flatnonzero(recording.timeouts).tolist() == ends
    assert recording.rewards[ends[:-1]].all() and recording.rewards.sum() <= len(ends)
    assert not recording.actions[recording.episodes[1:] - 1].any()
    assert recording.final_observations.all() and not recording.terminals.any()
    assert len(recording) == 3000 + len(pairs)


def test_starts_and_goals_are_near_the_middles_of_cells(recording: Recording) -> None:
    maze = named_maze("pointmaze-large")
    goals = recording.goals[recording.episodes + 1]
    away = np.abs(goals - maze.cell_to_xy(maze.xy_to_cell(goals))).max()
    assert 0.2 < away <= 0.25
    maze = named_maze("pointmaze-umaze")
    for seed in range(20):
        recording = collected("umaze", 2, seed)
        start, goal = recording.observations[0], recording.goals[0]
        cell = maze.cell_to_xy(maze.xy_to_cell(start[:2]))
        assert np.abs(start[:2] - cell).max() <= 0.25 and not start[2:].any()
        assert np.linalg.norm(cell - goal) > 0.5


def test_types_are_those_of_the_published_sets(recording: Recording) -> None:
    types = {
        name: values.dtype.name
        for name, values in vars(recording).items()
        if isinstance(values, np.ndarray)
    }
    assert types == {
        "observations": "float64",
        "actions": "float32",
        "rewards": "float64",
        "goals": "float64",
        "terminals": "bool",
        "timeouts": "bool",
        "final_observations": "bool",
        "episodes": "int64",
    }


@pytest.mark.parametrize("name", MAPS)
def test_paths_are_those_of_q_iteration(name: str) -> None:
    maze = named_maze(f"pointmaze-{name}")
    controller = PointMazeController(maze, np.random.default_rng(0))
    cells = [tuple(cell) for cell in maze.free_cells.tolist()]
    rng = np.random.default_rng(0)
    for _ in range(60):
        start, target = (cells[index] for index in rng.integers(len(cells), size=2))
        assert controller.path(start, target) == q_iteration(maze.walls, start, target)


def q_iteration(
    walls: np.ndarray, start: tuple[int, int], target: tuple[int, int]
) -> list[tuple[int, int]]:
    """Walk the greedy actions of 50 sweeps with discount 0.99, ties to the first action."""
    actions = [(0, 1), (0, -1), (-1, 0), (1, 0)]
    values = np.zeros(walls.shape)
    pays = np.zeros((4, *walls.shape))
    for action, move in enumerate(actions):
        pays[action][target[0] - move[0], target[1] - move[1]] = 1.0
    for _ in range(50):
        ahead = np.stack([np.roll(values, (-i, -j), (0, 1)) for i, j in actions])
        free = np.stack([np.roll(~walls, (-i, -j), (0, 1)) for i, j in actions])
        q = pays + 0.99 * np.where(free, ahead, 0.0)
        values = q.max(0)
    way: list[tuple[int, int]] = []
    cell = start
    while not way or cell != target:
        move = actions[int(q[:, cell[0], cell[1]].argmax())]
        cell = (cell[0] + move[0], cell[1] + move[1])
        way.append(cell)
    return way


def test_a_depth_first_path_is_a_path(seeds: int = 40) -> None:
    maze = named_maze("pointmaze-large")
    controller = PointMazeController(maze, np.random.default_rng(0), depth_first=True)
    cells = [tuple(cell) for cell in maze.free_cells.tolist()]
    rng = np.random.default_rng(0)
    longer = 0
    for _ in range(seeds):
        start, target = (cells[index] for index in rng.integers(len(cells), size=2))
        way = controller.path(start, target)
        if start == target:
            assert way == []
            continue
        assert way[-1] == target and len(set(way)) == len(way)
        steps = np.abs(np.diff([start, *way], axis=0)).sum(1)
        assert (steps == 1).all() and set(way) <= set(cells)
        longer += len(way) > len(maze.shortest_path(start, target))
    assert longer > seeds / 10


@pytest.mark.parametrize(
    ("name", "depth_first", "same"),
    [
        ("umaze", False, True),
        ("umaze", True, True),
        ("medium", True, True),
        ("medium", False, False),
    ],
)
def test_episodes_are_as_long_as_the_published(name: str, depth_first: bool, same: bool) -> None:
    """Within four standard errors; in a maze with loops, only those of the depth-first search."""
    recording = collected(name, 60_000, seed=1, depth_first=depth_first)
    lengths = np.diff(recording.episodes) - 1
    error = lengths.std(ddof=1) / np.sqrt(len(lengths))
    z = (lengths.mean() - 1_000_000 / EPISODES[name]) / error
    assert (abs(z) < 4) == same, z


def test_noise_is_added_and_the_sum_clipped() -> None:
    recording = collected("umaze", 20_000)
    acted = recording.actions[~np.isin(np.arange(len(recording)), recording.episodes[1:] - 1)]
    assert np.abs(acted).max() == 1.0
    # Close to the aim the controller asks for little, so that the noise is seen alone.
    inner = acted[np.abs(acted) < 1]
    assert 0.4 < inner.std() < 0.6


def test_a_maze_with_one_free_cell_is_refused() -> None:
    with pytest.raises(MazeError, match=r"at least two free cells.*has one"):
        MinariCollector(parse_maze("###\n#O#\n###", suite=GYMNASIUM), 10, 10)


def test_two_cells_are_enough() -> None:
    maze = replace(parse_maze("####\n#OO#\n####", suite=GYMNASIUM))
    recording = MinariCollector(maze, 500, 500).collect(0, np.random.SeedSequence(0))
    assert len(recording.episodes) > 5
