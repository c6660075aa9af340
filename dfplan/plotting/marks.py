"""Draws single elements over a maze: tokens, spread, candidates, start, goal, executed path.

Positions are (q0, q1) in the coordinates of the picture (see :mod:`dfplan.plotting.maze`); the
horizontal axis is q1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, Polygon
from matplotlib.path import Path as Outline
from matplotlib.patheffects import Normal, Stroke

from dfplan.plotting.style import LIGHT, Theme
from dfplan.suites import DEFAULT, Suite

REGION_SHARES = (0.33, 0.24)
"""Shares of the color in regions that hold a place with 50 and 90%; the rest is the floor's."""

_DISCS_PER_POINT = 8

_Style = dict[str, Any]
_DOT: _Style = {"linestyle": "", "marker": "o"}


def draw_tokens(
    axes: Axes,
    points: np.ndarray,
    values: np.ndarray,
    scale: ScalarMappable,
    size: float,
    *,
    unknown: np.ndarray | None = None,
    too_fast: np.ndarray | None = None,
    theme: Theme = LIGHT,
) -> None:
    """Draw tokens at points [P, 2] as dots that are joined by a line, the near future on top.

    Each part of the line has the color of its less certain end. The dots are the last collection of
    the axes, and have the color scale.

    Args:
        axes: to draw on.
        points: of the plan.
        values: that are colored, [P]; higher is less certain.
        scale: colors of the values.
        size: diameter of a dot, in typographic points.
        unknown: points that are pure noise, bool [P]; they are rings, and joined by dots.
        too_fast: parts that are faster than the body, bool [P - 1]; they are marked.
        theme: colors of the picture.
    """
    xy, count = points[:, ::-1], len(points)
    unknown = np.zeros(count, bool) if unknown is None else unknown
    segments = np.stack([xy[:-1], xy[1:]], axis=1)
    less_certain = np.maximum(values[:-1], values[1:])
    for dotted in (True, False):
        chosen = np.flatnonzero((unknown[:-1] | unknown[1:]) == dotted)[::-1]
        lines = LineCollection(list(segments[chosen]), zorder=4)
        lines.set(linewidths=size / 3, capstyle="round")
        lines.set(cmap=scale.cmap, norm=scale.norm, array=less_certain[chosen])
        if dotted:
            lines.set(linestyles=[(0, (0.1, 2.0))], linewidths=size / 4)
        axes.add_collection(lines)
    if too_fast is not None and too_fast.any():
        lines = LineCollection(list(segments[too_fast]), zorder=4.2, label="faster than the body")
        lines.set(linewidths=size / 3, linestyles=[(0, (0.7, 0.7))], colors=theme.ink)
        lines.set_path_effects([Stroke(linewidth=0.45 * size, foreground=theme.floor), Normal()])
        axes.add_collection(lines)
    if unknown.any():
        rings = xy[unknown][::-1]
        style: _Style = {"fc": theme.floor, "ec": scale.to_rgba(values[unknown][::-1])}
        style |= {"s": (0.8 * size) ** 2, "linewidths": size / 8, "zorder": 5}
        axes.scatter(rings[:, 0], rings[:, 1], **style, label="pure noise")
    known = np.flatnonzero(~unknown)[::-1]
    x, y = xy[known].T
    dots = axes.scatter(x, y, s=size**2, c=values[known], zorder=5, label="plan")
    dots.set(cmap=scale.cmap, norm=scale.norm, edgecolors=theme.floor, linewidths=size / 12)


def draw_regions(
    axes: Axes, points: np.ndarray, radii: np.ndarray, colors: np.ndarray, theme: Theme = LIGHT
) -> list[Artist]:
    """Draw the prediction regions of points [P, 2], one in the other.

    Args:
        axes: to draw on.
        points: of the plan.
        radii: of the regions that hold the place with 50 and 90%, [P, 2].
        colors: of the points, [P, 4].
        theme: colors of the picture.

    Returns:
        What was drawn, to be cut off where the body cannot be.
    """
    drawn: list[Artist] = []
    for column in (1, 0):
        shades = theme.paler(colors, REGION_SHARES[column])
        drawn.append(_draw_discs(axes, points, radii[:, column], shades, 2.3 - 0.1 * column))
    return drawn


