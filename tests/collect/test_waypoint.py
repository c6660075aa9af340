"""The controller that collects the data."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from dfplan.collect.waypoint import WaypointController
from dfplan.envs.dynamics import PointMass
from dfplan.mazes import named_maze, parse_maze
from dfplan.suites import CELL_OFFSET

OPEN = "#####\n#OOO#\n#OOO#\n#OOO#\n#####"


def route(
    controller: WaypointController, start: ArrayLike, goal: tuple[float, float]
) -> np.ndarray:
    """The waypoints [W, 2] of a body without mass on its way to the goal."""
    position, waypoints = np.array(start, float), []
    for _ in range(1000):
        *force, arrived = controller.act(*position, 0.0, 0.0, goal)
        position = position + np.array(force) / 10
        # At rest, the force is 10 times the distance to the waypoint, and at most 1.
        near = np.abs(force).max() < 1
        if near and not (waypoints and np.allclose(position, waypoints[-1])):
            waypoints.append(position)
        if arrived:
            return np.array(waypoints)
    raise AssertionError("it never arrived")


@pytest.mark.parametrize("maze", ["umaze", "medium", "large"])
def test_it_arrives_at_every_cell_from_anywhere(maze: str) -> None:
    parsed = named_maze(maze)
    rng = np.random.default_rng(0)
    controller = WaypointController(parsed, rng)
    ball = PointMass(parsed)
    ball.set_state(parsed.free_cells[0], np.zeros(2))
    state = tuple(ball.state().tolist())
    for cell in rng.permutation(parsed.free_cells):
        arrived = False
        for _ in range(700):
            a0, a1, arrived = controller.act(*state, tuple(cell.tolist()))
            if arrived:
                break
            state = ball.advance(a0, a1)
        assert arrived
        assert np.linalg.norm(state[:2] - cell) < 0.1


def test_waypoints_lie_at_most_a_fifth_below_the_cells_of_a_shortest_path() -> None:
    maze = named_maze("large")
    goal = (7, 9)
    waypoints = route(WaypointController(maze, np.random.default_rng(0)), (1, 1), goal)
    cells = np.ceil(waypoints - 1e-9).astype(int)
    assert len(cells) == len(maze.shortest_path((1, 1), goal))
    assert not maze.walls[tuple(cells.T)].any()
    assert (np.abs(np.diff(cells, axis=0)).sum(1) == 1).all()
    assert ((cells - waypoints) <= 0.2 + 1e-9).all()
    np.testing.assert_allclose(waypoints[-1], goal)


def test_ties_between_shortest_paths_are_resolved_as_in_d4rl() -> None:
    """Columns before rows, and downwards before upwards in each."""
    controller = WaypointController(parse_maze(OPEN), np.random.default_rng(0))
    there = np.ceil(route(controller, (1, 1), (3, 3)) - 1e-9)
    assert there.tolist() == [[1, 2], [1, 3], [2, 3], [3, 3]]
    back = np.ceil(route(controller, (3, 3), (1, 1)) - 1e-9)
    assert back.tolist() == [[3, 2], [3, 1], [2, 1], [1, 1]]


def test_a_route_is_planned_once_a_target_until_reset() -> None:
    maze = named_maze("large")
    first = route(WaypointController(maze, np.random.default_rng(0)), (1, 1), (7, 9))
    controller = WaypointController(maze, np.random.default_rng(0))
    controller.act(1.0, 1.0, 0.0, 0.0, (7, 9))
    np.testing.assert_allclose(route(controller, (3, 6), (7.05, 8.95)), first)
    controller.reset()
    assert len(route(controller, (3, 6), (7, 9))) < len(first)


def test_a_ball_in_any_corner_of_a_cell_belongs_to_that_cell() -> None:
    """Rounding the position, which D4RL does, would put some of them in a wall."""
    maze = named_maze("umaze")
    for cell in maze.free_cells:
        for corner in ((-0.39, -0.39), (-0.39, 0.39), (0.39, -0.39), (0.39, 0.39)):
            controller = WaypointController(maze, np.random.default_rng(0))
            start = cell + CELL_OFFSET + np.array(corner)
            assert len(route(controller, start, (3, 1))) == len(maze.shortest_path(cell, (3, 1)))


def test_forces_are_within_one() -> None:
    controller = WaypointController(named_maze("large"), np.random.default_rng(0))
    a0, a1, arrived = controller.act(1.0, 1.0, -5.0, 5.0, (7, 9))
    assert (a0, a1, arrived) == (1.0, 1.0, False)
