"""Figures of plans and of their denoising."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from pictures import colors_at, new_axes, panels

from dfplan.errors import ConfigError, DataError, DfplanError
from dfplan.mazes import Maze, named_maze
from dfplan.plotting.figures import DPI, denoising_figure, plan_figure
from dfplan.plotting.maze import plot_maze
from dfplan.plotting.plans import plot_futures
from dfplan.plotting.style import LIGHT
from dfplan.types import Future, Plan

K = 20
NAMES = ("umaze", "medium", "large")


def plan_of(maze: Maze, per_cell: int = 4) -> dict[str, Any]:
    """A plan along a shortest path between the maze's most distant corners."""
    first, last = maze.free_cells[0], maze.free_cells[-1]
    route = maze.cell_to_xy([tuple(first), *maze.shortest_path(first, last)])
    at = np.linspace(0, len(route) - 1, per_cell * len(route))
    points = np.stack([np.interp(at, range(len(route)), x) for x in route.T], axis=1)
    rising = np.linspace(0, 1, len(points))
    return {
        "points": points,
        "level": np.round(K * rising).astype(int),
        "max_level": K,
        "spread": 0.4 * rising,
        "candidates": points + np.array([-0.1, 0.0, 0.1])[:, None, None],
        "goal": points[-1],
        "maze": maze.ascii,
        "executed": points + 0.05,
    }


def plan_without_maze(points: np.ndarray, **changes: Any) -> dict[str, Any]:
    """A plan of these points, without noise, candidates, goal and maze."""
    zero = np.zeros(len(points))
    plan = {"points": points, "level": zero, "max_level": K, "spread": zero, "goal": None}
    nothing = {"candidates": np.zeros((0, len(points), 2)), "maze": None, "executed": None}
    return {**plan, **nothing, **changes}


def record(plan: dict[str, Any], trace: Sequence[tuple[Any, Any]] = ()) -> Plan:
    """A batch of one plan."""
    arrays = {name: np.asarray(plan[name])[None] for name in ("points", "level", "spread")}
    candidates, goal = np.asarray(plan["candidates"])[None], plan["goal"]
    return Plan(
        **arrays,
        candidates=candidates,
        scores=np.zeros(candidates.shape[:2]),
        max_level=plan["max_level"],
        goal=None if goal is None else np.asarray(goal)[None],
        maze=plan["maze"],
        steps=np.array([0]),
        stride=1,
        observation=np.zeros((1, 4)),
        evaluations=0,
        seconds=0.0,
        trace=tuple((np.asarray(level)[None], np.asarray(at)[None]) for level, at in trace),
    )


def draw(path: Path, plan: dict[str, Any]) -> Path:
    return record(plan).plot(path, executed=plan["executed"])


def draw_strip(
    path: Path, plan: dict[str, Any], trace: Sequence[tuple[Any, Any]], panels: int = 6
) -> Path:
    return record(plan, trace).plot_denoising(path, panels=panels)


def trace_of(plan: dict[str, Any], rows: int = 25) -> list[tuple[np.ndarray, np.ndarray]]:
    """A pyramid: the near future certain first."""
    count = len(plan["points"])
    ahead = K * np.arange(count) / count
    level = [np.clip(2 * K * (1 - m / (rows - 1)) - K + ahead, 0, K) for m in range(rows)]
    return [(np.round(x).astype(int), plan["points"]) for x in level]


def as_figure(plan: dict[str, Any]) -> Figure:
    return plan_figure(record(plan), executed=plan["executed"])


@pytest.mark.parametrize("name", NAMES)
def test_walls_are_drawn_at_their_positions(name: str) -> None:
    maze = named_maze(name)
    axes = plot_maze(name, new_axes(6), scale=False)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    rng = np.random.default_rng(0)
    positions = rng.uniform((top + 0.1, left + 0.1), (bottom - 0.1, right - 0.1), (2000, 2))
    from_edge = np.abs((positions + 0.2 + 0.5) - np.round(positions + 0.2 + 0.5)).min(axis=1)
    positions = positions[from_edge > 0.03]
    drawn = np.abs(colors_at(axes, positions, maze) - matplotlib.colors.to_rgb(LIGHT.wall)).max(1)
    free = maze.is_free(positions, radius=0.0)
    assert 0.2 < free.mean() < 0.9
    np.testing.assert_array_equal(drawn > 0.01, free)


