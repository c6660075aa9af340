"""The figures behind :mod:`dfplan.plotting.plan` and :mod:`dfplan.plotting.coverage`.

They are drawn from arrays that were checked there.

Everything goes through matplotlib's objects: no pyplot, no display, no change of its settings.
Pages are laid out in inches, so that letters have one size whatever the maze.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dfplan.mazes import D4RL, Maze
from dfplan.plotting import marks
from dfplan.plotting.maze import INK, MUTED, View, draw_maze, maze_view, points_view

_LEAST_SPREAD = 0.05
"""Spread is colored on a scale that reaches at least this far, so that no noise is blown up."""


@dataclass(frozen=True)
class _Page:
    """Panels in one row, in inches from the lower left corner.

    ``width`` and ``height`` are those of a panel, ``unit`` that of one unit of position.
    """

    panels: int
    width: float
    height: float
    gap: float
    margin: float
    above: float
    below: float
    unit: float = 1.0

    @property
    def size(self) -> tuple[float, float]:
        inner = self.panels * self.width + (self.panels - 1) * self.gap
        return inner + 2 * self.margin, self.below + self.height + self.above

    @property
    def token_size(self) -> float:
        """A token's diameter in typographic points: a sixth of a unit, if that reads well."""
        return float(np.clip(self.unit * 72 / 6, 4.0, 9.0))

    def fitted(self, view: View, least: float) -> _Page:
        """The page with panels cut to the shape of ``view``, but no narrower than ``least``."""
        rows, columns = view[1] - view[0], view[3] - view[2]
        unit = min(self.width / columns, self.height / rows)
        return replace(self, width=max(columns * unit, least), height=rows * unit, unit=unit)

    def left(self, panel: int) -> float:
        return self.margin + panel * (self.width + self.gap)

    def axes(self, figure: Figure, box: tuple[float, float, float, float]) -> Axes:
        """Axes at ``box``: left, bottom, width, height."""
        (width, height), (x, y, w, h) = self.size, box
        return figure.add_axes((x / width, y / height, w / width, h / height))

    def panel(self, figure: Figure, panel: int) -> Axes:
        return self.axes(figure, (self.left(panel), self.below, self.width, self.height))

    def text(self, figure: Figure, panel: int, above: float, text: str, **font: Any) -> None:
        """Write ``text`` so far above a panel, from its left edge."""
        width, height = self.size
        y = self.below + self.height + above
        figure.text(self.left(panel) / width, y / height, text, **font)


def plan_figure(
    *,
    points: np.ndarray,
    level: np.ndarray,
    max_level: int,
    spread: np.ndarray,
    candidates: np.ndarray,
    goal: np.ndarray | None,
    maze: Maze | None,
    executed: np.ndarray | None,
) -> Figure:
    """Two panels of one plan; see :func:`dfplan.plotting.plan.draw_plan`."""
    frame = D4RL if maze is None else maze.frame
    view = _view(maze, points, candidates, executed, goal)
    page = _Page(2, 5.6, 5.2, gap=0.45, margin=0.35, above=0.6, below=1.4).fitted(view, 5.2)
    figure = Figure(figsize=page.size, facecolor="white")
    by_level = ScalarMappable(Normalize(0, max_level), marks.LEVEL_COLORS)
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, max(spread.max(), _LEAST_SPREAD))
    by_spread = ScalarMappable(Normalize(0, ticks[-1]), marks.SPREAD_COLORS)
    for panel, (colors, values) in enumerate(((by_level, level), (by_spread, spread))):
        axes = page.panel(figure, panel)
        draw_maze(axes, maze, view)
        if colors is by_spread:
            marks.draw_halo(axes, points, spread, colors, frame)
        marks.draw_candidates(axes, candidates)
        marks.draw_tokens(axes, points, colors.to_rgba(values), page.token_size)
        marks.draw_ends(axes, points[0], goal, page.token_size, frame)
        if executed is not None:
            marks.draw_executed(axes, executed)
        title = ("Noise level", "Spread over sampled futures")[panel]
        page.text(figure, panel, 0.16, title, fontsize=15, fontweight="bold", color=INK)
    left, right = (
        page.axes(figure, (page.left(panel), page.below - 0.34, page.width, 0.13))
        for panel in range(2)
    )
    _level_bar(figure, left, by_level, max_level)
    label = "root mean square distance to the candidates, in units of position"
    marks.draw_color_bar(figure, right, by_spread, {x: f"{x:g}" for x in ticks}, label)
    shown = {
        "start": True,
        "goal": goal is not None,
        "plan": True,
        "other candidates": len(candidates) > 0,
        "spread": bool(spread.any()),
        "executed path": executed is not None,
    }
    marks.draw_legend(figure, [name for name, there in shown.items() if there], 0.2, frame)
    return figure


