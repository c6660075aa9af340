"""One picture each, on axes of one's own: what is drawn, where, and how it looks."""

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
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PatchCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Circle, Ellipse

import dfplan
from dfplan import plotting
from dfplan.errors import ConfigError, DataError
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.planning.rewards import Box, Disc
from dfplan.plotting.maze import to_picture
from dfplan.plotting.style import DARK, LIGHT
from dfplan.types import Plan, SearchTree

K = 20
REFERENCE = Path(__file__).parent / "reference"


def made(maze: Maze, problems: int = 1) -> Plan:
    """A plan along a shortest path, with candidates about it that part more and more."""
    first, last = maze.free_cells[0], maze.free_cells[-1]
    way = maze.cell_to_xy([tuple(first), *maze.shortest_cells(first, last)])
    points = np.repeat(way[None], problems, 0)
    count, ahead = len(way), np.linspace(0, 1, len(way))
    off = maze.suite.unit * np.array([-0.3, -0.1, 0.0, 0.2])[:, None, None]
    candidates = points[:, None] + off * ahead[:, None]
    level = np.repeat(np.round(K * ahead).astype(int)[None], problems, 0)
    trace = tuple((np.clip(level + 10 - 2 * row, 0, K), points) for row in range(16))
    nodes = np.concatenate([points[:, None], candidates], 1)
    scores = np.array([-np.inf, -40.0, -10.0, -30.0, -20.0])
    tree = SearchTree(
        parent=np.repeat(np.array([[-1, 0, 0, 1, 2]]), problems, 0),
        points=nodes,
        scores=np.repeat(scores[None], problems, 0),
        visits=np.ones((problems, 5), dtype=int),
    )
    return Plan(
        points=points,
        steps=np.full(problems, 10 * count),
        stride=10,
        level=level,
        max_level=K,
        spread=np.repeat(0.4 * ahead[None], problems, 0),
        candidates=candidates,
        scores=np.repeat(np.array([[-4.0, -1.0, -3.0, -2.0]]), problems, 0),
        observation=np.zeros((problems, 4)),
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
    "futures": plotting.plot_futures,
    "spread": plotting.plot_spread,
    "ellipses": plotting.plot_ellipses,
    "moment": lambda plan, ax, **how: plotting.plot_moment(plan, 8, ax, **how),
    "levels": plotting.plot_levels,
    "pull": lambda plan, ax, row=0, **how: plotting.plot_pull(
        plan, 0.01 - 0.02 * (plan.candidates[row] > 3), ax, row=row, **how
    ),
    "tree": plotting.plot_tree,
}
OVER_A_MAZE = sorted(DRAW.keys() - {"levels"})


def new_axes(size: float = 4.0) -> Axes:
    return Figure(figsize=(size, size)).add_axes((0, 0, 1, 1))


def pixels(ax: Axes, dpi: int = 100) -> np.ndarray:
    figure: Any = ax.get_figure()
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


def kept(ax: Axes, kind: Any) -> list[Any]:
    return [artist for artist in ax.get_children() if isinstance(artist, kind)]


@pytest.mark.parametrize("name", sorted(DRAW))
def test_each_draws_on_the_axes_it_is_given_and_returns_them(name: str) -> None:
    ax = new_axes()
    assert DRAW[name](made(LARGE), ax) is ax
    assert ax.has_data()


@pytest.mark.parametrize("name", sorted(DRAW))
def test_without_axes_it_is_pyplots_current_ones(name: str) -> None:
    from matplotlib import pyplot

    with matplotlib.rc_context({"backend": "agg"}):
        _, (first, second) = pyplot.subplots(1, 2)
        assert DRAW[name](made(LARGE), None) is second and not first.has_data()
        pyplot.close("all")


@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.text)
def test_one_over_another_they_share_one_maze(maze: Maze) -> None:
    alone, ax, plan = new_axes(), new_axes(), made(maze)
    plotting.plot_maze(maze, alone)
    plotting.plot_path(plan.points[0], ax, maze=maze)
    for name in OVER_A_MAZE:
        DRAW[name](plan, ax)
    assert ax.get_xlim() == alone.get_xlim() and ax.get_ylim() == alone.get_ylim()
    floors = [patch for patch in ax.patches if patch.get_gid() == "floor"]
    assert len(floors) == 1


