"""Plans in the coordinates of every suite are drawn on their maze."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.plotting.maze import maze_limits
from dfplan.suites import CELL_OFFSET, SUITES
from dfplan.types import Plan

LARGE = named_maze("large")
MAZES = [named_maze("ogbench-giant"), named_maze("ogbench-teleport"), named_maze("pointmaze-large")]
MAZES += [parse_maze(LARGE.ascii, suite=suite) for suite in SUITES.values()]

each_maze = pytest.mark.parametrize(
    "maze", MAZES, ids=lambda maze: f"{maze.suite.name}-{maze.name}"
)


def shortest_cells(maze: Maze) -> np.ndarray:
    """Cells of a shortest path between the maze's most distant corners, float [P, 2]."""
    first, last = maze.free_cells[0], maze.free_cells[-1]
    return np.array([tuple(first), *maze.shortest_path(first, last)], dtype=float)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, in order."""
    saved: list[Figure] = []

    def keep(self: Figure, path: Path, **_: object) -> None:
        saved.append(self)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def drawn(axes: Any) -> np.ndarray:
    """Positions of all lines and markers of the axes, except the scale bar; [n, 2] as (q0, q1)."""
    positions = [
        np.asarray(line.get_xydata())
        for line in axes.get_lines()
        if line.get_transform().contains_branch(axes.transData)
    ]
    for item in axes.collections:
        if isinstance(item, PathCollection):
            positions.append(np.asarray(item.get_offsets()))
        elif item.get_transform().contains_branch(axes.transData):
            positions += [path.vertices for path in item.get_paths()]
    return np.concatenate(positions)[:, ::-1]


def planned(maze: Maze) -> Plan:
    points = maze.cell_to_xy(shortest_cells(maze))[None]
    ahead = np.arange(points.shape[1])[None]
    return Plan(
        points=points,
        steps=np.array([1]),
        stride=1,
        level=np.zeros(points.shape[:2], dtype=int),
        max_level=10,
        spread=np.full(points.shape[:2], 0.1),
        candidates=points[:, None],
        scores=np.zeros((1, 1)),
        observation=np.zeros((1, 4)),
        goal=points[:, -1],
        evaluations=0,
        seconds=0.0,
        trace=tuple((np.minimum(ahead, 10 - m), points) for m in range(5)),
        maze=maze.text,
    )


def plan_in(maze: Maze, path: Path) -> Path:
    plan = planned(maze)
    return plan.plot(path, executed=plan.points[0])


def denoising_in(maze: Maze, path: Path) -> Path:
    return planned(maze).plot_denoising(path, panels=3)


@each_maze
@pytest.mark.parametrize("draw", [plan_in, denoising_in], ids=["plan", "denoising"])
def test_a_plan_is_drawn_on_its_cells(
    maze: Maze, draw: Any, tmp_path: Path, figures: list[Figure]
) -> None:
    draw(maze, tmp_path / "a.png")
    (figure,) = figures
    limits = maze_limits(maze)
    panels = [axes for axes in figure.axes if axes.get_xlim() == pytest.approx(limits[2:])]
    assert len(panels) == (2 if draw is plan_in else 3)
    centers = shortest_cells(maze) + CELL_OFFSET
    for axes in panels:
        assert axes.get_ylim() == pytest.approx((limits[1], limits[0]))
        positions = drawn(axes)
        assert (positions >= np.array(limits)[[0, 2]]).all() and (
            positions <= np.array(limits)[[1, 3]]
        ).all()
        # The plan passes through the centers of its cells.
        near = np.linalg.norm(positions[:, None] - centers, axis=-1).min(0)
        assert near.max() < 1e-6


def test_a_plan_looks_the_same_in_every_suite(tmp_path: Path, figures: list[Figure]) -> None:
    for suite in SUITES.values():
        plan_in(parse_maze(LARGE.ascii, suite=suite), tmp_path / "a.png")
    first, *others = (drawn(figure.axes[0]) for figure in figures)
    for other in others:
        np.testing.assert_allclose(other, first, atol=0.05)
