"""Videos: what their frames show, and that files are complete and not too large."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from inspect import signature
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image, ImageSequence
from test_plot_functions import LARGE, make_plan

import dfplan
from dfplan import plotting
from dfplan.cli.plan import video_episode
from dfplan.errors import ConfigError, DataError, MissingPackageError
from dfplan.plotting.frames import (
    FRAMES_PER_SECOND,
    denoising_frames,
    episode_frames,
    tree_frames,
)
from dfplan.plotting.style import LIGHT, THEMES
from dfplan.plotting.videos import MAX_BYTES, Video, write_video
from dfplan.types import Episode

WIDTH = 320


def make_episode() -> Episode:
    plan = make_plan(LARGE)
    path = plan.points[0]
    steps = np.linspace(0, len(path) - 1, 60)
    positions = np.stack([np.interp(steps, range(len(path)), x) for x in path.T], 1)
    later = replace(plan, points=plan.points[:, ::-1])
    return Episode(positions, np.zeros(59), ((0, plan), (30, later)), path[-1], 55, plan.maze)


FRAMES: dict[str, Any] = {
    "denoising": lambda width=WIDTH, **how: denoising_frames(make_plan(LARGE), width=width, **how),
    "tree": lambda width=WIDTH, **how: tree_frames(make_plan(LARGE), width=width, **how),
    "episode": lambda width=WIDTH, **how: episode_frames(make_episode(), width=width, **how),
}


@pytest.fixture(scope="module", params=sorted(FRAMES))
def frames(request: pytest.FixtureRequest) -> list[np.ndarray]:
    return list(FRAMES[request.param]())


def test_frames_have_one_even_size(frames: list[np.ndarray]) -> None:
    for frame in frames:
        assert frame.dtype == np.uint8 and frame.shape == frames[0].shape
        assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0 and frame.shape[1] == WIDTH


def test_the_first_frame_is_held_for_half_a_second_and_the_last_for_a_second(
    frames: list[np.ndarray],
) -> None:
    changes = [bool(np.abs(a.astype(int) - b).max()) for a, b in pairwise(frames)]
    first, last = FRAMES_PER_SECOND // 2, FRAMES_PER_SECOND
    assert not any(changes[: first - 1]) and not any(changes[1 - last :])
    assert any(changes[first - 1 : first + 4]) and any(changes[-last - 4 : 1 - last])
    assert len({frame.tobytes() for frame in frames}) > 3


def test_frames_do_not_depend_on_earlier_frames() -> None:
    # The last row of the trace equals the first, so the pictures are equal.
    plan = make_plan(LARGE)
    turned = replace(plan, trace=(plan.trace[0], plan.trace[4], plan.trace[0]))
    drawn = list(denoising_frames(turned, width=WIDTH))
    first, last = (above_the_scale(frame)[:, : WIDTH // 2] for frame in (drawn[0], drawn[-1]))
    np.testing.assert_array_equal(first, last)


def above_the_scale(frame: np.ndarray) -> np.ndarray:
    """The part of a frame with the maze, without the texts below it."""
    return frame[: int(0.65 * len(frame))]


def is_color(frame: np.ndarray, color: Any, tolerance: float = 3) -> np.ndarray:
    """Which pixels of a frame have a color."""
    target = np.array(matplotlib.colors.to_rgb(color)) * 255
    return np.asarray(np.abs(frame.astype(float) - target).max(-1) < tolerance)


@pytest.mark.parametrize("theme", sorted(THEMES))
@pytest.mark.parametrize("name", sorted(FRAMES))
def test_below_the_maze_are_the_color_scale_and_the_legend(name: str, theme: str) -> None:
    video, look = FRAMES[name](width=640, theme=theme), THEMES[theme]
    frame = video.draw(video.times[0])
    below = frame[len(above_the_scale(frame)) :]
    colors = look.ranks if name == "tree" else look.uncertainty
    parts = [is_color(below, colors(share), 12) for share in np.linspace(0, 1, 9)]
    certain, not_certain = parts[0], parts[-1]
    wide = np.sum([part.any(1) for part in parts], axis=0) == len(parts)
    both = np.flatnonzero(wide & (np.sum(parts, axis=(0, 2)) > 20))
    # Text can have these colors, too.
    both = max(np.split(both, np.flatnonzero(np.diff(both) > 1) + 1), key=len)
    assert len(both) > 2
    assert certain[both[0]].nonzero()[0].min() < not_certain[both[0]].nonzero()[0].min()
    legend = below[both[-1] :]
    assert is_color(legend, look.goal, 12).any() and is_color(legend, look.ink, 12).any()


@pytest.mark.parametrize("maze", [LARGE.text, None])
@pytest.mark.parametrize("width", [480, 960])
def test_all_texts_are_at_least_11_pixels_per_480_pixels_of_width(
    width: int, maze: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []

    class Canvas(FigureCanvasAgg):
        def __init__(self, figure: Any) -> None:
            super().__init__(figure)
            figures.append(figure)

    monkeypatch.setattr("dfplan.plotting.frames.FigureCanvasAgg", Canvas)
    plan, episode = replace(make_plan(LARGE), maze=maze), replace(make_episode(), maze=maze)
    episode = replace(episode, plans=tuple((at, replace(x, maze=maze)) for at, x in episode.plans))
    denoising_frames(plan, width=width)
    tree_frames(plan, width=width)
    episode_frames(episode, width=width)
    for figure in figures:
        texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        assert len(texts) > 8
        sizes = [text.get_fontsize() * figure.dpi / 72 for text in texts]
        assert min(sizes) >= 11 * width / 480


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_half_the_width_gives_the_same_picture_at_half_the_size(name: str) -> None:
    large, small = (FRAMES[name](width=width) for width in (2 * WIDTH, WIDTH))
    middle = large.times[len(large) // 2]
    one, two = (Image.fromarray(video.draw(middle)) for video in (large, small))
    assert len(large) == len(small) and abs(one.height - 2 * two.height) <= 4
    assert np.abs(np.asarray(one.resize(two.size), float) - np.asarray(two)).mean() < 8


def test_the_matrix_fills_row_by_row_and_its_axes_count_from_0() -> None:
    video = FRAMES["denoising"]()
    later = [above_the_scale(video.draw(time))[:, 2 * WIDTH // 3 :] for time in (0, 3, 6)]
    filled = [int((~is_color(part, LIGHT.floor)).sum()) for part in later]
    assert filled[0] < filled[1] < filled[2]
    (image,) = plotting.plot_levels(make_plan(LARGE), Figure().add_subplot()).images
    left, _, _, top = image.get_extent()
    assert (left, top) == (-0.5, -0.5)


def test_new_segments_of_a_tree_are_marked_and_the_last_frame_shows_the_best_plan() -> None:
    video = FRAMES["tree"](width=640)
    drawn = [above_the_scale(frame) for frame in video]
    marked = [is_color(frame, LIGHT.goal, 30).sum() for frame in drawn]
    goal = marked[-1]  # has the same color
    assert min(marked[:-FRAMES_PER_SECOND]) > goal + 20
    assert set(marked[-FRAMES_PER_SECOND:]) == {goal}
    assert is_color(drawn[-1], LIGHT.ink).sum() > is_color(drawn[0], LIGHT.ink).sum() + 100


@pytest.mark.parametrize("failed", [1, 4])
def test_nodes_without_a_segment_are_left_out_of_the_growth_of_a_tree(failed: int) -> None:
    plan = make_plan(LARGE)
    assert plan.tree is not None
    ends = plan.tree.ends.copy()
    ends[:, 1 : 1 + failed] = 0
    some = replace(plan, tree=replace(plan.tree, ends=ends))
    video = list(tree_frames(some, width=WIDTH))
    assert 0 < len(video) < len(FRAMES["tree"]())
    first, last = (
        is_color(above_the_scale(frame), LIGHT.goal, 30) for frame in video[:: len(video) - 1]
    )
    assert (first.sum() > last.sum()) == (failed < 4)


def test_the_body_is_drawn_at_the_end_of_the_path() -> None:
    *_, last = episode_frames(make_episode(), width=640)
    rows, columns = np.nonzero(is_color(last[: int(0.76 * len(last))], LIGHT.ink))
    # The path ends in the lower right, so the body is the lowest and rightmost dark element.
    assert rows.max() > 0.6 * last.shape[0] and columns.max() > 0.85 * last.shape[1]


def test_each_plan_of_an_episode_is_shown_at_its_time_and_at_the_end_only_the_path() -> None:
    whole = make_episode()
    only = replace(whole, plans=whole.plans[:1])
    two, one = (
        [above_the_scale(frame) for frame in episode_frames(x, width=WIDTH)] for x in (whole, only)
    )
    same = [np.array_equal(a, b) for a, b in zip(two, one, strict=True)]
    second = 30 + FRAMES_PER_SECOND // 2 - 1  # the first frame is held
    assert all(same[:second]) and not any(same[second:-FRAMES_PER_SECOND])
    assert all(same[-FRAMES_PER_SECOND:])


@pytest.mark.parametrize("warm_start", [True, False])
def test_every_plan_in_the_video_of_an_episode_is_sharp_near_and_uncertain_far(
    warm_start: bool,
) -> None:
    options = {name: each.default for name, each in signature(video_episode).parameters.items()}
    planner = replace(dfplan.load("maze2d-large"), settings=options["planner"])
    every = options["replan_every"]
    policy = dfplan.Policy(planner, replan_every=every, warm_start=warm_start)
    episode = dfplan.run_episode(dfplan.make("maze2d-large"), policy, seed=0)
    assert len(episode.plans) > 4
    for _, plan in episode.plans:
        level = plan.level[0][: 1 + plan.steps[0] // plan.stride]
        if len(level) < 10:  # the goal is near
            continue
        quarter = len(level) // 4
        assert not level[:quarter].any()
        assert level[quarter:].max() > plan.max_level / 2


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_video_contains_its_frames(tmp_path: Path, frames: list[np.ndarray], ending: str) -> None:
    if ending == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    path = write_video(tmp_path / f"new/video.{ending}", iter(frames), progress=False)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert path.stat().st_size <= MAX_BYTES
    read = list(read_back(path))
    if ending == "mp4":
        assert len(read) == len(frames)
    else:  # GIF stores repeated frames as one that is shown longer
        with Image.open(path) as video:
            shown = sum(one.info["duration"] for one in ImageSequence.Iterator(video))
        assert shown == len(frames) * 1000 // FRAMES_PER_SECOND
    for now, then in ((read[0], frames[0]), (read[-1], frames[-1])):
        assert np.abs(now.astype(int) - then).mean() < 4


def read_back(path: Path) -> Iterator[np.ndarray]:
    if path.suffix == ".gif":
        with Image.open(path) as video:
            for one in ImageSequence.Iterator(video):
                yield np.asarray(one.convert("RGB"))
        return
    import imageio_ffmpeg

    stream = imageio_ffmpeg.read_frames(str(path))
    width, height = next(stream)["size"]
    for frame in stream:
        yield np.frombuffer(frame, np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_video_that_is_too_large_is_compressed(tmp_path: Path, ending: str) -> None:
    if ending == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (6, 60, 80, 3), dtype=np.uint8)
    path = tmp_path / f"video.{ending}"
    free = write_video(path, noise, progress=False).stat().st_size
    assert write_video(path, noise, max_bytes=free // 3, progress=False).stat().st_size <= free // 3
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="fit into 300"):
        write_video(path, noise, max_bytes=300, progress=False)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_videos_play_in_a_notebook() -> None:
    plan = make_plan(LARGE)
    assert plan._repr_html_().startswith('<img alt="plan"')
    assert make_episode()._repr_html_().startswith('<img alt="plan"')
    drawn = [one.animate(width=160) for one in (plan, replace(plan, tree=None), make_episode())]
    assert len({video.frames[5].tobytes() for video in drawn}) == 3
    assert all('src="data:image/gif;base64,R0lGOD' in video._repr_html_() for video in drawn)


def test_without_an_encoder_mp4_is_refused_and_gif_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    missing = SimpleNamespace(get_ffmpeg_exe=find)
    errors: tuple[tuple[Any, Any], ...] = ((None, MissingPackageError), (missing, ConfigError))
    for module, error in errors:
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", module)
        with pytest.raises(error, match=r"GIF.*ffmpeg"):
            write_video(tmp_path / "video.mp4", [np.zeros((4, 4, 3), np.uint8)], progress=False)
    assert not list(tmp_path.iterdir())
    write_video(tmp_path / "video.gif", [np.zeros((4, 4, 3), np.uint8)], progress=False)


def test_invalid_videos_are_refused(tmp_path: Path) -> None:
    plan = make_plan(LARGE)
    with pytest.raises(ConfigError, match=r"\.avi.*\.gif, \.mp4"):
        write_video(tmp_path / "video.avi", [])
    with pytest.raises(DataError, match="at least one frame"):
        write_video(tmp_path / "video.gif", [], progress=False)
    with pytest.raises(DataError, match="tree"):
        tree_frames(replace(plan, tree=None))
    with pytest.raises(DataError, match="at least one row"):
        replace(plan, tree=None, trace=()).animate()
    with pytest.raises(ConfigError, match=r"width.*160"):
        denoising_frames(plan, width=10)
    with pytest.raises(DataError, match="plan"):
        replace(make_episode(), plans=()).plot(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((60, 60, 3), np.uint8),
        np.zeros((40, 40, 3)),
        np.zeros((40, 40), np.uint8),
        "a frame",
    ],
    ids=["size", "kind", "gray", "text"],
)
@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_invalid_frames_are_refused(tmp_path: Path, odd: Any, ending: str) -> None:
    path = tmp_path / f"video.{ending}"
    if ending == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(DataError, match=r"uint8 \[40, 40, 3\]"):
        write_video(path, [np.zeros((40, 40, 3), np.uint8), odd], progress=False)
    assert not list(tmp_path.iterdir())


def test_odd_sizes_are_padded_to_even_ones(tmp_path: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frame = np.zeros((41, 61, 3), np.uint8)
    frame[:, ::10] = 255
    path = write_video(tmp_path / "video.mp4", [frame] * 3, progress=False)
    assert next(imageio_ffmpeg.read_frames(str(path)))["size"] == (62, 42)


def test_if_the_disk_is_full_the_old_video_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "video.gif"
    path.write_bytes(b"whole")

    def fill(self: Any, file: Path, **_: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", fill)
    with pytest.raises(OSError, match="No space"):
        Video((np.zeros((2, 2, 3), np.uint8),)).save(path)
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]
