"""Draws single elements over a maze: tokens, spread, candidates, start, goal, executed path.

Positions are (q0, q1) in the coordinates of the picture (see :mod:`dfplan.plotting.maze`); the
horizontal axis is q1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import Normal, Stroke

from dfplan.plotting.style import LIGHT, Theme
from dfplan.suites import DEFAULT, Suite

_SPREAD_OPACITY = 0.22
_DISCS_PER_POINT = 8
_NOISE_DISCS = (1.0, 0.7, 0.4)
_MAX_NOISE_RADIUS = 0.45

_Style = dict[str, Any]
_DOT: _Style = {"linestyle": "", "marker": "o"}


def draw_tokens(
    axes: Axes,
    points: np.ndarray,
    colors: np.ndarray,
    size: float,
    line_opacity: np.ndarray | None = None,
    theme: Theme = LIGHT,
) -> None:
    """Draw tokens at points [P, 2] as dots that are joined by a line, the near future on top.

    The dots have ``colors`` [P, 4] and the diameter ``size`` in typographic points. The line has
    the opacity ``line_opacity`` [P] at each point, 0 to 1; None for 1.
    """
    xy = points[:, ::-1]
    links = (colors[:-1] + colors[1:]) / 2
    if line_opacity is not None:
        links[:, 3] = np.minimum(line_opacity[:-1], line_opacity[1:])
    lines = LineCollection(list(np.stack([xy[:-1], xy[1:]], axis=1)[::-1]), zorder=4)
    lines.set(colors=links[::-1], linewidths=size / 3)
    axes.add_collection(lines)
    x, y = xy[::-1].T
    axes.scatter(
        x, y, s=size**2, c=colors[::-1], edgecolors=theme.floor, linewidths=size / 12, zorder=5
    )


def draw_noise(axes: Axes, points: np.ndarray, noise: np.ndarray, colors: np.ndarray) -> None:
    """Draw pale discs of ``colors`` [P, 4] around points [P, 2].

    Their radius is proportional to ``noise`` [P], the noise level as a share of pure noise. It
    shows the noise level only; it is not a prediction region. At pure noise it is 0.45 of a cell.
    """
    shades = colors.copy()
    shades[:, 3] = 0.11
    for share in _NOISE_DISCS:
        _draw_discs(axes, points, share * _MAX_NOISE_RADIUS * noise, shades, 2.2)


def draw_spread(
    axes: Axes,
    points: np.ndarray,
    spread: np.ndarray,
    colors: ScalarMappable,
    suite: Suite,
    theme: Theme = LIGHT,
) -> None:
    """Draw a tube around points [P, 2] in pale colors; its radius is ``spread`` [P].

    The spread is in the suite's units of position.
    """
    at = np.linspace(0, len(points) - 1, _DISCS_PER_POINT * len(points))
    q0, q1, radius = (np.interp(at, np.arange(len(points)), x) for x in (*points.T, spread))
    shades = theme.paler(colors.to_rgba(radius), _SPREAD_OPACITY)
    _draw_discs(axes, np.stack([q0, q1], axis=1), radius / suite.cell_size, shades, 2)


def _draw_discs(
    axes: Axes, points: np.ndarray, radius: np.ndarray, colors: np.ndarray, zorder: float
) -> None:
    """Draw a disc around each point [P, 2], the first on top."""
    discs = [Circle((x, y), r) for (y, x), r in zip(points, radius, strict=True)]
    axes.add_collection(
        PatchCollection(discs[::-1], facecolors=colors[::-1], linewidths=0, zorder=zorder)
    )


def draw_ends(
    axes: Axes,
    start: np.ndarray,
    goal: np.ndarray | None,
    size: float,
    suite: Suite,
    theme: Theme = LIGHT,
) -> None:
    """Draw start [2] and goal [2], the goal with the disc in which it counts as reached.

    The diameter of a token is ``size`` in typographic points.
    """
    styles = _styles(theme)
    axes.plot(start[1], start[0], **styles["start"], ms=size + 3, mew=0.35 * size, zorder=8)
    if goal is not None:
        center, radius = (float(goal[1]), float(goal[0])), suite.goal_radius / suite.cell_size
        fill, edge = _goal_disc_colors(theme)
        if radius < abs(np.subtract(*axes.get_xlim())):  # a larger disc would hide the whole floor
            axes.add_patch(Circle(center, radius, fc=fill, lw=0, zorder=1.5))
            axes.add_patch(Circle(center, radius, fill=False, ec=edge, lw=0.9, zorder=3))
        axes.plot(*center, **styles["goal"], ms=size + 5, zorder=8)


def draw_future(
    axes: Axes,
    jump: np.ndarray,
    line: np.ndarray,
    label: str,
    lost: bool,
    theme: Theme = LIGHT,
) -> None:
    """Draw a jump [2, 2] as a dotted line, the way after it [Q, 2], and its label at the landing.

    A lost episode ends with a cross.
    """
    style = _styles(theme)["lost future" if lost else "future"]
    axes.plot(jump[:, 1], jump[:, 0], **{**style, "linestyle": (0, (1, 2))}, zorder=3.5)
    axes.plot(line[:, 1], line[:, 0], **style, zorder=3.5)
    if lost:
        axes.plot(line[-1, 1], line[-1, 0], **_styles(theme)["jump"], zorder=8)
    place = float(line[0, 1]), float(line[0, 0])
    text = axes.annotate(label, place, (6, 6), textcoords="offset points", zorder=9)
    text.set(color=style["color"], fontsize=10, fontweight="bold")
    text.set_path_effects([Stroke(linewidth=2.5, foreground=theme.floor), Normal()])


def draw_nodes(axes: Axes, points: np.ndarray, colors: np.ndarray, theme: Theme = LIGHT) -> None:
    """Mark the nodes of a tree, [N, 2], in ``colors`` [N, 4]."""
    axes.scatter(
        points[:, 1], points[:, 0], s=7, color=colors, ec=theme.floor, linewidths=0.3, zorder=4
    )


def draw_branch(axes: Axes, points: np.ndarray, made: int, theme: Theme = LIGHT) -> None:
    """Draw a plan [P, 2] over a tree, dotted after point ``made``."""
    outline = [Stroke(linewidth=2.6, foreground=theme.floor), Normal()]
    for part, style in ((points[: made + 1], "-"), (points[made:], ":")):
        axes.plot(
            part[:, 1], part[:, 0], style, lw=1.3, color=theme.ink, path_effects=outline, zorder=5
        )


def draw_executed(axes: Axes, executed: np.ndarray, theme: Theme = LIGHT) -> None:
    """Draw visited positions [S, 2] as a thin line with a light outline."""
    outline = [Stroke(linewidth=2.0, foreground=theme.floor), Normal()]
    style = {**_styles(theme)["executed path"], "path_effects": outline, "zorder": 7}
    axes.plot(executed[:, 1], executed[:, 0], **style)


def draw_anomalies(axes: Axes, positions: np.ndarray, kind: str, theme: Theme = LIGHT) -> None:
    """Mark positions [P, 2] of anomalies; ``kind`` is ``jump`` or ``in a wall``."""
    jump = kind == "jump"
    outline = [Stroke(linewidth=3.6, foreground=theme.floor), Normal()] if jump else None
    style = {**_styles(theme)[kind], "path_effects": outline, "zorder": 9 if jump else 8}
    axes.plot(positions[:, 1], positions[:, 0], **style)


def draw_color_bar(
    figure: Figure,
    axes: Axes,
    colors: ScalarMappable,
    ticks: dict[float, str],
    label: str,
    theme: Theme = LIGHT,
) -> None:
    """Draw a color bar that fills ``axes``. Its outermost labels are aligned with its ends.

    ``ticks`` are labels by value.
    """
    bar = figure.colorbar(colors, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    axes.tick_params(length=0, pad=4, labelsize=11, labelcolor=theme.ink)
    axes.set_xlabel(label, fontsize=11, color=theme.muted, labelpad=3)
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def draw_legend(
    figure: Figure,
    names: Sequence[str],
    bottom: float,
    suite: Suite = DEFAULT,
    theme: Theme = LIGHT,
) -> None:
    """Draw a legend in one line, ``bottom`` inches above the lower edge of a figure.

    The names are keys of :func:`_legend_handles`. The goal radius of the suite is shown.
    """
    handles = _legend_handles(theme)
    labels = [f"goal, radius {suite.goal_radius:g}" if name == "goal" else name for name in names]
    figure.legend(
        [handles[name] for name in names],
        labels,
        loc="lower center",
        bbox_to_anchor=(0.5, bottom / figure.get_figheight()),
        ncols=len(names),
        frameon=False,
        fontsize=11,
        labelcolor=theme.ink,
        handletextpad=0.5,
        columnspacing=1.4,
        borderaxespad=0,
        borderpad=0,
        handler_map={handles["plan"]: HandlerTuple(ndivide=None, pad=0)},
    )


def _goal_disc_colors(theme: Theme) -> tuple[Any, Any]:
    """Fill color and edge color of the goal's disc."""
    return to_rgba(theme.goal, 0.15), to_rgba(theme.goal, 0.6)


