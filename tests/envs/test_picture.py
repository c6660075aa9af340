from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dfplan.envs.picture import draw_frame
from dfplan.mazes import named_maze, parse_maze
from dfplan.suites import SUITES, Suite


def test_walls_ball_and_goal_are_drawn_in_place() -> None:
    maze = named_maze("large")
    ball, goal, pixels = np.array([1.0, 1.0]), np.array([7.0, 9.0]), 20
    frame = draw_frame(maze, ball, goal, goal_radius=0.5, pixels=pixels)
    assert frame.dtype == np.uint8
    assert frame.shape == (9 * pixels, 12 * pixels, 3)

    centers = frame[pixels // 2 :: pixels, pixels // 2 :: pixels].astype(int)
    far = np.abs(maze.free_cells - goal).sum(1) > 1
    floor = centers[tuple(maze.free_cells[far][-1])]
    wall = centers[0, 0]
    assert (wall != floor).any()
    assert (centers[maze.walls] == wall).all()

    def pixel(q: np.ndarray) -> np.ndarray:
        # The picture's upper left corner is the outer corner of cell (0, 0): 0.7 above zero.
        return frame[tuple(((q + 0.7) * pixels).astype(int))].astype(int)

    assert pixel(ball)[2] > pixel(ball)[0], "the ball is blue"
    assert pixel(goal)[0] > pixel(goal)[2], "the goal is red"
    disc = pixel(goal + np.array([0.0, 0.4]))
    assert pixel(goal)[2] < disc[2] < floor[2], "the goal's disc is a tint of its color"
    np.testing.assert_array_equal(pixel(goal - np.array([0.0, 0.6])), floor)


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_a_maze_looks_the_same_in_every_suite(suite: Suite) -> None:
    large = named_maze("large")
    ball = large.suite.ball_radius * suite.cell_size
    other = parse_maze(large.rows, suite=replace(suite, ball_radius=ball))
    pictures = [
        draw_frame(
            maze,
            maze.cell_to_xy([1.2, 1.0]),
            maze.cell_to_xy([7.0, 8.7]),
            0.4 * maze.suite.cell_size,
        ).astype(int)
        for maze in (large, other)
    ]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
