from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from dfplan.envs.dynamics import PointMass
from dfplan.errors import MazeError
from dfplan.evaluation.bounds import CLEARANCE, path_lengths, return_bounds, steps_needed
from dfplan.evaluation.controller import WaypointPolicy
from dfplan.evaluation.metrics import latched_returns
from dfplan.evaluation.protocols import TASKS, Problems, named_task, problems
from dfplan.evaluation.rollout import rollout
from dfplan.mazes import Maze, parse_maze

CORRIDOR = parse_maze(["#" * 24, "#" + "O" * 22 + "#", "#" * 24])
ROOM = parse_maze(["#" * 12, *["#" + "O" * 10 + "#"] * 10, "#" * 12])


def _problems(starts: np.ndarray, goals: np.ndarray) -> Problems:
    return Problems(starts=starts, goals=goals, digest="")


def _first_touch(maze: Maze, start: np.ndarray, goal: np.ndarray) -> int:
    """The step in which a driver straight toward the goal is first paid."""
    ball = PointMass(maze)
    ball.set_state(start[:2], start[2:])
    for step in range(1, 1000):
        q, velocity = np.split(ball.state(), 2)
        q = np.array(ball.advance(*np.clip(12 * (goal - q) - velocity, -1, 1)))[:2]
        if np.linalg.norm(q - goal) <= 0.5:
            return step
    raise AssertionError("never arrived")


@pytest.mark.parametrize("speed", [-0.3, 0.0, 0.3, 5.0])
@pytest.mark.parametrize("distance", [0.3, 0.51, 1.0, 2.0, 7.3, 18.0])
def test_exact_in_a_corridor(speed: float, distance: float) -> None:
    start = np.array([[0.8, 1.0, 0.0, speed]])
    goal = np.array([[0.8, 1.0 + distance]])
    needed = steps_needed(CORRIDOR, _problems(start, goal))[0]
    touched = _first_touch(CORRIDOR, start[0], goal[0])
    slack = 0 if speed >= 0 else 4  # the bound does not make anyone turn round
    assert touched - 1 - slack <= needed <= touched


@pytest.mark.parametrize("seed", range(40))
def test_a_straight_driver_in_an_open_room_is_never_earlier(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = np.concatenate([rng.uniform(1, 10, 2), rng.normal(0, 0.1, 2)])
    goal = rng.uniform(1, 10, 2)
    needed = steps_needed(ROOM, _problems(start[None], goal[None]))[0]
    touched = _first_touch(ROOM, start, goal)
    assert needed <= touched
    if np.abs(start[:2] - goal).max() > 2 * np.abs(start[:2] - goal).min() + 0.5:
        assert touched <= needed + 4  # one axis decides, so the bound is nearly reached


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_controller_never_beats_it(name: str) -> None:
    task = named_task(name, "validation")
    drawn = problems(task, 40)
    episodes = rollout(WaypointPolicy(task.maze), task, drawn, progress=False)
    assert (latched_returns(episodes.rewards) <= return_bounds(task, drawn)).all()


@pytest.mark.parametrize("name", ["umaze", "medium", "large"])
def test_ways_agree_with_a_fine_grid(name: str) -> None:
    task = named_task(f"multi2d-{name}")
    drawn = problems(task, 12)
    step = 0.05
    starts = np.round((drawn.starts[:, :2] + 0.2) / step) * step - 0.2  # onto the grid
    lengths = path_lengths(task.maze, starts, drawn.goals)
    by_grid = _king_lengths(task.maze, starts, drawn.goals, step)
    assert (lengths <= by_grid + 1e-9).all()  # a way on the grid is a way
    # It is longer by the ball's own radius at corners and by a bit of each of its cells.
    assert (by_grid - lengths <= 0.1 + 0.08 * by_grid).all()


def _king_lengths(maze: Maze, starts: np.ndarray, goals: np.ndarray, step: float) -> np.ndarray:
    """Per-axis lengths of shortest ways of a ball over a grid with diagonals."""
    shape = tuple(int(side / step) + 1 for side in maze.shape)
    nodes = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    places = nodes * step - 0.7
    index = np.arange(nodes[..., 0].size).reshape(shape)
    free = maze.contains(places.reshape(-1, 2), radius=0.099).reshape(shape)
    links = []
    for one, two in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None, -1)), (slice(1, None), slice(1, None))),
        ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))),
    ):
        both = free[one] & free[two]
        links.append(np.stack([index[one][both], index[two][both]]))
    rows, columns = np.concatenate(links, axis=1)
    size = index.size
    graph = coo_matrix((np.full(len(rows), step), (rows, columns)), shape=(size, size)).tocsr()
    sources = index[tuple(np.round((starts + 0.7) / step).astype(int).T)]
    lengths = dijkstra(graph, directed=False, indices=sources)
    paid = np.linalg.norm(places.reshape(-1, 2) - goals[:, None], axis=2) <= 0.5
    return np.where(paid & free.reshape(-1), lengths, np.inf).min(axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_the_ball_never_comes_nearer_to_a_corner_than_granted(seed: int) -> None:
    maze = parse_maze(["#######", *["#OOOOO#"] * 2, "#OO#OO#", *["#OOOOO#"] * 2, "#######"])
    pillar = np.array([2.8, 2.8])
    ball, rng = PointMass(maze), np.random.default_rng(seed)
    nearest = np.inf
    for _ in range(800):
        corner = pillar + rng.choice([-0.5, 0.5], 2)
        start = pillar + rng.uniform(-1.3, 1.3, 2)
        if np.abs(start - pillar).max() < 0.61:
            continue
        toward = corner + rng.uniform(-0.1, 0.1, 2) - start
        velocity = 5.2 * toward / np.abs(toward).max()
        ball.set_state(start, velocity)
        force = np.sign(velocity)
        for _ in range(25):
            q = np.array(ball.advance(*force))[:2]
            outside = np.maximum(np.abs(q - pillar) - 0.5, 0.0)
            nearest = min(nearest, float(np.linalg.norm(outside)))
    assert CLEARANCE < nearest < 0.1


def test_start_on_the_goal_can_be_paid_every_step() -> None:
    task = named_task("maze2d-umaze")
    start = np.array([[1.0, 1.0, 0.0, 0.0]])
    assert return_bounds(task, _problems(start, start[:, :2])).tolist() == [300.0]


def test_a_goal_behind_a_corner_pays_across_it() -> None:
    # Two rooms that touch at a corner: the disc reaches into the other one.
    maze = parse_maze(["#####", "#O#O#", "#OOO#", "#####"])
    start, goal = np.array([[1.05, 2.55, 0.0, 0.0]]), np.array([[1.55, 2.25]])
    lengths = path_lengths(maze, start[:, :2], goal)
    assert 0.0 < lengths[0] < 0.35


@pytest.mark.parametrize(("start", "goal"), [((0.0, 0.0), (3.0, 3.0)), ((3.0, 3.0), (-3.0, 3.0))])
def test_no_way_is_an_error(start: tuple[float, float], goal: tuple[float, float]) -> None:
    with pytest.raises(MazeError, match=r"start|goal"):
        path_lengths(ROOM, np.array([start]), np.array([goal]))
