from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from dfplan.envs.dynamics import PointMass
from dfplan.mazes import named_maze, parse_maze
from dfplan.suites import D4RL

MAPS = {"umaze": "UMaze", "medium": "Medium", "large": "Large"}


def pushes(seed: int, steps: int, hold: int = 25) -> np.ndarray:
    """Random forces [steps, 2], each held for ``hold`` steps: enough to reach walls."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.uniform(-1.5, 1.5, size=(-(-steps // hold), 2)), hold, axis=0)[:steps]


@pytest.mark.parametrize("name", MAPS)
def test_the_dynamics_equal_those_of_point_maze(name: str) -> None:
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    reference = gymnasium.make(f"PointMaze_{MAPS[name]}-v3").unwrapped
    reference.reset(seed=0)
    maze = named_maze(name)
    height, width = maze.shape
    grid = np.array(reference.maze.maze_map)
    np.testing.assert_array_equal(maze.walls, grid == 1)

    position, velocity = maze.free_cells[-1] + 0.1, np.array([0.3, -0.2])
    reference.point_env.set_state(
        np.array([position[1] + 0.7 - width / 2, height / 2 - 0.7 - position[0]]),
        np.array([velocity[1], -velocity[0]]),
    )
    ball = PointMass(maze)
    ball.set_state(position, velocity)
    ours, theirs = [], []
    for force in pushes(seed=3, steps=2000):
        ours.append(ball.advance(*force.tolist()))
        observation = reference.step(np.array([force[1], -force[0]]))[0]["observation"]
        x, y, vx, vy = observation
        theirs.append((height / 2 - 0.7 - y, x - 0.7 + width / 2, -vy, vx))
    assert (~maze.is_free(np.array(ours)[:, :2], D4RL.ball_radius)).sum() > 100, (
        "no wall was touched"
    )
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", MAPS)
def test_walls_keep_the_ball_in_free_space(name: str) -> None:
    maze = named_maze(name)
    ball = PointMass(maze)
    ball.set_state(maze.free_cells[0] + 0.0, np.zeros(2))
    forces = np.sign(pushes(seed=4, steps=20_000))
    visited = np.array([ball.advance(*force) for force in forces.tolist()])
    gaps = [
        radius
        for radius in (0.03, 0.06, D4RL.ball_radius)
        if maze.is_free(visited[:, :2], radius).all()
    ]
    assert 0.03 in gaps, "the ball sank into a wall"
    assert D4RL.ball_radius not in gaps, "the ball never leaned on a wall"
    assert np.abs(visited[:, 2:]).max() < 10.0


def test_the_start_determines_the_motion() -> None:
    maze = named_maze("medium")
    ball, other = PointMass(maze), PointMass(maze)
    forces = pushes(seed=5, steps=300).tolist()
    runs = []
    for _ in range(2):
        ball.set_state(np.array([1.0, 1.0]), np.array([0.5, 0.0]))
        other.set_state(np.array([6.0, 6.0]), np.zeros(2))
        np.testing.assert_allclose(ball.state(), [1.0, 1.0, 0.5, 0.0], atol=1e-15)
        run = []
        for force in forces:
            run.append(ball.advance(*force))
            other.advance(1.0, 1.0)
        runs.append(run)
        np.testing.assert_array_equal(ball.state(), run[-1])
    assert runs[0] == runs[1]


def test_forces_are_clipped() -> None:
    ball = PointMass(named_maze("umaze"))
    ends = []
    for force in ((1.0, -1.0), (7.0, -1.2)):
        ball.set_state(np.array([1.0, 1.0]), np.zeros(2))
        ends.append(ball.advance(*force))
    assert ends[0] == ends[1]


def test_no_step_is_longer_than_the_speed_limit_allows() -> None:
    corridor = parse_maze(["#" * 30, "#" + "O" * 28 + "#", "#" * 30])
    ball = PointMass(corridor)
    ball.set_state(np.array([1.0, 1.0]), np.zeros(2))
    path = np.array([ball.advance(0.0, 1.0) for _ in range(400)])
    assert np.diff(path[:, 1]).max() == pytest.approx(0.0523, abs=5e-5)
    assert np.argmax(path[:, 3] > 5.0) == 21  # the 22nd step starts from the clipped speed


@pytest.mark.parametrize("package", ["mujoco", "gymnasium_robotics"])
def test_a_missing_simulator_error_tells_how_to_install_it(package: str) -> None:
    program = f"""
import sys
sys.modules[{package!r}] = None
import gymnasium, dfplan.envs
dfplan.envs.register_environments()
try:
    gymnasium.make("dfplan/maze2d-umaze-v1")
except ImportError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    assert "pip install 'dfplan[envs]'" in result.stdout
    assert package.replace("_", "-") in result.stdout
