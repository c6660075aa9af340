"""Whole pages, made of the pictures of :mod:`dfplan.plotting.layers`, and writing them.

Everything goes through matplotlib's objects and its default settings: no pyplot, no display, and
none of the user's settings.
Pages are laid out in inches, so that letters have one size whatever the maze.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from dfplan.errors import ConfigError
from dfplan.mazes import Maze
from dfplan.plotting import marks
from dfplan.plotting.coverage import count_visits, plot_coverage
from dfplan.plotting.layers import (
    Planned,
    Problem,
    plot_moment,
    plot_path,
    plot_plan,
    plot_spread,
    spaced,
    spread_colors,
    spread_ticks,
    trace_rows,
)
from dfplan.plotting.maze import View, draw_maze, maze_view, to_picture
from dfplan.plotting.output import Output, checked_output, written
from dfplan.plotting.settings import default_settings
from dfplan.plotting.style import Theme, named_theme

DPI = 200
"""Pixels an inch of a PNG."""

_PAGE_DPI = 150

ENDINGS = (".png", ".pdf", ".svg")
"""Of the pictures that can be written."""


@dataclass(frozen=True)
class _Page:
    """Panels in one row, in inches from the lower left corner.

    ``width`` and ``height`` are those of a panel.
    """

    panels: int
    width: float
    height: float
    gap: float
    margin: float
    above: float
    below: float

    @property
    def size(self) -> tuple[float, float]:
        inner = self.panels * self.width + (self.panels - 1) * self.gap
        return inner + 2 * self.margin, self.below + self.height + self.above

    def fitted(self, view: View, least: float) -> _Page:
        """The page with panels cut to the shape of ``view``, but no narrower than ``least``."""
        rows, columns = view[1] - view[0], view[3] - view[2]
        unit = min(self.width / columns, self.height / rows)
        return replace(self, width=max(columns * unit, least), height=rows * unit)

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


@default_settings()
def plan_figure(
    plan: Planned, *, row: int = 0, executed: np.ndarray | None = None, theme: str = "light"
) -> Figure:
    """One plan twice: colored by noise level, and by spread over the sampled futures.

    Args:
        plan: of a batch of problems.
        row: which problem of the batch.
        executed: positions that were really visited, in the maze's frame; float [S, 2], or None.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row or theme.
        DataError: an array is not as a plan has it.
    """
    look, at = named_theme(theme), Problem(plan, row)
    view = at.view(executed)
    page = _Page(2, 5.6, 5.2, gap=0.45, margin=0.35, above=0.6, below=1.4).fitted(view, 5.2)
    figure = Figure(figsize=page.size, facecolor=look.page)
    for panel, color in enumerate(("level", "spread")):
        ax = page.panel(figure, panel)
        draw_maze(ax, at.maze, view, theme=look)
        if color == "spread":
            plot_spread(plan, ax, row=row, theme=theme)
        plot_plan(plan, ax, row=row, color=color, theme=theme)
        if executed is not None:
            plot_path(executed, ax, maze=at.maze, ball=False, theme=theme)
        title = ("Noise level", "Spread over sampled futures")[panel]
        page.text(figure, panel, 0.16, title, fontsize=15, fontweight="bold", color=look.ink)
    left, right = (
        page.axes(figure, (page.left(panel), page.below - 0.34, page.width, 0.13))
        for panel in range(2)
    )
    _level_bar(figure, left, plan.max_level, look)
    ticks = {float(x): f"{x:g}" for x in spread_ticks(at.spread)}
    label = "root mean square distance to the candidates, in units of position"
    marks.draw_color_bar(figure, right, spread_colors(at.spread, look), ticks, label, look)
    names = {
        "start": True,
        "goal": at.goal is not None,
        "plan": True,
        "other candidates": len(at.candidates) > 0,
        "spread": bool(at.spread.any()),
        "executed path": executed is not None,
    }
    shown = [name for name, there in names.items() if there]
    marks.draw_legend(figure, shown, 0.2, at.suite, look)
    return figure


@default_settings()
def denoising_figure(
    plan: Planned, *, row: int = 0, panels: int = 6, theme: str = "light"
) -> Figure:
    """How a plan came out of noise: some rows of its scheduling matrix, side by side.

    Points after arrival are left out, and so are rows after the first in which all is clean.

    Args:
        plan: made with ``trace=True``.
        row: which problem of the batch.
        panels: rows to show, spaced evenly from the first to the last; no more than there are.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: no such row or theme; ``panels`` below 1.
        DataError: the plan has no trace, or an array is not as a plan has it.
    """
    if panels < 1:
        raise ConfigError(f"panels must be at least 1; got {panels}.")
    look, at, rows = named_theme(theme), Problem(plan, row), trace_rows(plan, row)
    indices, view = spaced(len(rows), panels), at.view()
    page = _Page(len(indices), 2.4, 2.4, gap=0.2, margin=0.25, above=0.7, below=1.3)
    page = page.fitted(view, max(1.4, 4.0 / len(indices)))
    figure = Figure(figsize=page.size, facecolor=look.page)
    for panel, index in enumerate(indices):
        ax = page.panel(figure, panel)
        draw_maze(ax, at.maze, view, scale=not panel, theme=look)
        plot_moment(plan, index, ax, row=row, theme=theme)
        title, share = f"row {index} of {len(rows) - 1}", np.mean(rows[index][0] == 0)
        page.text(figure, panel, 0.34, title, fontsize=13, fontweight="bold", color=look.ink)
        page.text(figure, panel, 0.11, f"{share:.0%} certain", fontsize=11, color=look.muted)
    width = min(page.size[0] - 2 * page.margin, 5.0)
    box = ((page.size[0] - width) / 2, page.below - 0.35, width, 0.13)
    _level_bar(figure, page.axes(figure, box), plan.max_level, look)
    names = ["start", "plan"] if at.goal is None else ["start", "goal", "plan"]
    marks.draw_legend(figure, names, 0.2, at.suite, look)
    return figure


@default_settings()
def coverage_figure(
    observations: np.ndarray,
    *,
    maze: Maze | None,
    line: np.ndarray | None = None,
    jumps: np.ndarray | None = None,
    walls: np.ndarray | None = None,
    theme: str = "light",
) -> Figure:
    """How often the data was where, and what was found in it. Positions in the maze's frame.

    Args:
        observations: position in the first two columns; float [N, D].
        maze: that they lie in, or None for a bare floor.
        line: positions one after the other, float [S, 2], drawn as a line.
        jumps: positions that a jump led to, float [J, 2], marked.
        walls: positions in walls, float [W, 2], marked.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: an unknown theme.
        DataError: no row is finite and not zero.
    """
    look, visits = named_theme(theme), count_visits(observations, maze)
    view = visits.box if maze is None else maze_view(maze)
    page = _Page(1, 9.0, 6.4, gap=0.0, margin=0.35, above=0.85, below=1.4).fitted(view, 5.2)
    figure = Figure(figsize=page.size, facecolor=look.page)
    ax = plot_coverage(observations, page.panel(figure, 0), maze=maze, theme=theme)
    found = {"one stretch": line, "jump": jumps, "in a wall": walls}
    shown = {
        name: to_picture(maze, places)
        for name, places in found.items()
        if places is not None and len(places)
    }
    for name, places in shown.items():
        if name == "one stretch":
            marks.draw_executed(ax, places, look)
        else:
            marks.draw_places(ax, places, name, look)
    title = {"fontsize": 15, "fontweight": "bold", "color": look.ink}
    page.text(figure, 0, 0.41, "Where the data has been", **title)
    page.text(figure, 0, 0.16, f"{len(observations):,} rows", fontsize=11, color=look.muted)
    bar = page.axes(figure, (page.left(0), page.below - 0.34, page.width, 0.13))
    most = float(max(visits.counts.max(), 2))
    ends = {1.0: "1", most: f"{most:,.0f}"}
    between = (10.0**power for power in range(1, 12) if 10**power * 3 < most)
    ticks = dict(sorted({**ends, **{x: f"{x:,.0f}" for x in between}}.items()))
    wide = f"{visits.side:.2g} units" if maze is None else f"1/{1 / visits.side:.0f} of a cell"
    label = f"rows in each square, {wide} wide"
    marks.draw_color_bar(figure, bar, ax.images[-1], ticks, label, look)
    bar.minorticks_off()
    if shown:
        marks.draw_legend(figure, list(shown), 0.2, theme=look)
    return figure


def checked_path(path: Output, format: str | None = None) -> Path | Any:
    """Where a picture goes.

    Raises:
        ConfigError: neither a path nor a file, or an unknown ending.
    """
    return checked_output(path, "picture", ENDINGS, format)[0]


def save(figure: Figure, path: Output, format: str | None = None) -> Path | Any:
    """Write a picture, whole or not at all.

    Args:
        figure: what to write.
        path: where to, PNG, SVG or PDF by its ending; or a file that is open for bytes.
        format: ``png``, ``svg`` or ``pdf``, instead of the ending; of a file by default PNG.

    Returns:
        The path or file.

    Raises:
        ConfigError: unknown ending or format, or a file that takes no bytes.
        OSError: the picture cannot be written; nothing is left behind.
    """
    where, ending = checked_output(path, "picture", ENDINGS, format)
    with written(where, ending) as temporary, default_settings():
        figure.savefig(temporary, dpi=DPI, format=ending[1:], facecolor=figure.get_facecolor())
    return where


@default_settings()
def page_html(figure: Figure) -> str:
    """A picture as an element of a page, for notebooks."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_PAGE_DPI, format="png", facecolor=figure.get_facecolor())
    code = base64.b64encode(buffer.getvalue()).decode()
    wide = round(figure.get_size_inches()[0] * _PAGE_DPI / 2)
    return f'<img alt="plan" width="{wide}" src="data:image/png;base64,{code}">'


def _level_bar(figure: Figure, axes: Axes, max_level: int, theme: Theme) -> None:
    ticks = {0.0: "0  certain", float(max_level): f"{max_level}  pure noise"}
    colors = ScalarMappable(Normalize(0, max_level), theme.level)
    marks.draw_color_bar(figure, axes, colors, ticks, "noise level of each token", theme)
