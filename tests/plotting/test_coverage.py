"""Counts of visits, and where they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from dfplan.errors import ConfigError, DataError
from dfplan.mazes import parse_maze
from dfplan.plotting.coverage import BINS_PER_CELL, count_visits
from dfplan.plotting.figures import DPI, coverage_figure, save
from dfplan.plotting.maze import to_picture
from dfplan.plotting.style import LIGHT
from dfplan.suites import SUITES

ROOM = ("######", "#OOOO#", "#O##O#", "#OOOO#", "######")
RNG = np.random.default_rng(0)


def rows(suite: str, count: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Observations [N, 4] over the free cells, and the cell coordinates [N, 2] of each."""
    maze = parse_maze(ROOM, suite=SUITES[suite])
    cells = maze.free_cells[RNG.integers(len(maze.free_cells), size=count)]
    grid = cells + RNG.uniform(-0.4, 0.4, (count, 2))
    return np.concatenate([maze.cell_to_xy(grid), RNG.standard_normal((count, 2))], axis=1), grid


@pytest.mark.parametrize("suite", list(SUITES))
@pytest.mark.parametrize("block", [7, 1 << 18])
def test_every_valid_row_is_counted_in_its_bin(
    limit_blocks: Callable[[int], None], suite: str, block: int
) -> None:
    limit_blocks(block)
    maze = parse_maze(ROOM, suite=SUITES[suite])
    observations, grid = rows(suite)
    observations[[3, 9]], observations[12, 3] = 0, np.nan
    observations[20, :2] = 1e9
    visits = count_visits(observations, maze)
    valid = np.delete(grid, [3, 9, 12, 20], axis=0)
    edges = [np.linspace(-0.5, size - 0.5, BINS_PER_CELL * size + 1) for size in maze.shape]
    expected = np.histogram2d(*valid.T, bins=edges)[0]
    np.testing.assert_array_equal(visits.counts, expected)
    assert visits.limits == pytest.approx((-0.7, len(ROOM) - 0.7, -0.7, len(ROOM[0]) - 0.7))


def test_without_a_maze_all_finite_rows_are_counted() -> None:
    observations = 100 * RNG.standard_normal((1000, 2)) + [50, -300]
    visits = count_visits(observations, None)
    assert visits.counts.sum() == 1000 and max(visits.counts.shape) <= 241
    shown = to_picture(None, observations)
    low, high = shown.min(0), shown.max(0)
    q0, p0, q1, p1 = visits.limits
    assert (low > [q0, q1]).all() and (high < [p0, p1]).all()


@pytest.mark.parametrize("suite", [*SUITES, None])
def test_everything_is_drawn_at_its_position(suite: str | None) -> None:
    maze = None if suite is None else parse_maze(ROOM, suite=SUITES[suite])
    observations, _ = rows(suite or "d4rl")
    visits = count_visits(observations, maze)
    places = [observations[first : first + 30, :2] for first in (0, 30, 60)]
    line, jumps, walls = places
    figure = coverage_figure(observations, maze=maze, line=line, jumps=jumps, walls=walls)
    axes = figure.axes[0]
    drawn = [x.get_xydata() for x in axes.lines if len(x.get_xydata()) == 30]
    np.testing.assert_allclose(drawn, [to_picture(maze, x)[:, ::-1] for x in places])
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    assert (bottom, top, left, right) == pytest.approx(visits.limits)
    np.testing.assert_array_equal(image.get_array().filled(0), visits.counts)
    assert image.get_array().mask.sum() == (visits.counts == 0).sum()
    assert image.get_cmap().name == LIGHT.visits.name
    assert (image.norm.vmin, image.norm.vmax) == (1, visits.counts.max())
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    assert x0 < x1 and (y0 > y1 if maze else y0 < y1)
    inside = to_picture(maze, observations[:, :2])
    assert (inside > [min(y0, y1), x0]).all() and (inside < [max(y0, y1), x1]).all()
    shown = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert shown == ["one segment", "jump", "in a wall"]


def test_the_legend_names_only_what_is_drawn() -> None:
    observations, _ = rows("d4rl")
    figure = coverage_figure(observations, maze=None, jumps=observations[:0, :2])
    assert not figure.legends


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_is_written(tmp_path: Path, ending: str) -> None:
    observations, _ = rows("ogbench")
    maze = parse_maze(ROOM, suite=SUITES["ogbench"])
    line = observations[:50, :2]
    figure = coverage_figure(observations.astype(np.float32), maze=maze, line=line)
    path = save(figure, tmp_path / f"map.{ending}")
    assert [x.name for x in tmp_path.iterdir()] == [path.name]
    if ending == "png":
        height, width = imread(path).shape[:2]
        assert 5 * DPI < width < 12 * DPI and 4 * DPI < height < 10 * DPI


@pytest.mark.parametrize("count", [1, 2])
def test_a_single_position_can_be_drawn(tmp_path: Path, count: int) -> None:
    for suite in (None, "d4rl"):
        maze = None if suite is None else parse_maze(ROOM)
        observations = np.full((count, 2), 1.0)
        figure = coverage_figure(observations, maze=maze)
        save(figure, tmp_path / "one.png")
        (low, high), (bottom, top) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
        assert min(low, high) < 1 < max(low, high) and min(bottom, top) < 1 < max(bottom, top)


def test_invalid_data_and_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ending"):
        save(coverage_figure(np.ones((5, 2)), maze=None), tmp_path / "map.bmp")
    for maze in (None, parse_maze(ROOM)):
        for observations in (np.zeros((5, 4)), np.full((5, 2), np.nan), np.ones((0, 2))):
            with pytest.raises(DataError, match="finite"):
                coverage_figure(observations, maze=maze)
    assert not list(tmp_path.iterdir())
