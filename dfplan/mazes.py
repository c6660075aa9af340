"""Mazes as data: reading them, cells and positions, free space, shortest paths on the grid.

A maze is a grid of cells. Its :class:`~dfplan.suites.Suite` defines where the cells are in the
plane.
"""

from __future__ import annotations

import codecs
import reprlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dfplan.errors import ConfigError, MazeError, lookup, require_name, unknown_name
from dfplan.files import expand_path
from dfplan.suites import DEFAULT, SUITES, Suite

_MAX_CELLS = 1_000_000  # far more walls than the simulators can handle
_BYTE_ORDER_MARK = "\ufeff"  # editors on Windows write it at the start of a file
_HEADER = "frame "  # starts the first line of a maze file that names its suite
_WALL = {"#", "1", "X", "W"}
_FREE = {"O", "0", ".", " ", "R", "C"}
_GOAL = {"G"}

_NEIGHBORHOOD = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])


@dataclass(frozen=True)
class Maze:
    """A maze: rows of ``#`` (wall), ``O`` (free) and ``G`` (free, the fixed goal).

    Build one with :func:`parse_maze` (from text or rows) or :func:`named_maze`.
    """

    rows: tuple[str, ...]
    name: str = "custom"
    suite: Suite = DEFAULT

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W): numbers of rows and columns."""
        return len(self.rows), len(self.rows[0])

    @cached_property
    def walls(self) -> np.ndarray:
        """Wall mask, bool [H, W]."""
        return np.array([[character == "#" for character in row] for row in self.rows])

    @cached_property
    def free_cells(self) -> np.ndarray:
        """Free cells, the goal cell included, int [F, 2], row by row."""
        return np.argwhere(~self.walls)

    @property
    def goal(self) -> np.ndarray | None:
        """Position of the fixed goal, float [2]; None without one (:attr:`Suite.integer_goals`)."""
        cells = [(i, row.index("G")) for i, row in enumerate(self.rows) if "G" in row]
        if not cells:
            return None
        goal = np.array(cells[0], dtype=float)
        return goal if self.suite.integer_goals else self.cell_to_xy(goal)

    @property
    def ascii(self) -> str:
        """The rows, one per line."""
        return "\n".join(self.rows)

    @property
    def text(self) -> str:
        """The maze as stored in files and checkpoints; :func:`parse_maze` reads it back.

        The name of a suite's maze. For other mazes the rows, after a line that names the suite
        unless it is the default suite.
        """
        for name in _NAMED:
            known = named_maze(name)
            if known.rows == self.rows and known.suite is self.suite:
                return name
        return self.ascii if self.suite is DEFAULT else f"{_HEADER}{self.suite.name}\n{self.ascii}"

    @cached_property
    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Map from cells to positions: center of cell (0, 0) [2]; row and column step [2, 2]."""
        axes = np.array([self.suite.row_step, self.suite.column_step])
        if self.suite.first_cell is not None:
            return np.array(self.suite.first_cell), axes
        return -(np.array(self.shape) - 1) / 2 @ axes, axes

    def cell_to_xy(self, cell: np.ndarray | Sequence[float]) -> np.ndarray:
        """Convert cells (row, column) ``[..., 2]`` to the positions of their centers ``[..., 2]``.

        Positions are in the suite's coordinates. Cells may be fractional.
        """
        first, axes = self._affine
        return np.asarray(first + np.asarray(cell, dtype=float) @ axes)

    def xy_to_grid(self, position: np.ndarray) -> np.ndarray:
        """Convert positions ``[..., 2]`` to fractional (row, column); centers give integers."""
        first, axes = self._affine
        return np.asarray((np.asarray(position, dtype=float) - first) @ np.linalg.inv(axes))

    def xy_to_cell(self, position: np.ndarray) -> np.ndarray:
        """Find the cell that contains each position ``[..., 2]``; int [..., 2]."""
        return np.floor(self.xy_to_grid(position) + 0.5).astype(int)

    def is_free(self, position: np.ndarray, radius: float | None = None) -> np.ndarray:
        """Whether a ball at each position ``[..., 2]`` is in the maze and overlaps no wall.

        The test is exact. Positions that are not finite are outside.

        Args:
            position: in the suite's coordinates.
            radius: of the ball, smaller than a cell; default: the suite's ``ball_radius``.

        Returns:
            bool [...].
        """
        radius = (self.suite.ball_radius if radius is None else radius) / self.suite.cell_size
        position = np.asarray(position, dtype=float)
        finite = np.isfinite(position).all(-1, keepdims=True)
        height, width = self.shape
        grid = np.where(finite, self.xy_to_grid(np.where(finite, position, 0.0)), -1.0)
        grid = np.clip(grid, -1.0, [height, width])
        cells = np.floor(grid + 0.5).astype(int)[..., None, :] + _NEIGHBORHOOD
        inside = (cells >= 0).all(-1) & (cells < [height, width]).all(-1)
        clipped = np.clip(cells, 0, [height - 1, width - 1])
        blocked = ~inside | self.walls[clipped[..., 0], clipped[..., 1]]
        gap = np.maximum(np.abs(grid[..., None, :] - cells) - 0.5, 0.0)
        distance = np.linalg.norm(gap, axis=-1)
        # A wall cell that contains the position blocks it at any radius, including 0.
        hit = blocked & ((distance < radius) | (distance == 0.0))
        return np.asarray(~hit.any(-1))

    def require_free(self, position: np.ndarray, name: str, radius: float | None = None) -> None:
        """Raise :class:`MazeError` unless a ball at ``position`` is free (:meth:`is_free`).

        Args:
            position: in the suite's coordinates, float [2].
            name: what the position is, for the message.
            radius: of the ball, default: the suite's ``ball_radius``; 0 for a point.
        """
        radius = self.suite.ball_radius if radius is None else radius
        position = np.asarray(position, dtype=float)
        if bool(self.is_free(position, radius)):
            return
        distance = np.linalg.norm(self.cell_to_xy(self.free_cells) - position, axis=-1)
        nearest = self.free_cells[np.argmin(distance)]
        room = f", {radius} from every wall," if radius else ""
        raise MazeError(
            f"The {name} must be in free space{room} of maze {self.name!r}; "
            f"{np.round(position, 3).tolist()} is in a wall or outside. The nearest free "
            f"cell is {nearest.tolist()}, centered at {self.cell_to_xy(nearest).round(3).tolist()}."
        )

    def shortest_path(self, start: Sequence[int], goal: Sequence[int]) -> list[tuple[int, int]]:
        """Find a shortest path on the grid, with moves along rows and columns.

        Args:
            start: cell (row, column).
            goal: cell (row, column).

        Returns:
            The cells after ``start`` up to and including ``goal``; ``[goal]`` if they are equal.

        Raises:
            MazeError: one of the cells is not free.
        """
        source, target = (int(start[0]), int(start[1])), (int(goal[0]), int(goal[1]))
        steps = self._steps_to(target)
        if source not in steps:
            raise MazeError(f"No path joins cells {source} and {target} of maze {self.name!r}.")
        return _follow(steps, source)

    @property
    def diameter(self) -> int:
        """Number of steps of the longest shortest path between two connected cells."""
        # A breadth-first search finds the farthest cell last.
        return max(
            len(_follow(steps, last)) if last != target else 0
            for target in self._free_set
            for steps in [self._search(target)]
            for last in [next(reversed(steps))]
        )

    @cached_property
    def _free_set(self) -> set[tuple[int, int]]:
        return {(i, j) for i, j in self.free_cells.tolist()}

    @cached_property
    def _searches(self) -> dict[tuple[int, int], dict[tuple[int, int], tuple[int, int]]]:
        return {}

    def _steps_to(self, target: tuple[int, int]) -> dict[tuple[int, int], tuple[int, int]]:
        """The result of :meth:`_search`, cached for each target."""
        if target not in self._searches:
            self._searches[target] = self._search(target)
        return self._searches[target]

    def _search(self, target: tuple[int, int]) -> dict[tuple[int, int], tuple[int, int]]:
        """For every cell that is connected to ``target``: the next cell on a shortest path to it.

        Not done by :mod:`scipy.sparse.csgraph`, which does not promise which of several shortest
        paths it finds. Controllers follow these paths, so collected data depends on the choice.
        """
        steps = {target: target} if target in self._free_set else {}
        queue = deque(steps)
        while queue:
            i, j = queue.popleft()
            for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if cell in self._free_set and cell not in steps:
                    steps[cell] = (i, j)
                    queue.append(cell)
        return steps


