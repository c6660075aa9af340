"""Writing pictures and videos, and that the user's settings do not change them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import pytest
from matplotlib import pyplot

from dfplan.data import from_arrays
from dfplan.data.checks.check import check, draw_check
from dfplan.envs.picture import save_frame
from dfplan.errors import ConfigError, DataError
from dfplan.mazes import named_maze
from dfplan.plotting.figures import figure_html, plan_figure
from dfplan.plotting.results import ExecutedPlan, episode_svg
from dfplan.plotting.videos import Video, write_video
from dfplan.types import Episode, Plan

MAZE = named_maze("umaze")
POINTS = MAZE.cell_to_xy(MAZE.free_cells)[None].astype(np.float32)
FRAMES = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype(np.uint8)
ROWS = np.cumsum(np.random.default_rng(0).normal(size=(300, 4)), axis=0)
PLAN = Plan(
    points=POINTS,
    steps=np.array([70]),
    stride=10,
    level=np.arange(7)[None],
    max_level=7,
    spread=np.linspace(0, 0.3, 7)[None],
    candidates=POINTS[:, None],
    scores=np.zeros((1, 1)),
    observation=np.zeros((1, 4)),
    goal=POINTS[:, -1],
    evaluations=1,
    seconds=0.0,
    trace=((np.full((1, 7), 7), POINTS), (np.zeros((1, 7)), POINTS)),
    maze="umaze",
)
EPISODE = Episode(POINTS[0], np.zeros(6), ((0, PLAN),), POINTS[0, -1], None, "umaze")
RECORDING = from_arrays(ROWS, ROWS[:, :2], np.arange(300) == 299, source="walk")


def checked(out: Any) -> Any:
    return draw_check(out, RECORDING, check(RECORDING))


PICTURES: list[Callable[..., Any]] = [PLAN.plot, PLAN.plot_denoising, EPISODE.plot]
WRITERS: list[tuple[str, Callable[..., Any]]] = [
    *((".png", draw) for draw in PICTURES),
    (".png", checked),
    (".png", lambda out: save_frame(out, FRAMES[0])),
    (".gif", lambda out, **how: write_video(out, FRAMES, progress=False, **how)),
    (".gif", Video(tuple(FRAMES)).save),
    (".mp4", lambda out, **how: write_video(out, FRAMES, progress=False, **how)),
]


@pytest.fixture(scope="module", autouse=True)
def _few_pixels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfplan.plotting.figures.DPI", 40)
        yield


each_writer = pytest.mark.parametrize(("ending", "write"), WRITERS)


@each_writer
def test_files_get_the_same_bytes_as_paths(ending: str, write: Any, tmp_path: Path) -> None:
    path = tmp_path / f"new folder/deep/out{ending}"
    assert write(path) == path
    assert list(path.parent.iterdir()) == [path]
    buffer = io.BytesIO(b"before")
    buffer.seek(0, io.SEEK_END)
    how = {"format": "mp4"} if ending == ".mp4" else {}
    assert write(buffer, **how) is buffer
    assert buffer.getvalue() == b"before" + path.read_bytes()
    with (tmp_path / f"open{ending}").open("wb") as file:
        write(file)
    assert Path(file.name).read_bytes() == path.read_bytes()


@each_writer
def test_paths_can_be_written_in_all_ways(
    ending: str, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Place(os.PathLike[str]):
        def __fspath__(self) -> str:
            return str(tmp_path / f"place{ending}")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for number, path in enumerate((f"~/home{ending}", f"here{ending.upper()}", Place())):
        write(path)
        assert len([*tmp_path.iterdir()]) == number + 1
    assert (tmp_path / f"home{ending}").is_file()


@each_writer
def test_invalid_targets_are_refused(ending: str, write: Any, tmp_path: Path) -> None:
    for name in (f"out.{ending[1:]}x", "out", "", "out.", ending):
        with pytest.raises(ConfigError, match=r"Known: .*\.png|Known: \.gif|path of a file"):
            write(tmp_path / name if name else "")
    for wrong in (None, 3, ["out.png"], b"out.png", tmp_path.stat()):
        with pytest.raises(ConfigError, match="path or a file"):
            write(wrong)
    closed = io.BytesIO()
    closed.close()
    readable = tmp_path / f"there{ending}"
    readable.touch()
    with readable.open("rb") as for_reading, readable.open("w") as for_text:
        for file in (closed, for_reading, for_text, io.StringIO()):
            with pytest.raises(ConfigError, match="writing bytes"):
                write(file)
    assert os.listdir(tmp_path) == [readable.name] and not readable.stat().st_size


@pytest.mark.parametrize("draw", PICTURES)
def test_the_format_can_be_given(draw: Any, tmp_path: Path) -> None:
    for name, magic in (("svg", b"<?xml"), (".pdf", b"%PDF"), ("PNG", b"\x89PNG")):
        buffer = io.BytesIO()
        draw(buffer, format=name)
        draw(path := tmp_path / "picture.dat", format=name)
        assert buffer.getvalue().startswith(magic) and path.read_bytes().startswith(magic)
    with (tmp_path / "named.svg").open("wb") as file:
        draw(file)
    assert Path(file.name).read_bytes().startswith(b"<?xml")
    wrong: Any
    for wrong in ("jpg", "", 3):
        with pytest.raises(ConfigError, match=r"Known: \.pdf, \.png, \.svg"):
            draw(io.BytesIO(), format=wrong)


def test_nothing_is_written_if_drawing_fails() -> None:
    buffer = io.BytesIO()
    with pytest.raises(ConfigError):
        PLAN.plot(buffer, index=3)
    with pytest.raises(DataError):
        write_video(buffer, [FRAMES[0], FRAMES[1, 1:]], progress=False)
    assert not buffer.getvalue()


def draw_all() -> list[bytes]:
    """The bytes of all kinds of pictures."""
    written = []
    for draw in (*PICTURES, checked):
        draw(buffer := io.BytesIO())
        written.append(buffer.getvalue())
    written += [np.stack(PLAN.animate(width=160).frames).tobytes()]
    episode = episode_svg("name", "umaze", ExecutedPlan(None, POINTS[0], POINTS[0, -1]))
    return [*written, figure_html(plan_figure(PLAN)).encode(), episode.encode()]


@pytest.fixture(scope="module")
def default_pictures() -> list[bytes]:
    with matplotlib.rc_context(), matplotlib.style.context("default"):
        return draw_all()


ODD: list[dict[str, Any]] = [
    {"text.usetex": True, "font.family": "serif", "axes.formatter.use_mathtext": True},
    {
        "savefig.bbox": "tight",
        "savefig.transparent": True,
        "savefig.format": "pdf",
        "savefig.dpi": 30,
        "figure.dpi": 30,
        "figure.autolayout": True,
        "font.size": 30,
        "font.sans-serif": ["no such font"],
        "text.antialiased": False,
        "svg.fonttype": "none",
        "axes.grid": True,
        "axes.prop_cycle": "cycler('color', ['r'])",
        "lines.marker": "o",
        "image.cmap": "jet",
    },
]


@pytest.mark.parametrize("settings", [*ODD, "dark_background"], ids=["TeX", "many", "dark"])
def test_pictures_do_not_depend_on_the_users_settings(
    settings: Any, default_pictures: list[bytes]
) -> None:
    with matplotlib.rc_context():
        if isinstance(settings, str):
            pyplot.style.use(settings)
        else:
            matplotlib.rcParams.update(settings)
        before = dict(matplotlib.rcParams)
        assert draw_all() == default_pictures
        assert dict(matplotlib.rcParams) == before
    assert not pyplot.get_fignums()


def test_settings_are_restored_after_threads_and_errors(default_pictures: list[bytes]) -> None:
    def draw(number: int) -> bytes:
        with pytest.raises(ConfigError):
            PLAN.plot(io.BytesIO(), index=number + 1)
        PLAN.plot(buffer := io.BytesIO())
        return buffer.getvalue()

    with matplotlib.rc_context({"font.size": 31, "text.color": "red"}):
        before = dict(matplotlib.rcParams)
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(draw, range(8))) == {default_pictures[0]}
        assert dict(matplotlib.rcParams) == before


CODE = """
import os, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import dfplan.plotting
print(*[str(each.message)[:38] for each in caught], sep="; ")
import matplotlib.pyplot as plt
dfplan.plotting.plot_maze("umaze", plt.figure().gca())
plt.savefig("maze.png")
print(os.environ["MPLBACKEND"], os.environ["MATPLOTLIBRC"], os.getcwd())
"""


@pytest.mark.parametrize("damage", ["words", "backend"])
def test_pictures_are_drawn_with_invalid_settings_of_matplotlib(
    damage: str, tmp_path: Path
) -> None:
    rc = tmp_path / "matplotlibrc"
    rc.write_bytes(b"\xff\xfe\x00" if damage == "backend" else b'font.size: "x\n')
    variables = {
        "MPLBACKEND": "nonsense" if damage == "backend" else "agg",
        "MATPLOTLIBRC": str(rc),
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    warning, after = done.stdout.splitlines()
    assert "matplotlib" in warning and "settings" in warning, done.stderr
    assert after == f"{variables['MPLBACKEND']} {rc} {tmp_path}"
    assert (tmp_path / "maze.png").read_bytes().startswith(b"\x89PNG")
