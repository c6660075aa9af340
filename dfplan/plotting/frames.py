"""Frames of videos: a plan that is denoised, a tree that grows, an episode with its plans.

What all frames share is drawn once: maze, legend and color scale. Each frame is drawn over it when
it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dfplan.errors import require_numbers
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting import marks
from dfplan.plotting.denoising import draw_denoising_step, plot_levels
from dfplan.plotting.drawn_plan import DrawnPlan, check_array, visible_trace
from dfplan.plotting.layout import TICKS, legend_lines
from dfplan.plotting.maze import Limits, draw_maze, to_picture, token_size, visible_limits
from dfplan.plotting.plans import (
    Scale,
    draw_noisy_tokens,
    level_entries,
    level_scale,
    plot_path,
    plot_tree,
    require_tree,
)
from dfplan.plotting.records import EpisodeLike, FloorLike, PlanLike
from dfplan.plotting.settings import default_settings
from dfplan.plotting.style import Theme, named_theme
from dfplan.record import Record
from dfplan.suites import DEFAULT

FRAMES_PER_SECOND = 20

_FIRST_FRAMES, _LAST_FRAMES = FRAMES_PER_SECOND // 2, FRAMES_PER_SECOND
_FRAMES_PER_ROW = 5
_EPISODE_FRAMES = 8 * FRAMES_PER_SECOND
_TREE_STAGES, _FRAMES_PER_STAGE = 32, FRAMES_PER_SECOND // 5

# All videos are laid out as if they were so wide, in inches. So a video of half the width looks
# like the same video at half the size, and its text stays in proportion.
_WIDTH = 6.0
_TEXT = 10.0  # typographic points: 22 pixels at the default width, 11 at half of it
_LINE = _TEXT / 72
_MARGIN = 0.12
_SIDE_WIDTH, _LEAST_SIDE_HEIGHT = 2.2, 2.0
_BAR_WIDTH = 2.5


@dataclass(frozen=True)
class Frames(Record):
    """The frames of a video. They are drawn each time they are iterated over.

    Attributes:
        times: argument of ``draw`` for each frame.
        draw: draws one frame, uint8 [H, W, 3].
    """

    times: Sequence[float]
    draw: Callable[[float], np.ndarray]

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.draw, self.times)


def denoising_frames(
    plan: PlanLike, *, index: int = 0, width: int = 960, theme: str = "light"
) -> Frames:
    """Draw the denoising of a plan, next to its scheduling matrix.

    Tokens and noise levels are interpolated between two rows of the matrix. The plan is made with
    ``trace=True``. Frames are ``width`` pixels wide, 20 per second. The first one is held for half
    a second and the last one for a second.

    Raises:
        ConfigError: unknown index or theme.
        DataError: the plan has no trace.
    """
    colors, drawn, rows = named_theme(theme), DrawnPlan(plan, index), visible_trace(plan, index)
    levels = np.stack([level for level, _ in rows])
    points = np.stack([to_picture(drawn.maze, points) for _, points in rows])
    canvas = _Canvas(
        drawn.maze,
        drawn.limits(),
        colors,
        width,
        level_entries(drawn, points, levels),
        level_scale(plan.max_level, colors),
        floor=drawn.floor,
        draw_side=lambda ax: plot_levels(plan, ax, index=index, theme=theme),
    )
    last, scale = len(rows) - 1, canvas.colors
    times = np.linspace(0, last, _FRAMES_PER_ROW * last + 1)

    def draw(time: float) -> np.ndarray:
        before, share = int(time), time - int(time)
        after = min(before + 1, last)
        noise = (1 - share) * levels[before] + share * levels[after]
        now = (1 - share) * points[before] + share * points[after]

        def cover_later_rows(ax: Axes) -> None:
            right, bottom = ax.get_xlim()[1], ax.get_ylim()[0]
            box = (-0.5, before + 0.5), right + 0.5, bottom - before - 0.5
            ax.add_patch(Rectangle(*box, fc=colors.floor, lw=0, zorder=3))

        return canvas.frame(
            lambda ax: draw_denoising_step(ax, drawn, now, noise, scale, token_size(ax), colors),
            f"row {before} of {last}, {np.mean(levels[before] == 0):.0%} clean",
            cover_later_rows,
        )

    return Frames(_with_pauses(times), draw)


def tree_frames(
    plan: PlanLike, *, index: int = 0, width: int = 960, theme: str = "light"
) -> Frames:
    """Draw the growth of a search tree: the new segments marked, the best plan so far on top.

    The first segments come one by one, later ones several at a time. The last frame shows the whole
    tree. The plan is of a :class:`dfplan.TreePlanner` and made with ``trace=True``. Frames are as
    in :func:`denoising_frames`.

    Raises:
        ConfigError: unknown index or theme.
        DataError: the plan has no tree.
    """
    colors, drawn, tree = named_theme(theme), DrawnPlan(plan, index), require_tree(plan)
    begins, ends, parents = tree.begins[index], tree.ends[index], tree.parent[index]
    lines = to_picture(drawn.maze, tree.points[index])
    added = np.flatnonzero((parents >= 0) & (ends > begins))  # nodes that have a segment
    # The first stages add one segment each, and later ones more and more.
    stages = np.linspace(1, np.sqrt(len(added)), min(len(added), _TREE_STAGES)) ** 2
    counts = [0, *np.unique(stages.round().astype(int)).tolist()]
    ranks = ScalarMappable(Normalize(0, 1), colors.ranks)
    scale = (ranks, {0.0: "best", 1.0: "worst"}, "rank of the score of a segment")
    legend = dict.fromkeys(("start", "goal", "segment", "new segment", "best plan"), True)
    legend |= {
        "goal": drawn.goal is not None,
        "recorded way": not tree.arrived[index, parents >= 0].all(),
    }
    canvas = _Canvas(drawn.maze, drawn.limits(), colors, width, legend, scale, floor=drawn.floor)

    def draw(time: float) -> np.ndarray:
        stage, whole = int(time), cast(Any, tree)
        new, end = added[:0], 1 + int((parents >= 0).sum())
        if stage < len(counts):
            new = added[counts[stage - 1] : counts[stage]]
            end = 1 + int(new[-1])
        arrays = {each.name: getattr(whole, each.name)[:, :end] for each in fields(whole)}
        part = replace(cast(Any, plan), tree=replace(whole, **arrays))
        segments = [lines[node, begins[node] : ends[node] + 1] for node in new]

        def draw_tree(ax: Axes) -> None:
            plot_tree(part, ax, index=index, theme=theme)
            marks.draw_new_segments(ax, segments, token_size(ax), colors)

        plans = "1 plan" if end == 2 else f"{end - 1} plans"  # the root is none
        best = f"best score {tree.scores[index, 1:end].max():.0f}"
        return canvas.frame(draw_tree, f"{plans}, {best}")

    repeated = np.repeat(np.arange(1, len(counts)), _FRAMES_PER_STAGE)
    return Frames(_with_pauses([*repeated, len(counts)]), draw)


def episode_frames(episode: EpisodeLike, *, width: int = 960, theme: str = "light") -> Frames:
    """Draw an episode: the path so far, the body, and the current plan with its noise levels.

    The last frame shows the whole path, without a plan. In long episodes only some of the steps are
    shown. Frames are as in :func:`denoising_frames`.

    Raises:
        ConfigError: unknown theme.
        DataError: positions are not finite.
    """
    colors = named_theme(theme)
    positions = check_array("positions", episode.positions, ("S", 2))
    maze = None if episode.maze is None else parse_maze(episode.maze)
    plans = [(begin, DrawnPlan(plan, 0)) for begin, plan in episode.plans]
    points = [to_picture(maze, positions), *(drawn.points for _, drawn in plans)]
    points += [drawn.goal[None] for _, drawn in plans if drawn.goal is not None]
    limits = visible_limits(maze, np.concatenate(points))
    legend = {"start": True}
    for _, drawn in plans:
        for name, is_drawn in level_entries(drawn, drawn.points, drawn.level).items():
            legend[name] = legend.get(name, False) or is_drawn
    legend |= {"executed path": True, "body": maze is not None}
    max_level = plans[0][1].max_level if plans else 1
    floor = plans[0][1].floor if plans else None
    scale = level_scale(max_level, colors)
    canvas = _Canvas(maze, limits, colors, width, legend, scale, floor=floor)
    last = len(positions) - 1
    steps = np.unique(np.linspace(0, last, min(last + 1, _EPISODE_FRAMES)).round().astype(int))

    def draw(time: float) -> np.ndarray:
        step = min(int(time), last)
        made = [drawn for begin, drawn in plans if begin <= step]

        def draw_episode(ax: Axes) -> None:
            size, goal = token_size(ax), made[-1].goal if made else None
            if made and time <= last:
                now = made[-1]
                draw_noisy_tokens(ax, now, now.points, now.level, canvas.colors, size, colors)
            suite = DEFAULT if maze is None else maze.suite
            marks.draw_ends(ax, points[0][0], goal, size, suite, colors)
            plot_path(positions[: step + 1], ax, maze=maze, theme=theme)

        text = f"step {step}, plan {len(made)}"
        if episode.reached is not None and step >= episode.reached:
            text += f"\ngoal reached at step {episode.reached}"
        return canvas.frame(draw_episode, text)

    return Frames(_with_pauses([*steps, last + 1]), draw)


def _with_pauses(times: Sequence[float] | np.ndarray) -> list[float]:
    """Hold the first frame for half a second and the last one for a second."""
    first, *others = map(float, times)
    *between, last = others or [first]
    return [first] * _FIRST_FRAMES + between + [last] * _LAST_FRAMES


class _Canvas:
    """What all frames of a video share, drawn once: maze, legend and color scale.

    Args:
        maze: to draw.
        limits: of the axes with the maze.
        theme: colors.
        width: of a frame, in pixels.
        legend: entries of the legend, and whether they are shown.
        scale: the color scale.
        floor: where the data has been, for a plane without a maze.
        draw_side: draws on axes right of the maze; None for no such axes.

    Attributes:
        colors: of the color scale.
    """

    @default_settings()
    def __init__(
        self,
        maze: Maze | None,
        limits: Limits,
        theme: Theme,
        width: int,
        legend: dict[str, bool],
        scale: Scale,
        *,
        floor: FloorLike | None = None,
        draw_side: Callable[[Axes], Any] | None = None,
    ) -> None:
        require_numbers({"width": width}, integer=True, minimum=160, maximum=10_000)
        self._theme, self.colors = theme, scale[0]
        names = [name for name, is_drawn in legend.items() if is_drawn]
        lines = legend_lines(legend, _WIDTH, _TEXT)
        ticks = 0.0 if maze else TICKS * _LINE
        side = _SIDE_WIDTH + _MARGIN if draw_side else 0.0
        across = _WIDTH - 2 * _MARGIN - ticks - side
        aspect = min((limits[1] - limits[0]) / (limits[3] - limits[2]), 1.0)
        height = max(across * aspect, _LEAST_SIDE_HEIGHT if draw_side else 0.0)
        bar_bottom = _MARGIN + (1.5 * lines + 0.5) * _LINE
        bottom = bar_bottom + 4.2 * _LINE + ticks
        pixels = width // 2 * 2  # MP4 needs even sizes
        dpi = pixels / _WIDTH
        pixels_down = round((bottom + height + _MARGIN) * dpi) // 2 * 2
        # The canvas cuts off fractions of pixels, so the size must not be a little too small.
        size = (pixels + 0.1) / dpi, (pixels_down + 0.1) / dpi
        figure = Figure(figsize=size, dpi=dpi, facecolor=theme.background)
        self._canvas, self._figure = FigureCanvasAgg(figure), figure
        self._ax = self._add_axes(_MARGIN + ticks, bottom, across, height)
        draw_maze(self._ax, maze, limits, theme=theme, floor=floor)
        _enlarge_text(self._ax)
        self._side_ax: Axes | None = None
        if draw_side:
            numbers = 3.2 * _LINE  # room for ticks and names of the axes
            left, down = _WIDTH - _MARGIN - _SIDE_WIDTH + numbers, numbers
            box = (left, bottom + down, _SIDE_WIDTH - numbers, height - down)
            self._side_ax = self._add_axes(*box)
            draw_side(self._side_ax)
            _enlarge_text(self._side_ax)
        left = _WIDTH - _MARGIN - _BAR_WIDTH
        bar = self._add_axes(left, bar_bottom + 2.7 * _LINE, _BAR_WIDTH, 0.8 * _LINE)
        marks.draw_color_bar(figure, bar, *scale, _TEXT, theme)
        suite = maze.suite if maze else None
        columns = -(-len(names) // lines)
        marks.draw_legend(figure, names, _MARGIN, _TEXT, columns, suite, theme)
        self._text_y = (bar_bottom + 2.0 * _LINE) / figure.get_figheight()
        self._canvas.draw()  # type: ignore[no-untyped-call]
        self._background = self._canvas.copy_from_bbox(figure.bbox)  # type: ignore[no-untyped-call]

    def _add_axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Add axes at a place in inches."""
        across, down = self._figure.get_size_inches()
        return self._figure.add_axes((left / across, bottom / down, width / across, height / down))

    @default_settings()
    def frame(
        self, draw: Callable[[Axes], Any], text: str, draw_side: Callable[[Axes], Any] | None = None
    ) -> np.ndarray:
        """Draw one frame, uint8 [H, W, 3], with a text below the maze."""
        self._canvas.restore_region(self._background)  # type: ignore[no-untyped-call]
        renderer = self._canvas.get_renderer()  # type: ignore[no-untyped-call]
        for ax, function in ((self._ax, draw), (self._side_ax, draw_side)):
            if ax is None or function is None:
                continue
            old = set(ax.get_children())
            function(ax)
            new = [artist for artist in ax.get_children() if artist not in old]
            for artist in sorted(new, key=Artist.get_zorder):
                artist.draw(renderer)
                artist.remove()
        line = self._figure.text(_MARGIN / _WIDTH, self._text_y, text, fontsize=_TEXT)
        line.set(color=self._theme.ink, va="center", linespacing=1.4)
        line.draw(renderer)
        line.remove()
        return np.array(self._canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]


def _enlarge_text(ax: Axes) -> None:
    """Give the ticks, names and scale of axes the size of a video's text."""
    ax.tick_params(labelsize=_TEXT)
    for text in (ax.xaxis.label, ax.yaxis.label, *ax.texts):
        text.set_fontsize(_TEXT)