@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.text)
def test_marks_are_where_the_record_says(maze: Maze) -> None:
    plan = made(maze, problems=2)
    plan = replace(plan, points=np.stack([plan.points[0], plan.points[1][::-1]]))
    on_picture = to_picture(maze, plan.points[1])[:, ::-1]
    (tokens,) = kept(plotting.plot_plan(plan, new_axes(), row=1), PathCollection)
    np.testing.assert_allclose(tokens.get_offsets()[::-1], on_picture)

    futures = kept(plotting.plot_futures(plan, new_axes(), row=1), LineCollection)[-1]
    wanted = to_picture(maze, plan.candidates[1])[:, :, ::-1]
    order = np.argsort(plan.scores[1])  # the best on top
    np.testing.assert_allclose(np.stack(futures.get_segments()), wanted[order])

    tree = kept(plotting.plot_tree(plan, new_axes(), row=1), LineCollection)[-1]
    assert plan.tree is not None
    nodes = to_picture(maze, plan.tree.points[1, 1:])[:, :, ::-1]
    order = np.argsort(plan.tree.scores[1, 1:])
    np.testing.assert_allclose(np.stack(tree.get_segments()), nodes[order])

    ellipses = kept(plotting.plot_ellipses(plan, new_axes(), row=1, every=3), Ellipse)
    ellipses = [one for one in ellipses if not isinstance(one, Circle)]
    middles = to_picture(maze, plan.candidates[1].mean(0)[3::3])[:, ::-1]
    centers = np.array([one.center for one in ellipses])
    np.testing.assert_allclose(centers[: len(middles)][::-1], middles)
    np.testing.assert_allclose(centers[len(middles) :][::-1], middles)


def test_an_ellipse_has_the_covariance_of_the_candidates() -> None:
    rng = np.random.default_rng(0)
    plan = made(LARGE)
    drawn = rng.multivariate_normal([4.0, 5.0], [[0.3, 0.2], [0.2, 0.4]], 400)
    candidates = np.repeat(drawn[None, :, None], plan.points.shape[1], 2)
    plan = replace(plan, candidates=candidates, scores=np.zeros((1, 400)))
    shown = [
        one
        for one in kept(plotting.plot_ellipses(plan, new_axes()), Ellipse)
        if not isinstance(one, Circle)
    ]
    off = (drawn - drawn.mean(0))[:, ::-1]
    for one in shown:
        angle = np.radians(one.angle)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        deviations = np.array([one.width, one.height]) / 2
        covariance = turn @ np.diag(deviations**2) @ turn.T
        times = np.round(np.sqrt(covariance[0, 0] / np.cov(off.T)[0, 0]))
        np.testing.assert_allclose(covariance, times**2 * np.cov(off.T), rtol=1e-6)


def test_arrows_point_where_the_pull_goes() -> None:
    for maze in MAZES:
        plan = made(maze)
        pull = np.zeros_like(plan.candidates[0])
        pull[1, 4] = 0.001 * np.array([3.0, 1.0])
        pull[2, 5] = 0.0005 * np.array([3.0, 1.0])
        (quiver,) = kept(plotting.plot_pull(plan, pull, new_axes()), matplotlib.quiver.Quiver)
        arrows = np.stack([quiver.U, quiver.V], 1)
        tips = to_picture(maze, plan.candidates[0] + pull) - to_picture(maze, plan.candidates[0])
        for arrow, tip in zip(arrows, (tips[1, 4], tips[2, 5]), strict=True):
            shown = arrow / np.linalg.norm(arrow)
            np.testing.assert_allclose(shown, tip[::-1] / np.linalg.norm(tip))
        np.testing.assert_allclose(np.linalg.norm(arrows, axis=1), [0.8, 0.4])


