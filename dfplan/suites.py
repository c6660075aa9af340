"""The suites of maze environments: their names and their numbers.

Other packages register what differs between suites in kind, not only in number: environments in
:mod:`dfplan.envs`, collectors and controllers in :mod:`dfplan.collect`, published data in
:mod:`dfplan.data`. All other modules read the attributes of a suite and never compare suites.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dfplan.observations import PLANAR, ObservationLayout
from dfplan.record import Record

Cells = tuple[tuple[int, int], ...]
"""Cells as (row, column)."""


@dataclass(frozen=True)
class Teleports:
    """Teleports of a maze: a body that enters one is moved to a random exit.

    Attributes:
        entrances: cells.
        exits: cells.
        radius: a body enters within this distance of an entrance's center, in units of position.
    """

    entrances: Cells
    exits: Cells
    radius: float


@dataclass(frozen=True)
class Suite(Record):
    """The names and numbers of one suite. Lengths are in the suite's units of position.

    Attributes:
        name: used in messages, maze files and data.
        title: name as the suite's authors write it.
        prefix: prefix of the names of the suite's mazes, environments and planners.
        mazes: the rows of each maze by size, joined by backslashes.
        row_step: vector from a cell's center to the center of the cell below it.
        column_step: vector from a cell's center to the center of the cell to its right.
        first_cell: center of cell (0, 0); None if the maze's center is the origin.
        ball_radius: radius of the body.
        goal_radius: a goal is reached within this distance.
        min_wall_distance: smallest distance between the body's center and a wall. It is less than
            ``ball_radius`` because walls are soft.
        episode_steps: length of an episode by size of maze.
        has_velocity: whether observations contain velocities.
        step_length: distance along an axis that an action of 1 moves the body, if actions are
            displacements; None if actions are forces.
        integer_goals: whether fixed goals have integer coordinates; otherwise they are at the
            centers of cells.
        continuous_data: whether data is recorded as one long stream instead of short episodes.
        data_name: name of the file or folder for data collected in the suite's mazes.
        teleports: teleports by size of maze.
        observation: the columns of observations.
        action_size: A, how many numbers an action has.
        kinds: sizes of the mazes of which each kind of data is published, the default kind first,
            for suites with more than one kind.
    """

    name: str
    title: str
    prefix: str
    mazes: Mapping[str, str] = field(repr=False)
    row_step: tuple[float, float]
    column_step: tuple[float, float]
    first_cell: tuple[float, float] | None
    ball_radius: float
    goal_radius: float
    min_wall_distance: float
    episode_steps: Mapping[str, int]
    has_velocity: bool = True
    step_length: float | None = None
    integer_goals: bool = False
    continuous_data: bool = True
    data_name: str = "data.hdf5"
    teleports: Mapping[str, Teleports] = field(default_factory=dict)
    observation: ObservationLayout = field(default=PLANAR, repr=False)
    action_size: int = 2
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def state_size(self) -> int:
        """S, how many numbers an observation has."""
        return self.observation.width if self.has_velocity else len(self.observation.position)

    @property
    def cell_size(self) -> float:
        """Side length of a cell."""
        return math.hypot(*self.column_step)

    def __reduce__(self) -> str:
        # Pickled by name, so that another process gets its own instance of the same suite.
        return self.name.upper()


CUSTOM_EPISODE_STEPS = 1000
"""Length of an episode in a maze that no suite has."""

CELL_OFFSET = -0.2
"""In D4RL the center of cell ``(i, j)`` is ``(i + CELL_OFFSET, j + CELL_OFFSET)``."""

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
    row_step=(1.0, 0.0),
    column_step=(0.0, 1.0),
    first_cell=(CELL_OFFSET, CELL_OFFSET),
    ball_radius=0.1,
    goal_radius=0.5,
    min_wall_distance=0.025,  # measured: 0.035, when driven into a corner
    episode_steps=_STEPS,
    integer_goals=True,
)
"""Maze2D (``d4rl/pointmaze/maze_model.py``). Position ``q = (q0, q1)``: q0 increases down the rows,
q1 along the columns; a cell has side 1. The body's zero position is shifted by 0.2, so integer
coordinates, where the goals are, are not the centers of cells."""

GYMNASIUM = Suite(
    "gymnasium",
    "gymnasium-robotics",
    "pointmaze",
    {size: rows.replace("G", "O") for size, rows in _POINT_MAZES.items()},
    row_step=(0.0, -1.0),
    column_step=(1.0, 0.0),
    first_cell=None,
    ball_radius=0.1,
    goal_radius=0.45,
    min_wall_distance=0.025,
    episode_steps=_STEPS,
    data_name="data-v0",
)
"""PointMaze (``envs/maze/maze_v4.py``, ``envs/maze/maps.py``): x points right, y up; a cell has
side 1; the maze's center is the origin."""

_OGBENCH_SIZES = ("medium", "large", "giant", "teleport")

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
    row_step=(0.0, 4.0),
    column_step=(4.0, 0.0),
    first_cell=(-4.0, -4.0),
    ball_radius=0.7,
    goal_radius=1.0,
    min_wall_distance=0.6,  # measured: 0.638
    episode_steps=dict.fromkeys(_OGBENCH_SIZES, 1000),
    has_velocity=False,
    step_length=0.2,
    continuous_data=False,
    data_name="data.npz",
    teleports={
        "teleport": Teleports(((4, 6), (5, 1)), ((1, 7), (6, 1), (6, 10)), radius=1.5),
    },
    kinds=dict.fromkeys(("navigate", "stitch"), _OGBENCH_SIZES),
)
"""OGBench's point mazes (``ogbench/locomaze/maze.py``): x increases along the columns, y down the
rows; a cell has side 4; the center of cell (1, 1) is the origin."""

OGBENCH_ANT = replace(
    OGBENCH,
    name="ogbench_ant",
    prefix="ogbench-antmaze",
    ball_radius=0.5,
    goal_radius=0.5,
    min_wall_distance=0.25,
    has_velocity=True,
    step_length=None,
    observation=ObservationLayout(29, (0, 1), (15, 16)),
    action_size=8,
    kinds={**OGBENCH.kinds, "explore": ("medium", "large", "teleport")},
)
"""OGBench's ant mazes (``ogbench/locomaze/ant.py``): the mazes of :data:`OGBENCH` with a walking
body of four legs. An observation has the position, height, orientation (a quaternion) and eight
joints, then their velocities; an action has eight torques."""

SUITES = {suite.name: suite for suite in (D4RL, GYMNASIUM, OGBENCH, OGBENCH_ANT)}
"""Suites by name."""

DEFAULT = D4RL
"""The suite of a maze for which none is given."""