def denoising_figure(
    *,
    rows: Sequence[tuple[int, np.ndarray, np.ndarray]],
    last: int,
    max_level: int,
    goal: np.ndarray | None,
    maze: Maze | None,
) -> Figure:
    """A panel for each (row, level [P], points [P, 2]), of rows 0 to ``last``.

    See :func:`dfplan.plotting.plan.draw_denoising`.
    """
    plan = rows[-1][2]
    frame = D4RL if maze is None else maze.frame
    view = _view(maze, plan, goal)
    page = _Page(len(rows), 2.4, 2.4, gap=0.2, margin=0.25, above=0.7, below=1.3)
    page = page.fitted(view, max(1.4, 4.0 / len(rows)))
    figure = Figure(figsize=page.size, facecolor="white")
    colors = ScalarMappable(Normalize(0, max_level), marks.LEVEL_COLORS)
    for panel, (row, level, points) in enumerate(rows):
        axes = page.panel(figure, panel)
        draw_maze(axes, maze, view, scale=not panel)
        joined = (1 - level / max_level) ** 2
        marks.draw_tokens(axes, points, colors.to_rgba(level), page.token_size, joined)
        marks.draw_ends(axes, plan[0], goal, page.token_size, frame)
        title, share = f"row {row} of {last}", f"{np.mean(level == 0):.0%} certain"
        page.text(figure, panel, 0.34, title, fontsize=13, fontweight="bold", color=INK)
        page.text(figure, panel, 0.11, share, fontsize=11, color=MUTED)
    width = min(page.size[0] - 2 * page.margin, 5.0)
    box = ((page.size[0] - width) / 2, page.below - 0.35, width, 0.13)
    _level_bar(figure, page.axes(figure, box), colors, max_level)
    names = ["start", "plan"] if goal is None else ["start", "goal", "plan"]
    marks.draw_legend(figure, names, 0.2, frame)
    return figure


def coverage_figure(
    *,
    visits: np.ndarray,
    box: View,
    rows: int,
    maze: Maze | None,
    line: np.ndarray | None,
    jumps: np.ndarray | None,
    walls: np.ndarray | None,
) -> Figure:
    """Counts [G0, G1] over ``box``; see :func:`dfplan.plotting.coverage.draw_coverage`."""
    view = box if maze is None else maze_view(maze)
    page = _Page(1, 9.0, 6.4, gap=0.0, margin=0.35, above=0.85, below=1.4).fitted(view, 5.2)
    figure = Figure(figsize=page.size, facecolor="white")
    axes = page.panel(figure, 0)
    longest = max(view[1] - view[0], view[3] - view[2])
    draw_maze(axes, maze, view, scale=maze is not None or 2 <= longest <= 40)
    most = max(int(visits.max()), 2)
    colors = ScalarMappable(LogNorm(1, most), marks.VISIT_COLORS)
    marks.draw_visits(axes, visits, box, colors)
    shown = {"one stretch": line, "jump": jumps, "in a wall": walls}
    if line is not None:
        marks.draw_executed(axes, line)
    for kind in ("jump", "in a wall"):
        if (places := shown[kind]) is not None:
            marks.draw_places(axes, places, kind)
    title = {"fontsize": 15, "fontweight": "bold", "color": INK}
    page.text(figure, 0, 0.41, "Where the data has been", **title)
    page.text(figure, 0, 0.16, f"{rows:,} rows", fontsize=11, color=MUTED)
    bar = page.axes(figure, (page.left(0), page.below - 0.34, page.width, 0.13))
    ends = {1.0: "1", float(most): f"{most:,}"}
    between = (10.0**power for power in range(1, 12) if 10**power * 3 < most)
    ticks = dict(sorted({**ends, **{x: f"{x:,.0f}" for x in between}}.items()))
    side = (box[1] - box[0]) / len(visits)
    wide = f"{side:.2g} units" if maze is None else f"1/{1 / side:.0f} of a cell"
    marks.draw_color_bar(figure, bar, colors, ticks, f"rows in each square, {wide} wide")
    bar.minorticks_off()
    names = [name for name, places in shown.items() if places is not None]
    if names:
        marks.draw_legend(figure, names, 0.2)
    return figure


def _view(maze: Maze | None, *positions: np.ndarray | None) -> View:
    if maze is not None:
        return maze_view(maze)
    return points_view(np.concatenate([x.reshape(-1, 2) for x in positions if x is not None]))


def _level_bar(figure: Figure, axes: Axes, colors: ScalarMappable, max_level: int) -> None:
    ticks = {0.0: "0  certain", float(max_level): f"{max_level}  pure noise"}
    marks.draw_color_bar(figure, axes, colors, ticks, "noise level of each token")
