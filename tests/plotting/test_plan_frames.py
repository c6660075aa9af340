"""Plans in every suite's frame are drawn where the maze is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.plotting.maze import maze_view
from dfplan.suites import CELL_OFFSET, SUITES
from dfplan.types import Plan

LARGE = named_maze("large")
MAZES = [named_maze("ogbench-giant"), named_maze("ogbench-teleport"), named_maze("pointmaze-large")]
MAZES += [parse_maze(LARGE.ascii, suite=frame) for frame in SUITES.values()]

each_maze = pytest.mark.parametrize(
    "maze", MAZES, ids=lambda maze: f"{maze.suite.name}-{maze.name}"
)


def way(maze: Maze) -> np.ndarray:
    """Cells of a shortest path between the maze's most distant corners, float [P, 2]."""
    first, last = maze.free_cells[0], maze.free_cells[-1]
    return np.array([tuple(first), *maze.shortest_cells(first, last)], dtype=float)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, in order."""
    kept: list[Figure] = []

    def keep(self: Figure, path: Path, **_: object) -> None:
        kept.append(self)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


def drawn(axes: Any) -> np.ndarray:
    """All positions of the axes' lines and markers, but the bar of one cell; [n, 2] as (q0, q1)."""
    places = [
        np.asarray(line.get_xydata())
        for line in axes.get_lines()
        if line.get_transform().contains_branch(axes.transData)
    ]
    for item in axes.collections:
        if isinstance(item, PathCollection):
            places.append(np.asarray(item.get_offsets()))
        elif item.get_transform().contains_branch(axes.transData):
            places += [path.vertices for path in item.get_paths()]
    return np.concatenate(places)[:, ::-1]


def planned(maze: Maze) -> Plan:
    points = maze.cell_to_xy(way(maze))[None]
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
def test_a_plan_lies_on_its_cells_inside_the_mazes_view(
    maze: Maze, draw: Any, tmp_path: Path, figures: list[Figure]
) -> None:
    draw(maze, tmp_path / "a.png")
    (figure,) = figures
    view = maze_view(maze)
    panels = [axes for axes in figure.axes if axes.get_xlim() == pytest.approx(view[2:])]
    assert len(panels) == (2 if draw is plan_in else 3)
    middles = way(maze) + CELL_OFFSET
    for axes in panels:
        assert axes.get_ylim() == pytest.approx((view[1], view[0]))
        places = drawn(axes)
        assert (places >= np.array(view)[[0, 2]]).all() and (places <= np.array(view)[[1, 3]]).all()
        # The plan goes through the middles of its cells, wherever the frame puts them.
        near = np.linalg.norm(places[:, None] - middles, axis=-1).min(0)
        assert near.max() < 1e-6


def test_a_maze_looks_the_same_in_every_frame(tmp_path: Path, figures: list[Figure]) -> None:
    for frame in SUITES.values():
        plan_in(parse_maze(LARGE.ascii, suite=frame), tmp_path / "a.png")
    first, *others = (drawn(figure.axes[0]) for figure in figures)
    for other in others:
        np.testing.assert_allclose(other, first, atol=0.05)