def _follow(
    steps: dict[tuple[int, int], tuple[int, int]], cell: tuple[int, int]
) -> list[tuple[int, int]]:
    """The cells after ``cell`` on its way to the target of ``steps``."""
    path = [steps[cell]]
    while steps[path[-1]] != path[-1]:
        path.append(steps[path[-1]])
    return path


def parse_maze(
    maze: Maze | str | Sequence[Sequence[object]], name: str = "custom", suite: Suite = DEFAULT
) -> Maze:
    r"""Read a maze from a name, text or rows.

    Rows are strings of ``#`` or ``1`` for walls, ``O``, ``0``, ``.`` or a blank for free cells and
    ``G`` for the goal.

    Args:
        maze: one of

            * a :class:`Maze`, which is returned unchanged;
            * a name (:func:`named_maze`);
            * text: rows separated by line breaks or by D4RL's ``\``. Blanks around a row are
              ignored. A first line such as ``frame ogbench`` names the suite;
            * a list of rows, each a string or a list of such characters or numbers. Rows of
              gymnasium-robotics are accepted; their ``r`` and ``c`` become free cells;
            * a wall mask, bool [H, W].
        name: of the maze in messages and checkpoints.
        suite: defines the coordinates, unless ``maze`` does.

    Raises:
        MazeError: ``maze`` is not a maze: rows of different lengths, an unknown character, a hole
            in the outer wall, no free cell, free cells that are not connected, more than one goal,
            or more than a million cells.
        ConfigError: a name of a maze or suite that is not known.
    """
    if isinstance(maze, Maze):
        return maze
    if isinstance(maze, str):
        text = maze.removeprefix(_BYTE_ORDER_MARK).strip()
        if text in _NAMES:
            return named_maze(text)
        lines: list[Sequence[object]] = [
            line.strip() for line in text.replace("\\", "\n").splitlines() if line.strip()
        ]
        if lines and str(lines[0]).startswith(_HEADER):
            suite = lookup("suite", str(lines.pop(0)).removeprefix(_HEADER).strip(), SUITES)
        if [text] == lines and len(text) < 80 and not {*text.upper()} <= _WALL | _FREE | _GOAL:
            raise unknown_name("maze", text, _NAMES)
        cells = len(text)
    else:
        try:
            lines = [line if isinstance(line, str | np.ndarray) else list(line) for line in maze]
            cells = sum(map(len, lines))
        except TypeError:
            raise MazeError(
                "A maze must be a name, text, or a list of rows such as "
                "['#####', '#OOG#', '#####'] or [[1, 1, 1], [1, 0, 1], [1, 1, 1]]; got "
                f"{reprlib.repr(maze)}."
            ) from None
    if cells > _MAX_CELLS:
        raise MazeError(f"A maze has at most {_MAX_CELLS} cells; got {cells}.")
    rows = tuple(
        "".join(_character(cell, i, j) for j, cell in enumerate(line))
        for i, line in enumerate(lines)
    )
    return _check(Maze(rows=rows, name=name, suite=suite))


