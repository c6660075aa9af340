"""What is drawn over a maze: tokens, spread, candidates, start, goal, executed path.

Positions are (q0, q1), in the axes of the maze's picture; the horizontal axis is q1.
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
from matplotlib.patches import Circle, Ellipse, Patch, Rectangle
from matplotlib.patheffects import Normal, Stroke

from dfplan.plotting.maze import View
from dfplan.plotting.style import LIGHT, Theme
from dfplan.suites import DEFAULT, Suite

_PALE = 0.22
_DISCS = 8
_FOG = (1.0, 0.7, 0.4)
_WIDEST_FOG = 0.45

_Style = dict[str, Any]
_DOT: _Style = {"linestyle": "", "marker": "o"}


def draw_tokens(
    axes: Axes,
    points: np.ndarray,
    colors: np.ndarray,
    size: float,
    joined: np.ndarray | None = None,
    theme: Theme = LIGHT,
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
    axes.scatter(
        x,
        y,
        s=size**2,
        c=colors[::-1],
        edgecolors=theme.floor,
        linewidths=size / 12,
        zorder=5,
    )


def draw_fog(axes: Axes, points: np.ndarray, noise: np.ndarray, colors: np.ndarray) -> None:
    """Clouds about points [P, 2], the wider the more ``noise`` [P] there is, 0 to 1.

    How wide is a way to see it, not a measure: a cloud at pure noise is 0.9 of a cell across.
    """
    for share in _FOG:
        radius = share * _WIDEST_FOG * noise
        discs = [Circle((x, y), r) for (y, x), r in zip(points, radius, strict=True)]
        shades = colors.copy()
        shades[:, 3] = 0.11
        cloud = PatchCollection(discs[::-1], facecolors=shades[::-1], linewidths=0, zorder=2.2)
        axes.add_collection(cloud)


def draw_halo(
    axes: Axes,
    points: np.ndarray,
    spread: np.ndarray,
    colors: ScalarMappable,
    suite: Suite,
    theme: Theme = LIGHT,
) -> None:
    """A tube of one ``spread`` [P] about points [P, 2], in a paler shade of its color."""
    whole, fine = np.arange(len(points)), np.linspace(0, len(points) - 1, _DISCS * len(points))
    q0, q1, radius = (np.interp(fine, whole, x) for x in (*points.T, spread))
    discs = [Circle((x, y), r / suite.unit) for x, y, r in zip(q1, q0, radius, strict=True)]
    shades = theme.paler(colors.to_rgba(radius), _PALE)
    axes.add_collection(
        PatchCollection(discs[::-1], facecolors=shades[::-1], linewidths=0, zorder=2)
    )


def draw_candidates(axes: Axes, candidates: np.ndarray, theme: Theme = LIGHT) -> None:
    """Plans [C, P, 2] as faint lines."""
    lines = LineCollection([plan[:, ::-1] for plan in candidates], zorder=3)
    lines.set(colors=theme.muted, linewidths=0.7, alpha=0.45)
    axes.add_collection(lines)


def draw_ellipses(
    axes: Axes,
    means: np.ndarray,
    covariances: np.ndarray,
    colors: np.ndarray,
) -> None:
    """Ellipses of one and two standard deviations: means [P, 2], covariances [P, 2, 2]."""
    for deviations, alpha, edge in ((2.0, 0.06, 0.0), (1.0, 0.1, 0.8)):
        for mean, covariance, color in reversed(list(zip(means, covariances, colors, strict=True))):
            variances, directions = np.linalg.eigh(covariance)
            width, height = 2 * deviations * np.sqrt(np.maximum(variances, 0))
            angle = np.degrees(np.arctan2(directions[0, 0], directions[1, 0]))
            ellipse = Ellipse(mean[::-1], width, height, angle=angle, zorder=2)
            ellipse.set(fc=(*color[:3], alpha), ec=(*color[:3], 0.5), lw=edge)
            axes.add_patch(ellipse)


def draw_arrows(axes: Axes, points: np.ndarray, arrows: np.ndarray, theme: Theme = LIGHT) -> None:
    """Arrows [P, 2] from points [P, 2], both in the axes' units."""
    axes.quiver(
        points[:, 1],
        points[:, 0],
        arrows[:, 1],
        arrows[:, 0],
        angles="xy",
        scale_units="xy",
        scale=1,
        color=theme.goal,
        width=0.003,
        headwidth=3.5,
        headlength=4,
        minlength=0.1,
        zorder=6,
    )


def draw_region(
    axes: Axes, low: np.ndarray, high: np.ndarray, disc: bool, theme: Theme = LIGHT
) -> None:
    """A box between two opposite corners [2], or the disc in it, hatched."""
    corner, (height, width) = np.minimum(low, high), np.abs(high - low)
    place: Patch = (
        Circle((corner[1] + width / 2, corner[0] + height / 2), width / 2)
        if disc
        else Rectangle((corner[1], corner[0]), width, height)
    )
    place.set(fc=to_rgba(theme.warning, 0.12), ec=theme.warning, hatch="////", lw=0.9, zorder=2.5)
    axes.add_patch(place)