def _styles(theme: Theme) -> dict[str, _Style]:
    """Styles of marks that pictures and legends show in the same way."""
    line = {"color": theme.ink, "linewidth": 1.0}
    return {
        "start": {**_DOT, "mfc": theme.floor, "mec": theme.ink},
        "goal": {**_DOT, "marker": "*", "mfc": theme.goal, "mec": theme.floor, "mew": 0.7},
        "executed path": line,
        "one segment": line,
        "future": {"color": theme.spread(0.25), "linewidth": 1.6},
        "lost future": {"color": theme.goal, "linewidth": 1.6},
        "jump": {**_DOT, "marker": "x", "mec": theme.goal, "mew": 1.6, "ms": 7},
        "in a wall": {**_DOT, "mfc": theme.warning, "mec": "none", "ms": 3.5},
    }


def _legend_handles(theme: Theme) -> dict[str, Any]:
    (fill, edge), styles = _goal_disc_colors(theme), _styles(theme)
    disc: _Style = {**_DOT, "ms": 16, "mfc": fill, "mec": edge, "mew": 0.9}
    token: _Style = {**_DOT, "ms": 7, "mec": theme.floor, "mew": 0.6}
    pale = theme.paler(np.array(theme.spread(0.5)), _SPREAD_OPACITY)
    tube: _Style = {**_DOT, "ms": 14, "mec": "none", "mfc": pale}
    return {
        **{name: Line2D([], [], **style) for name, style in styles.items()},
        "start": Line2D([], [], **styles["start"], ms=9, mew=2.1),
        "goal": (Line2D([], [], **disc), Line2D([], [], **styles["goal"], ms=12)),
        "plan": tuple(Line2D([], [], **token, mfc=theme.level(x)) for x in (0.0, 0.4, 0.8)),
        "other candidates": Line2D([], [], color=theme.muted, linewidth=1.0, alpha=0.7),
        "spread": Line2D([], [], **tube),
    }
