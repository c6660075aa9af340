"""Each plot function: what it draws, where it draws it, and how it looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Circle
from matplotlib.transforms import Affine2D
from pictures import new_axes, pixels

import dfplan
from dfplan import plotting
from dfplan.errors import ConfigError, DataError
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.planning.rewards import Box, Disc
from dfplan.plotting.maze import to_picture
from dfplan.types import Plan, SearchTree

K = 20
REFERENCE = Path(__file__).parent / "reference"


def make_plan(maze: Maze, count: int = 1) -> Plan:
    """Plans along a shortest path, with candidates that diverge from it."""
    first, last = maze.free_cells[0], maze.free_cells[-1]
    path = maze.cell_to_xy([tuple(first), *maze.shortest_path(first, last)])
    points = np.repeat(path[None], count, 0)
    length, ahead = len(path), np.linspace(0, 1, len(path))
    off = maze.suite.cell_size * np.array([(-0.3, 0.1), (-0.1, -0.2), (0.0, 0.0), (0.2, 0.1)])
    candidates = points[:, None] + off[:, None] * ahead[:, None]
    level = np.repeat(np.round(K * ahead).astype(int)[None], count, 0)
    trace = tuple((np.clip(level + 10 - 2 * row, 0, K), points) for row in range(16))
    nodes = np.concatenate([points[:, None], candidates], 1)
    scores = np.array([-np.inf, -40.0, -10.0, -30.0, -20.0])
    tree = SearchTree(
        parent=np.repeat(np.array([[-1, 0, 0, 1, 2]]), count, 0),
        points=nodes,
        begins=np.zeros((count, 5), dtype=int),
        ends=np.full((count, 5), length - 1),
        arrived=np.ones((count, 5), dtype=bool),
        scores=np.repeat(scores[None], count, 0),
        visits=np.ones((count, 5), dtype=int),
    )
    return Plan(
        points=points,
        steps=np.full(count, 10 * length),
        stride=10,
        level=level,
        max_level=K,
        spread=np.repeat(0.4 * ahead[None], count, 0),
        candidates=candidates,
        scores=np.repeat(np.array([[-4.0, -1.0, -3.0, -2.0]]), count, 0),
        observation=np.zeros((count, 4)),
        goal=points[:, -1],
        evaluations=48,
        seconds=0.1,
        trace=trace,
        maze=maze.text,
        tree=tree,
    )


LARGE = named_maze("large")
MAZES = (LARGE, named_maze("pointmaze-large"), named_maze("ogbench-medium"))

DRAW: dict[str, Callable[..., Any]] = {
    "plan": plotting.plot_plan,
    "candidates": plotting.plot_candidates,
    "spread": plotting.plot_spread,
    "ellipses": plotting.plot_ellipses,
    "denoising_step": lambda plan, ax, **how: plotting.plot_denoising_step(plan, 8, ax, **how),
    "levels": plotting.plot_levels,
    "reward_gradient": lambda plan, ax, index=0, **how: plotting.plot_reward_gradient(
        plan, 0.01 - 0.02 * (plan.candidates[index] > 3), ax, index=index, **how
    ),
    "tree": plotting.plot_tree,
}
OVER_A_MAZE = sorted(DRAW.keys() - {"levels"})


def artists(ax: Axes, kind: Any) -> list[Any]:
    return [artist for artist in ax.get_children() if isinstance(artist, kind)]


@pytest.mark.parametrize("name", sorted(DRAW))
def test_draws_on_the_given_axes_and_returns_them(name: str) -> None:
    ax = new_axes()
    assert DRAW[name](make_plan(LARGE), ax) is ax
    assert ax.has_data()


@pytest.mark.parametrize("name", sorted(DRAW))
def test_draws_on_the_current_axes_of_pyplot_by_default(name: str) -> None:
    from matplotlib import pyplot

    with matplotlib.rc_context({"backend": "agg"}):
        _, (first, second) = pyplot.subplots(1, 2)
        assert DRAW[name](make_plan(LARGE), None) is second and not first.has_data()
        pyplot.close("all")


@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.text)
def test_pictures_on_the_same_axes_share_one_maze(maze: Maze) -> None:
    alone, ax, plan = new_axes(), new_axes(), make_plan(maze)
    plotting.plot_maze(maze, alone)
    plotting.plot_path(plan.points[0], ax, maze=maze)
    for name in OVER_A_MAZE:
        DRAW[name](plan, ax)
    assert ax.get_xlim() == alone.get_xlim() and ax.get_ylim() == alone.get_ylim()
    floors = [patch for patch in ax.patches if patch.get_gid() == "floor"]
    assert len(floors) == 1


@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.text)
def test_elements_are_drawn_at_their_positions(maze: Maze) -> None:
    plan = make_plan(maze, count=2)
    plan = replace(plan, points=np.stack([plan.points[0], plan.points[1][::-1]]))
    on_picture = to_picture(maze, plan.points[1])[:, ::-1]
    tokens = artists(plotting.plot_plan(plan, new_axes(), index=1), PathCollection)
    places = np.concatenate([each.get_offsets() for each in tokens])  # first the rings
    np.testing.assert_allclose(places[::-1], on_picture)

    candidates = artists(plotting.plot_candidates(plan, new_axes(), index=1), LineCollection)[-1]
    wanted = to_picture(maze, plan.candidates[1])[:, :, ::-1]
    order = np.argsort(plan.scores[1])  # the best on top
    np.testing.assert_allclose(np.stack(candidates.get_segments()), wanted[order])

    tree = artists(plotting.plot_tree(plan, new_axes(), index=1), LineCollection)[-1]
    assert plan.tree is not None
    nodes = to_picture(maze, plan.tree.points[1, 1:])[:, :, ::-1]
    order = np.argsort(plan.tree.scores[1, 1:])
    np.testing.assert_allclose(np.stack(tree.get_segments()), nodes[order])

    middles = to_picture(maze, plan.candidates[1].mean(0)[3::3])[:, ::-1]
    for ellipses in artists(
        plotting.plot_ellipses(plan, new_axes(), index=1, every=3), PatchCollection
    ):
        boxes = [path.get_extents() for path in ellipses.get_paths()][::-1]
        centers = [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in boxes]
        np.testing.assert_allclose(centers, middles)


def test_ellipses_have_the_covariance_of_the_candidates() -> None:
    rng = np.random.default_rng(0)
    plan = make_plan(LARGE)
    drawn = rng.multivariate_normal([4.0, 5.0], [[0.3, 0.2], [0.2, 0.4]], 400)
    candidates = np.repeat(drawn[None, :, None], plan.points.shape[1], 2)
    plan = replace(plan, candidates=candidates, scores=np.zeros((1, 400)))
    shown = artists(plotting.plot_ellipses(plan, new_axes()), PatchCollection)
    covariance = np.cov(drawn[:, ::-1].T)
    for ellipses, deviations in zip(shown, (2, 1), strict=True):
        (outline,) = ellipses.get_paths()[0].transformed(Affine2D().scale(1000)).to_polygons()
        edge = outline / 1000 - drawn.mean(0)[::-1]
        distance = np.einsum("pi,ij,pj->p", edge, np.linalg.inv(covariance), edge)
        np.testing.assert_allclose(np.sqrt(distance), deviations, rtol=1e-3)


def test_arrows_have_the_direction_and_relative_length_of_the_gradient() -> None:
    for maze in MAZES:
        plan = make_plan(maze)
        gradient = np.zeros_like(plan.candidates[0])
        gradient[1, 4] = 0.001 * np.array([3.0, 1.0])
        gradient[2, 5] = 0.0005 * np.array([3.0, 1.0])
        (quiver,) = artists(
            plotting.plot_reward_gradient(plan, gradient, new_axes()), matplotlib.quiver.Quiver
        )
        arrows = np.stack([quiver.U, quiver.V], 1)
        tips = to_picture(maze, plan.candidates[0] + gradient) - to_picture(
            maze, plan.candidates[0]
        )
        for arrow, tip in zip(arrows, (tips[1, 4], tips[2, 5]), strict=True):
            shown = arrow / np.linalg.norm(arrow)
            np.testing.assert_allclose(shown, tip[::-1] / np.linalg.norm(tip))
        np.testing.assert_allclose(np.linalg.norm(arrows, axis=1), [0.8, 0.4])


def test_denoising_fills_a_grid_and_hides_unused_axes() -> None:
    plan = make_plan(LARGE)
    plan = replace(plan, trace=plan.trace[:4])
    grid = Figure().subplots(2, 3)
    assert plotting.plot_denoising(plan, grid) is grid
    assert [ax.has_data() for ax in grid.flat] == [True] * 4 + [False] * 2
    assert not any(ax.axison for ax in grid.flat)


@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.text)
def test_regions_are_drawn_where_rewards_have_them(maze: Maze) -> None:
    unit = maze.suite.cell_size
    first = maze.cell_to_xy([(2, 3)])[0]
    disc = Disc(tuple(first), 0.7 * unit, velocity=(0.0, 0.1 * unit))
    box = Box(tuple(first - 0.3 * unit), tuple(first + 0.8 * unit))
    ax = plotting.plot_regions([disc, box], new_axes(), maze=maze, step=10)
    around, square = ax.patches[-2:]
    probes = torch.as_tensor(first + unit * np.random.default_rng(0).uniform(-2, 3, (2000, 2)))
    shown = to_picture(maze, probes.numpy())[:, ::-1]
    for region, patch in ((disc, around), (box, square)):
        distance = (
            region.signed_distance(probes[:, None], torch.tensor([10.0]))[:, 0].numpy() / unit
        )
        drawn = patch.get_path().transformed(patch.get_patch_transform()).contains_points(shown)
        clear = np.abs(distance) > 0.03  # the path of a disc is a polygon to contains_points
        assert 20 < drawn.sum() < 1000
        assert (drawn == (distance < 0))[clear].all()


def test_invalid_regions_are_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        plotting.plot_regions([], new_axes())
    with pytest.raises(DataError, match=r"Disc.*Box.*3"):
        plotting.plot_regions([3], new_axes())  # type: ignore[list-item]


def test_levels_are_those_of_the_trace_with_the_future_on_the_right() -> None:
    plan = make_plan(LARGE)
    (image,) = plotting.plot_levels(plan, new_axes()).images
    levels = np.stack([level[0] for level, _ in plan.trace])
    np.testing.assert_array_equal(image.get_array(), levels[: image.get_array().shape[0]])
    assert not levels[image.get_array().shape[0] - 1 :].any()  # later rows are clean too
    left, right, bottom, top = image.get_extent()
    assert left < right and bottom > top


BALLS = [
    ("multi2d-medium", named_maze("medium")),
    ("pointmaze-medium", named_maze("pointmaze-medium")),
    ("ogbench-medium", named_maze("ogbench-medium")),
]


@pytest.mark.parametrize("name, maze", BALLS, ids=[name for name, _ in BALLS])
@pytest.mark.parametrize("push", [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
def test_a_ball_pushed_against_a_wall_touches_the_drawn_wall(
    name: str, maze: Maze, push: tuple[float, float]
) -> None:
    env = dfplan.make(name)
    observation, _ = env.reset(seed=0)
    for _ in range(250):
        observation, *_ = env.step(np.array(push, dtype=np.float32))
    env.close()
    state = observation["observation"] if isinstance(observation, dict) else observation
    position = np.asarray(state)[:2]
    ax = plotting.plot_path(position[None], new_axes(), maze=maze)
    ax.apply_aspect()
    walls, ball = ax.patches[1].get_path(), artists(ax, Circle)[-1]
    pixel = 1 / np.diff(ax.transData.transform([(0, 0), (1, 0)])[:, 0])[0]
    ahead = np.diff(to_picture(maze, np.stack([position, position + push])), axis=0)[0, ::-1]
    ahead /= np.linalg.norm(ahead)
    short, far = (ball.center + (ball.radius + x) * ahead for x in (-pixel, pixel))
    assert walls.contains_point(far) and not walls.contains_point(short)


@pytest.mark.parametrize("name", sorted(DRAW))
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_picture_equals_its_reference(name: str, theme: str, pytestconfig: pytest.Config) -> None:
    ax = new_axes(1.6)
    DRAW[name](make_plan(LARGE), ax, theme=theme)
    drawn = pixels(ax)
    file = REFERENCE / f"{name}-{theme}.png"
    wanted = imread(file)[..., :3]
    assert drawn.shape == wanted.shape
    # Averaged over squares of 4 pixels, so that differences in antialiasing do not matter.
    coarse = [x.reshape(40, 4, 40, 4, 3).mean((1, 3)) for x in (drawn, wanted)]
    assert np.abs(coarse[0] - coarse[1]).max() < 0.08


@pytest.mark.parametrize("name", sorted(DRAW))
def test_unknown_themes_and_indices_are_refused(name: str) -> None:
    plan = make_plan(LARGE)
    with pytest.raises(ConfigError, match=r"'drak'.*'dark'"):
        DRAW[name](plan, new_axes(), theme="drak")
    with pytest.raises((ConfigError, IndexError), match=r"index 1|out of bounds"):
        DRAW[name](plan, new_axes(), index=1)


def test_records_without_the_drawn_fields_are_refused() -> None:
    plan = replace(make_plan(LARGE), trace=(), tree=None)
    with pytest.raises(DataError, match=r"tree.*trace=True"):
        plotting.plot_tree(plan, new_axes())
    for draw in (plotting.plot_levels, lambda plan, ax: plotting.plot_denoising_step(plan, 0, ax)):
        with pytest.raises(DataError, match="at least one row"):
            draw(plan, new_axes())
    with pytest.raises(ConfigError, match=r"16 rows.*99"):
        plotting.plot_denoising_step(make_plan(LARGE), 99, new_axes())
    with pytest.raises(ConfigError, match=r"'levle'.*'level'"):
        plotting.plot_plan(plan, new_axes(), color="levle")
    with pytest.raises(ConfigError, match="every"):
        plotting.plot_ellipses(plan, new_axes(), every=0)
    one = replace(plan, candidates=plan.candidates[:, :1], scores=plan.scores[:, :1])
    with pytest.raises(DataError, match="at least two candidates"):
        plotting.plot_ellipses(one, new_axes())
    for wrong in ({"index": 0.5}, {"index": "first"}):
        with pytest.raises(ConfigError, match="index"):
            plotting.plot_plan(plan, new_axes(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="longest"):
        plotting.plot_reward_gradient(
            plan, np.zeros_like(plan.candidates[0]), new_axes(), longest=-1
        )
    with pytest.raises(DataError, match=r"positions.*numbers"):
        plotting.plot_path("abc", new_axes())  # type: ignore[arg-type]
    for flat in (np.zeros(4), np.ones((4, 1)), [1.0, 2.0]):
        with pytest.raises(DataError, match="observations"):
            plotting.plot_coverage(flat, new_axes())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="gradient"):
        plotting.plot_reward_gradient(plan, np.zeros((3, 2)), new_axes())


def test_without_a_maze_everything_is_visible() -> None:
    plan = replace(make_plan(LARGE), maze=None)
    for name in OVER_A_MAZE:
        ax = DRAW[name](plan, new_axes())
        low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
        shown = plan.candidates.reshape(-1, 2)
        assert (shown > low).all() and (shown < high).all()


def test_a_custom_maze_is_drawn_from_its_text() -> None:
    maze = parse_maze(["#####", "#OOO#", "#O#O#", "#####"])
    ax = plotting.plot_path(maze.cell_to_xy([(1, 1), (1, 2)]), new_axes(), maze=maze.ascii)
    assert len(ax.patches) >= 2
