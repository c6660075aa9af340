from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from dfplan.collect.controllers import DataController
from dfplan.envs.dynamics import PointMass
from dfplan.envs.make import make
from dfplan.errors import MazeError
from dfplan.evaluation.bounds import contacts, path_lengths, steps_needed
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import TASKS, named_task, problems
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.suites import D4RL, GYMNASIUM, OGBENCH

CORRIDOR = parse_maze(["#" * 24, "#" + "O" * 22 + "#", "#" * 24])
ROOM = parse_maze(["#" * 12, *["#" + "O" * 10 + "#"] * 10, "#" * 12])


def _straight_steps(maze: Maze, start: np.ndarray, goal: np.ndarray) -> int:
    """First step at the goal of a controller that goes straight there."""
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
    needed = steps_needed(CORRIDOR, start, goal)[0]
    touched = _straight_steps(CORRIDOR, start[0], goal[0])
    slack = 0 if speed >= 0 else 4  # the bound ignores the cost of turning
    assert touched - 1 - slack <= needed <= touched


@pytest.mark.parametrize("seed", range(40))
def test_a_straight_path_in_an_open_room_is_never_shorter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = np.concatenate([rng.uniform(1, 10, 2), rng.normal(0, 0.1, 2)])
    goal = rng.uniform(1, 10, 2)
    needed = steps_needed(ROOM, start[None], goal[None])[0]
    touched = _straight_steps(ROOM, start, goal)
    assert needed <= touched
    if np.abs(start[:2] - goal).max() > 2 * np.abs(start[:2] - goal).min() + 0.5:
        assert touched <= needed + 4  # one axis dominates, so the bound is nearly attained


@pytest.mark.parametrize("name", [name for name in sorted(TASKS) if "stitch" not in name])
def test_the_controller_never_beats_the_bound(name: str) -> None:
    task = named_task(name)
    drawn = problems(task, 10)
    episodes = run_episodes(DataController(task.maze), task, drawn, progress=False)
    assert episodes.success.any()
    needed = steps_needed(task.maze, drawn.starts, drawn.goals)
    assert (episodes.steps_to_goal >= needed).all()
    assert (episodes.scores(needed) <= task.upper_bound(needed)).all()


@pytest.mark.parametrize("name", ["umaze", "medium", "large"])
def test_path_lengths_agree_with_a_fine_grid(name: str) -> None:
    task = named_task(f"multi2d-{name}")
    drawn = problems(task, 12)
    step = 0.05
    starts = np.round((drawn.starts[:, :2] + 0.2) / step) * step - 0.2  # onto the grid
    lengths = path_lengths(task.maze, starts, drawn.goals)
    by_grid = _king_lengths(task.maze, starts, drawn.goals, step)
    assert (lengths <= by_grid + 1e-9).all()  # a path on the grid is a path
    # It is longer by the ball's own radius at corners and by a bit of each of its cells.
    assert (by_grid - lengths <= 0.1 + 0.08 * by_grid).all()


def _king_lengths(maze: Maze, starts: np.ndarray, goals: np.ndarray, step: float) -> np.ndarray:
    """Per-axis lengths of shortest paths of a ball on a grid with diagonals."""
    shape = tuple(int(side / step) + 1 for side in maze.shape)
    nodes = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    places = nodes * step - 0.7
    index = np.arange(nodes[..., 0].size).reshape(shape)
    free = maze.is_free(places.reshape(-1, 2), radius=0.099).reshape(shape)
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


PILLAR = parse_maze(["#######", *["#OOOOO#"] * 2, "#OO#OO#", *["#OOOOO#"] * 2, "#######"])
GRANTED = contacts(D4RL)
KEPT, GAINED = 0.99762, 0.23817  # of the speed, and by full force, in a step
FASTEST = 0.0522626  # how far full force takes a step at the speed limit
PUSHED_OFF, FROM_THE_START = 0.01, 0.02


