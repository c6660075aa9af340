from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.sparse import lil_matrix
from scipy.sparse.csgraph import shortest_path

from dfplan.errors import ConfigError, MazeError
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.suites import D4RL, GYMNASIUM, OGBENCH, SUITES, Suite

NAMES = ("umaze", "medium", "large")


def random_maze(seed: int) -> Maze:
    """A connected maze of random size, carved by a random walk, with a goal in one cell."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(4, 12, size=2)
    rows = np.full((height, width), "#")
    cell = np.array([1, 1])
    for _ in range(3 * height * width):
        rows[tuple(cell)] = "O"
        step = rng.choice([-1, 1]) * np.eye(2, dtype=int)[rng.integers(2)]
        cell = np.clip(cell + step, 1, [height - 2, width - 2])
    rows[tuple(cell)] = "G"
    return parse_maze(["".join(row) for row in rows])


MAZES = [*map(named_maze, NAMES), *map(random_maze, range(5))]


@pytest.mark.parametrize("maze", MAZES)
def test_all_spellings_of_a_maze_are_equal(maze: Maze) -> None:
    spaced = maze.ascii.replace("O", " ")
    spellings = {
        "ascii": maze.ascii,
        "indented": "\n    " + maze.ascii.replace("\n", "\n    ") + "\n",
        "windows": maze.ascii.replace("\n", "\r\n"),
        "blanks": spaced,
        "d4rl": "\\".join(maze.rows),
        "lower": maze.ascii.lower(),
        "strings": list(maze.rows),
        "characters": [list(row) for row in maze.rows],
        "robotics": [[{"#": 1, "O": 0, "G": "g"}[c] for c in row] for row in maze.rows],
    }
    for name, spelling in spellings.items():
        assert parse_maze(spelling).rows == maze.rows, name
    assert parse_maze(maze) is maze


@pytest.mark.parametrize("maze", MAZES)
def test_walls_may_be_numbers_or_masks(maze: Maze) -> None:
    for grid in (maze.walls, maze.walls.astype(int), maze.walls.astype(float)):
        np.testing.assert_array_equal(parse_maze(grid).walls, maze.walls)
        np.testing.assert_array_equal(parse_maze(grid.tolist()).walls, maze.walls)


@pytest.mark.parametrize(
    ("name", "goal"), [("umaze", (1, 1)), ("medium", (6, 6)), ("large", (7, 9))]
)
def test_named_mazes_have_the_published_goals(name: str, goal: tuple[int, int]) -> None:
    maze = parse_maze(name)
    assert maze.name == name
    assert maze.goal is not None
    np.testing.assert_array_equal(maze.goal, goal)


def test_a_maze_without_a_marked_cell_has_no_goal() -> None:
    assert parse_maze(["###", "#O#", "###"]).goal is None


@pytest.mark.parametrize(
    ("name", "middle"),
    [("large", [2.8, 4.8]), ("pointmaze-large", [-0.5, 1.0]), ("ogbench-giant", [16.0, 8.0])],
)
def test_cells_and_positions_are_inverse(name: str, middle: list[float]) -> None:
    maze = named_maze(name)
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 20, size=(1000, 2))
    offsets = rng.uniform(-0.499, 0.499, size=(1000, 2)) * maze.suite.cell_size
    np.testing.assert_array_equal(maze.xy_to_cell(maze.cell_to_xy(cells) + offsets), cells)
    np.testing.assert_allclose(maze.cell_to_xy([3, 5]), middle)
    np.testing.assert_allclose(maze.xy_to_grid(maze.cell_to_xy(cells)), cells, atol=1e-12)


@pytest.mark.parametrize("suite", [GYMNASIUM, OGBENCH])
def test_free_space_does_not_depend_on_the_suites_coordinates(suite: Suite) -> None:
    large = named_maze("large")
    other = parse_maze(large.rows, suite=suite)
    grid = np.random.default_rng(0).uniform(-1, 12, (2000, 2))
    radius = 0.17
    np.testing.assert_array_equal(
        other.is_free(other.cell_to_xy(grid), radius * suite.cell_size),
        large.is_free(large.cell_to_xy(grid), radius),
    )


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_text_is_read_back_with_its_suite(suite: Suite) -> None:
    maze = parse_maze(["#####", "#O#G#", "#OOO#", "#####"], suite=suite)
    assert parse_maze(maze.text) == maze
    assert maze.goal is not None and maze.is_free(maze.goal)
    for name in ("large", "pointmaze-umaze", "ogbench-teleport"):
        assert named_maze(name).text == name and parse_maze(name) == named_maze(name)


def test_an_unknown_suite_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="'ogbench'"):
        parse_maze("frame ogbnch\n###\n#O#\n###")


@pytest.mark.parametrize("maze", MAZES)
@pytest.mark.parametrize("radius", [0.0, D4RL.ball_radius, 0.3])
def test_a_position_is_free_if_the_whole_disc_is(maze: Maze, radius: float) -> None:
    rng = np.random.default_rng(1)
    positions = rng.uniform(-2.0, np.array(maze.shape) + 1.0, size=(500, 2))
    angles = np.linspace(0.0, 2 * np.pi, 721)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    rings = positions[:, None, None] + np.linspace(0.0, radius, 4)[:, None, None] * circle
    cells = maze.xy_to_cell(rings.reshape(len(positions), -1, 2))
    padded = np.pad(maze.walls, 5, constant_values=True)
    expected = ~padded[cells[..., 0] + 5, cells[..., 1] + 5].any(-1)
    # The sampled circle misses slivers of 1e-5; no random position is that close to a wall.
    np.testing.assert_array_equal(maze.is_free(positions, radius), expected)


def test_is_free_keeps_the_leading_shape_and_is_false_outside() -> None:
    maze = named_maze("large")
    assert maze.is_free(np.zeros((3, 4, 2))).shape == (3, 4)
    assert maze.is_free(maze.cell_to_xy(maze.free_cells)).all()
    assert not maze.is_free(maze.cell_to_xy(np.argwhere(maze.walls))).any()
    nowhere = [[np.nan, 1.0], [1.0, np.inf], [-np.inf, 1.0], [1e300, 1.0], [1.0, -1e300]]
    assert not maze.is_free(np.array(nowhere)).any()


@pytest.mark.parametrize("maze", MAZES)
def test_paths_are_shortest_and_walk_on_free_cells(maze: Maze) -> None:
    cells = [(int(i), int(j)) for i, j in maze.free_cells]
    number = {cell: k for k, cell in enumerate(cells)}
    graph = lil_matrix((len(cells), len(cells)))
    for (i, j), k in number.items():
        for neighbor in ((i + 1, j), (i, j + 1)):
            if neighbor in number:
                graph[k, number[neighbor]] = 1
    lengths = shortest_path(graph.tocsr(), directed=False, unweighted=True)
    for start in cells:
        for goal in cells:
            path = maze.shortest_path(start, goal)
            assert path[-1] == goal
            assert set(path) <= set(cells)
            if start == goal:
                assert path == [goal]
                continue
            moves = np.abs(np.diff([start, *path], axis=0)).sum(1)
            assert (moves == 1).all()
            assert len(path) == lengths[number[start], number[goal]]


def test_a_path_from_or_to_a_wall_is_an_error() -> None:
    maze = named_maze("umaze")
    for start, goal in (((0, 0), (1, 1)), ((1, 1), (0, 0)), ((1, 1), (9, 9))):
        with pytest.raises(MazeError, match="No path"):
            maze.shortest_path(start, goal)


def test_the_error_of_a_position_in_a_wall_names_the_nearest_free_cell() -> None:
    maze = named_maze("umaze")
    maze.require_free(np.array([1.0, 1.0]), "start")
    with pytest.raises(MazeError, match=r"start .*\[1, 1\]"):
        maze.require_free(np.array([0.0, 0.9]), "start")
    with pytest.raises(MazeError, match="goal"):
        maze.require_free(np.array([40.0, -3.0]), "goal")


@pytest.mark.parametrize(
    ("maze", "message"),
    [
        (["####", "#OO#", "###"], "one length"),
        (["###", "###"], "at least 3 rows"),
        ([], "at least 3 rows"),
        (["##", "##", "##"], "at least 3"),
        (["####", "#O?#", "####"], r"got '\?' in row 1, column 2"),
        ([[1, 1, 1], [1, 0.5, 1], [1, 1, 1]], "got 0.5 in row 1, column 1"),
        ([[1, 1, 1], [1, np.nan, 1], [1, 1, 1]], "got nan"),
        ([[1, 1, 1], [1, None, 1], [1, 1, 1]], "got None"),
        (["####", "#OO.", "####"], "outer ring"),
        (["###", "###", "###"], "free cell"),
        (["#####", "#O#O#", "#####"], "1 of 2"),
        (["#####", "#GOG#", "#####"], "got 2"),
        (None, "name, text"),
        (7, "name, text"),
        ([1, 1, 1], "name, text"),
    ],
)
def test_invalid_mazes_are_refused(maze: object, message: str) -> None:
    with pytest.raises(MazeError, match=message):
        parse_maze(maze)  # type: ignore[arg-type]


def test_an_unknown_name_gets_a_suggestion() -> None:
    for read in (parse_maze, named_maze):
        with pytest.raises(ConfigError, match=r"'meduim'.*'medium'"):
            read("meduim")


def test_an_unknown_name_gets_all_names_that_are_accepted() -> None:
    with pytest.raises(ConfigError, match="foo") as raised:
        parse_maze("foo")
    names = str(raised.value).partition("Known: ")[2].rstrip(".").split(", ")
    assert {"large", "maze2d-large", "pointmaze-umaze", "ogbench-giant"} <= {*names}
    assert all(named_maze(name) == parse_maze(name) for name in names)
    with pytest.raises(ConfigError):
        named_maze("maze2d-ogbench-giant")


@pytest.mark.parametrize("suite", SUITES.values())
def test_a_pickled_maze_is_equal(suite: Suite) -> None:
    """Worker processes that collect data receive a pickled maze."""
    maze = parse_maze("#####\n#OGO#\n#####", suite=suite)
    other = pickle.loads(pickle.dumps(maze))
    assert other.suite is suite
    assert other.text == maze.text
    assert other.goal.tolist() == maze.goal.tolist()  # type: ignore[union-attr]
