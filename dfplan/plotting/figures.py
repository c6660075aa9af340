"""Figures with titles, color bars and legends, and writing them to files.

Figures are made with matplotlib's objects and default settings, without pyplot, a display or the
user's settings. They are laid out in inches, so that text has the same size for all mazes.
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
from dfplan.plotting.denoising import plot_denoising_step
from dfplan.plotting.drawn_plan import DrawnPlan, spaced_indices, visible_trace
from dfplan.plotting.maze import Limits, draw_maze, maze_limits, to_picture
from dfplan.plotting.output import Output, atomic_output, check_output
from dfplan.plotting.plans import (
    plot_futures,
    plot_path,
    plot_plan,
    plot_spread,
    spread_colors,
    spread_ticks,
)
from dfplan.plotting.records import PlanLike
from dfplan.plotting.settings import default_settings
from dfplan.plotting.style import Theme, named_theme

DPI = 200
"""Resolution of PNG files, in pixels per inch."""

_HTML_DPI = 150

ENDINGS = (".png", ".pdf", ".svg")
"""Endings of the formats that can be written."""


@dataclass(frozen=True)
class _Layout:
    """A row of panels of the same size; all lengths are in inches.

    ``margin`` is the distance to the left and right edges, ``above`` and ``below`` those to the
    upper and lower edges.
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

    def fit(self, limits: Limits, min_width: float) -> _Layout:
        """Shrink the panels to the aspect ratio of ``limits``, but not below ``min_width``."""
        rows, columns = limits[1] - limits[0], limits[3] - limits[2]
        unit = min(self.width / columns, self.height / rows)
        return replace(self, width=max(columns * unit, min_width), height=rows * unit)

    def left(self, panel: int) -> float:
        return self.margin + panel * (self.width + self.gap)

    def axes(self, figure: Figure, box: tuple[float, float, float, float]) -> Axes:
        """Add axes at ``box``: left, bottom, width, height."""
        (width, height), (x, y, w, h) = self.size, box
        return figure.add_axes((x / width, y / height, w / width, h / height))

    def panel(self, figure: Figure, panel: int) -> Axes:
        return self.axes(figure, (self.left(panel), self.below, self.width, self.height))

    def bar(self, figure: Figure, panel: int) -> Axes:
        return self.axes(figure, (self.left(panel), self.below - 0.34, self.width, 0.13))

    def text(self, figure: Figure, panel: int, above: float, text: str, **font: Any) -> None:
        """Write ``text`` at a distance ``above`` a panel, from the panel's left edge."""
        width, height = self.size
        y = self.below + self.height + above
        figure.text(self.left(panel) / width, y / height, text, **font)


@default_settings()
def plan_figure(
    plan: PlanLike, *, index: int = 0, executed: np.ndarray | None = None, theme: str = "light"
) -> Figure:
    """Draw one plan colored by noise level and, if it has one, by its plan spread.

    ``executed`` are visited positions in the suite's coordinates, float [S, 2].

    Raises:
        ConfigError: unknown index or theme.
        DataError: an array has a wrong shape or is not finite.
    """
    colors, drawn = named_theme(theme), DrawnPlan(plan, index)
    limits = drawn.limits(executed)
    shown = ("level",) if drawn.spread is None else ("level", "spread")
    layout = _Layout(len(shown), 5.6, 5.2, gap=0.45, margin=0.35, above=0.6, below=1.4).fit(
        limits, 5.2
    )
    figure = Figure(figsize=layout.size, facecolor=colors.background)
    for panel, color in enumerate(shown):
        ax = layout.panel(figure, panel)
        draw_maze(ax, drawn.maze, limits, theme=colors)
        if color == "spread":
            plot_spread(plan, ax, index=index, theme=theme)
        plot_plan(plan, ax, index=index, color=color, theme=theme)
        if drawn.futures:
            plot_futures(plan, ax, index=index, theme=theme)
        if executed is not None:
            plot_path(executed, ax, maze=drawn.maze, ball=False, theme=theme)
        title = ("Noise level", "Plan spread")[panel]
        layout.text(figure, panel, 0.16, title, fontsize=15, fontweight="bold", color=colors.ink)
    _draw_level_bar(figure, layout.bar(figure, 0), plan.max_level, colors)
    if drawn.spread is not None:
        ticks = {float(x): f"{x:g}" for x in spread_ticks(drawn.spread)}
        label = "how far points move if the plan is made again, in units of position"
        scale = spread_colors(drawn.spread, colors)
        marks.draw_color_bar(figure, layout.bar(figure, 1), scale, ticks, label, colors)
    entries = {
        "start": True,
        "goal": drawn.goal is not None,
        "plan": True,
        "other candidates": len(drawn.candidates) > 1,
        "spread": drawn.spread is not None and bool(drawn.spread.any()),
        "future": any(future.arrival > 0 for future in drawn.futures),
        "lost future": any(future.arrival == 0 for future in drawn.futures),
        "executed path": executed is not None,
    }
    names = [name for name, is_drawn in entries.items() if is_drawn]
    marks.draw_legend(figure, names, 0.2, drawn.suite, colors)
    return figure


