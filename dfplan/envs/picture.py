"""Draws a maze, ball and goal as an array, without a display and without OpenGL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfplan.mazes import Maze

if TYPE_CHECKING:
    from dfplan.plotting.output import Output

_WALL = (70, 74, 84)
_FLOOR = (244, 243, 239)
_GOAL = (226, 122, 92)
_BALL = (38, 84, 148)


def draw_frame(
    maze: Maze, ball: np.ndarray, goal: np.ndarray, goal_radius: float, pixels: int = 40
) -> np.ndarray:
    """Draw a maze of H rows and W columns from above, its first row at the top.

    Args:
        maze: the maze.
        ball: center of the ball in the maze's coordinates, [2].
        goal: center of the goal, [2].
        goal_radius: in units of position.
        pixels: side of a cell in the picture.

    Returns:
        RGB, uint8 [H * pixels, W * pixels, 3].
    """
    height, width = maze.shape
    row = (np.arange(height * pixels)[:, None] + 0.5) / pixels - 0.5
    column = (np.arange(width * pixels)[None, :] + 0.5) / pixels - 0.5
    wall = np.kron(maze.walls, np.ones((pixels, pixels), dtype=bool))
    frame = np.where(wall[..., None], _WALL, _FLOOR).astype(float)
    for center, radius, color, strength in (
        (goal, goal_radius, _GOAL, ~wall * 0.35),
        (goal, maze.suite.ball_radius, _GOAL, 1.0),
        (ball, maze.suite.ball_radius, _BALL, 1.0),
    ):
        middle = maze.xy_to_grid(center)
        distance = np.hypot(row - middle[0], column - middle[1])
        # Partly covered pixels at the edge make the discs smooth.
        inside = (radius / maze.suite.cell_size - distance) * pixels + 0.5
        cover = np.clip(inside, 0.0, 1.0) * strength
        frame += cover[..., None] * (np.array(color) - frame)
    return frame.round().astype(np.uint8)


def save_frame(path: Output, frame: np.ndarray) -> Path | Any:
    """Write a picture, RGB, uint8 [H, W, 3], as PNG to a ``.png`` file or binary file object.

    Raises:
        ConfigError: another ending, or a file object that does not accept bytes.
        OSError: the picture cannot be written; no partial file remains.
    """
    # Imported here because importing matplotlib takes long.
    from dfplan.plotting.output import atomic_output, check_output

    where, ending = check_output(path, "picture", (".png",))
    with atomic_output(where, ending) as temporary:
        from matplotlib.image import imsave

        imsave(temporary, frame, format="png")
    return where