def test_pushes_at_a_corner_stay_below_the_constants() -> None:
    middle = np.array([2.8, 2.8])
    ball, rng = PointMass(PILLAR), np.random.default_rng(0)
    most = {PUSHED_OFF: 0.0, FROM_THE_START: 0.0}
    for _ in range(6000):
        gap = 0.1 + rng.choice([0.001, 0.04]) * rng.random()
        angle = rng.choice([0.0, np.pi / 2, np.pi, 3 * np.pi / 2]) + np.pi / 2 * rng.random()
        start = middle + rng.choice([-0.5, 0.5], 2) + gap * np.array([np.cos(angle), np.sin(angle)])
        if (gap := np.linalg.norm(np.maximum(np.abs(start - middle) - 0.5, 0.0))) < 0.1:
            continue
        velocity = rng.choice([0.0, 0.3, 3.0]) * rng.uniform(-1, 1, 2)
        ball.set_state(start, velocity)
        force, speed, kept = rng.choice([-1.0, 1.0], 2), np.linalg.norm(velocity), 1.0
        for _ in range(6):
            _, velocity = np.split(np.array(ball.advance(*force)), 2)
            speed, kept = KEPT * speed + np.sqrt(2) * GAINED, KEPT * kept
            granted = FROM_THE_START if gap < 0.12 else PUSHED_OFF
            if np.abs(velocity).max() < 5:  # at the limit it is not what counts
                most[granted] = max(most[granted], float(np.linalg.norm(velocity) - speed) / kept)
    assert most[PUSHED_OFF] < PUSHED_OFF < most[FROM_THE_START] < FROM_THE_START


def test_a_start_next_to_a_wall_is_granted_its_push() -> None:
    goals = np.stack([np.full(60, 0.8), np.linspace(1.9, 4.2, 60)], axis=1)
    touching, clear = (
        steps_needed(PILLAR, np.full((60, 2), [0.3 + gap, 1.0]), goals) for gap in (0.101, 0.121)
    )
    assert (touching <= clear).all()
    assert (touching < clear).any()


def test_far_from_corners_a_start_is_as_slow_as_without_them() -> None:
    branch = parse_maze(["#" * 24, "#" + "O" * 22 + "#", "#" * 20 + "OO##", "#" * 24])
    starts = np.array([[0.8, 1.0], [1.17, 19.2]])
    goals = starts + np.array([0.0, 2.5])
    alone = steps_needed(CORRIDOR, starts, goals)
    granted = GRANTED.corner_gain * (1 + 2.0 / GRANTED.spacing) / FASTEST
    near = steps_needed(branch, starts, goals)
    assert (near <= alone).all()
    assert near[0] >= alone[0] - granted - 1
    assert near[1] < near[0]  # a corner is in reach while the ball accelerates


def test_corner_gains_of_the_ball_stay_below_the_constant() -> None:
    middle = np.array([2.8, 2.8])
    ball, rng = PointMass(PILLAR), np.random.default_rng(0)
    nearest, farthest, lines = np.inf, 0.0, np.linspace(0, 1, 9)[:, None]
    for episode in range(3000):
        corner = middle + rng.choice([-0.5, 0.5], 2)
        velocity = 5 * rng.choice([-1, 1], 2) * rng.choice([1, rng.random()], 2)
        velocity *= 0.05 if episode % 4 == 0 else 1
        start = corner + rng.uniform(-0.12, 0.12, 2) - 0.01 * velocity * rng.uniform(1, 8)
        if np.linalg.norm(np.maximum(np.abs(start - middle) - 0.5, 0.0)) < 0.1:
            continue
        ball.set_state(start, velocity)
        force, thrown, before = np.sign(velocity), 0.0, start
        speed = np.linalg.norm(velocity) + PUSHED_OFF
        for _ in range(12):
            q, velocity = np.split(np.array(ball.advance(*force)), 2)
            speed = KEPT * speed + np.sqrt(2) * GAINED
            assert np.linalg.norm(velocity) < speed
            thrown += max(np.abs(q - before).max() - FASTEST, 0.0)
            gaps = np.maximum(np.abs(before + lines * (q - before) - middle) - 0.5, 0.0)
            nearest, before = min(nearest, float(np.linalg.norm(gaps, axis=1).min())), q
        farthest = max(farthest, thrown)
    assert GRANTED.clearance < nearest < 0.04
    assert 0.013 < farthest < GRANTED.corner_gain


