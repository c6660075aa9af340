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
from matplotlib.patches import Circle, Ellipse, Patch, Rectangle
from matplotlib.patheffects import Normal, Stroke

from dfplan.plotting.maze import Limits
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
    """Draw tokens as dots that are joined by a line, the near future on top.

    Args:
        axes: axes to draw on.
        points: [P, 2].
        colors: of the points, [P, 4].
        size: diameter of a token in typographic points.
        line_opacity: opacity of the line at each point, 0 to 1, [P]; None for 1.
        theme: colors.
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
        x,
        y,
        s=size**2,
        c=colors[::-1],
        edgecolors=theme.floor,
        linewidths=size / 12,
        zorder=5,
    )


def draw_noise(axes: Axes, points: np.ndarray, noise: np.ndarray, colors: np.ndarray) -> None:
    """Draw pale discs around points [P, 2]; their radius is proportional to the noise level.

    The radius shows the noise level only; it is not a prediction region. At pure noise it is 0.45
    of a cell.

    Args:
        axes: axes to draw on.
        points: [P, 2].
        noise: noise level of each point as a share of pure noise, [P].
        colors: of the points, [P, 4].
    """
    for share in _NOISE_DISCS:
        radius = share * _MAX_NOISE_RADIUS * noise
        discs = [Circle((x, y), r) for (y, x), r in zip(points, radius, strict=True)]
        shades = colors.copy()
        shades[:, 3] = 0.11
        patches = PatchCollection(discs[::-1], facecolors=shades[::-1], linewidths=0, zorder=2.2)
        axes.add_collection(patches)


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
    discs = [Circle((x, y), r / suite.cell_size) for x, y, r in zip(q1, q0, radius, strict=True)]
    shades = theme.paler(colors.to_rgba(radius), _SPREAD_OPACITY)
    axes.add_collection(
        PatchCollection(discs[::-1], facecolors=shades[::-1], linewidths=0, zorder=2)
    )


def draw_candidates(axes: Axes, candidates: np.ndarray, theme: Theme = LIGHT) -> None:
    """Draw candidates [C, P, 2] as faint lines."""
    lines = LineCollection([plan[:, ::-1] for plan in candidates], zorder=3)
    lines.set(colors=theme.muted, linewidths=0.7, alpha=0.45)
    axes.add_collection(lines)


def draw_ellipses(
    axes: Axes,
    means: np.ndarray,
    covariances: np.ndarray,
    colors: np.ndarray,
) -> None:
    """Draw ellipses of one and two standard deviations.

    Args:
        axes: axes to draw on.
        means: [P, 2].
        covariances: [P, 2, 2].
        colors: [P, 4].
    """
    for deviations, alpha, edge in ((2.0, 0.06, 0.0), (1.0, 0.1, 0.8)):
        for mean, covariance, color in reversed(list(zip(means, covariances, colors, strict=True))):
            variances, directions = np.linalg.eigh(covariance)
            width, height = 2 * deviations * np.sqrt(np.maximum(variances, 0))
            angle = np.degrees(np.arctan2(directions[0, 0], directions[1, 0]))
            ellipse = Ellipse(mean[::-1], width, height, angle=angle, zorder=2)
            ellipse.set(fc=(*color[:3], alpha), ec=(*color[:3], 0.5), lw=edge)
            axes.add_patch(ellipse)


def draw_arrows(axes: Axes, points: np.ndarray, arrows: np.ndarray, theme: Theme = LIGHT) -> None:
    """Draw arrows [P, 2] that start at points [P, 2]."""
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
    """Draw the box between two opposite corners [2], or the disc inside it, hatched."""
    corner, (height, width) = np.minimum(low, high), np.abs(high - low)
    patch: Patch = (
        Circle((corner[1] + width / 2, corner[0] + height / 2), width / 2)
        if disc
        else Rectangle((corner[1], corner[0]), width, height)
    )
    patch.set(fc=to_rgba(theme.warning, 0.12), ec=theme.warning, hatch="////", lw=0.9, zorder=2.5)
    axes.add_patch(patch)


def draw_ends(
    axes: Axes,
    start: np.ndarray,
    goal: np.ndarray | None,
    size: float,
    suite: Suite,
    theme: Theme = LIGHT,
) -> None:
    """Draw start [2] and goal [2], the goal with the disc in which it counts as reached.

    Args:
        axes: axes to draw on.
        start: [2].
        goal: [2]; None without a goal.
        size: diameter of a token in typographic points.
        suite: suite of the maze.
        theme: colors.
    """
    axes.plot(start[1], start[0], **_start_style(theme), ms=size + 3, mew=0.35 * size, zorder=8)
    if goal is not None:
        center, radius = (float(goal[1]), float(goal[0])), suite.goal_radius / suite.cell_size
        fill, edge = _goal_disc_colors(theme)
        if radius < abs(np.subtract(*axes.get_xlim())):  # a larger disc would hide the whole floor
            axes.add_patch(Circle(center, radius, fc=fill, lw=0, zorder=1.5))
            axes.add_patch(Circle(center, radius, fill=False, ec=edge, lw=0.9, zorder=3))
        axes.plot(*center, **_goal_style(theme), ms=size + 5, zorder=8)


def draw_ball(axes: Axes, position: np.ndarray, suite: Suite, theme: Theme = LIGHT) -> None:
    """Draw the body at ``position`` [2], to scale."""
    ball = Circle(
        (float(position[1]), float(position[0])),
        suite.ball_radius / suite.cell_size,
        fc=theme.ink,
        ec=theme.floor,
        lw=0.6,
        zorder=7.5,
    )
    axes.add_patch(ball)


def draw_executed(axes: Axes, executed: np.ndarray, theme: Theme = LIGHT) -> None:
    """Draw visited positions [S, 2] as a thin line with a light outline."""
    outline = [Stroke(linewidth=2.0, foreground=theme.floor), Normal()]
    style = _executed_style(theme)
    axes.plot(executed[:, 1], executed[:, 0], **style, path_effects=outline, zorder=7)


def draw_visits(axes: Axes, visits: np.ndarray, limits: Limits, colors: ScalarMappable) -> None:
    """Draw counts [G0, G1] as an image over ``limits``; bins with count 0 are transparent."""
    extent = (limits[2], limits[3], limits[1], limits[0])
    image = axes.imshow(
        np.ma.masked_equal(visits, 0), extent=extent, interpolation="nearest", zorder=1.2
    )
    image.set(cmap=colors.cmap, norm=colors.norm)


def draw_anomalies(axes: Axes, positions: np.ndarray, kind: str, theme: Theme = LIGHT) -> None:
    """Mark positions [P, 2] of anomalies; ``kind`` is ``jump`` or ``in a wall``."""
    jump = kind == "jump"
    outline = [Stroke(linewidth=3.6, foreground=theme.floor), Normal()] if jump else None
    style = {**_anomaly_styles(theme)[kind], "path_effects": outline, "zorder": 9 if jump else 8}
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

    Args:
        figure: figure of the axes.
        axes: axes to fill.
        colors: the color scale.
        ticks: labels by value.
        label: label of the bar.
        theme: colors.
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
    """Draw a legend in one line at the bottom of a figure.

    Args:
        figure: figure to draw on.
        names: entries of the legend, keys of :func:`_legend_handles`.
        bottom: distance to the figure's lower edge in inches.
        suite: suite of the maze; its goal radius is shown.
        theme: colors.
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


