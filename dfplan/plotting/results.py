"""Pictures of a benchmark, as SVG for a page: profiles, scores against time, plans side by side.

The page's style sheet sets their colors, so that they read on light and on dark: ink is
``currentColor``; ``--muted``, ``--wall`` and ``--floor`` are the page's. Matplotlib is imported
when a picture is drawn and not before.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfplan.mazes import parse_maze
from dfplan.plotting.settings import default_settings
from dfplan.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colors, told apart by the colour-blind, less black and yellow, which one of light
# and dark would swallow.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "D", "^", "v", "P")
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
_WIDTH = 6.4
_ROW = 0.21
_PLAN = "#56b4e9"


@dataclass(frozen=True)
class Profile(Record):
    """A performance profile.

    Attributes:
        share: of runs above each threshold, [K].
        low, high: ends of its interval, [K]; NaN where there is none.
    """

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Drive(Record):
    """A plan and how it was driven, in the maze's frame.

    Attributes:
        plan: its points, float [P, 2]; None where there was none.
        path: positions visited, the start first, float [S, 2].
        goal: float [2].
    """

    plan: np.ndarray | None
    path: np.ndarray
    goal: np.ndarray


@default_settings()
def profiles_svg(
    name: str, thresholds: np.ndarray, profiles: Mapping[str, Profile], ranked: Sequence[str]
) -> str:
    """Shares of runs above each of ``thresholds`` [K] of the upper bound, by planner.

    Args:
        name: what its ids end with, of its own on the page.
        thresholds: shares of the upper bound.
        profiles: by label.
        ranked: labels whose place says color and dashes, the same color in both charts. Others are
            gray.
    """
    from dfplan.plotting.style import LIGHT

    figure, axes = _chart(len(profiles))
    handles, looks = [], _looks(ranked)
    for label, profile in profiles.items():
        color, _, dash = looks.get(label, (LIGHT.muted, "", ":"))
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
    """Shares of the upper bound against milliseconds of a plan, by planner.

    Args:
        name: what its ids end with, of its own on the page.
        points: milliseconds and shares of each task, by label; a marker stands at their
            (geometric) means, and whiskers reach to the least and the greatest.
        ranked: labels whose place says color and marker.
        line: label and share of what makes no plans.
    """
    from matplotlib.ticker import LogFormatter

    figure, axes = _chart(len(points) + (line is not None))
    axes.set_xscale("log")
    handles, looks = [], _looks(ranked)
    for label, (times, shares) in points.items():
        color, marker, _ = looks[label]
        x, y = float(np.exp(np.mean(np.log(times)))), 100 * float(np.mean(shares))
        axes.plot([min(times), max(times)], [y, y], color=color, lw=1.1, alpha=0.55)
        axes.plot([x, x], [100 * min(shares), 100 * max(shares)], color=color, lw=1.1, alpha=0.55)
        (mark,) = axes.plot(
            x, y, marker, color=color, ms=8, mec="white", mew=0.8, label=label, zorder=4
        )
        handles.append(mark)
    if line is not None:
        from dfplan.plotting.style import LIGHT

        rule = axes.axhline(100 * line[1], color=LIGHT.muted, lw=1.2, ls=(0, (4, 3)), label=line[0])
        handles.append(rule)
    if found := [each for times, _ in points.values() for each in times]:
        axes.set_xlim(min(found) / 1.3, 1.3 * max(found))  # of a single one, too
    axes.set_xlabel("milliseconds of one plan, alone (median)")
    title = "share of the upper bound, %"
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(LogFormatter())  # by default these are powers of ten
    _finish(figure, axes, handles, title)
    return _svg(figure, name)


@default_settings()
def drives_svg(name: str, maze: str, rows: Mapping[str, Sequence[Drive | None]]) -> str:
    """Plans and how they were driven: a row a planner, a column a problem.

    Args:
        name: what its ids end with, of its own on the page.
        maze: anything that :func:`dfplan.mazes.parse_maze` reads.
        rows: as many of each planner; None leaves a gap.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from dfplan.plotting.maze import draw_maze, maze_view
    from dfplan.plotting.style import LIGHT

    parsed = parse_maze(maze)
    view = maze_view(parsed)
    columns = max(map(len, rows.values()))
    gap, above, foot = 0.12, 0.28, 0.34
    side = (_WIDTH - gap * (columns - 1)) / columns
    tall = side * (view[1] - view[0]) / (view[3] - view[2])
    height = len(rows) * (above + tall) + foot
    figure = Figure(figsize=(_WIDTH, height), facecolor="none")
    for row, (label, drives) in enumerate(rows.items()):
        top = height - row * (above + tall)
        figure.text(0, (top - 0.2) / height, label, fontsize=10, color=LIGHT.ink, fontweight="bold")
        for column, drive in enumerate(drives):
            if drive is None:
                continue
            left, bottom = column * (side + gap), top - above - tall
            box = (left / _WIDTH, bottom / height, side / _WIDTH, tall / height)
            axes = figure.add_axes(box)
            draw_maze(axes, parsed.text, view, scale=False)
            _draw_drive(axes, parsed.text, drive)
    handles = [
        Line2D([], [], color=_PLAN, lw=3, solid_capstyle="round", label="first plan"),
        Line2D([], [], color=LIGHT.ink, lw=1.1, label="driven"),
        Line2D([], [], ls="", marker="o", mfc="white", mec=LIGHT.ink, mew=1.6, ms=6, label="start"),
        Line2D(
            [], [], ls="", marker="*", mfc=LIGHT.goal, mec="white", mew=0.5, ms=10, label="goal"
        ),
    ]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 0), ncols=4, frameon=False,
        fontsize=10, labelcolor=LIGHT.ink, borderpad=0, borderaxespad=0.2, handletextpad=0.5,
        columnspacing=1.4, handlelength=1.4,
    )  # fmt: skip
    return _svg(figure, name)