def _character(cell: object, i: int, j: int) -> str:
    if isinstance(cell, (int, float, np.bool_, np.integer, np.floating)):
        text = f"{float(cell):g}"
    else:
        text = str(cell).upper()
    for symbol, spellings in (("#", _WALL), ("O", _FREE), ("G", _GOAL)):
        if text in spellings:
            return symbol
    raise MazeError(
        f"A maze cell must be a wall ({' '.join(sorted(_WALL))}), free (O 0 . or a blank) "
        f"or the goal (G); got {cell!r} in row {i}, column {j}."
    )


def read_maze(path: str | Path, suite: Suite = DEFAULT) -> Maze:
    """Read a maze from a text file in UTF-8 or UTF-16; the maze gets the file's name.

    Args:
        path: of a file with text for :func:`parse_maze`; ``~`` is the home folder.
        suite: defines the coordinates, unless the file names a suite.

    Raises:
        MazeError: the file cannot be read or does not contain a maze; see :func:`parse_maze`.
        ConfigError: the path is not valid.
    """
    path = expand_path(path)
    try:
        with path.open("rb") as file:
            content = file.read(4 * _MAX_CELLS + 1)
        if len(content) > 4 * _MAX_CELLS:
            raise MazeError(f"{path} is too large: a maze has at most {_MAX_CELLS} cells.")
        text = _decoded(content)
    except OSError as error:
        raise MazeError(f"Cannot read a maze from {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise MazeError(
            f"{path} must be a text file of # and O in UTF-8 or UTF-16: {error}."
        ) from error
    try:
        return parse_maze(text, name=path.stem, suite=suite)
    except (MazeError, ConfigError) as error:
        raise MazeError(f"{path}: {error}") from error


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    for zero, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        if content[zero : zero + 1] == b"\0":
            return content.decode(encoding)
    return content.decode("utf-8")