def test_a_denoising_fills_a_grid_and_leaves_no_empty_frame() -> None:
    plan = made(LARGE)
    plan = replace(plan, trace=plan.trace[:4])
    grid = Figure().subplots(2, 3)
    assert plotting.plot_denoising(plan, grid) is grid
    assert [ax.has_data() for ax in grid.flat] == [True] * 4 + [False] * 2
    assert not any(ax.axison for ax in grid.flat)


@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.text)
def test_regions_are_drawn_where_rewards_have_them(maze: Maze) -> None:
    unit = maze.suite.unit
    first = maze.cell_to_xy([(2, 3)])[0]
    disc = Disc(tuple(first), 0.7 * unit, velocity=(0.0, 0.1 * unit))
    box = Box(tuple(first - 0.3 * unit), tuple(first + 0.8 * unit))
    ax = plotting.plot_regions([disc, box], new_axes(), maze=maze, step=10)
    around, square = ax.patches[-2:]
    probes = torch.as_tensor(first + unit * np.random.default_rng(0).uniform(-2, 3, (2000, 2)))
    shown = to_picture(maze, probes.numpy())[:, ::-1]
    for region, patch in ((disc, around), (box, square)):
        distance = region.outside(probes[:, None], torch.tensor([10.0]))[:, 0].numpy() / unit
        drawn = patch.get_path().transformed(patch.get_patch_transform()).contains_points(shown)
        clear = np.abs(distance) > 0.03  # the path of a disc is a polygon to contains_points
        assert 20 < drawn.sum() < 1000
        assert (drawn == (distance < 0))[clear].all()


def test_regions_that_cannot_be_drawn_are_named() -> None:
    with pytest.raises(DataError, match="at least one disc or box; got none"):
        plotting.plot_regions([], new_axes())
    with pytest.raises(DataError, match=r"must be a Disc or a Box.*got 3"):
        plotting.plot_regions([3], new_axes())  # type: ignore[list-item]


def test_levels_are_those_of_the_trace_with_the_future_to_the_right() -> None:
    plan = made(LARGE)
    (image,) = plotting.plot_levels(plan, new_axes()).images
    levels = np.stack([level[0] for level, _ in plan.trace])
    np.testing.assert_array_equal(image.get_array(), levels[: image.get_array().shape[0]])
    assert not levels[image.get_array().shape[0] - 1 :].any()  # rows after that say nothing new
    left, right, bottom, top = image.get_extent()
    assert left < right and bottom > top


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fog_is_wide_where_noise_is_and_nothing_where_all_is_certain(theme: str) -> None:
    plan = made(LARGE)
    widths = []
    for fog in kept(plotting.plot_plan(plan, new_axes(), theme=theme), PatchCollection):
        widths.append([path.get_extents().width for path in fog.get_paths()][::-1])
    for one in widths:
        assert one[0] == pytest.approx(0) and (np.diff(one) > 0).all()
    certain = replace(plan, level=np.zeros_like(plan.level))
    for fog in kept(plotting.plot_plan(certain, new_axes(), theme=theme), PatchCollection):
        assert max(path.get_extents().width for path in fog.get_paths()) == pytest.approx(0)


@pytest.mark.parametrize("look", [LIGHT, DARK], ids=["light", "dark"])
def test_what_is_certain_stands_out_in_grey_too(look: Any) -> None:
    grey = np.array([0.2126, 0.7152, 0.0722])
    floor = np.array(matplotlib.colors.to_rgb(look.floor)) @ grey
    for colors in (look.level, look.spread):
        contrast = np.abs(colors(np.linspace(0, 1, 50))[:, :3] @ grey - floor)
        assert (np.diff(contrast) < 0).all()
        assert contrast[0] > 0.6
    wall = np.array(matplotlib.colors.to_rgb(look.wall)) @ grey
    assert abs(wall - floor) > 0.1


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
    walls, ball = ax.patches[1].get_path(), kept(ax, Circle)[-1]
    pixel = 1 / np.diff(ax.transData.transform([(0, 0), (1, 0)])[:, 0])[0]
    ahead = np.diff(to_picture(maze, np.stack([position, position + push])), axis=0)[0, ::-1]
    ahead /= np.linalg.norm(ahead)
    short, far = (ball.center + (ball.radius + x) * ahead for x in (-pixel, pixel))
    assert walls.contains_point(far) and not walls.contains_point(short)