def draw_tube(
    axes: Axes,
    points: np.ndarray,
    radius: np.ndarray,
    values: np.ndarray,
    scale: ScalarMappable,
    theme: Theme = LIGHT,
) -> Artist:
    """Draw a tube around points [P, 2] in pale colors.

    Args:
        axes: to draw on.
        points: of the plan.
        radius: of the tube at each point, in units of the picture, [P].
        values: that are colored, [P].
        scale: colors of the values.
        theme: colors of the picture.

    Returns:
        What was drawn, to be cut off where the body cannot be.
    """
    at = np.linspace(0, len(points) - 1, _DISCS_PER_POINT * len(points))
    index = np.arange(len(points))
    q0, q1, r, shown = (np.interp(at, index, x) for x in (*points.T, radius, values))
    shades = theme.paler(scale.to_rgba(shown), REGION_SHARES[0])
    return _draw_discs(axes, np.stack([q0, q1], axis=1), r, shades, 2, joined=True)


def _draw_discs(
    axes: Axes,
    points: np.ndarray,
    radius: np.ndarray,
    colors: np.ndarray,
    zorder: float,
    *,
    joined: bool = False,
) -> Artist:
    """Draw a disc around each point [P, 2], the first on top; if ``joined``, without gaps."""
    patches: list[Patch] = [Circle((x, y), r) for (y, x), r in zip(points, radius, strict=True)]
    if joined:
        between = _between(points[:, ::-1], radius)
        patches = [*(Polygon(corners) for corners in between), *patches[::-1]]
        colors = np.concatenate([colors[:-1], colors[::-1]])
    else:
        patches, colors = patches[::-1], colors[::-1]
    collection = PatchCollection(patches, facecolors=colors, linewidths=0, zorder=zorder)
    axes.add_collection(collection)
    return collection