def test_rows_run_down_and_columns_to_the_right() -> None:
    figure = Figure()
    axes = figure.add_subplot()
    plot_maze("large", axes)
    axes.apply_aspect()
    (x, y), (x_down, y_down), (x_right, y_right) = axes.transData.transform(
        [(2.0, 2.0), (2.0, 3.0), (3.0, 2.0)]
    )
    assert y_down < y and x_right > x
    assert x_down == pytest.approx(x) and y_right == pytest.approx(y)
    assert x_right - x == pytest.approx(y - y_down)


@pytest.mark.parametrize("maze", [None, named_maze("large")])
def test_tokens_have_the_colors_of_level_and_spread(maze: Maze | None) -> None:
    points = np.stack([np.full(7, 2.8), np.linspace(0.8, 5.8, 7)], axis=1)
    level, spread = np.array([0, 0, 4, 9, 13, 16, 19]), np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0])
    text = maze and maze.text
    figure = as_figure(plan_without_maze(points, level=level, spread=spread, maze=text))
    by_level, by_spread = panels(figure)
    for axes, shares in ((by_level, level / K), (by_spread, np.sqrt(spread / 0.5))):
        wanted = LIGHT.uncertainty(shares)[1:, :3]
        np.testing.assert_allclose(colors_at(axes, points, maze)[1:], wanted, atol=0.01)


def test_spread_is_drawn_to_scale() -> None:
    points = np.array([(1.0, 1.0), (1.0, 3.0), (1.0, 5.0)])
    (axes,) = panels(as_figure(plan_without_maze(points, spread=np.full(3, 0.5))))
    beside = np.array([(1.0 + x, 3.0) for x in (0.45, 0.55, -0.45, -0.55)])
    inside, outside, *other = colors_at(axes, beside)
    assert np.abs(inside - outside).max() > 0.05
    np.testing.assert_allclose([inside, outside], other)


