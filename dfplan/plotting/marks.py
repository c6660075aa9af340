"""What is drawn over a maze: tokens, spread, candidates, start, goal, executed path.

Positions are (q0, q1) in D4RL's frame; the horizontal axis of a picture is q1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import Colormap, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import Normal, Stroke

from dfplan.mazes import D4RL, Frame
from dfplan.plotting.maze import INK, MUTED, View

"""How near the goal counts as reached in Maze2D, in units of position."""

_RED = "#d7263d"
_AMBER = "#e07b00"
_FILL, _EDGE = to_rgba(_RED, 0.15), to_rgba(_RED, 0.6)
_CANDIDATE = "#7d8794"
_PALE = 0.22
_DISCS = 8

_Style = dict[str, Any]
_DOT: _Style = {"linestyle": "", "marker": "o"}
_START: _Style = {**_DOT, "mfc": "white", "mec": INK}
_STAR: _Style = {"linestyle": "", "marker": "*", "mfc": _RED, "mec": "white", "mew": 0.7}
_EXECUTED: _Style = {"color": INK, "linewidth": 1.0}


def _cut(name: str, end: float) -> Colormap:
    """A perceptually uniform map without its palest colors, which a white floor swallows."""
    return ListedColormap(matplotlib.colormaps[name](np.linspace(0.0, end, 256)), name=name)


LEVEL_COLORS = _cut("plasma", 0.9)
SPREAD_COLORS = _cut("viridis", 0.93)
VISIT_COLORS = ListedColormap(matplotlib.colormaps["GnBu"](np.linspace(0.25, 1.0, 256)), "visits")

_PLACES: dict[str, _Style] = {
    "jump": {"linestyle": "", "marker": "x", "mec": _RED, "mew": 1.6, "ms": 7},
    "in a wall": {**_DOT, "mfc": _AMBER, "mec": "none", "ms": 3.5},
}


def draw_tokens(
    axes: Axes,
    points: np.ndarray,
    colors: np.ndarray,
    size: float,
    joined: np.ndarray | None = None,
) -> None:
    """Points [P, 2] in their colors [P, 4], joined by a line; the near future lies on top.

    ``size`` is a token's diameter in typographic points; ``joined`` [P], 0 to 1, how strongly
    to draw the line at each point (None: fully).
    """
    xy = points[:, ::-1]
    links = (colors[:-1] + colors[1:]) / 2
    if joined is not None:
        links[:, 3] = np.minimum(joined[:-1], joined[1:])
    lines = LineCollection(list(np.stack([xy[:-1], xy[1:]], axis=1)[::-1]), zorder=4)
    lines.set(colors=links[::-1], linewidths=size / 3)
    axes.add_collection(lines)
    x, y = xy[::-1].T
    axes.scatter(x, y, s=size**2, c=colors[::-1], edgecolors="w", linewidths=size / 12, zorder=5)


def draw_halo(
    axes: Axes, points: np.ndarray, spread: np.ndarray, colors: ScalarMappable, frame: Frame
) -> None:
    """A tube of one ``spread`` [P] about points [P, 2], in a paler shade of its color."""
    whole, fine = np.arange(len(points)), np.linspace(0, len(points) - 1, _DISCS * len(points))
    q0, q1, radius = (np.interp(fine, whole, x) for x in (*points.T, spread))
    discs = [Circle((x, y), r / frame.unit) for x, y, r in zip(q1, q0, radius, strict=True)]
    shades = _paler(colors.to_rgba(radius))
    axes.add_collection(
        PatchCollection(discs[::-1], facecolors=shades[::-1], linewidths=0, zorder=2)
    )


def _paler(colors: np.ndarray) -> np.ndarray:
    return 1 - _PALE * (1 - colors)


def draw_candidates(axes: Axes, candidates: np.ndarray) -> None:
    """Plans [C, P, 2] as faint lines."""
    lines = LineCollection([plan[:, ::-1] for plan in candidates], zorder=3)
    lines.set(colors=_CANDIDATE, linewidths=0.7, alpha=0.35)
    axes.add_collection(lines)


def draw_ends(
    axes: Axes, start: np.ndarray, goal: np.ndarray | None, size: float, frame: Frame
) -> None:
    """Start [2], and goal [2] with the disc that counts as reached; ``size`` of a token."""
    axes.plot(start[1], start[0], **_START, ms=size + 3, mew=0.35 * size, zorder=8)
    if goal is not None:
        center, radius = (float(goal[1]), float(goal[0])), frame.goal_radius / frame.unit
        axes.add_patch(Circle(center, radius, fc=_FILL, lw=0, zorder=1.5))
        axes.add_patch(Circle(center, radius, fill=False, ec=_EDGE, lw=0.9, zorder=3))
        axes.plot(*center, **_STAR, ms=size + 5, zorder=8)


def draw_executed(axes: Axes, executed: np.ndarray) -> None:
    """Visited positions [S, 2] as a thin dark line, cased in white so that it shows on dark."""
    casing = [Stroke(linewidth=2.0, foreground="white"), Normal()]
    axes.plot(executed[:, 1], executed[:, 0], **_EXECUTED, path_effects=casing, zorder=7)


def draw_visits(axes: Axes, visits: np.ndarray, box: View, colors: ScalarMappable) -> None:
    """Counts [G0, G1] over ``box``, over the walls; nothing where they are 0."""
    extent = (box[2], box[3], box[1], box[0])
    image = axes.imshow(
        np.ma.masked_equal(visits, 0), extent=extent, interpolation="nearest", zorder=1.2
    )
    image.set(cmap=colors.cmap, norm=colors.norm)


def draw_places(axes: Axes, places: np.ndarray, kind: str) -> None:
    """Mark positions [P, 2], ``kind`` being a key of ``_PLACES``."""
    jump = kind == "jump"
    casing = [Stroke(linewidth=3.6, foreground="white"), Normal()] if jump else None
    style = {**_PLACES[kind], "path_effects": casing, "zorder": 9 if jump else 8}
    axes.plot(places[:, 1], places[:, 0], **style)


def draw_color_bar(
    figure: Figure, axes: Axes, colors: ScalarMappable, ticks: dict[float, str], label: str
) -> None:
    """A color bar that fills ``axes``, the names of its outermost ticks flush with its ends."""
    bar = figure.colorbar(colors, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    axes.tick_params(length=0, pad=4, labelsize=11, labelcolor=INK)
    axes.set_xlabel(label, fontsize=11, color=MUTED, labelpad=3)
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def draw_legend(figure: Figure, shown: Sequence[str], above: float, frame: Frame = D4RL) -> None:
    """Name the marks ``shown`` (keys of :func:`_legend_marks`), in one line at the foot.

    ``above``: how far over the lower edge, in inches.
    """
    marks = _legend_marks()
    labels = [f"goal, radius {frame.goal_radius:g}" if name == "goal" else name for name in shown]
    figure.legend(
        [marks[name] for name in shown],
        labels,
        loc="lower center",
        bbox_to_anchor=(0.5, above / figure.get_figheight()),
        ncols=len(shown),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        handletextpad=0.5,
        columnspacing=1.4,
        borderaxespad=0,
        borderpad=0,
        handler_map={marks["plan"]: HandlerTuple(ndivide=None, pad=0)},
    )


def _legend_marks() -> dict[str, Any]:
    disc: _Style = {**_DOT, "ms": 16, "mfc": _FILL, "mec": _EDGE, "mew": 0.9}
    token: _Style = {**_DOT, "ms": 7, "mec": "white", "mew": 0.6}
    halo: _Style = {**_DOT, "ms": 14, "mec": "none", "mfc": _paler(np.array(SPREAD_COLORS(0.5)))}
    return {
        "start": Line2D([], [], **_START, ms=9, mew=2.1),
        "goal": (Line2D([], [], **disc), Line2D([], [], **_STAR, ms=12)),
        "plan": tuple(Line2D([], [], **token, mfc=LEVEL_COLORS(x)) for x in (0.0, 0.4, 0.8)),
        "other candidates": Line2D([], [], color=_CANDIDATE, linewidth=1.0, alpha=0.7),
        "spread": Line2D([], [], **halo),
        "executed path": Line2D([], [], **_EXECUTED),
        "one stretch": Line2D([], [], **_EXECUTED),
        **{kind: Line2D([], [], **style) for kind, style in _PLACES.items()},
    }
