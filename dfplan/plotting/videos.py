"""Films: a plan coming out of noise, a search growing, a drive with its plans; as GIF or MP4.

Frames are drawn over a background that is drawn once, each when it is asked for.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from dfplan.errors import ConfigError, DataError, MissingPackageError, require_numbers
from dfplan.mazes import Maze, parse_maze
from dfplan.plotting import marks
from dfplan.plotting.checks import checked
from dfplan.plotting.layers import Planned, Problem, plot_path, plot_plan, plot_tree, trace_rows
from dfplan.plotting.maze import View, draw_maze, maze_view, points_view, to_picture, token_size
from dfplan.plotting.output import Output, checked_output, written
from dfplan.plotting.settings import default_settings
from dfplan.plotting.style import Theme, named_theme
from dfplan.record import Record

FRAMES_A_SECOND = 20

LARGEST = 3_000_000
"""Bytes of a film, unless more are allowed."""

ENDINGS = (".gif", ".mp4")
"""Of the films that can be written."""

_DPI = 100
_COLORS = (128, 64, 32)
_HELD = FRAMES_A_SECOND
_BETWEEN = 5
_DRIVE = 8 * FRAMES_A_SECOND
_GROWTH = 6 * FRAMES_A_SECOND


class Driven(Protocol):
    """What is drawn of a :class:`dfplan.types.Rollout`."""

    @property
    def positions(self) -> np.ndarray: ...
    @property
    def plans(self) -> Sequence[tuple[int, Planned]]: ...
    @property
    def goal(self) -> np.ndarray | None: ...
    @property
    def reached(self) -> int | None: ...
    @property
    def maze(self) -> str | None: ...


@dataclass(frozen=True)
class Frames(Record):
    """A film's frames, drawn anew whenever they are gone through.

    Attributes:
        moments: what ``draw`` takes, one for each frame.
        draw: makes one, uint8 [H, W, 3].
    """

    moments: Sequence[float]
    draw: Callable[[float], np.ndarray]

    def __len__(self) -> int:
        return len(self.moments)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.draw, self.moments)


def denoising_frames(
    plan: Planned, *, row: int = 0, width: int = 640, theme: str = "light"
) -> Frames:
    """A plan coming out of noise, the matrix of its levels beside it.

    Between two rows of the scheduling matrix tokens glide.

    Args:
        plan: made with ``trace=True``.
        row: which problem of the batch.
        width: of a frame, in pixels.
        theme: ``light`` or ``dark``.

    Returns:
        Frames at 20 a second.

    Raises:
        ConfigError: no such row or theme.
        DataError: the plan has no trace.
    """
    look, at, rows = named_theme(theme), Problem(plan, row), trace_rows(plan, row)
    stage = _Stage(at.maze, at.view(), look, width, beside=0.34)
    levels = np.stack([level for level, _ in rows]) / plan.max_level
    points = np.stack([to_picture(at.maze, points) for _, points in rows])
    last = len(rows) - 1
    times = np.linspace(0, last, _BETWEEN * last + 1) if last else np.zeros(1)

    def frame(time: float) -> np.ndarray:
        before, share = int(time), time - int(time)
        after = min(before + 1, last)
        noise = (1 - share) * levels[before] + share * levels[after]
        where = (1 - share) * points[before] + share * points[after]

        def draw(ax: Axes) -> None:
            colors, size = look.level(noise), token_size(ax)
            marks.draw_fog(ax, where, noise, colors)
            marks.draw_tokens(ax, where, colors, size, (1 - noise) ** 2, look)
            marks.draw_ends(ax, where[0], at.goal, size, at.suite, look)

        def draw_beside(ax: Axes) -> None:
            shown = np.full((*levels.shape, 4), 0.0)
            shown[: before + 1] = look.level(levels[: before + 1])
            ax.imshow(shown, aspect="auto", interpolation="nearest")
            ax.set_axis_off()

        note = f"row {before} of {last}, {np.mean(levels[before] == 0):.0%} certain"
        return stage.frame(draw, note, draw_beside)

    return Frames([0.0] * (_HELD // 2) + [*times] + [float(last)] * _HELD, frame)


def tree_frames(plan: Planned, *, row: int = 0, width: int = 640, theme: str = "light") -> Frames:
    """A tree search growing, the best plan so far on top.

    Args:
        plan: made by a :class:`dfplan.TreePlanner` with ``trace=True``.
        row: which problem of the batch.
        width: of a frame, in pixels.
        theme: ``light`` or ``dark``.

    Returns:
        Frames at 20 a second.

    Raises:
        ConfigError: no such row or theme.
        DataError: the plan has no tree.
    """
    look, at, tree = named_theme(theme), Problem(plan, row), plan.tree
    if tree is None:
        raise DataError("This plan has no tree. Make it by a TreePlanner, with trace=True.")
    nodes = int((tree.parent[row] >= 0).sum())
    stage = _Stage(at.maze, at.view(), look, width)
    counts = np.unique(np.linspace(1, nodes, min(nodes, _GROWTH)).round().astype(int))
    slow = max(1, _GROWTH // (2 * len(counts)))

    def frame(count: float) -> np.ndarray:
        shown = 1 + int(count)  # the root is no plan

        def draw(ax: Axes) -> None:
            few: Any = _FirstNodes(plan, tree, shown)
            plot_tree(few, ax, row=row, theme=theme)

        best = float(tree.scores[row, 1:shown].max())
        plans = "1 plan" if shown == 2 else f"{shown - 1} plans"
        return stage.frame(draw, f"{plans}, the best scores {best:.0f}")

    return Frames([*np.repeat(counts, slow), *[nodes] * _HELD], frame)


def drive_frames(driven: Driven, *, width: int = 640, theme: str = "light") -> Frames:
    """A drive: the path so far, the ball, and the plan that it follows, as certain as it was.

    Args:
        driven: in an environment.
        width: of a frame, in pixels.
        theme: ``light`` or ``dark``.

    Returns:
        Frames at 20 a second; of a long drive not every step.

    Raises:
        ConfigError: unknown theme.
        DataError: positions that are not finite.
    """
    look = named_theme(theme)
    positions = checked("positions", driven.positions, ("S", 2))
    maze = None if driven.maze is None else parse_maze(driven.maze)
    seen = [positions, *(plan.points[0] for _, plan in driven.plans)]
    view = maze_view(maze) if maze is not None else points_view(np.concatenate(seen))
    stage, last = _Stage(maze, view, look, width), len(positions) - 1
    steps = np.unique(np.linspace(0, last, min(last + 1, _DRIVE)).round().astype(int))

    def frame(moment: float) -> np.ndarray:
        step = int(moment)
        made = [plan for at, plan in driven.plans if at <= step]

        def draw(ax: Axes) -> None:
            if made:
                plot_plan(made[-1], ax, candidates=False, theme=theme)
            plot_path(positions[: step + 1], ax, maze=maze, theme=theme)

        there = driven.reached is not None and step >= driven.reached
        note = f"step {step}, plan {len(made)}"
        return stage.frame(
            draw, f"{note}, goal reached at step {driven.reached}" if there else note
        )

    return Frames([*steps, *[last] * _HELD], frame)


def write_film(
    path: Output,
    frames: Iterable[np.ndarray],
    *,
    largest: int = LARGEST,
    progress: bool = True,
    format: str | None = None,
) -> Path | Any:
    """Write frames as a film, whole or not at all.

    A GIF that would be larger than allowed gets fewer colors, then fewer pixels; an MP4 more
    compression.

    Args:
        path: where to, GIF or MP4 by its ending; or a file that is open for bytes. MP4 needs
            ``pip install 'dfplan[film]'``.
        frames: uint8 [H, W, 3] each, at 20 a second.
        largest: bytes of the film.
        progress: whether to show a bar.
        format: ``gif`` or ``mp4``, instead of the ending; of a file by default GIF.

    Returns:
        The path or file.

    Raises:
        ConfigError: unknown ending or format, no such size, or a file that takes no bytes.
        DataError: no frames, one that is no such array, or two of different sizes.
        MissingPackageError: MP4 without what writes it.
        OSError: the film cannot be written; nothing is left behind.
    """
    where, ending = _checked(path, format)
    require_numbers({"largest": largest}, whole=True, least=1)
    write = _write_gif if ending == ".gif" else _write_mp4
    pictures: list[Image.Image] = []
    for frame in tqdm(frames, desc="frames", unit="frame", disable=not progress):
        _require_frame(frame, pictures[0].size[::-1] if pictures else None)
        pictures.append(Image.fromarray(frame))
    if not pictures:
        raise DataError("A film needs at least one frame; got none.")
    with written(where, ending) as temporary:
        write(temporary, pictures, largest)
    return where


@dataclass(frozen=True)
class Film(Record):
    """A film that plays in a notebook.

    Attributes:
        frames: uint8 [H, W, 3] each, at 20 a second.
    """

    frames: tuple[np.ndarray, ...]

    def save(self, path: Output, format: str | None = None) -> Path | Any:
        """Write it: see :func:`write_film`."""
        return write_film(path, self.frames, progress=False, format=format)

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.save(buffer)
        code = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="film" src="data:image/gif;base64,{code}">'


def checked_path(path: Output, format: str | None = None) -> Path | Any:
    """Where a film goes, if one can be written there.

    Raises:
        ConfigError: neither a path nor a file, or an unknown ending.
        MissingPackageError: MP4 without what writes it.
    """
    return _checked(path, format)[0]


def _checked(path: Output, format: str | None) -> tuple[Path | Any, str]:
    where, ending = checked_output(path, "film", ENDINGS, format)
    if ending != ".gif":
        _ffmpeg()
    return where, ending


def _require_frame(frame: np.ndarray, size: tuple[int, int] | None) -> None:
    """Frames are to be as large as the first, ``size`` (height, width)."""
    shape, kind = np.shape(frame), getattr(frame, "dtype", type(frame).__name__)
    if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or size not in (None, shape[:2]):
        wanted = "H, W" if size is None else f"{size[0]}, {size[1]}"
        raise DataError(
            f"Expected frames uint8 [{wanted}, 3], all of one size; got {kind} {list(shape)}."
        )


@dataclass(frozen=True)
class _FirstNodes(Record):
    """A plan whose tree has only its first nodes."""

    plan: Planned
    whole: Any
    count: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plan, name)

    @property
    def tree(self) -> Any:
        few, whole = slice(self.count), self.whole
        return replace(
            whole,
            parent=whole.parent[:, few],
            points=whole.points[:, few],
            scores=whole.scores[:, few],
            visits=whole.visits[:, few],
        )


class _Stage:
    """A maze that is drawn once, and what moves over it."""

    @default_settings()
    def __init__(
        self, maze: Maze | None, view: View, theme: Theme, width: int, beside: float = 0.0
    ) -> None:
        require_numbers({"width": width}, whole=True, least=160, most=10_000)
        rows, columns = view[1] - view[0], view[3] - view[2]
        margin, foot = 0.02 * width, 0.07 * width
        side = beside * width
        panel = width - 2 * margin - (side + margin if side else 0)
        tall = panel * rows / columns
        height = tall + 2 * margin + foot
        # Even, as films want them.
        self._size = width // 2 * 2, int(height) // 2 * 2
        wide, high = self._size
        figure = Figure(figsize=(wide / _DPI, high / _DPI), dpi=_DPI, facecolor=theme.page)
        self._canvas, self._figure, self._theme = FigureCanvasAgg(figure), figure, theme
        bottom = (margin + foot) / high
        self._ax = figure.add_axes((margin / wide, bottom, panel / wide, tall / high))
        draw_maze(self._ax, maze, view, theme=theme)
        self._beside: Axes | None = None
        if side:
            left = (2 * margin + panel) / wide
            box = (left, bottom, side / wide, tall / high)
            self._beside = figure.add_axes(box)
            self._beside.set_axis_off()
        self._text = (margin / wide, 0.5 * (margin + foot) / high, 0.026 * width * 72 / _DPI)
        self._canvas.draw()  # type: ignore[no-untyped-call]
        self._empty = self._canvas.copy_from_bbox(figure.bbox)  # type: ignore[no-untyped-call]

    @default_settings()
    def frame(
        self,
        draw: Callable[[Axes], None],
        note: str,
        draw_beside: Callable[[Axes], None] | None = None,
    ) -> np.ndarray:
        """What is drawn over the maze, and a line of text below it; uint8 [H, W, 3]."""
        self._canvas.restore_region(self._empty)  # type: ignore[no-untyped-call]
        renderer = self._canvas.get_renderer()  # type: ignore[no-untyped-call]
        for ax, work in ((self._ax, draw), (self._beside, draw_beside)):
            if ax is None or work is None:
                continue
            there = set(ax.get_children())
            work(ax)
            new = [artist for artist in ax.get_children() if artist not in there]
            for artist in sorted(new, key=Artist.get_zorder):
                artist.draw(renderer)
                artist.remove()
        x, y, size = self._text
        text = self._figure.text(x, y, note, fontsize=size, color=self._theme.muted, va="center")
        text.draw(renderer)
        text.remove()
        return np.array(self._canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]


def _write_gif(path: Path, pictures: Sequence[Image.Image], largest: int) -> None:
    shrunk = list(pictures)
    for attempt in range(12):
        colors = _COLORS[min(attempt, len(_COLORS) - 1)]
        if attempt >= len(_COLORS):
            size = (int(0.85 * shrunk[0].width), int(0.85 * shrunk[0].height))
            shrunk = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
        # One palette for all, or still parts would flicker.
        few = shrunk[:: max(1, len(shrunk) // 12)]
        sheet = Image.new("RGB", (few[0].width, few[0].height * len(few)))
        for index, picture in enumerate(few):
            sheet.paste(picture, (0, index * picture.height))
        palette = sheet.quantize(colors, dither=Image.Dither.NONE)
        reduced = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in shrunk]
        reduced[0].save(
            path,
            format="GIF",
            save_all=True,
            append_images=reduced[1:],
            duration=1000 // FRAMES_A_SECOND,
            loop=0,
        )
        if path.stat().st_size <= largest:
            return
    raise ConfigError(
        f"A GIF of {len(pictures)} frames does not fit into {largest} bytes. Allow more, or write "
        "MP4."
    )


def _write_mp4(path: Path, pictures: Sequence[Image.Image], largest: int) -> None:
    ffmpeg = _ffmpeg()
    wide, high = (-(-side // 2) * 2 for side in pictures[0].size)  # which the format wants even
    if (wide, high) != pictures[0].size:
        pictures = [each.crop((0, 0, wide, high)) for each in pictures]
    for quality in range(23, 52, 4):
        writer = ffmpeg.write_frames(
            str(path),
            pictures[0].size,
            fps=FRAMES_A_SECOND,
            codec="libx264",
            macro_block_size=2,
            quality=None,
            output_params=["-crf", str(quality), "-movflags", "+faststart"],
            ffmpeg_log_level="error",
        )
        writer.send(None)
        for picture in pictures:
            writer.send(np.ascontiguousarray(picture))
        writer.close()
        if path.stat().st_size <= largest:
            return
    raise ConfigError(
        f"An MP4 of {len(pictures)} frames does not fit into {largest} bytes. Allow more."
    )


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingPackageError("Writing MP4", "imageio_ffmpeg", "film") from error
    return imageio_ffmpeg