@pytest.mark.parametrize(
    "name", ["plan", "futures", "ellipses", "moment", "levels", "pull", "tree"]
)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_looks_as_it_did(name: str, theme: str, pytestconfig: pytest.Config) -> None:
    ax = new_axes(1.6)
    DRAW[name](made(LARGE), ax, theme=theme)
    drawn = pixels(ax)
    file = REFERENCE / f"{name}-{theme}.png"
    wanted = imread(file)[..., :3]
    assert drawn.shape == wanted.shape
    # Blurred over 4 pixels a side, so that how edges are smoothed does not matter.
    coarse = [x.reshape(40, 4, 40, 4, 3).mean((1, 3)) for x in (drawn, wanted)]
    assert np.abs(coarse[0] - coarse[1]).max() < 0.08


@pytest.mark.parametrize("name", sorted(DRAW))
def test_what_cannot_be_drawn_is_named(name: str) -> None:
    plan = made(LARGE)
    with pytest.raises(ConfigError, match=r"Unknown theme 'drak'\. Did you mean 'dark'"):
        DRAW[name](plan, new_axes(), theme="drak")
    with pytest.raises((ConfigError, IndexError), match=r"row 1|out of bounds"):
        DRAW[name](plan, new_axes(), row=1)


def test_records_that_lack_what_is_asked_for_are_refused() -> None:
    plan = replace(made(LARGE), trace=(), tree=None)
    with pytest.raises(DataError, match=r"no tree.*trace=True"):
        plotting.plot_tree(plan, new_axes())
    for draw in (plotting.plot_levels, lambda plan, ax: plotting.plot_moment(plan, 0, ax)):
        with pytest.raises(DataError, match="at least one row"):
            draw(plan, new_axes())
    with pytest.raises(ConfigError, match="denoised in 16 rows; got index 99"):
        plotting.plot_moment(made(LARGE), 99, new_axes())
    with pytest.raises(
        ConfigError, match=r"Unknown color of a plan 'levle'\. Did you mean 'level'"
    ):
        plotting.plot_plan(plan, new_axes(), color="levle")
    with pytest.raises(ConfigError, match="every"):
        plotting.plot_ellipses(plan, new_axes(), every=0)
    one = replace(plan, candidates=plan.candidates[:, :1], scores=plan.scores[:, :1])
    with pytest.raises(DataError, match="at least two candidates"):
        plotting.plot_ellipses(one, new_axes())
    for wrong in ({"row": 0.5}, {"row": "first"}):
        with pytest.raises(ConfigError, match="row"):
            plotting.plot_plan(plan, new_axes(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="longest"):
        plotting.plot_pull(plan, np.zeros_like(plan.candidates[0]), new_axes(), longest=-1)
    with pytest.raises(DataError, match="positions must be an array of numbers"):
        plotting.plot_path("abc", new_axes())  # type: ignore[arg-type]
    for flat in (np.zeros(4), np.ones((4, 1)), [1.0, 2.0]):
        with pytest.raises(DataError, match=r"Expected observations \[N, D\]"):
            plotting.plot_coverage(flat, new_axes())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="pull"):
        plotting.plot_pull(plan, np.zeros((3, 2)), new_axes())


def test_without_a_maze_all_is_in_view() -> None:
    plan = replace(made(LARGE), maze=None)
    for name in OVER_A_MAZE:
        ax = DRAW[name](plan, new_axes())
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        shown = plan.candidates.reshape(-1, 2)
        assert (shown > (top, left)).all() and (shown < (bottom, right)).all()


def test_a_maze_of_ones_own_is_drawn_from_its_text() -> None:
    maze = parse_maze(["#####", "#OOO#", "#O#O#", "#####"])
    ax = plotting.plot_path(maze.cell_to_xy([(1, 1), (1, 2)]), new_axes(), maze=maze.ascii)
    assert len(ax.patches) >= 2