@default_settings()
def denoising_figure(
    plan: PlanLike, *, index: int = 0, panels: int = 6, theme: str = "light"
) -> Figure:
    """Draw the denoising of a plan: evenly spaced rows of its scheduling matrix, side by side.

    The plan is made with ``trace=True``. At most ``panels`` rows are drawn. Rows after the first
    clean row are left out, and so are points after arrival.

    Raises:
        ConfigError: unknown index or theme, or ``panels`` is below 1.
        DataError: the plan has no trace, or an array has a wrong shape or is not finite.
    """
    if panels < 1:
        raise ConfigError(f"panels must be at least 1; got {panels}.")
    colors, drawn, rows = named_theme(theme), DrawnPlan(plan, index), visible_trace(plan, index)
    shown, limits = spaced_indices(len(rows), panels), drawn.limits()
    layout = _Layout(len(shown), 2.4, 2.4, gap=0.2, margin=0.25, above=0.7, below=1.3)
    layout = layout.fit(limits, max(1.4, 4.0 / len(shown)))
    figure = Figure(figsize=layout.size, facecolor=colors.background)
    for panel, row in enumerate(shown):
        ax = layout.panel(figure, panel)
        draw_maze(ax, drawn.maze, limits, scale=not panel, theme=colors)
        plot_denoising_step(plan, row, ax, index=index, theme=theme)
        title, share = f"row {row} of {len(rows) - 1}", np.mean(rows[row][0] == 0)
        layout.text(figure, panel, 0.34, title, fontsize=13, fontweight="bold", color=colors.ink)
        layout.text(figure, panel, 0.11, f"{share:.0%} clean", fontsize=11, color=colors.muted)
    width = min(layout.size[0] - 2 * layout.margin, 5.0)
    box = ((layout.size[0] - width) / 2, layout.below - 0.35, width, 0.13)
    _draw_level_bar(figure, layout.axes(figure, box), plan.max_level, colors)
    names = ("start", "plan") if drawn.goal is None else ("start", "goal", "plan")
    marks.draw_legend(figure, names, 0.2, drawn.suite, colors)
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
    """Draw how often data visits each place, one of its segments, and its anomalies.

    All positions are in the suite's coordinates. They are in the first two columns of the
    observations, float [N, D]. A line is drawn through ``line``, float [S, 2], the positions of one
    segment. Positions after jumps, float [J, 2], and in walls, float [W, 2], are marked.

    Raises:
        ConfigError: unknown theme.
        DataError: no row is finite and not zero.
    """
    colors, visits = named_theme(theme), count_visits(observations, maze)
    limits = visits.limits if maze is None else maze_limits(maze)
    layout = _Layout(1, 9.0, 6.4, gap=0.0, margin=0.35, above=0.85, below=1.4).fit(limits, 5.2)
    figure = Figure(figsize=layout.size, facecolor=colors.background)
    ax = plot_coverage(observations, layout.panel(figure, 0), maze=maze, theme=theme)
    marked = {
        name: to_picture(maze, positions)
        for name, positions in {"one segment": line, "jump": jumps, "in a wall": walls}.items()
        if positions is not None and len(positions)
    }
    for name, positions in marked.items():
        if name == "one segment":
            marks.draw_executed(ax, positions, colors)
        else:
            marks.draw_anomalies(ax, positions, name, colors)
    title = {"fontsize": 15, "fontweight": "bold", "color": colors.ink}
    layout.text(figure, 0, 0.41, "Visited positions", **title)
    layout.text(figure, 0, 0.16, f"{len(observations):,} rows", fontsize=11, color=colors.muted)
    bar = layout.bar(figure, 0)
    most = float(max(visits.counts.max(), 2))
    ends = {1.0: "1", most: f"{most:,.0f}"}
    between = (10.0**power for power in range(1, 12) if 10**power * 3 < most)
    ticks = dict(sorted({**ends, **{x: f"{x:,.0f}" for x in between}}.items()))
    size = visits.bin_size
    width = f"{size:.2g} units" if maze is None else f"1/{1 / size:.0f} of a cell"
    label = f"rows per square, {width} wide"
    marks.draw_color_bar(figure, bar, ax.images[-1], ticks, label, colors)
    bar.minorticks_off()
    if marked:
        marks.draw_legend(figure, list(marked), 0.2, theme=colors)
    return figure


def require_picture_path(path: Output, format: str | None = None) -> Path | Any:
    """Return where a picture is written to.

    Raises:
        ConfigError: ``path`` is not a path or a file, or the ending is unknown.
    """
    return check_output(path, "picture", ENDINGS, format)[0]


def save(figure: Figure, path: Output, format: str | None = None) -> Path | Any:
    """Write a picture completely or not at all, and return the path or file.

    The path's ending is that of PNG, SVG or PDF; or ``path`` is a file that is open for writing
    bytes. ``format`` replaces the ending; default for files: PNG.

    Raises:
        ConfigError: unknown ending or format, or a file that does not accept bytes.
        OSError: the picture cannot be written; no partial file remains.
    """
    target, ending = check_output(path, "picture", ENDINGS, format)
    with atomic_output(target, ending) as temporary, default_settings():
        figure.savefig(temporary, dpi=DPI, format=ending[1:], facecolor=figure.get_facecolor())
    return target


@default_settings()
def figure_html(figure: Figure) -> str:
    """Return a figure as an HTML element, for notebooks."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_HTML_DPI, format="png", facecolor=figure.get_facecolor())
    code = base64.b64encode(buffer.getvalue()).decode()
    width = round(figure.get_size_inches()[0] * _HTML_DPI / 2)
    return f'<img alt="plan" width="{width}" src="data:image/png;base64,{code}">'


def _draw_level_bar(figure: Figure, axes: Axes, max_level: int, theme: Theme) -> None:
    ticks = {0.0: "0  clean", float(max_level): f"{max_level}  pure noise"}
    colors = ScalarMappable(Normalize(0, max_level), theme.level)
    marks.draw_color_bar(figure, axes, colors, ticks, "noise level of each token", theme)
