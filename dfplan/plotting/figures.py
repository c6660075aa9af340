"""Figures with titles, color bars and legends, and writing them to files.

Figures are made with matplotlib's objects and default settings, without pyplot, a display or the
user's settings.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dfplan.errors import ConfigError, require_numbers
from dfplan.mazes import Maze
from dfplan.plotting import marks
from dfplan.plotting.coverage import count_visits, plot_coverage
from dfplan.plotting.denoising import plot_denoising_step
from dfplan.plotting.drawn_plan import DrawnPlan, spaced_indices, visible_trace
from dfplan.plotting.layout import NARROW, NARROWEST_PANEL, TICKS, Layout, legend_lines
from dfplan.plotting.maze import draw_maze, maze_limits, to_picture, token_size
from dfplan.plotting.output import Output, PaperFigure, atomic_output, check_output
from dfplan.plotting.plans import (
    level_entries,
    level_scale,
    plot_futures,
    plot_path,
    plot_plan,
    plot_spread,
    plot_tracking,
    spread_norm,
)
from dfplan.plotting.records import PlanLike
from dfplan.plotting.settings import default_settings
from dfplan.plotting.style import Theme, named_theme

DPI = 200
"""Resolution of PNG files, in pixels per inch."""

_HTML_DPI = 150

ENDINGS = (".png", ".pdf", ".svg")
"""Endings of the formats that can be written."""


@default_settings()
def plan_figure(
    plan: PlanLike,
    *,
    index: int = 0,
    executed: np.ndarray | None = None,
    theme: str = "light",
    width: float = 11.9,
    norm: Normalize | None = None,
    tracking: np.ndarray | None = None,
) -> Figure:
    """Draw one plan: on its way, how far it would move if it were made again, and tracking.

    The first panel shows the noise levels: those of the plan if some of its tokens are noisy, or
    else those halfway through its denoising, if it was made with ``trace=True``. The second one
    shows the plan spread, if the plan has one.

    Args:
        plan: a batch of plans.
        index: the plan to draw.
        executed: visited positions in the suite's coordinates, float [S, 2].
        theme: ``light`` or ``dark``.
        width: of the figure in inches; text has at least 7 points at any width.
        norm: color scale of both spreads, by default :func:`~dfplan.plotting.plans.spread_norm`.
        tracking: radii around the points of the plan that the body passes with a probability of
            90% (:func:`dfplan.planning.success.tracking_regions`), float [P].

    Raises:
        ConfigError: unknown index or theme, or a width below 3.
        DataError: an array has a wrong shape or is not finite.
    """
    require_numbers({"width": width}, minimum=3, maximum=100)
    colors, drawn = named_theme(theme), DrawnPlan(plan, index)
    rows = visible_trace(plan, index) if len(plan.trace) else []
    halfway = None if drawn.level.any() else _halfway(rows)
    panels = ["level"] if drawn.level.any() or halfway is not None else []
    panels += ["spread"] if drawn.spread is not None else []
    panels += ["tracking"] if tracking is not None else []
    panels = panels or ["level"]
    shown = None if halfway is None else rows[halfway]
    entries = _plan_entries(drawn, panels, shown, executed is not None)
    limits = drawn.limits(executed)
    lines = legend_lines(entries, width)
    columns = min(len(panels), int(width / NARROWEST_PANEL)) if width >= NARROW else 1
    if len(panels) == 1 and width >= NARROW:
        width = 0.55 * width
        lines = legend_lines(entries, width)
    ticks = 0.0 if drawn.maze else TICKS
    layout = Layout.fit(len(panels), columns, width, limits, legend=lines, ticks=ticks)
    figure = PaperFigure(figsize=layout.size, facecolor=colors.background)
    for panel, color in enumerate(panels):
        ax = layout.panel(figure, panel)
        draw_maze(ax, drawn.maze, limits, theme=colors, floor=drawn.floor)
        bar = layout.bar(figure, panel)
        if color == "level":
            title = "Plan by noise level"
            if shown is not None:
                title = f"On its way: {np.mean(shown[0] == 0):.0%} of it denoised"
            _draw_level_panel(plan, ax, halfway, index, theme)
            _draw_level_bar(figure, bar, plan.max_level, layout.text, colors)
        else:
            scale = ScalarMappable(norm or spread_norm(plan), colors.uncertainty)
            if color == "spread":
                title = "Plan spread" if drawn.knows_spread else "Plan spread: not known"
                plot_spread(plan, ax, index=index, norm=norm, theme=theme)
                plot_plan(
                    plan, ax, index=index, color="spread", candidates=False, norm=norm, theme=theme
                )
            else:
                title = "Tracking spread"
                assert tracking is not None
                plot_tracking(plan, tracking, ax, index=index, norm=norm, theme=theme)
            label = "how far it would move" if color == "spread" else "how near the body passes"
            _draw_spread_bar(figure, bar, scale, label, layout.text, colors)
        if drawn.futures:
            plot_futures(plan, ax, index=index, theme=theme)
        if executed is not None:
            plot_path(executed, ax, maze=drawn.maze, ball=False, theme=theme)
        layout.write(figure, panel, title, colors)
    layout.draw_legend(figure, entries, drawn.suite, colors)
    return figure


def _halfway(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> int | None:
    """The row of a trace in which about half of the tokens are clean; None if none is noisy."""
    clean = [float(np.mean(level == 0)) for level, _ in rows]
    noisy = [row for row, share in enumerate(clean) if share < 1]
    return min(noisy, key=lambda row: abs(clean[row] - 0.5)) if noisy else None


def _draw_level_panel(
    plan: PlanLike, ax: Axes, halfway: int | None, index: int, theme: str
) -> None:
    if halfway is None:
        plot_plan(plan, ax, index=index, theme=theme)
    else:
        plot_denoising_step(plan, halfway, ax, index=index, theme=theme)


def _plan_entries(
    drawn: DrawnPlan,
    panels: Sequence[str],
    row: tuple[np.ndarray, np.ndarray] | None,
    executed: bool,
) -> dict[str, bool]:
    """Entries of the legend of a plan, and whether they are drawn.

    Args:
        drawn: the plan.
        panels: what the panels show.
        row: levels and points of the denoising that are drawn; None for the plan itself.
        executed: whether a path is drawn.
    """
    by_level, points, levels = "level" in panels, drawn.points, drawn.level
    if row is not None:
        levels, points = row[0], to_picture(drawn.maze, row[1])
    shown = level_entries(drawn, points, levels if by_level else np.zeros_like(levels))
    return shown | {
        "other candidates": by_level and row is None and len(drawn.candidates) > 1,
        "plan spread": "spread" in panels and drawn.knows_spread,
        f"another route, {len(drawn.others)} of {drawn.again}": "spread" in panels
        and len(drawn.others) > 0,
        "future": any(future.arrival > 0 for future in drawn.futures),
        "lost future": any(future.arrival == 0 for future in drawn.futures),
        "tracking spread, 90%": "tracking" in panels,
        "executed path": executed,
    }


@default_settings()
def denoising_figure(
    plan: PlanLike,
    *,
    index: int = 0,
    panels: int = 6,
    theme: str = "light",
    width: float | None = None,
) -> Figure:
    """Draw the denoising of a plan: evenly spaced rows of its scheduling matrix.

    The plan is made with ``trace=True``. At most ``panels`` rows are drawn. Rows after the first
    clean row are left out, and so are points after arrival. The figure is ``width`` inches wide, by
    default 2.6 for each row; text has at least 7 points at any width.

    Raises:
        ConfigError: unknown index or theme, ``panels`` below 1, or a width below 3.
        DataError: the plan has no trace, or an array has a wrong shape or is not finite.
    """
    if panels < 1:
        raise ConfigError(f"panels must be at least 1; got {panels}.")
    colors, drawn, rows = named_theme(theme), DrawnPlan(plan, index), visible_trace(plan, index)
    shown, limits = spaced_indices(len(rows), panels), drawn.limits()
    full = max(5.0, 2.6 * len(shown)) if width is None else width
    require_numbers({"width": full}, minimum=3, maximum=100)
    columns = min(len(shown), max(1, int(full / 1.6)))
    entries = _plan_entries(drawn, ["level"], rows[shown[0]], False)
    lines = legend_lines(entries, full)
    ticks = 0.0 if drawn.maze else TICKS
    layout = Layout.fit(
        len(shown), columns, full, limits, legend=lines, bars=0.4, titles=3.6, ticks=ticks
    )
    layout = replace(layout, legend=lines + 4)  # room for one color bar
    figure = PaperFigure(figsize=layout.size, facecolor=colors.background)
    for panel, row in enumerate(shown):
        ax = layout.panel(figure, panel)
        draw_maze(ax, drawn.maze, limits, scale=not panel, theme=colors, floor=drawn.floor)
        plot_denoising_step(plan, row, ax, index=index, theme=theme)
        title, share = f"row {row} of {len(rows) - 1}", np.mean(rows[row][0] == 0)
        layout.write(figure, panel, title, colors, f"{share:.0%} clean")
    bar_width = min(layout.size[0] - 2 * layout.margin, 5.0)
    bottom = (1.5 * lines + 4.2) * layout.line
    box = ((layout.size[0] - bar_width) / 2, bottom, bar_width, 0.8 * layout.line)
    _draw_level_bar(figure, layout.axes(figure, box), plan.max_level, layout.text, colors)
    replace(layout, legend=lines).draw_legend(figure, entries, drawn.suite, colors)
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
    marked = {
        name: to_picture(maze, positions)
        for name, positions in {"one segment": line, "jump": jumps, "in a wall": walls}.items()
        if positions is not None and len(positions)
    }
    ticks = 0.0 if maze else TICKS
    layout = Layout.fit(1, 1, 8.0, limits, titles=3.6, legend=int(bool(marked)), ticks=ticks)
    figure = PaperFigure(figsize=layout.size, facecolor=colors.background)
    ax = plot_coverage(observations, layout.panel(figure, 0), maze=maze, theme=theme)
    size = token_size(ax)
    for name, positions in marked.items():
        if name == "one segment":
            marks.draw_executed(ax, positions, size, colors, name)
        else:
            marks.draw_anomalies(ax, positions, name, size, colors)
    layout.write(figure, 0, "Visited positions", colors, f"{len(observations):,} rows")
    bar = layout.bar(figure, 0)
    most = float(max(visits.counts.max(), 2))
    ends = {1.0: "1", most: f"{most:,.0f}"}
    between = (10.0**power for power in range(1, 12) if 10**power * 3 < most)
    shown = dict(sorted({**ends, **{x: f"{x:,.0f}" for x in between}}.items()))
    side = visits.bin_size
    unit = f"{side:.2g} units" if maze is None else f"1/{1 / side:.0f} of a cell"
    label = f"rows per square, {unit} wide"
    marks.draw_color_bar(figure, bar, ax.images[-1], shown, label, layout.text, colors)
    bar.minorticks_off()
    if marked:
        layout.draw_legend(figure, dict.fromkeys(marked, True), None, colors)
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
    with atomic_output(target, ending) as temporary:
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


def _draw_level_bar(figure: Figure, axes: Axes, max_level: int, text: float, theme: Theme) -> None:
    marks.draw_color_bar(figure, axes, *level_scale(max_level, theme), text, theme)


def _draw_spread_bar(
    figure: Figure, axes: Axes, scale: ScalarMappable, label: str, text: float, theme: Theme
) -> None:
    (low, high), norm = scale.get_clim(), cast(Normalize, scale.norm)
    places = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    ticks = {float(x): f"{x:g}" for x in places if x >= low and norm(x) < 0.7}
    ticks = {low: f"{low:g}", **ticks, high: f"{high:.2g} or more"}
    label = f"{label}, in units of position"
    marks.draw_color_bar(figure, axes, scale, dict(sorted(ticks.items())), label, text, theme)
