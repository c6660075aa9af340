"""Frames of videos: a plan that is denoised, a tree that grows, an episode with its plans.

The maze is drawn once. Each frame is drawn over it when it is needed.
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
from matplotlib.figure import Figure

from dfplan.errors import require_numbers
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting.denoising import draw_denoising_step
from dfplan.plotting.drawn_plan import DrawnPlan, check_array, visible_trace
from dfplan.plotting.maze import Limits, draw_maze, to_picture, token_size, visible_limits
from dfplan.plotting.plans import level_norm, plot_path, plot_plan, plot_tree, require_tree
from dfplan.plotting.records import EpisodeLike, PlanLike
from dfplan.plotting.settings import default_settings
from dfplan.plotting.style import Theme, named_theme
from dfplan.record import Record

FRAMES_PER_SECOND = 20

_DPI = 100
_LAST_FRAMES = FRAMES_PER_SECOND
_FRAMES_PER_ROW = 5
_EPISODE_FRAMES = 8 * FRAMES_PER_SECOND
_TREE_FRAMES = 6 * FRAMES_PER_SECOND


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
    ``trace=True``. Frames are ``width`` pixels wide, 20 per second.

    Raises:
        ConfigError: unknown index or theme.
        DataError: the plan has no trace.
    """
    colors, drawn, rows = named_theme(theme), DrawnPlan(plan, index), visible_trace(plan, index)
    canvas = _Canvas(drawn.maze, drawn.limits(), colors, width, side_panel=0.34)
    levels = np.stack([level for level, _ in rows]) / plan.max_level
    points = np.stack([to_picture(drawn.maze, points) for _, points in rows])
    last = len(rows) - 1
    scale = ScalarMappable(level_norm(plan.max_level), colors.uncertainty)
    times = np.linspace(0, last, _FRAMES_PER_ROW * last + 1) if last else np.zeros(1)

    def draw(time: float) -> np.ndarray:
        before, share = int(time), time - int(time)
        after = min(before + 1, last)
        noise = (1 - share) * levels[before] + share * levels[after]
        now = (1 - share) * points[before] + share * points[after]

        def draw_matrix(ax: Axes) -> None:
            image = np.full((*levels.shape, 4), 0.0)
            image[: before + 1] = colors.uncertainty(levels[: before + 1])
            ax.imshow(image, aspect="auto", interpolation="nearest")
            ax.set_axis_off()

        text = f"row {before} of {last}, {np.mean(levels[before] == 0):.0%} clean"
        return canvas.frame(
            lambda ax: draw_denoising_step(
                ax, drawn, now, plan.max_level * noise, scale, token_size(ax), colors
            ),
            text,
            draw_matrix,
        )

    return Frames([0.0] * (_LAST_FRAMES // 2) + [*times] + [float(last)] * _LAST_FRAMES, draw)


def tree_frames(
    plan: PlanLike, *, index: int = 0, width: int = 960, theme: str = "light"
) -> Frames:
    """Draw the growth of a search tree, the best plan so far on top.

    The plan is of a :class:`dfplan.TreePlanner` and made with ``trace=True``. Frames are ``width``
    pixels wide, 20 per second.

    Raises:
        ConfigError: unknown index or theme.
        DataError: the plan has no tree.
    """
    colors, drawn, tree = named_theme(theme), DrawnPlan(plan, index), require_tree(plan)
    nodes = int((tree.parent[index] >= 0).sum())
    canvas = _Canvas(drawn.maze, drawn.limits(), colors, width)
    counts = np.unique(np.linspace(1, nodes, min(nodes, _TREE_FRAMES)).round().astype(int))
    repeats = max(1, _TREE_FRAMES // (2 * len(counts)))

    def draw(count: float) -> np.ndarray:
        end = 1 + int(count)  # the root is not a plan
        whole: Any = tree
        arrays = {each.name: getattr(whole, each.name)[:, :end] for each in fields(whole)}
        part = replace(cast(Any, plan), tree=replace(whole, **arrays))
        plans = "1 plan" if end == 2 else f"{end - 1} plans"
        return canvas.frame(
            lambda ax: plot_tree(part, ax, index=index, theme=theme),
            f"{plans}, best score {tree.scores[index, 1:end].max():.0f}",
        )

    return Frames([*np.repeat(counts, repeats), *[nodes] * _LAST_FRAMES], draw)


def episode_frames(episode: EpisodeLike, *, width: int = 960, theme: str = "light") -> Frames:
    """Draw an episode: the path so far, the body, and the current plan with its noise levels.

    Frames are ``width`` pixels wide, 20 per second. In long episodes they show only some of the
    steps.

    Raises:
        ConfigError: unknown theme.
        DataError: positions are not finite.
    """
    colors = named_theme(theme)
    positions = check_array("positions", episode.positions, ("S", 2))
    maze = None if episode.maze is None else parse_maze(episode.maze)
    points = np.concatenate([positions, *(plan.points[0] for _, plan in episode.plans)])
    canvas, last = _Canvas(maze, visible_limits(maze, points), colors, width), len(positions) - 1
    steps = np.unique(np.linspace(0, last, min(last + 1, _EPISODE_FRAMES)).round().astype(int))

    def draw(time: float) -> np.ndarray:
        step = int(time)
        plans = [plan for start, plan in episode.plans if start <= step]

        def draw_episode(ax: Axes) -> None:
            if plans:
                plot_plan(plans[-1], ax, candidates=False, theme=theme)
            plot_path(positions[: step + 1], ax, maze=maze, theme=theme)

        text = f"step {step}, plan {len(plans)}"
        if episode.reached is not None and step >= episode.reached:
            text += f", goal reached at step {episode.reached}"
        return canvas.frame(draw_episode, text)

    return Frames([*steps, *[last] * _LAST_FRAMES], draw)


class _Canvas:
    """A maze that is drawn once, as the background of all frames.

    Lengths are in pixels. ``side_panel`` is the width of a panel right of the maze, as a share of
    ``width``; 0 for none.
    """

    @default_settings()
    def __init__(
        self, maze: Maze | None, limits: Limits, theme: Theme, width: int, side_panel: float = 0.0
    ) -> None:
        require_numbers({"width": width}, integer=True, minimum=160, maximum=10_000)
        rows, columns = limits[1] - limits[0], limits[3] - limits[2]
        margin, footer = 0.02 * width, 0.07 * width
        side_width = side_panel * width
        maze_width = width - 2 * margin - (side_width + margin if side_width else 0)
        maze_height = maze_width * rows / columns
        # MP4 needs even sizes.
        full_width = width // 2 * 2
        full_height = int(maze_height + 2 * margin + footer) // 2 * 2
        size = (full_width / _DPI, full_height / _DPI)
        figure = Figure(figsize=size, dpi=_DPI, facecolor=theme.background)
        self._canvas, self._figure, self._theme = FigureCanvasAgg(figure), figure, theme
        bottom, height = (margin + footer) / full_height, maze_height / full_height
        self._ax = figure.add_axes((margin / full_width, bottom, maze_width / full_width, height))
        draw_maze(self._ax, maze, limits, theme=theme)
        self._side_ax: Axes | None = None
        if side_width:
            left = (2 * margin + maze_width) / full_width
            self._side_ax = figure.add_axes((left, bottom, side_width / full_width, height))
            self._side_ax.set_axis_off()
        text_y = 0.5 * (margin + footer) / full_height
        self._text = (margin / full_width, text_y, 0.026 * width * 72 / _DPI)
        self._canvas.draw()  # type: ignore[no-untyped-call]
        self._background = self._canvas.copy_from_bbox(figure.bbox)  # type: ignore[no-untyped-call]

    @default_settings()
    def frame(
        self, draw: Callable[[Axes], Any], text: str, draw_side: Callable[[Axes], Any] | None = None
    ) -> np.ndarray:
        """Draw one frame, uint8 [H, W, 3], with a line of text below the maze."""
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
        x, y, size = self._text
        line = self._figure.text(x, y, text, fontsize=size, color=self._theme.muted, va="center")
        line.draw(renderer)
        line.remove()
        return np.array(self._canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