def draw_ends(
    axes: Axes,
    start: np.ndarray,
    goal: np.ndarray | None,
    size: float,
    suite: Suite,
    theme: Theme = LIGHT,
) -> None:
    """Start [2], and goal [2] with the disc that counts as reached; ``size`` of a token."""
    axes.plot(start[1], start[0], **_start(theme), ms=size + 3, mew=0.35 * size, zorder=8)
    if goal is not None:
        center, radius = (float(goal[1]), float(goal[0])), suite.goal_radius / suite.unit
        fill, edge = _disc(theme)
        if radius < abs(np.subtract(*axes.get_xlim())):  # else it would hide a bare floor
            axes.add_patch(Circle(center, radius, fc=fill, lw=0, zorder=1.5))
            axes.add_patch(Circle(center, radius, fill=False, ec=edge, lw=0.9, zorder=3))
        axes.plot(*center, **_star(theme), ms=size + 5, zorder=8)


def draw_ball(axes: Axes, position: np.ndarray, suite: Suite, theme: Theme = LIGHT) -> None:
    """The ball at [2], as large as it is."""
    ball = Circle(
        (float(position[1]), float(position[0])),
        suite.ball_radius / suite.unit,
        fc=theme.ink,
        ec=theme.floor,
        lw=0.6,
        zorder=7.5,
    )
    axes.add_patch(ball)


def draw_executed(axes: Axes, executed: np.ndarray, theme: Theme = LIGHT) -> None:
    """Visited positions [S, 2] as a thin line of ink, cased so that it shows on what it crosses."""
    casing = [Stroke(linewidth=2.0, foreground=theme.floor), Normal()]
    style = _executed(theme)
    axes.plot(executed[:, 1], executed[:, 0], **style, path_effects=casing, zorder=7)


def draw_visits(axes: Axes, visits: np.ndarray, box: View, colors: ScalarMappable) -> None:
    """Counts [G0, G1] over ``box``, over the walls; nothing where they are 0."""
    extent = (box[2], box[3], box[1], box[0])
    image = axes.imshow(
        np.ma.masked_equal(visits, 0), extent=extent, interpolation="nearest", zorder=1.2
    )
    image.set(cmap=colors.cmap, norm=colors.norm)


def draw_places(axes: Axes, places: np.ndarray, kind: str, theme: Theme = LIGHT) -> None:
    """Mark positions [P, 2], ``kind`` being a key of :func:`_places`."""
    jump = kind == "jump"
    casing = [Stroke(linewidth=3.6, foreground=theme.floor), Normal()] if jump else None
    style = {**_places(theme)[kind], "path_effects": casing, "zorder": 9 if jump else 8}
    axes.plot(places[:, 1], places[:, 0], **style)


def draw_color_bar(
    figure: Figure,
    axes: Axes,
    colors: ScalarMappable,
    ticks: dict[float, str],
    label: str,
    theme: Theme = LIGHT,
) -> None:
    """A color bar that fills ``axes``, the names of its outermost ticks flush with its ends."""
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
    shown: Sequence[str],
    above: float,
    suite: Suite = DEFAULT,
    theme: Theme = LIGHT,
) -> None:
    """Name the marks ``shown`` (keys of :func:`_legend_marks`), in one line at the foot.

    ``above``: how far over the lower edge, in inches.
    """
    marks = _legend_marks(theme)
    labels = [f"goal, radius {suite.goal_radius:g}" if name == "goal" else name for name in shown]
    figure.legend(
        [marks[name] for name in shown],
        labels,
        loc="lower center",
        bbox_to_anchor=(0.5, above / figure.get_figheight()),
        ncols=len(shown),
        frameon=False,
        fontsize=11,
        labelcolor=theme.ink,
        handletextpad=0.5,
        columnspacing=1.4,
        borderaxespad=0,
        borderpad=0,
        handler_map={marks["plan"]: HandlerTuple(ndivide=None, pad=0)},
    )


def _start(theme: Theme) -> _Style:
    return {**_DOT, "mfc": theme.floor, "mec": theme.ink}


def _star(theme: Theme) -> _Style:
    return {"linestyle": "", "marker": "*", "mfc": theme.goal, "mec": theme.floor, "mew": 0.7}


def _disc(theme: Theme) -> tuple[Any, Any]:
    """What the goal's disc is filled with, and its edge."""
    return to_rgba(theme.goal, 0.15), to_rgba(theme.goal, 0.6)


def _executed(theme: Theme) -> _Style:
    return {"color": theme.ink, "linewidth": 1.0}


def _places(theme: Theme) -> dict[str, _Style]:
    return {
        "jump": {"linestyle": "", "marker": "x", "mec": theme.goal, "mew": 1.6, "ms": 7},
        "in a wall": {**_DOT, "mfc": theme.warning, "mec": "none", "ms": 3.5},
    }


def _legend_marks(theme: Theme) -> dict[str, Any]:
    fill, edge = _disc(theme)
    disc: _Style = {**_DOT, "ms": 16, "mfc": fill, "mec": edge, "mew": 0.9}
    token: _Style = {**_DOT, "ms": 7, "mec": theme.floor, "mew": 0.6}
    pale = theme.paler(np.array(theme.spread(0.5)), _PALE)
    halo: _Style = {**_DOT, "ms": 14, "mec": "none", "mfc": pale}
    return {
        "start": Line2D([], [], **_start(theme), ms=9, mew=2.1),
        "goal": (Line2D([], [], **disc), Line2D([], [], **_star(theme), ms=12)),
        "plan": tuple(Line2D([], [], **token, mfc=theme.level(x)) for x in (0.0, 0.4, 0.8)),
        "other candidates": Line2D([], [], color=theme.muted, linewidth=1.0, alpha=0.7),
        "spread": Line2D([], [], **halo),
        "executed path": Line2D([], [], **_executed(theme)),
        "one stretch": Line2D([], [], **_executed(theme)),
        **{kind: Line2D([], [], **style) for kind, style in _places(theme).items()},
    }