def _start_style(theme: Theme) -> _Style:
    return {**_DOT, "mfc": theme.floor, "mec": theme.ink}


def _goal_style(theme: Theme) -> _Style:
    return {"linestyle": "", "marker": "*", "mfc": theme.goal, "mec": theme.floor, "mew": 0.7}


def _goal_disc_colors(theme: Theme) -> tuple[Any, Any]:
    """Fill color and edge color of the goal's disc."""
    return to_rgba(theme.goal, 0.15), to_rgba(theme.goal, 0.6)


def _executed_style(theme: Theme) -> _Style:
    return {"color": theme.ink, "linewidth": 1.0}


def _anomaly_styles(theme: Theme) -> dict[str, _Style]:
    return {
        "jump": {"linestyle": "", "marker": "x", "mec": theme.goal, "mew": 1.6, "ms": 7},
        "in a wall": {**_DOT, "mfc": theme.warning, "mec": "none", "ms": 3.5},
    }


def _legend_handles(theme: Theme) -> dict[str, Any]:
    fill, edge = _goal_disc_colors(theme)
    disc: _Style = {**_DOT, "ms": 16, "mfc": fill, "mec": edge, "mew": 0.9}
    token: _Style = {**_DOT, "ms": 7, "mec": theme.floor, "mew": 0.6}
    pale = theme.paler(np.array(theme.spread(0.5)), _SPREAD_OPACITY)
    tube: _Style = {**_DOT, "ms": 14, "mec": "none", "mfc": pale}
    return {
        "start": Line2D([], [], **_start_style(theme), ms=9, mew=2.1),
        "goal": (Line2D([], [], **disc), Line2D([], [], **_goal_style(theme), ms=12)),
        "plan": tuple(Line2D([], [], **token, mfc=theme.level(x)) for x in (0.0, 0.4, 0.8)),
        "other candidates": Line2D([], [], color=theme.muted, linewidth=1.0, alpha=0.7),
        "spread": Line2D([], [], **tube),
        "executed path": Line2D([], [], **_executed_style(theme)),
        "one segment": Line2D([], [], **_executed_style(theme)),
        **{kind: Line2D([], [], **style) for kind, style in _anomaly_styles(theme).items()},
    }