def test_seam_gains_of_the_ball_stay_below_the_constant() -> None:
    ball, rng, farthest = PointMass(CORRIDOR), np.random.default_rng(0), 0.0
    for _ in range(300):
        before = rng.uniform(1, 4)
        ball.set_state(np.array([0.8, before]), np.array([rng.uniform(-5, 5), 5.0]))
        side, thrown = rng.choice([-1.0, 1.0]), 0.0
        for _ in range(60):
            after = ball.advance(side, 1.0)[1]
            thrown = max(thrown, after - before - FASTEST)
            before = after
        farthest = max(farthest, thrown)
    assert 0.0 < farthest < GRANTED.seam_gain


def test_gains_of_ogbenchs_body_stay_below_the_constants() -> None:
    env = make("ogbench-large", max_steps=10**6)
    walls, granted = env.maze.walls, contacts(OGBENCH)
    around = np.lib.stride_tricks.sliding_window_view(walls, (2, 2)).sum(axis=(2, 3))
    rng = np.random.default_rng(0)
    farthest, nearest = {1: 0.0, 2: 0.0}, np.inf
    for _ in range(700):
        kind = int(rng.choice([1, 2]))
        cells = np.argwhere(around == kind)
        corner = env.maze.cell_to_xy(cells[rng.integers(len(cells))] + 0.5)
        start = corner + rng.uniform(-1.4, 1.4, 2)
        if not env.maze.is_free(start):
            continue
        path, held = [start], rng.choice([-1.0, 1.0], 2)
        # The goal is far off, and never reached.
        env.reset(options={"start": start, "goal": _farthest_cell(env.maze, start)})
        for _ in range(14):
            action = (held * rng.choice([1, rng.random()], 2)).astype(np.float32)
            path.append(env.step(action)[0]["achieved_goal"])
            if np.abs(path[-1] - corner).max() > 1.5:
                break
        for first in range(len(path)):
            gained = np.abs(path[first:] - path[first]).max(axis=1)
            gained = gained - 0.2 * np.arange(len(gained))
            farthest[kind] = max(farthest[kind], gained.max())
        cell = env.maze.xy_to_cell(corner - 1e-6)
        for wall in (cell + offset for offset in np.ndindex(2, 2)):
            if walls[tuple(wall)]:
                gaps = np.maximum(np.abs(path - env.maze.cell_to_xy(wall)) - 2.0, 0.0)
                nearest = min(nearest, float(np.linalg.norm(gaps, axis=1).min()))
    assert 0.1 < farthest[1] < granted.corner_gain
    assert 0.03 < farthest[2] < granted.seam_gain
    assert granted.clearance < nearest < 0.7


def _farthest_cell(maze: Maze, place: np.ndarray) -> np.ndarray:
    middles = maze.cell_to_xy(maze.free_cells)
    return np.asarray(middles[np.linalg.norm(middles - place, axis=1).argmax()])


@pytest.mark.parametrize("suite", ["maze2d-large", "pointmaze-medium", "ogbench-giant"])
@pytest.mark.parametrize("seed", range(2))
def test_random_actions_never_beat_the_bound(suite: str, seed: int) -> None:
    _compare_random_episodes(suite, seed, 12)


def test_random_actions_never_beat_the_bound_through_teleports() -> None:
    jumps = sum(_compare_random_episodes("ogbench-teleport", seed, 25) for seed in range(3))
    assert jumps > 20


