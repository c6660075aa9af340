"""What pictures say about uncertainty: regions, spread, routes and colors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PatchCollection, PathCollection
from matplotlib.colors import Normalize, to_rgb, to_rgba
from matplotlib.text import Text
from pictures import colors_at, new_axes, pixels
from test_plot_functions import DRAW, LARGE, MAZES, K, artists, make_plan

from dfplan import plotting
from dfplan.errors import DataError
from dfplan.mazes import Maze
from dfplan.plotting.maze import to_picture
from dfplan.plotting.style import LIGHT, THEMES
from dfplan.regions import RegionTable
from dfplan.types import Floor, Plan

FINE = 10
"""Cells of the floor in a cell of the maze."""


def table(maze: Maze) -> RegionTable:
    radii = maze.suite.cell_size * np.array([[(0.1, 0.3)], [(0.4, 0.8)]])
    return RegionTable(np.array([0.5, 1.0]), np.array([1]), radii, 1)


def floor_of(maze: Maze) -> Floor:
    """The places at which a body that is as large as a cell of the floor touches no wall."""
    ends = maze.cell_to_xy([(0, 0), np.array(maze.shape) - 1])
    resolution = maze.suite.cell_size / FINE
    origin = ends.min(0) - maze.suite.cell_size / 2
    shape = np.round(np.ptp(ends, axis=0) / resolution).astype(int) + FINE
    places = origin + resolution * (np.moveaxis(np.indices(shape), 0, -1) + 0.5)
    return Floor(origin, resolution, maze.is_free(places, radius=0.6 * resolution))


def without_marks(plan: Plan) -> Plan:
    """The plan without the candidates and the goal, which are drawn everywhere."""
    return replace(plan, candidates=plan.candidates[:, :0], scores=plan.scores[:, :0], goal=None)


def inner(area: np.ndarray) -> np.ndarray:
    """The pixels of an area [H, W] whose neighbors are in it too."""
    both = area & np.roll(area, 1, 0) & np.roll(area, -1, 0)
    return np.asarray(both & np.roll(both, 1, 1) & np.roll(both, -1, 1))


@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.text)
def test_regions_have_the_radii_of_the_table_in_cells(maze: Maze) -> None:
    plan = replace(make_plan(maze), regions=table(maze))
    noise = plan.level[0] / K
    wanted = table(maze).of(noise)[noise > 0] / maze.suite.cell_size
    large, small = artists(plotting.plot_plan(plan, new_axes()), PatchCollection)
    for discs, radius in ((large, wanted[:, 1]), (small, wanted[:, 0])):
        boxes = [path.get_extents() for path in discs.get_paths()][::-1]
        np.testing.assert_allclose([box.width / 2 for box in boxes], radius, rtol=1e-6)
        centers = [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in boxes]
        places = to_picture(maze, plan.points[0])[noise > 0, ::-1]
        np.testing.assert_allclose(centers, places, atol=1e-6)


def test_a_plan_without_noise_or_measured_regions_has_no_regions() -> None:
    plan = make_plan(LARGE)
    clean = replace(plan, regions=table(LARGE), level=np.zeros_like(plan.level))
    for each in (plan, clean):
        assert not artists(plotting.plot_plan(each, new_axes()), PatchCollection)


@pytest.mark.parametrize("theme", list(THEMES))
@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.text)
@pytest.mark.parametrize("known", [True, False], ids=["maze", "floor"])
def test_no_region_and_no_tube_is_in_a_wall(maze: Maze, known: bool, theme: str) -> None:
    plan = without_marks(make_plan(maze))
    plan = replace(plan, floor=floor_of(maze), maze=plan.maze if known else None)
    spread = np.full(plan.points.shape[:2], 0.8 * maze.suite.cell_size)
    wide, regions = replace(plan, spread=spread), replace(plan, regions=table(maze))
    pairs = [[plotting.plot_plan(each, new_axes(), theme=theme) for each in (plan, regions)]]
    tube = plotting.plot_spread(wide, new_axes(), theme=theme)
    empty = plotting.plot_spread(wide, new_axes(), theme=theme)
    empty.collections[-1].remove()
    pairs.append([empty, tube])
    wall = np.array(to_rgb(THEMES[theme].wall))
    for before, after in pairs:
        ground, drawn = pixels(before), pixels(after)
        changed = np.abs(ground - drawn).max(-1) > 0.02
        in_wall = inner(np.abs(ground - wall).max(-1) < 0.004)
        assert changed.sum() > 1000 and in_wall.sum() > 10_000
        assert not (changed & in_wall).any()
        # What is drawn on the floor does not look like a wall.
        assert (np.abs(drawn[changed] - wall).max(-1) > 0.04).mean() > 0.95


def test_tokens_of_pure_noise_are_rings() -> None:
    plan = make_plan(LARGE)
    level = np.minimum(plan.level, K - 1)
    level[:, [6, 9]] = K
    rings, dots = artists(
        plotting.plot_plan(replace(plan, level=level), new_axes()), PathCollection
    )
    places = to_picture(LARGE, plan.points[0, [6, 9]])[::-1, ::-1]
    np.testing.assert_allclose(rings.get_offsets(), places)
    np.testing.assert_allclose(rings.get_facecolor(), [to_rgba(LIGHT.floor)])
    np.testing.assert_allclose(rings.get_edgecolor(), [LIGHT.uncertainty(1.0)] * 2)
    assert len(dots.get_offsets()) == plan.points.shape[1] - 2


@pytest.mark.parametrize("color", ["level", "spread"])
def test_a_part_of_the_line_has_the_color_of_its_less_certain_end(color: str) -> None:
    plan = without_marks(make_plan(LARGE))
    count = plan.points.shape[1]
    share = np.random.default_rng(0).uniform(0.05, 0.95, count)
    level = np.round(K * share).astype(int)
    # The scale of spread grows with the root.
    plan = replace(plan, level=level[None], spread=0.5 * (level[None] / K) ** 2)
    ax = plotting.plot_plan(plan, new_axes(6), color=color)
    middles = (plan.points[0, 1:] + plan.points[0, :-1]) / 2
    wanted = LIGHT.uncertainty(np.maximum(level[1:], level[:-1]) / K)[:, :3]
    np.testing.assert_allclose(colors_at(ax, middles, LARGE)[1:], wanted[1:], atol=0.02)


def test_a_spread_that_is_not_known_has_no_color_of_the_scale() -> None:
    plan = without_marks(make_plan(LARGE))
    plan = replace(plan, spread=np.full(plan.points.shape[:2], np.nan))
    ax = plotting.plot_plan(plan, new_axes(6), color="spread")
    middles = (plan.points[0, 1:] + plan.points[0, :-1]) / 2
    wanted = np.tile(to_rgb(LIGHT.muted), (len(middles) - 1, 1))
    np.testing.assert_allclose(colors_at(ax, middles, LARGE)[1:], wanted, atol=0.02)


@pytest.mark.parametrize("color", ["level", "spread"])
def test_parts_faster_than_the_body_are_marked(color: str) -> None:
    plan = without_marks(make_plan(LARGE))
    level = np.ones_like(plan.level)
    level[0, [3, 4, 8, 9]] = 0  # what is noisy will change
    slow = replace(plan, max_step=1e-6, level=level)
    assert slow.too_fast is not None and slow.too_fast.all()
    ax = plotting.plot_plan(slow, new_axes(6), color=color)
    (marked,) = [x for x in artists(ax, LineCollection) if x.get_label() == "faster than the body"]
    lines = to_picture(LARGE, plan.points[0])[:, ::-1]
    wanted = np.stack([lines[[3, 8]], lines[[4, 9]]], 1)
    np.testing.assert_allclose(np.stack(marked.get_segments()), wanted)
    at = np.linspace(0.3, 0.7, 30)[:, None]
    warned = []
    for first, last in zip(plan.points[0, :-1], plan.points[0, 1:], strict=True):
        seen = colors_at(ax, first + at * (last - first), LARGE)
        warned.append((np.abs(seen - to_rgb(LIGHT.ink)).max(-1) < 0.1).any())
    assert np.flatnonzero(warned).tolist() == [3, 8]


def test_the_tracking_spread_is_a_tube_and_a_panel() -> None:
    plan = make_plan(LARGE)
    radii = np.linspace(0.05, 0.4, plan.points.shape[1])
    ax = plotting.plot_tracking(plan, radii, new_axes(), norm=Normalize(0, 1))
    (tube,) = artists(ax, PatchCollection)
    sizes = [path.get_extents().width / 2 for path in tube.get_paths()]
    assert max(sizes) == pytest.approx(0.4, rel=0.02)
    np.testing.assert_allclose(ax.collections[-1].get_clim(), (0, 1))
    texts = {text.get_text() for text in plan.figure(tracking=radii).findobj(Text)}
    assert {"Tracking spread", "tracking spread, 90%"} <= texts
    with pytest.raises(DataError, match="radii"):
        plotting.plot_tracking(plan, radii[:-1], new_axes())


def test_without_a_plan_on_the_same_route_no_tube_is_drawn() -> None:
    plan = make_plan(LARGE)
    assert plan.spread is not None
    unknown = replace(
        plan,
        spread=np.full_like(plan.spread, np.nan),
        replans=plan.points[:, None] + 0.3,
        same_route=np.zeros((1, 1), bool),
    )
    (tube,) = artists(plotting.plot_spread(unknown, new_axes()), PatchCollection)
    assert max(path.get_extents().width for path in tube.get_paths() if len(path) > 5) < 1e-6
    texts = {text.get_text() for text in unknown.figure().findobj(Text)}
    assert "plan spread" not in texts and "another route, 1 of 1" in texts


def test_plans_of_one_maze_share_the_color_scale_of_spread() -> None:
    plan = make_plan(LARGE)
    scales: list[Any] = []
    for factor in (0.1, 3.0):
        each = replace(plan, spread=None if plan.spread is None else factor * plan.spread)
        for ax in (
            plotting.plot_plan(each, new_axes(), color="spread"),
            plotting.plot_spread(each, new_axes()),
        ):
            scales.append(ax.collections[-1].get_clim())
    assert len(set(scales)) == 1


@pytest.mark.parametrize("name", sorted(DRAW.keys()))
def test_the_color_scale_can_be_set_and_shown(name: str) -> None:
    ax = DRAW[name](make_plan(LARGE), new_axes(), norm=Normalize(-1, 7))
    shown = ax.images[-1] if ax.images else ax.collections[-1]
    bar = ax.figure.colorbar(shown, ax=ax)
    assert (bar.vmin, bar.vmax) == (-1, 7)
    others = {"reward_gradient": LIGHT.gradient, "candidates": LIGHT.ranks, "tree": LIGHT.ranks}
    assert shown.get_cmap() == others.get(name, LIGHT.uncertainty)


@pytest.mark.parametrize("name", sorted(DRAW.keys() - {"levels"}))
def test_pictures_name_their_parts_for_a_legend(name: str) -> None:
    legend = DRAW[name](make_plan(LARGE), new_axes()).legend()
    assert legend.get_texts()


def test_other_routes_are_lines_and_not_in_the_tube() -> None:
    plan = make_plan(LARGE)
    again = plan.points[:, None] + np.array([0.05, 0.4, -0.3])[:, None, None]
    same = np.array([[True, False, False]])
    alone = plotting.plot_spread(plan, new_axes())
    ax = plotting.plot_spread(replace(plan, replans=again, same_route=same), new_axes())
    known = len(alone.get_lines())
    lines = np.stack([line.get_xydata() for line in ax.get_lines()[known:]])
    np.testing.assert_allclose(lines, to_picture(LARGE, again[0, 1:])[..., ::-1])
    assert "another route, 2 of 3" in ax.get_legend_handles_labels()[1]
    tubes = [artists(each, PatchCollection)[-1].get_paths() for each in (alone, ax)]
    for first, second in zip(*tubes, strict=True):
        np.testing.assert_array_equal(first.vertices, second.vertices)


def test_the_width_sets_the_size_of_tokens() -> None:
    plan = without_marks(make_plan(LARGE))
    ax = plotting.plot_plan(plan, new_axes(), width=12.0)
    np.testing.assert_allclose(np.sqrt(artists(ax, PathCollection)[-1].get_sizes()), 12.0)
