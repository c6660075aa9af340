"""The planners that the web app can use."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dfplan.errors import ConfigError, MazeError
from dfplan.mazes import Maze, parse_maze
from dfplan.planning.single import ForcingPlanner
from dfplan.plotting.maze import floor_outline
from dfplan.pretrained import load, pretrained_names
from dfplan.record import Record


@dataclass(frozen=True)
class ServedPlanner(Record):
    """A planner that the web app can use, and the maze of its training data."""

    name: str
    planner: ForcingPlanner
    maze: Maze

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the web app needs to draw the maze and to request plans.

        Lengths and positions are in the suite's coordinates. The center of cell (i, j) is
        ``first_cell + i * row_step + j * column_step``. ``start`` and ``goal`` are those of the
        query that the web app shows first. ``floor`` is where the data has been: closed lines of
        corners, whose inside is found by the even-odd rule.
        """
        maze, suite, layout = self.maze, self.maze.suite, self.planner.model.layout
        cells = maze.free_cells
        goal = cells[-1] if maze.goal is None else maze.xy_to_cell(maze.goal)
        path_lengths = np.zeros(len(cells))
        for index, cell in enumerate(cells):
            with suppress(MazeError):  # no path leads out of a part of OGBench's teleport maze
                path_lengths[index] = len(maze.shortest_path(cell, goal.tolist()))
        return {
            "name": self.name,
            "rows": list(maze.rows),
            "suite": suite.name,
            "cell_size": suite.cell_size,
            "first_cell": rounded(maze.cell_to_xy((0, 0))),
            "row_step": rounded(np.array(suite.row_step)),
            "column_step": rounded(np.array(suite.column_step)),
            "ball_radius": suite.ball_radius,
            "goal_radius": suite.goal_radius,
            "tokens": layout.tokens,
            "frame_stack": layout.frame_stack,
            "stride": layout.stride,
            "max_level": self.planner.model.schedule.max_level,
            "floor": [rounded(ring) for ring in self._floor_rings()],
            "start": rounded(maze.cell_to_xy(cells[int(np.argmax(path_lengths))])),
            "goal": rounded(maze.cell_to_xy(goal)),
        }

    def _floor_rings(self) -> list[np.ndarray]:
        """The corners of the outlines of the floor, [N, 2] each."""
        floor = self.planner.model.statistics.support.floor
        return [_corners(np.asarray(ring)) for ring in floor_outline(floor, None).to_polygons()]


def _corners(ring: np.ndarray) -> np.ndarray:
    """The points of a line [N, 2] at which it turns; the last of them is the first."""
    points = ring[:-1]
    (x0, y0), (x1, y1) = (points - np.roll(points, 1, 0)).T, (np.roll(points, -1, 0) - points).T
    return np.asarray(points[np.abs(x0 * y1 - y0 * x1) > 1e-9])


def load_planners(names: Sequence[str] | None = None) -> dict[str, ServedPlanner]:
    """Load the planners that the web app can use, by name.

    The names are those of shipped planners, files or folders of training runs; default: all shipped
    Diffusion Forcing planners.

    Raises:
        ConfigError: unknown name, a checkpoint without a maze, or a planner of another kind.
        CheckpointError: a checkpoint is damaged.
    """
    served = {}
    for name in pretrained_names() if names is None else names:
        planner = load(name)
        if not isinstance(planner, ForcingPlanner) or planner.maze is None:
            if names is None:
                continue
            kind = type(planner).__name__
            found = "has none" if isinstance(planner, ForcingPlanner) else f"is a {kind}"
            raise ConfigError(
                "The web app needs Diffusion Forcing planners whose data names its maze; "
                f"{name} {found}."
            )
        served[name] = ServedPlanner(name, planner, parse_maze(planner.maze, name=name))
    if not served:
        raise ConfigError(
            "The web app needs at least one planner; got none. Name one: "
            "dfplan view --mazes maze2d-large"
        )
    return served


def rounded(values: np.ndarray) -> Any:
    """Values as lists of numbers with 3 decimals."""
    return np.asarray(values, dtype=float).round(3).tolist()