def _compare_random_episodes(suite: str, seed: int, episodes: int) -> int:
    """Every visited position is a reached goal. Returns the number of teleports."""
    env = make(suite)
    rng, jumps = np.random.default_rng(seed), 0
    starts, goals, touched = [], [], []
    for _ in range(episodes):
        observation, _ = env.reset(seed=int(rng.integers(2**31)))
        start, path = observation["observation"], []
        for _ in range(10):
            force = rng.choice([-1.0, 1.0], 2) * np.where(rng.random(2) < 0.5, 1, rng.random(2))
            for _ in range(rng.choice([5, 40])):
                observation = env.step(force.astype(np.float32))[0]
                path.append(observation["achieved_goal"])
        way = np.array([start[:2], *path])
        jumps += int((np.abs(np.diff(way, axis=0)).max(axis=1) > 1.0).sum())
        for goal in way[rng.integers(1, len(way), 8)]:
            near = np.linalg.norm(way[1:] - goal, axis=1) <= env.goal_radius
            starts.append(start), goals.append(goal), touched.append(near.argmax() + 1)
    needed = steps_needed(env.maze, np.array(starts), np.array(goals))
    assert (needed <= touched).all()
    assert (needed > 1).mean() > 0.5
    return jumps


def test_teleports_are_where_the_suite_has_them() -> None:
    suite = cast(Any, make("ogbench-teleport").unwrapped)._teleport_info
    maze = named_maze("ogbench-teleport")
    exits = maze.cell_to_xy(suite["teleport_out_ijs"])
    assert suite["teleport_radius"] == 1.0  # the step multiplies it by 1.5
    for entrance in maze.cell_to_xy(suite["teleport_in_ijs"]):
        # A path enters at 1.5 and leaves within the goal radius.
        start = entrance - np.array([0.0, 3.0])
        lengths = path_lengths(maze, np.tile(start, (len(exits), 1)), exits)
        np.testing.assert_allclose(lengths, 1.5, atol=0.1)


@pytest.mark.parametrize(("along", "across"), [(30.0, 0.0), (20.0, 20.0), (0.5, 0.5)])
def test_ogbenchs_body_in_a_room_needs_its_steps(along: float, across: float) -> None:
    room = parse_maze(ROOM.ascii, suite=OGBENCH)
    start = place = np.array([1.0, 2.0])
    goal, steps = start + np.array([along, across]), 0
    while steps == 0 or np.linalg.norm(place - goal) > 1.0:
        place = place + np.clip(goal - place, -0.2, 0.2)
        steps += 1
    needed = steps_needed(room, start[None], goal[None])[0]
    assert needed <= steps <= np.ceil(1.02 * needed) + 1


def test_ogbenchs_body_in_its_own_corridor_needs_its_steps() -> None:
    env = make("ogbench-giant")
    start, goal = env.maze.cell_to_xy([10, 1]), env.maze.cell_to_xy([10, 5])
    env.reset(options={"start": start, "goal": goal})
    steps = 1
    while not env.step(np.array([1.0, 0.0], np.float32))[4]["success"]:
        steps += 1
    needed = steps_needed(env.maze, start[None], goal[None])[0]
    assert needed <= steps <= 1.08 * needed + 1


@pytest.mark.parametrize("name", ["umaze", "medium", "large"])
def test_two_suites_with_the_same_ball_need_the_same_steps(name: str) -> None:
    task = named_task(f"multi2d-{name}")
    drawn = problems(task, 30)
    wide = replace(GYMNASIUM, goal_radius=D4RL.goal_radius)
    other = parse_maze(task.maze.ascii, suite=wide)
    places, goals = (
        other.cell_to_xy(task.maze.xy_to_grid(each)) for each in (drawn.starts[:, :2], drawn.goals)
    )
    velocities = drawn.starts[:, [3, 2]] * [1, -1]
    here = steps_needed(task.maze, drawn.starts, drawn.goals)
    there = steps_needed(other, np.concatenate([places, velocities], axis=1), goals)
    np.testing.assert_array_equal(here, there)
    stock = steps_needed(named_maze(f"pointmaze-{name}"), places, goals)
    assert (stock >= steps_needed(other, places, goals)).all()  # a smaller disc is no nearer
    at_rest = np.concatenate([places, np.zeros_like(places)], axis=1)
    np.testing.assert_array_equal(
        steps_needed(other, places, goals), steps_needed(other, at_rest, goals)
    )


