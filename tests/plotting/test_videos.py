"""Videos: what their frames show, and that files are complete and not too large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageSequence
from test_plot_functions import LARGE, make_plan

from dfplan.errors import ConfigError, DataError
from dfplan.plotting.frames import (
    FRAMES_PER_SECOND,
    denoising_frames,
    episode_frames,
    tree_frames,
)
from dfplan.plotting.style import LIGHT
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
    "denoising": lambda **how: denoising_frames(make_plan(LARGE), width=WIDTH, **how),
    "tree": lambda **how: tree_frames(make_plan(LARGE), width=WIDTH, **how),
    "episode": lambda **how: episode_frames(make_episode(), width=WIDTH, **how),
}


@pytest.fixture(scope="module", params=sorted(FRAMES))
def frames(request: pytest.FixtureRequest) -> list[np.ndarray]:
    return list(FRAMES[request.param]())


def test_frames_have_one_even_size(frames: list[np.ndarray]) -> None:
    for frame in frames:
        assert frame.dtype == np.uint8 and frame.shape == frames[0].shape
        assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0 and frame.shape[1] == WIDTH


def test_frames_change_and_the_last_is_repeated(frames: list[np.ndarray]) -> None:
    changes = [np.abs(a.astype(int) - b).max() for a, b in pairwise(frames)]
    assert not any(changes[-FRAMES_PER_SECOND + 1 :])
    assert len({frame.tobytes() for frame in frames}) > 3


def test_frames_do_not_depend_on_earlier_frames() -> None:
    # The last row of the trace equals the first, so the pictures are equal.
    plan = make_plan(LARGE)
    turned = replace(plan, trace=(plan.trace[0], plan.trace[4], plan.trace[0]))
    drawn = list(denoising_frames(turned, width=WIDTH))
    first, last = drawn[0], drawn[-1]
    maze = slice(0, int(0.55 * WIDTH))  # the matrix on the right is filled
    np.testing.assert_array_equal(first[:-40, maze], last[:-40, maze])


def test_the_body_is_drawn_at_the_end_of_the_path() -> None:
    *_, last = episode_frames(make_episode(), width=640)
    ink = np.array(matplotlib.colors.to_rgb(LIGHT.ink)) * 255
    dark = np.abs(last[:-50].astype(float) - ink).max(-1) < 3
    rows, columns = np.nonzero(dark)
    # The path ends in the lower right, so the body is the lowest and rightmost dark element.
    assert rows.max() > 0.75 * last.shape[0] and columns.max() > 0.85 * last.shape[1]


def test_each_plan_of_an_episode_is_shown_at_its_time() -> None:
    whole = make_episode()
    only = replace(whole, plans=whole.plans[:1])
    two, one = (list(episode_frames(x, width=WIDTH)) for x in (whole, only))
    same = [np.array_equal(a[:-30], b[:-30]) for a, b in zip(two, one, strict=True)]
    assert all(same[:30]) and not any(same[30:])


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
