"""Films: every frame shows what the record says, and files are whole and no larger than allowed."""

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
from test_layers import LARGE, made

from dfplan.errors import ConfigError, DataError
from dfplan.plotting import videos as films
from dfplan.plotting.style import LIGHT
from dfplan.plotting.videos import (
    Film,
    denoising_frames,
    drive_frames,
    tree_frames,
    write_film,
)
from dfplan.types import Rollout

WIDTH = 320


def driven() -> Rollout:
    plan = made(LARGE)
    way = plan.points[0]
    steps = np.linspace(0, len(way) - 1, 60)
    positions = np.stack([np.interp(steps, range(len(way)), x) for x in way.T], 1)
    later = replace(plan, points=plan.points[:, ::-1])
    return Rollout(positions, np.zeros(59), ((0, plan), (30, later)), way[-1], 55, plan.maze)


FRAMES: dict[str, Any] = {
    "denoising": lambda **how: denoising_frames(made(LARGE), width=WIDTH, **how),
    "tree": lambda **how: tree_frames(made(LARGE), width=WIDTH, **how),
    "drive": lambda **how: drive_frames(driven(), width=WIDTH, **how),
}


@pytest.fixture(scope="module", params=sorted(FRAMES))
def frames(request: pytest.FixtureRequest) -> list[np.ndarray]:
    return list(FRAMES[request.param]())


def test_frames_are_alike_in_size_and_even(frames: list[np.ndarray]) -> None:
    for frame in frames:
        assert frame.dtype == np.uint8 and frame.shape == frames[0].shape
        assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0 and frame.shape[1] == WIDTH


def test_something_moves_and_the_end_is_held(frames: list[np.ndarray]) -> None:
    changes = [np.abs(a.astype(int) - b).max() for a, b in pairwise(frames)]
    assert not any(changes[-films.FRAMES_A_SECOND + 1 :])
    assert len({frame.tobytes() for frame in frames}) > 3


def test_no_frame_keeps_anything_of_the_one_before() -> None:
    # The noise of the trace is back where it was: so is the picture.
    plan = made(LARGE)
    turned = replace(plan, trace=(plan.trace[0], plan.trace[4], plan.trace[0]))
    drawn = list(denoising_frames(turned, width=WIDTH))
    first, last = drawn[0], drawn[-1]
    maze = slice(0, int(0.55 * WIDTH))  # the matrix beside it fills
    np.testing.assert_array_equal(first[:-40, maze], last[:-40, maze])


def test_the_ball_is_where_the_drive_went() -> None:
    *_, last = drive_frames(driven(), width=640)
    ink = np.array(matplotlib.colors.to_rgb(LIGHT.ink)) * 255
    dark = np.abs(last[:-50].astype(float) - ink).max(-1) < 3
    rows, columns = np.nonzero(dark)
    # The drive ends in the lower right; its ball is the lowest and rightmost ink but the ring.
    assert rows.max() > 0.75 * last.shape[0] and columns.max() > 0.85 * last.shape[1]


def test_both_plans_of_a_drive_are_shown_in_their_time() -> None:
    whole = driven()
    only = replace(whole, plans=whole.plans[:1])
    two, one = (list(drive_frames(x, width=WIDTH)) for x in (whole, only))
    same = [np.array_equal(a[:-30], b[:-30]) for a, b in zip(two, one, strict=True)]
    assert all(same[:30]) and not any(same[30:])


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_film_holds_its_frames(tmp_path: Path, frames: list[np.ndarray], ending: str) -> None:
    if ending == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    path = write_film(tmp_path / f"new/film.{ending}", iter(frames), progress=False)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert path.stat().st_size <= films.LARGEST
    read = list(read_back(path))
    if ending == "mp4":
        assert len(read) == len(frames)
    else:  # equal frames in a row are one that is shown longer
        with Image.open(path) as film:
            shown = sum(one.info["duration"] for one in ImageSequence.Iterator(film))
        assert shown == len(frames) * 1000 // films.FRAMES_A_SECOND
    for now, then in ((read[0], frames[0]), (read[-1], frames[-1])):
        assert np.abs(now.astype(int) - then).mean() < 4


def read_back(path: Path) -> Iterator[np.ndarray]:
    if path.suffix == ".gif":
        with Image.open(path) as film:
            for one in ImageSequence.Iterator(film):
                yield np.asarray(one.convert("RGB"))
        return
    import imageio_ffmpeg

    stream = imageio_ffmpeg.read_frames(str(path))
    width, height = next(stream)["size"]
    for frame in stream:
        yield np.frombuffer(frame, np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_film_that_is_too_large_is_made_smaller(tmp_path: Path, ending: str) -> None:
    if ending == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (6, 60, 80, 3), dtype=np.uint8)
    path = tmp_path / f"film.{ending}"
    free = write_film(path, noise, progress=False).stat().st_size
    assert write_film(path, noise, largest=free // 3, progress=False).stat().st_size <= free // 3
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="does not fit into 300 bytes"):
        write_film(path, noise, largest=300, progress=False)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_it_plays_in_a_notebook() -> None:
    plan = made(LARGE)
    assert plan._repr_html_().startswith('<img alt="plan"')
    assert driven()._repr_html_().startswith('<img alt="plan"')
    drawn = [one.animate(width=160) for one in (plan, replace(plan, tree=None), driven())]
    assert len({film.frames[5].tobytes() for film in drawn}) == 3
    assert all('src="data:image/gif;base64,R0lGOD' in film._repr_html_() for film in drawn)


def test_what_cannot_be_filmed_is_named(tmp_path: Path) -> None:
    plan = made(LARGE)
    with pytest.raises(ConfigError, match=r"ending of a film '.avi'.*\.gif, \.mp4"):
        write_film(tmp_path / "film.avi", [])
    with pytest.raises(DataError, match="at least one frame"):
        write_film(tmp_path / "film.gif", [], progress=False)
    with pytest.raises(DataError, match="has no tree"):
        tree_frames(replace(plan, tree=None))
    with pytest.raises(DataError, match="at least one row"):
        replace(plan, tree=None, trace=()).animate()
    with pytest.raises(ConfigError, match=r"width must be .* at least 160"):
        denoising_frames(plan, width=10)
    with pytest.raises(DataError, match="No plan was made"):
        replace(driven(), plans=()).plot(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((60, 60, 3), np.uint8),
        np.zeros((40, 40, 3)),
        np.zeros((40, 40), np.uint8),
        "a frame",
    ],
    ids=["size", "kind", "grey", "text"],
)
@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_frames_that_are_none_are_refused(tmp_path: Path, odd: Any, ending: str) -> None:
    path = tmp_path / f"film.{ending}"
    if ending == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(DataError, match=r"Expected frames uint8 \[40, 40, 3\], all of one size"):
        write_film(path, [np.zeros((40, 40, 3), np.uint8), odd], progress=False)
    assert not list(tmp_path.iterdir())


def test_an_odd_size_is_made_even_and_not_stretched(tmp_path: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frame = np.zeros((41, 61, 3), np.uint8)
    frame[:, ::10] = 255
    path = write_film(tmp_path / "film.mp4", [frame] * 3, progress=False)
    assert next(imageio_ffmpeg.read_frames(str(path)))["size"] == (62, 42)


def test_a_full_disk_leaves_the_previous_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.gif"
    path.write_bytes(b"whole")

    def fill(self: Any, file: Path, **_: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", fill)
    with pytest.raises(OSError, match="No space"):
        Film((np.zeros((2, 2, 3), np.uint8),)).save(path)
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]
