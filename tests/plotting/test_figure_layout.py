"""Text in figures: it is large enough, does not overlap, and stays text in files."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from pictures import panels, texts
from test_figures import plan_of, record, trace_of

from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.plotting.figures import denoising_figure
from dfplan.regions import RegionTable
from dfplan.types import Future, Plan

TALL = parse_maze(["#####", *["#OOO#"] * 12, "#####"])
WIDE = parse_maze(["#" * 20, *["#" + "O" * 18 + "#"] * 2, "#" * 20])

COLUMN = 3.3
"""Inches; the width of a column in a paper."""


def full_plan(maze: Maze | None) -> Plan:
    """A plan with everything that can be drawn."""
    drawn = plan_of(maze or named_maze("medium"), per_cell=2) | {"maze": maze and maze.text}
    plan = record(drawn, trace_of(drawn, rows=6))
    count = plan.points.shape[1]
    return replace(
        plan,
        stride=1,
        max_step=0.05,
        replans=plan.points[:, None] + 0.2,
        same_route=np.zeros((1, 1), bool),
        regions=RegionTable(np.array([1.0]), np.array([1]), np.array([[(0.2, 0.5)]]), 1),
        futures=(
            Future(0, 3, 0.25, 1.0, plan.points[0, -3:-1]),
            Future(0, 3, 0.5, 0.0, plan.points[0, [count // 2]]),
        ),
    )


def figures(maze: Maze | None, width: float) -> list[Figure]:
    plan = full_plan(maze)
    whole = plan.figure(executed=plan.points[0], width=width)
    denoised = replace(plan, level=np.zeros_like(plan.level)).figure(width=width)
    tracking = plan.figure(width=width, tracking=np.full(plan.points.shape[1], 0.1))
    return [
        whole,
        denoised,
        tracking,
        *(denoising_figure(plan, width=width, panels=x) for x in (6, 1)),
    ]


@pytest.mark.parametrize("width", [COLUMN, 6.0, 6.5, 7.0, 11.9])
@pytest.mark.parametrize("maze", [named_maze("medium"), TALL, WIDE, None])
def test_texts_are_large_enough_and_do_not_overlap(maze: Maze | None, width: float) -> None:
    for figure in figures(maze, width):
        shown = texts(figure)
        assert len(shown) > 5
        assert min(text.get_fontsize() for text in shown) >= 7
        boxes = {text: text.get_window_extent() for text in shown}
        overlapping = [
            (first.get_text(), second.get_text())
            for first, second in combinations(shown, 2)
            if boxes[first].overlaps(boxes[second])
        ]
        assert not overlapping
        page = figure.bbox.padded(0.5)
        outside = [
            text.get_text()
            for text, box in boxes.items()
            if not (page.contains(*box.p0) and page.contains(*box.p1))
        ]
        assert not outside


def test_a_plan_gives_a_figure_of_the_wanted_width() -> None:
    plan = full_plan(named_maze("medium"))
    figure = plan.figure(width=COLUMN)
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() == pytest.approx(COLUMN, rel=0.01)
    first, second = panels(figure)
    assert first.get_position().y0 > second.get_position().y1  # below each other
    assert len(panels(plan.figure())) == 2


def test_files_hold_text_whatever_the_users_settings() -> None:
    plan = full_plan(named_maze("umaze"))
    with matplotlib.rc_context({"pdf.fonttype": 3, "svg.fonttype": "path", "font.size": 3}):
        pdf, svg = io.BytesIO(), io.BytesIO()
        plan.plot(pdf, format="pdf")
        plan.plot(svg, format="svg")
    assert b"/CIDFontType2" in pdf.getvalue() and b"/Subtype /Type3" not in pdf.getvalue()
    assert b"<text" in svg.getvalue() and b"noise level of a token" in svg.getvalue()


def test_without_a_maze_x_goes_right_and_y_goes_up_with_ticks() -> None:
    plan = full_plan(None)
    for axes in panels(plan.figure()):
        places = axes.transData.transform([(1.0, 1.0), (2.0, 1.0), (1.0, 2.0)])
        right, up = places[1] - places[0], places[2] - places[0]
        assert right[0] > 0 and up[1] > 0
        assert right[0] == pytest.approx(up[1]) and right[1] == up[0] == 0
        assert len(axes.get_xticks()) > 2 and len(axes.get_yticks()) > 2
        assert axes.get_xlabel().startswith("x") and axes.get_ylabel().startswith("y")
        dots = [each for each in axes.collections if isinstance(each, PathCollection)]
        tokens = np.asarray(dots[-1].get_offsets())
        np.testing.assert_allclose(tokens[-1], plan.points[0, 0])
