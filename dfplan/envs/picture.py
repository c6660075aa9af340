"""A picture of a maze, its ball and its goal, as an array: no display, no OpenGL."""

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
    maze: Maze,
    ball: np.ndarray,
    goal: np.ndarray,
    goal_radius: float,
    pixels: int = 40,
) -> np.ndarray:
    """Look down on a maze, its first row on top.

    Args:
        maze: the maze, H rows and W columns.
        ball: center of the ball in the maze's frame, [2].
        goal: center of the goal, likewise.
        goal_radius: radius of the disc that counts as the goal, in the frame's unit.
        pixels: width of a cell in the picture.

    Returns:
        Red, green, blue; uint8 [H * pixels, W * pixels, 3].
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
        middle = maze.on_grid(center)
        distance = np.hypot(row - middle[0], column - middle[1])
        # The edge pixel is covered in part, which keeps the discs smooth.
        cover = np.clip((radius / maze.suite.unit - distance) * pixels + 0.5, 0.0, 1.0) * strength
        frame += cover[..., None] * (np.array(color) - frame)
    return frame.round().astype(np.uint8)


def save_frame(path: Output, frame: np.ndarray) -> Path | Any:
    """Write a picture, uint8 [H, W, 3], as PNG, whole or not at all.

    Args:
        path: where to, which ends in ``.png``; or a file that is open for bytes.
        frame: what to write.

    Raises:
        ConfigError: another ending, or a file that takes no bytes.
        OSError: the picture cannot be written; nothing is left behind.
    """
    # Here, as matplotlib is to be imported when something is drawn and not before.
    from dfplan.plotting.output import checked_output, written

    where, ending = checked_output(path, "picture", (".png",))
    with written(where, ending) as temporary:
        from matplotlib.image import imsave

        imsave(temporary, frame, format="png")
    return where