def _check(maze: Maze) -> Maze:
    lengths = [len(row) for row in maze.rows]
    uneven = next((i for i, length in enumerate(lengths) if length != lengths[0]), 0)
    if len(lengths) < 3 or uneven or lengths[0] < 3:
        got = f"{len(lengths)} rows" + (f" of {lengths[0]}" if lengths else "")
        if uneven:
            got = (
                f"{lengths[uneven]} columns in row {uneven} and {lengths[0]} in the rows before it"
            )
        raise MazeError(
            "A maze needs at least 3 rows and 3 columns, all rows of one length; got "
            f"{got}. Check the row separators."
        )
    walls = maze.walls
    border = np.concatenate([walls[0], walls[-1], walls[:, 0], walls[:, -1]])
    if not border.all():
        raise MazeError("The outer ring of a maze must be wall; close the holes in its border.")
    if not len(maze.free_cells):
        raise MazeError("A maze needs at least one free cell; got walls only.")
    goals = sum(row.count("G") for row in maze.rows)
    if goals > 1:
        raise MazeError(
            f"A maze has at most one goal; got {goals} cells marked G. Write O for the others "
            "(a maze without G draws a random goal in each episode)."
        )
    reached = maze._search((int(maze.free_cells[0][0]), int(maze.free_cells[0][1])))
    if len(reached) != len(maze.free_cells):
        raise MazeError(
            f"Every free cell must be reachable from every other; {len(reached)} of "
            f"{len(maze.free_cells)} are connected. Open a wall or fill the separate part."
        )
    return maze


_DEFAULT_PREFIX = f"{DEFAULT.prefix}-"  # names of its mazes may leave it out

_NAMED = {
    f"{suite.prefix}-{size}".removeprefix(_DEFAULT_PREFIX): (suite, rows)
    for suite in SUITES.values()
    for size, rows in suite.mazes.items()
}

_NAMES = {*_NAMED, *(f"{DEFAULT.prefix}-{size}" for size in DEFAULT.mazes)}


def named_maze(name: str) -> Maze:
    """Return a suite's maze by name.

    ==================================================== ==================
    ``umaze``, ``medium``, ``large``                     D4RL
    ``maze2d-{umaze,medium,large}``                      the same
    ``pointmaze-{umaze,medium,large}``                   gymnasium-robotics
    ``ogbench-{medium,large,giant,teleport}``            OGBench
    ==================================================== ==================

    Raises:
        ConfigError: unknown name.
    """
    require_name("maze", name, _NAMES)
    short = name.removeprefix(_DEFAULT_PREFIX)
    suite, rows = _NAMED[short]
    return Maze(rows=tuple(rows.split("\\")), name=short, suite=suite)