def test_each_denoising_panel_has_the_colors_of_its_row() -> None:
    maze = named_maze("large")
    points = np.stack([np.full(6, 2.8), np.linspace(0.8, 5.8, 6)], axis=1)
    levels = [np.full(6, K), np.array([0, 0, 5, 10, 15, 20]), np.zeros(6)]
    plan = plan_without_maze(points, maze="large")
    figure = denoising_figure(record(plan, [(level, points) for level in levels]))
    for axes, level in zip(panels(figure), levels, strict=True):
        seen = colors_at(axes, points, maze)
        wanted = LIGHT.uncertainty(level / K)[:, :3]
        wanted[level == K] = matplotlib.colors.to_rgb(LIGHT.floor)  # rings
        np.testing.assert_allclose(seen[1:], wanted[1:], atol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_have_their_size_and_are_not_blank(tmp_path: Path, name: str) -> None:
    plan = plan_of(named_maze(name))
    image = imread(draw(tmp_path / "plan.png", plan))
    wanted = as_figure(plan).get_size_inches() * DPI
    np.testing.assert_allclose(image.shape[1::-1], wanted, atol=1)
    assert 9 * DPI < image.shape[1] < 14 * DPI
    half = image.shape[1] // 2
    for part in (image[:, :half], image[:, half:]):
        codes = (part[..., :3] * 255).astype(int) @ [1, 256, 65536]
        assert len(np.unique(codes)) > 300


@pytest.mark.parametrize("ending, magic", [("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PN")])
def test_the_ending_determines_the_format(tmp_path: Path, ending: str, magic: bytes) -> None:
    path = draw(tmp_path / f"new/plan.{ending}", plan_of(named_maze("umaze")))
    assert path.read_bytes().startswith(magic)
    assert list(path.parent.iterdir()) == [path]


def test_without_a_maze_plan_and_path_are_visible() -> None:
    plan = plan_of(named_maze("medium")) | {"maze": None, "goal": np.array([9.0, -3.0])}
    plan["executed"] = plan["executed"] * 1.5
    for axes in panels(as_figure(plan)):
        low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
        shown = np.concatenate([plan["points"], plan["executed"], plan["goal"][None]])
        assert (shown > low).all() and (shown < high).all()


@pytest.mark.parametrize("maze", [None, "medium"])
def test_futures_are_drawn_with_their_probabilities(maze: str | None) -> None:
    drawn = plan_of(named_maze("medium")) | {"executed": None}
    plan = record(drawn if maze else drawn | {"maze": None})
    saved = Future(0, 3, 0.25, 1.0, plan.points[0, [9, 12]])
    lost = Future(0, 3, 0.5, 0.0, np.array([[6.0, 1.0]]))
    plan = replace(plan, futures=(saved, lost, replace(lost, point=4, probability=0.1)))
    figure = plan_figure(plan)
    for axes in panels(figure):
        assert {text.get_text() for text in axes.texts} >= {"25%", "60%"}
        low, high = np.sort([axes.get_xlim(), axes.get_ylim()], axis=1).T
        for line in axes.get_lines():
            assert (line.get_xydata() >= low).all() and (line.get_xydata() <= high).all()
    (legend,) = figure.legends
    assert {"future", "lost future"} <= {text.get_text() for text in legend.get_texts()}


def test_a_plan_that_does_not_know_its_futures_has_none_to_draw() -> None:
    with pytest.raises(DataError, match="part"):
        plot_futures(record(plan_of(named_maze("umaze"))), Figure().subplots())


def test_a_plan_of_one_point_can_be_drawn(tmp_path: Path) -> None:
    points = np.zeros((1, 2))
    assert draw(tmp_path / "a.png", plan_without_maze(points)).stat().st_size
    strip = draw_strip(tmp_path / "b.png", plan_without_maze(points), [(np.zeros(1), points)])
    assert strip.stat().st_size


def test_repeats_after_arrival_are_not_drawn(tmp_path: Path) -> None:
    plan = plan_of(named_maze("umaze"))
    count = len(plan["points"])
    plan["candidates"] = np.zeros((0, count, 2))
    padded = {
        **plan,
        "points": np.pad(plan["points"], ((0, 9), (0, 0)), mode="edge"),
        "level": np.pad(plan["level"], (0, 9), constant_values=K),
        "spread": np.pad(plan["spread"], (0, 9), constant_values=3.0),
        "candidates": np.zeros((0, count + 9, 2)),
    }
    first = imread(draw(tmp_path / "a.png", plan))
    np.testing.assert_array_equal(first, imread(draw(tmp_path / "b.png", padded)))


@pytest.mark.parametrize("panels, rows", [(1, [24]), (2, [0, 24]), (4, [0, 8, 16, 24])])
def test_panels_are_spaced_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, panels: int, rows: list[int]
) -> None:
    seen: list[str] = []

    def keep(self: Figure, path: Path, **_: object) -> None:
        seen.extend(text.get_text() for text in self.texts)

    monkeypatch.setattr(Figure, "savefig", keep)
    plan = plan_of(named_maze("umaze"))
    draw_strip(tmp_path / "strip.png", plan, trace_of(plan), panels)
    assert seen[::2] == [f"row {row} of 24" for row in rows]
    assert seen[-1] == "100% clean"


def test_with_more_panels_than_rows_all_rows_are_drawn(tmp_path: Path) -> None:
    plan = plan_of(named_maze("umaze"))
    few = draw_strip(tmp_path / "a.png", plan, trace_of(plan, rows=3), panels=9)
    all_ = draw_strip(tmp_path / "b.png", plan, trace_of(plan, rows=3), panels=3)
    np.testing.assert_array_equal(imread(few), imread(all_))


