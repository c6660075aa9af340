"""Charts of benchmark results, as SVG elements for an HTML page.

The page's style sheet sets the colors, for light and dark themes: text is ``currentColor``, other
colors are the variables ``--muted``, ``--wall`` and ``--floor``. A chart's ``name`` is the suffix
of its ids, unique on the page. ``ranked`` are labels in the order that determines their colors,
markers and dashes, so a label has the same color in all charts.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from dfplan.mazes import parse_maze
from dfplan.plotting.marks import draw_ends, draw_executed
from dfplan.plotting.maze import draw_maze, maze_limits, to_picture
from dfplan.plotting.settings import default_settings
from dfplan.plotting.style import LIGHT
from dfplan.record import Record

# The colors of Okabe and Ito, which color-blind readers can distinguish, without black and yellow,
# which have too little contrast on dark and on light backgrounds.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "D", "^", "v", "P")
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
_WIDTH = 5.2  # narrow, so that text is legible on the screen of a phone
_PANEL_WIDTH = 1.8
_LEGEND_ROW = 0.21
_LEGEND_CHARACTERS = 54  # of the two longest labels, if they fit next to each other
_PLAN_COLOR = "#56b4e9"


@dataclass(frozen=True)
class Profile(Record):
    """A performance profile.

    Attributes:
        share: share of runs above each threshold, [K].
        low, high: confidence interval of the share, [K]; NaN if there is none.
    """

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class ExecutedPlan(Record):
    """A plan and the path of its episode, in the suite's coordinates.

    Attributes:
        plan: points of the plan, float [P, 2]; None if the method makes no plans.
        path: visited positions from the start, float [S, 2].
        goal: float [2].
    """

    plan: np.ndarray | None
    path: np.ndarray
    goal: np.ndarray


@default_settings()
def profiles_svg(
    name: str, thresholds: np.ndarray, profiles: Mapping[str, Profile], ranked: Sequence[str]
) -> str:
    """Draw performance profiles by label: the share of runs above each threshold [K].

    The thresholds are shares of the upper bound. Labels that are not ranked are gray.
    """
    figure, axes = _chart(list(profiles))
    handles, styles = [], _styles(ranked)
    for label, profile in profiles.items():
        color, _, dash = styles.get(label, (LIGHT.muted, "", ":"))
        axes.fill_between(
            100 * thresholds, profile.low, profile.high, color=color, alpha=0.15, lw=0
        )
        (line,) = axes.step(
            100 * thresholds, profile.share, where="post", ls=dash, lw=1.8, label=label, color=color
        )
        handles.append(line)
    axes.set(ylim=(-0.02, 1.02), xlim=(100 * thresholds[0], 100 * thresholds[-1]))
    axes.set_xlabel("share of the upper bound, %")
    title = "share of runs (training seeds x tasks) above it"
    _finish(figure, axes, handles, title)
    return _svg(figure, name)


@default_settings()
def times_svg(
    name: str,
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    ranked: Sequence[str],
    line: tuple[str, float] | None,
) -> str:
    """Draw the share of the upper bound against the milliseconds per plan.

    The points are the milliseconds and shares of each task, by label. A marker shows the geometric
    mean of the milliseconds and the mean of the shares; whiskers show the minimum and maximum. The
    axes show all markers; whiskers are cut at their edges. The line is the label and share of a
    method that makes no plans. If it is outside the axes, the legend says so.
    """
    places = {
        label: (float(np.mean(np.log10(times))), 100 * float(np.mean(shares)))
        for label, (times, shares) in points.items()
    }
    (left, low), (right, high) = _limits(np.array(list(places.values())), np.array([0.1, 1.0]))
    lines = {}
    if line is not None:
        height = 100 * line[1]
        text = line[0] if low <= height <= high else f"{line[0]}: {height:.1f}%, outside"
        lines[text] = height
    figure, axes = _chart([*points, *lines])
    handles, styles = [], _styles(ranked)
    for label, (times, shares) in points.items():
        color, marker, _ = styles[label]
        x, y = 10 ** places[label][0], places[label][1]
        axes.plot([min(times), max(times)], [y, y], color=color, lw=1.1, alpha=0.55)
        axes.plot([x, x], [100 * min(shares), 100 * max(shares)], color=color, lw=1.1, alpha=0.55)
        (mark,) = axes.plot(
            x, y, marker, color=color, ms=8, mec="white", mew=0.8, label=label, zorder=4
        )
        handles.append(mark)
    axes.set(xscale="log", xlim=(10**left, 10**right), ylim=(low, high))
    ticks = MaxNLocator(integer=True).tick_values(low, high)
    axes.set_yticks([tick for tick in ticks if low <= tick <= min(high, 100)])
    for text, height in lines.items():
        handles.append(axes.axhline(height, color=LIGHT.muted, lw=1.2, ls=(0, (4, 3)), label=text))
    axes.set_xlabel("milliseconds per plan, batch size 1 (median)")
    title = "share of the upper bound, %"
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(LogFormatter())  # the default writes powers of ten
    _finish(figure, axes, handles, title)
    return _svg(figure, name)


@default_settings()
def episode_svg(name: str, maze: str, executed: ExecutedPlan) -> str:
    """Draw a plan and the path of its episode.

    ``maze`` is any argument of :func:`dfplan.mazes.parse_maze`.
    """
    parsed = parse_maze(maze)
    limits = maze_limits(parsed)
    height = _PANEL_WIDTH * (limits[1] - limits[0]) / (limits[3] - limits[2])
    figure = Figure(figsize=(_PANEL_WIDTH, height), facecolor="none")
    axes = figure.add_axes((0, 0, 1, 1))
    draw_maze(axes, parsed, limits, scale=False)
    path = to_picture(parsed, executed.path)
    if executed.plan is not None:
        plan = to_picture(parsed, executed.plan)
        axes.plot(plan[:, 1], plan[:, 0], color=_PLAN_COLOR, lw=4, solid_capstyle="round",
                  solid_joinstyle="round", zorder=3)  # fmt: skip
    draw_executed(axes, path, 8.0)
    draw_ends(axes, path[0], to_picture(parsed, executed.goal), 4.5, parsed.suite)
    return _svg(figure, name)


def _legend_columns(labels: Sequence[str]) -> int:
    """The number of columns of the legend: one if the labels are too long for two."""
    return 2 if sum(sorted(map(len, labels))[-2:]) <= _LEGEND_CHARACTERS else 1


def _chart(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """Make a figure with space for a legend of these labels below."""
    rows = math.ceil(len(labels) / _legend_columns(labels))
    below, above, axes_height = 0.54 + _LEGEND_ROW * rows, 0.34, 2.9
    height = below + axes_height + above
    figure = Figure(figsize=(_WIDTH, height), facecolor="none")
    box = (0.42 / _WIDTH, below / height, (_WIDTH - 0.57) / _WIDTH, axes_height / height)
    return figure, figure.add_axes(box, facecolor="none")


def _limits(points: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Limits [2, 2] of axes that show points [P, 2], with a margin of at ``least`` [2]."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum(0.08 * (high - low), least)
    return np.array([low - margin, high + margin])


def _finish(figure: Figure, axes: Axes, handles: Sequence[Any], title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=LIGHT.ink, pad=8)
    axes.xaxis.label.set(color=LIGHT.ink, fontsize=10)
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=LIGHT.muted)
    axes.grid(color=LIGHT.muted, alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.legend(
        handles=list(handles), loc="lower left", bbox_to_anchor=(0.42 / _WIDTH, 0),
        ncols=_legend_columns([handle.get_label() for handle in handles]), frameon=False,
        fontsize=10, labelcolor=LIGHT.ink, borderpad=0, borderaxespad=0.1,
        handlelength=1.6, labelspacing=0.45,
    )  # fmt: skip


def _styles(ranked: Sequence[str]) -> dict[str, tuple[str, str, Any]]:
    """Color, marker and dashes of each label; a repeated color gets another marker and dashes."""
    styles = {}
    for index, label in enumerate(ranked):
        color, repeat = index % len(_COLORS), index // len(_COLORS)
        shape = (color + repeat) % len(_MARKERS)
        styles[label] = _COLORS[color], _MARKERS[shape], _DASHES[shape]
    return styles


def _svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element without URLs; equal figures give equal bytes."""
    buffer = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "dfplan"}
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(settings):
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("xlink:href", "href")
    text = re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", text, count=5)
    text = re.sub(r"<defs>\s*<style.*?</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", text)
    # Only elements that are referred to keep their ids, which get a unique suffix.
    reference = re.compile(r'(url\(|href=")#(\w+)')
    used = {match[2] for match in reference.finditer(text)}
    text = re.sub(
        r' id="([^"]*)"', lambda each: f' id="{each[1]}-{name}"' if each[1] in used else "", text
    )
    text = reference.sub(lambda each: f"{each[1]}#{each[2]}-{name}", text)
    text = re.sub(r" font-family: [^;]*;", "", text)
    colors = {LIGHT.ink: "currentColor", LIGHT.muted: "var(--muted)", LIGHT.wall: "var(--wall)"}
    for color, variable in {**colors, "#ffffff": "var(--floor)"}.items():
        text = text.replace(color, variable)
    return text