def _between(xy: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Corners of the areas between successive discs, [P - 1, 4, 2]."""
    way = np.diff(xy, axis=0)
    across = way[:, ::-1] * [-1, 1] / np.maximum(np.linalg.norm(way, axis=1), 1e-12)[:, None]
    first, last = across * radius[:-1, None], across * radius[1:, None]
    return np.stack([xy[:-1] + first, xy[:-1] - first, xy[1:] - last, xy[1:] + last], axis=1)


def cut_off(axes: Axes, artists: Sequence[Artist], outline: Outline) -> None:
    """Show artists only inside an outline: where the body can be."""
    for artist in artists:
        artist.set_clip_path(outline, axes.transData)


def draw_other_routes(
    axes: Axes, lines: np.ndarray, again: int, size: float, theme: Theme = LIGHT
) -> None:
    """Draw plans made again [R, Q, 2] that take another route, of ``again`` plans made again."""
    label = f"another route, {len(lines)} of {again}"
    for number, line in enumerate(lines):
        axes.plot(
            line[:, 1],
            line[:, 0],
            **_styles(theme, size)["another route"],
            zorder=3.2,
            label=label if number == 0 else None,
        )


def draw_ends(
    axes: Axes,
    start: np.ndarray,
    goal: np.ndarray | None,
    size: float,
    suite: Suite | None,
    theme: Theme = LIGHT,
) -> None:
    """Draw start [2] and goal [2], the goal with the disc in which it counts as reached.

    Without a suite, no such disc is known. The diameter of a token is ``size`` in typographic
    points.
    """
    styles = _styles(theme, size)
    axes.plot(
        start[1],
        start[0],
        **styles["start"],
        ms=1.3 * size,
        mew=0.35 * size,
        zorder=8,
        label="start",
    )
    if goal is not None:
        center, radius = (float(goal[1]), float(goal[0])), np.inf
        if suite is not None:
            radius = suite.goal_radius / suite.cell_size
        fill, edge = _goal_disc_colors(theme)
        if radius < abs(np.subtract(*axes.get_xlim())):  # a larger disc would hide the whole floor
            axes.add_patch(Circle(center, radius, fc=fill, lw=0, zorder=1.5))
            axes.add_patch(Circle(center, radius, fill=False, ec=edge, lw=0.1 * size, zorder=3))
        axes.plot(*center, **styles["goal"], ms=1.6 * size, zorder=8, label="goal")


def draw_landing(
    axes: Axes, jump: np.ndarray, label: str, lost: bool, size: float, theme: Theme = LIGHT
) -> None:
    """Draw a jump [2, 2] as a dotted line, and its label at the landing.

    A lost episode ends with a cross. The diameter of a token is ``size`` in typographic points.
    """
    style = _styles(theme, size)["lost future" if lost else "future"]
    axes.plot(jump[:, 1], jump[:, 0], **{**style, "linestyle": (0, (1, 2))}, zorder=3.5)
    if lost:
        axes.plot(jump[-1, 1], jump[-1, 0], **_styles(theme, size)["jump"], zorder=8)
    place = float(jump[-1, 1]), float(jump[-1, 0])
    text = axes.annotate(label, place, (6, 6), textcoords="offset points", zorder=9)
    text.set(color=style["color"], fontsize=max(7.0, 1.1 * size), fontweight="bold")
    text.set_path_effects([Stroke(linewidth=2.5, foreground=theme.floor), Normal()])


def draw_nodes(
    axes: Axes,
    points: np.ndarray,
    values: np.ndarray,
    scale: ScalarMappable,
    size: float,
    theme: Theme = LIGHT,
) -> None:
    """Mark the nodes of a tree, [N, 2], in the colors of ``values`` [N].

    They are the last collection of the axes, and have the color scale.
    """
    dots = axes.scatter(points[:, 1], points[:, 0], s=(0.35 * size) ** 2, c=values, zorder=4)
    dots.set(cmap=scale.cmap, norm=scale.norm, edgecolors=theme.floor, linewidths=0.03 * size)


def draw_branch(
    axes: Axes, points: np.ndarray, made: int, size: float, theme: Theme = LIGHT
) -> None:
    """Draw a plan [P, 2] over a tree, dotted after point ``made``."""
    outline = [Stroke(linewidth=0.5 * size, foreground=theme.floor), Normal()]
    for part, label in ((points[: made + 1], "best plan"), (points[made:], "recorded way")):
        if len(part) > 1 and np.ptp(part, axis=0).any():  # the end of a plan repeats
            look = {**_styles(theme, size)[label], "path_effects": outline}
            axes.plot(part[:, 1], part[:, 0], **look, zorder=5, label=label)


def draw_new_segments(
    axes: Axes, segments: Sequence[np.ndarray], size: float, theme: Theme = LIGHT
) -> None:
    """Draw the newest segments [P, 2] of a tree over all others, with a dot at the end."""
    outline = [Stroke(linewidth=0.32 * size, foreground=theme.floor), Normal()]
    style = {**_styles(theme, size)["new segment"], "path_effects": outline, "markevery": [-1]}
    for segment in segments:
        axes.plot(segment[:, 1], segment[:, 0], **style, zorder=5.5)


def draw_executed(
    axes: Axes, executed: np.ndarray, size: float, theme: Theme = LIGHT, label: str | None = None
) -> None:
    """Draw visited positions [S, 2] as a thin line with a light outline."""
    outline = [Stroke(linewidth=0.24 * size, foreground=theme.floor), Normal()]
    style = {**_styles(theme, size)["executed path"], "path_effects": outline, "zorder": 7}
    axes.plot(executed[:, 1], executed[:, 0], **style, label=label or "executed path")


def draw_anomalies(
    axes: Axes, positions: np.ndarray, kind: str, size: float, theme: Theme = LIGHT
) -> None:
    """Mark positions [P, 2] of anomalies; ``kind`` is ``jump`` or ``in a wall``."""
    jump = kind == "jump"
    outline = [Stroke(linewidth=0.4 * size, foreground=theme.floor), Normal()] if jump else None
    style = {**_styles(theme, size)[kind], "path_effects": outline, "zorder": 9 if jump else 8}
    axes.plot(positions[:, 1], positions[:, 0], **style, label=kind)


def draw_color_bar(
    figure: Figure,
    axes: Axes,
    colors: ScalarMappable,
    ticks: dict[float, str],
    label: str,
    text: float,
    theme: Theme = LIGHT,
) -> None:
    """Draw a color bar that fills ``axes``. Its outermost labels are aligned with its ends.

    ``ticks`` are labels by value. The text has ``text`` typographic points.
    """
    bar = figure.colorbar(colors, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    axes.tick_params(length=0, pad=0.35 * text, labelsize=text, labelcolor=theme.ink)
    axes.set_xlabel(label, fontsize=text, color=theme.muted, labelpad=0.25 * text)
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def draw_legend(
    figure: Figure,
    names: Sequence[str],
    bottom: float,
    text: float,
    columns: int,
    suite: Suite | None = DEFAULT,
    theme: Theme = LIGHT,
) -> None:
    """Draw a legend, ``bottom`` inches above the lower edge of a figure.

    The names are keys of :func:`_legend_handles`, and can go on after a comma. The text has
    ``text`` typographic points. The goal radius of the suite is shown if one is given.
    """
    handles = _legend_handles(theme, text)
    goal = "goal" if suite is None else f"goal, radius {suite.goal_radius:g}"
    figure.legend(
        [handles[name.split(",")[0]] for name in names],
        [goal if name == "goal" else name for name in names],
        loc="lower center",
        bbox_to_anchor=(0.5, bottom / figure.get_figheight()),
        ncols=columns,
        frameon=False,
        fontsize=text,
        labelcolor=theme.ink,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.35,
        borderaxespad=0,
        borderpad=0,
        handler_map={handles["plan"]: HandlerTuple(ndivide=None, pad=0)},
    )


def _goal_disc_colors(theme: Theme) -> tuple[Any, Any]:
    """Fill color and edge color of the goal's disc."""
    return to_rgba(theme.goal, 0.15), to_rgba(theme.goal, 0.6)


def _styles(theme: Theme, size: float) -> dict[str, _Style]:
    """Styles of marks that pictures and legends show in the same way.

    The diameter of a token is ``size`` in typographic points.
    """
    line = {"color": theme.ink, "linewidth": 0.12 * size}
    new = {"color": theme.goal, "linewidth": 0.2 * size, "marker": "o", "ms": 0.45 * size}
    return {
        "start": {**_DOT, "mfc": theme.floor, "mec": theme.ink},
        "goal": {**_DOT, "marker": "*", "mfc": theme.goal, "mec": theme.floor, "mew": 0.08 * size},
        "executed path": line,
        "one segment": line,
        "best plan": {"color": theme.ink, "linewidth": 0.24 * size},
        "recorded way": {"color": theme.ink, "linewidth": 0.24 * size, "linestyle": ":"},
        "new segment": new,
        "another route": {"color": theme.muted, "linewidth": 0.12 * size, "linestyle": (0, (4, 2))},
        "future": {"color": theme.ranks(0.3), "linewidth": 0.18 * size},
        "lost future": {"color": theme.goal, "linewidth": 0.18 * size},
        "jump": {**_DOT, "marker": "x", "mec": theme.goal, "mew": 0.18 * size, "ms": 0.8 * size},
        "in a wall": {**_DOT, "mfc": theme.warning, "mec": "none", "ms": 0.4 * size},
    }


def _legend_handles(theme: Theme, text: float) -> dict[str, Any]:
    """Marks for a legend with text of ``text`` typographic points."""
    size = 0.8 * text
    (fill, edge), styles = _goal_disc_colors(theme), _styles(theme, size)
    disc: _Style = {**_DOT, "ms": 1.45 * text, "mfc": fill, "mec": edge, "mew": 0.08 * text}
    token: _Style = {**_DOT, "ms": 0.64 * text, "mec": theme.floor, "mew": 0.05 * text}
    middle = np.array(theme.uncertainty(0.5))
    pale = [theme.paler(middle, share) for share in REGION_SHARES]
    area: _Style = {**_DOT, "ms": 1.2 * text, "mec": "none"}
    ring: _Style = {**_DOT, "ms": 0.6 * text, "mfc": theme.floor, "mec": theme.uncertainty(1.0)}
    fast: _Style = {"color": theme.ink, "linewidth": 0.25 * text, "linestyle": (0, (0.7, 0.7))}
    return {
        **{name: Line2D([], [], **style) for name, style in styles.items()},
        "start": Line2D([], [], **styles["start"], ms=0.8 * text, mew=0.19 * text),
        "goal": (Line2D([], [], **disc), Line2D([], [], **styles["goal"], ms=1.1 * text)),
        "plan": tuple(Line2D([], [], **token, mfc=theme.uncertainty(x)) for x in (0.0, 0.4, 0.8)),
        "pure noise": Line2D([], [], **ring, mew=0.12 * text),
        "segment": Line2D([], [], color=theme.ranks(0.6), linewidth=0.12 * text),
        "body": Line2D([], [], **_DOT, mfc=theme.ink, mec="none", ms=0.8 * text),
        "other candidates": Line2D([], [], color=theme.muted, linewidth=0.07 * text, alpha=0.8),
        "holds the place with 50 and 90%": (
            Line2D([], [], **area, mfc=pale[1]),
            Line2D([], [], **{**area, "ms": 0.7 * text}, mfc=pale[0]),
        ),
        "plan spread": Line2D([], [], **area, mfc=pale[0]),
        "tracking spread": Line2D([], [], **area, mfc=pale[0]),
        "faster than the body": Line2D([], [], **fast),
    }