def _draw_drive(axes: Axes, maze: str, drive: Drive) -> None:
    from dfplan.plotting.marks import draw_ends, draw_executed
    from dfplan.plotting.maze import to_picture

    parsed = parse_maze(maze)
    path = to_picture(parsed, drive.path)
    if drive.plan is not None:
        plan = to_picture(parsed, drive.plan)
        axes.plot(plan[:, 1], plan[:, 0], color=_PLAN, lw=3.2, solid_capstyle="round",
                  solid_joinstyle="round", zorder=3)  # fmt: skip
    draw_executed(axes, path)
    draw_ends(axes, path[0], to_picture(parsed, drive.goal), 3.2, parsed.suite)


def _chart(labels: int) -> tuple[Figure, Axes]:
    """A figure with room for so many labels below, in two columns."""
    from matplotlib.figure import Figure

    below, above, tall = 0.54 + _ROW * ((labels + 1) // 2), 0.34, 2.9
    height = below + tall + above
    figure = Figure(figsize=(_WIDTH, height), facecolor="none")
    box = (0.42 / _WIDTH, below / height, (_WIDTH - 0.57) / _WIDTH, tall / height)
    return figure, figure.add_axes(box, facecolor="none")


def _finish(figure: Figure, axes: Axes, handles: Sequence[Any], title: str) -> None:
    from dfplan.plotting.style import LIGHT

    axes.set_title(title, loc="left", fontsize=10, color=LIGHT.ink, pad=8)
    axes.xaxis.label.set(color=LIGHT.ink, fontsize=10)
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=LIGHT.muted)
    axes.grid(color=LIGHT.muted, alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.legend(
        handles=list(handles), loc="lower left", bbox_to_anchor=(0.42 / _WIDTH, 0), ncols=2,
        frameon=False, fontsize=10, labelcolor=LIGHT.ink, borderpad=0, borderaxespad=0.1,
        handlelength=1.6, labelspacing=0.45,
    )  # fmt: skip


def _looks(ranked: Sequence[str]) -> dict[str, tuple[str, str, Any]]:
    """Color, marker and dashes of each label; colors that come again have other shapes."""
    looks = {}
    for index, label in enumerate(ranked):
        color, again = index % len(_COLORS), index // len(_COLORS)
        shape = (color + again) % len(_MARKERS)
        looks[label] = _COLORS[color], _MARKERS[shape], _DASHES[shape]
    return looks


def _svg(figure: Figure, name: str) -> str:
    """The picture as an element of a page: no address in it, the same bytes each time."""
    import matplotlib

    from dfplan.plotting.style import LIGHT

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
    # Only what is referred to keeps its id, and that is no other picture's of the page.
    refers = re.compile(r'(url\(|href=")#(\w+)')
    kept = {found[2] for found in refers.finditer(text)}
    text = re.sub(
        r' id="([^"]*)"', lambda each: f' id="{each[1]}-{name}"' if each[1] in kept else "", text
    )
    text = refers.sub(lambda each: f"{each[1]}#{each[2]}-{name}", text)
    text = re.sub(r" font-family: [^;]*;", "", text)
    colors = {LIGHT.ink: "currentColor", LIGHT.muted: "var(--muted)", LIGHT.wall: "var(--wall)"}
    for color, shown in {**colors, "#ffffff": "var(--floor)"}.items():
        text = text.replace(color, shown)
    return text
