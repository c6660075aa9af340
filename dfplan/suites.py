"""The suites of maze environments: their names and their numbers.

What differs in kind from suite to suite is registered under a suite by the package that holds it:
environments in :mod:`dfplan.envs`, collectors and controllers in :mod:`dfplan.collect`, publishers
of data in :mod:`dfplan.data`. No other module asks which suite it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Cells = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Teleports:
    """Where a body is moved at random to one of the exits.

    Attributes:
        entrances: cells (row, column).
        exits: cells.
        radius: how near to an entrance's center a body enters, in units of position.
    """

    entrances: Cells
    exits: Cells
    radius: float


@dataclass(frozen=True, eq=False)
class Suite:
    """One suite.

    Attributes:
        name: in messages, maze files and data.
        title: as its authors write it.
        prefix: of the names of its mazes, environments and planners.
        mazes: rows of its mazes by size, parted by backslashes.
        down: from a cell's center to that of the cell below it, in units of position.
        right: from a cell's center to that of the cell right of it.
        first: the center of cell (0, 0); None where the maze's center is the origin.
        ball_radius: of the body, in units of position.
        goal_radius: within which a goal is reached.
        wall_distance: the smallest distance from the center of a body to a wall. Walls are soft.
        episode_steps: length of an episode by size of maze.
        has_velocity: whether observations hold velocities.
        step_length: where an action sets the position itself: how far an action of 1 moves the
            body along an axis. None where actions are forces.
        integer_goals: whether fixed goals lie at integer coordinates rather than in the centers
            of cells.
        streams: whether data is recorded as one long stream rather than in short episodes.
        data_name: of the file or folder that holds data collected in its mazes.
        teleports: by size of maze.
    """

    name: str
    title: str
    prefix: str
    mazes: Mapping[str, str]
    down: tuple[float, float]
    right: tuple[float, float]
    first: tuple[float, float] | None
    ball_radius: float
    goal_radius: float
    wall_distance: float
    episode_steps: Mapping[str, int]
    has_velocity: bool = True
    step_length: float | None = None
    integer_goals: bool = False
    streams: bool = True
    data_name: str = "data.hdf5"
    teleports: Mapping[str, Teleports] = field(default_factory=dict)

    @property
    def unit(self) -> float:
        """Side of a cell, in units of position."""
        return math.hypot(*self.right)

    def __reduce__(self) -> str:
        # Pickled by name, so that it is the same object in another process.
        return self.name.upper()


CUSTOM_EPISODE_STEPS = 1000
"""Length of an episode in any other maze."""

CELL_OFFSET = -0.2
"""D4RL: cell ``(i, j)`` has its center at ``(i + CELL_OFFSET, j + CELL_OFFSET)``."""

_POINT_MAZES = {
    "umaze": r"#####\#GOO#\###O#\#OOO#\#####",
    "medium": r"########\#OO##OO#\#OO#OOO#\##OOO###\#OO#OOO#\#O#OO#O#\#OOO#OG#\########",
    "large": (
        r"############\#OOOO#OOOOO#\#O##O#O#O#O#\#OOOOOO#OOO#\#O####O###O#"
        r"\#OO#O#OOOOO#\##O#O#O#O###\#OO#OOO#OGO#\############"
    ),
}
_STEPS = {"umaze": 300, "medium": 600, "large": 800}

D4RL = Suite(
    "d4rl",
    "D4RL",
    "maze2d",
    _POINT_MAZES,
    down=(1.0, 0.0),
    right=(0.0, 1.0),
    first=(CELL_OFFSET, CELL_OFFSET),
    ball_radius=0.1,
    goal_radius=0.5,
    wall_distance=0.025,  # driven into a corner, the ball comes to 0.035 from it
    episode_steps=_STEPS,
    integer_goals=True,
)
"""Maze2D (``d4rl/pointmaze/maze_model.py``). Position ``q = (q0, q1)``: rows downwards, then
columns, one unit a cell. Its ball starts 0.2 off, so integer coordinates, where its goals lie, are
not the centers of cells."""

GYMNASIUM = Suite(
    "gymnasium",
    "gymnasium-robotics",
    "pointmaze",
    {size: rows.replace("G", "O") for size, rows in _POINT_MAZES.items()},
    down=(0.0, -1.0),
    right=(1.0, 0.0),
    first=None,
    ball_radius=0.1,
    goal_radius=0.45,
    wall_distance=0.025,
    episode_steps=_STEPS,
    data_name="data-v0",
)
"""PointMaze (``envs/maze/maze_v4.py``, ``envs/maze/maps.py``): x to the right, y upwards, one unit
a cell, the maze's center at the origin."""

OGBENCH = Suite(
    "ogbench",
    "OGBench",
    "ogbench",
    {
        "medium": _POINT_MAZES["medium"].replace("G", "O"),
        "large": _POINT_MAZES["large"].replace("G", "O"),
        "giant": (
            r"################\#O#OOOOOO##OOOO#\#O#O##O#O#OO##O#\#OOO#OO#OOO#OOO#"
            r"\#O###O######O#O#\#OOO#OOO#OOOO#O#\###O#O#OO#O#O###\#OOO#OO#OOO#OOO#"
            r"\#O#O#O######O#O#\#O###OOO#OOO##O#\#OOOOO#OOO#OOOO#\################"
        ),
        "teleport": (
            r"############\#OOOOO#O#OO#\##O#OOO#OO##\##O###OOOOO#\#OOOO#O#O#O#\#O##O#O#O#O#"
            r"\#O##O#O#O#O#\#OOOO#OOO#O#\############"
        ),
    },
    down=(0.0, 4.0),
    right=(4.0, 0.0),
    first=(-4.0, -4.0),
    ball_radius=0.7,
    goal_radius=1.0,
    wall_distance=0.6,  # the ball comes to 0.638
    episode_steps=dict.fromkeys(("medium", "large", "giant", "teleport"), 1000),
    has_velocity=False,
    step_length=0.2,
    streams=False,
    data_name="data.npz",
    teleports={
        "teleport": Teleports(((4, 6), (5, 1)), ((1, 7), (6, 1), (6, 10)), radius=1.5),
    },
)
"""OGBench's point mazes (``ogbench/locomaze/maze.py``): x along the columns, y along the rows, four
units a cell, cell (1, 1) at the origin."""

SUITES = {suite.name: suite for suite in (D4RL, GYMNASIUM, OGBENCH)}
"""Suites by name."""

DEFAULT = D4RL
"""The suite of a maze that does not say which."""