def test_unwritable_paths_raise_and_leave_nothing(tmp_path: Path) -> None:
    plan = plan_of(named_maze("umaze"))
    file, folder = tmp_path / "file", tmp_path / "folder.png"
    file.write_text("mine")
    folder.mkdir()
    for path in (file / "plan.png", folder):
        with pytest.raises(OSError):
            draw(path, plan)
    assert sorted(tmp_path.rglob("*")) == [file, folder]
    assert file.read_text() == "mine"


def test_if_the_disk_is_full_the_old_picture_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(self: Figure, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", fill)
    path = tmp_path / "plan.png"
    path.write_bytes(b"whole")
    with pytest.raises(OSError, match="No space"):
        draw(path, plan_of(named_maze("umaze")))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"points": np.zeros((2, 5, 2))}, r"points .*\[P, 2\].*\[2, 5, 2\]"),
        ({"points": np.zeros((0, 2))}, r"points .*\[P, 2\].*\[0, 2\]"),
        ({"points": np.full((5, 2), np.nan)}, "points .*finite.*10 of 10"),
        ({"level": np.zeros(4)}, r"level .*\[5\].*\[4\]"),
        ({"level": np.full(5, 21)}, "level .*0 and 20.*21"),
        ({"level": np.full(5, -1)}, "level .*0 and 20.*-1"),
        ({"spread": np.zeros((5, 2))}, r"spread .*\[5\].*\[5, 2\]"),
        ({"candidates": np.zeros((5, 2))}, r"candidates .*\[C, 5, 2\].*\[5, 2\]"),
        ({"goal": np.zeros(3)}, r"goal .*\[2\].*\[3\]"),
        ({"executed": np.zeros((9, 4))}, r"executed .*\[S, 2\].*\[9, 4\]"),
        ({"max_level": 0}, "max_level.*0"),
        ({"maze": "lagre"}, "'lagre'.*'large'"),
    ],
)
def test_invalid_arrays_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DfplanError, match=words):
        draw(tmp_path / "plan.png", {**plan_without_maze(np.zeros((5, 2))), **changes})
    assert not list(tmp_path.iterdir())


def test_invalid_traces_are_refused(tmp_path: Path) -> None:
    def strip(trace: list[tuple[np.ndarray, np.ndarray]], panels: int = 6) -> Path:
        return draw_strip(
            tmp_path / "strip.png", plan_without_maze(np.zeros((5, 2))), trace, panels
        )

    row = (np.zeros(5), np.zeros((5, 2)))
    with pytest.raises(DataError, match="at least one row"):
        strip([])
    with pytest.raises(DataError, match=r"trace .*\[5, 2\].*\[4, 2\]"):
        strip([(np.zeros(5), np.zeros((4, 2))), row])
    with pytest.raises(DataError, match=r"level .*\[5\].*\[1, 5\]"):
        strip([(np.zeros((1, 5)), np.zeros((5, 2))), row])
    with pytest.raises(ConfigError, match=r"panels.*0"):
        strip([row], panels=0)
    assert not list(tmp_path.iterdir())


def test_matplotlib_is_imported_when_needed_and_its_settings_stay() -> None:
    script = """
import sys, tempfile
import numpy as np
import dfplan
assert "matplotlib" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()
points = np.array([[(0.0, 0.0), (1.0, 1.0)]])
plan = dfplan.Plan(
    points=points, steps=np.array([1]), stride=1, level=np.array([[0, 1]]), max_level=1,
    spread=np.zeros((1, 2)), candidates=points[:, None], scores=np.zeros((1, 1)),
    observation=np.zeros((1, 4)), goal=None, evaluations=1, seconds=0.0,
    trace=((np.array([[0, 1]]), points),), maze="umaze",
)
with tempfile.TemporaryDirectory() as folder:
    plan.plot(folder + "/a.png")
    plan.plot_denoising(folder + "/a.png")
assert "matplotlib.pyplot" not in sys.modules
assert matplotlib.rcParams.copy() == before
"""
    subprocess.run([sys.executable, "-c", script], check=True)