def test_a_start_on_the_goal_needs_one_step() -> None:
    start = np.array([[1.0, 1.0, 0.0, 0.0]])
    assert steps_needed(named_task("maze2d-umaze").maze, start, start[:, :2]).tolist() == [1]


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


# Way points (q0, q1, and how near to go on to the next) from a random search over them, by problem
# of the frozen test sets; all have corners on their way.
DRIVES = {
    ("umaze", 4): [[1.09, 0.91, 0.68]],
    ("medium", 10): [
        [5.19, 2.11, 1.08],
        [6.1, 1.43, 0.93],
        [6.25, 1.8, 1.05],
        [4.2, 4.54, 1.1],
        [6.21, 7.12, 1.09],
    ],
    ("medium", 15): [
        [6.57, 2.13, 0.74],
        [6.34, 2.28, 0.46],
        [4.31, 4.44, 0.37],
        [3.53, 3.6, 1.09],
        [5.95, 6.29, 0.38],
    ],
    ("large", 10): [[3.63, 5.8, 0.43], [4.81, 7.69, 0.73], [6.69, 10.14, 1.2]],
    ("large", 18): [[4.44, 9.87, 0.7], [4.79, 8.15, 0.48], [7.24, 10.16, 1.2]],
}


def _return(
    ball: PointMass, start: np.ndarray, goal: np.ndarray, way: np.ndarray, steps: int
) -> int:
    """What a driver is paid that heads for one way point after the other, and rests at the goal."""
    ball.set_state(start[:2], start[2:])
    (q0, q1, v0, v1), (g0, g1), points = start.tolist(), goal.tolist(), way.tolist()
    paid = 0
    for _ in range(steps):
        while points and math.hypot(q0 - points[0][0], q1 - points[0][1]) < points[0][2]:
            points.pop(0)
        x, y = points[0][:2] if points else (g0, g1)
        pull, brake = (12.0, 0.6) if points else (10.0, 2.2)
        q0, q1, v0, v1 = ball.advance(pull * (x - q0) - brake * v0, pull * (y - q1) - brake * v1)
        paid += math.hypot(q0 - g0, q1 - g1) <= D4RL.goal_radius
    return paid


@pytest.mark.parametrize(("name", "row"), DRIVES)
def test_an_optimized_drive_comes_within_three_percent(name: str, row: int) -> None:
    task = named_task(f"maze2d-{name}")
    drawn = problems(task, 20)
    start, goal = drawn.starts[row], drawn.goals[row]
    most = task.max_steps - steps_needed(task.maze, start[None], goal[None])[0] + 1
    way = np.array(DRIVES[name, row])
    paid = _return(PointMass(task.maze), start, goal, way, task.max_steps)
    assert 0.97 * most <= paid <= most


def test_a_search_comes_within_three_percent_and_never_beats_it() -> None:
    task, rng = named_task("maze2d-umaze"), np.random.default_rng(0)
    drawn, ball = problems(task, 20), PointMass(task.maze)
    start, goal = drawn.starts[4], drawn.goals[4]
    most = task.max_steps - steps_needed(task.maze, start[None], goal[None])[0] + 1
    way = np.array([[1.0, 1.0, 0.45]])
    best = _return(ball, start, goal, way, task.max_steps)
    for _ in range(300):
        other = way + rng.normal(size=3) * 0.2
        paid = _return(ball, start, goal, other, task.max_steps)
        if paid >= best:
            way, best = other, paid
    assert 0.97 * most <= best <= most
