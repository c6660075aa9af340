"""Mazes as data: reading them, cells and positions, free space, shortest paths on the grid.

A maze is a grid of rows. Its :class:`~dfplan.suites.Suite` says where its cells lie in the plane.
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
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from dfplan.errors import ConfigError, MazeError, unknown_name
from dfplan.files import expanded
from dfplan.suites import DEFAULT, SUITES, Suite

_LARGEST = 1_000_000  # cells, far more than the simulators can have walls
_MARK = "\ufeff"  # what Windows' editors begin a file with
_FRAME = "frame "
_WALL = {"#", "1", "X", "W"}
_FREE = {"O", "0", ".", " ", "R", "C"}
_GOAL = {"G"}

_NEIGHBORS = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])


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
        """The fixed goal, float [2], or None: at integer coordinates in D4RL, else in a cell's center."""
        cells = [(i, row.index("G")) for i, row in enumerate(self.rows) if "G" in row]
        if not cells:
            return None
        goal = np.array(cells[0], dtype=float)
        return goal if self.suite.integer_goals else self.cell_to_xy(goal)

    @property
    def ascii(self) -> str:
        """The rows of the maze, one line each."""
        return "\n".join(self.rows)

    @property
    def text(self) -> str:
        """What files and checkpoints keep of it; :func:`parse_maze` reads it back.

        A suite's name for it, or else its rows, after a line with the suite if it is not D4RL.
        """
        for name in _NAMED:
            known = named_maze(name)
            if known.rows == self.rows and known.suite is self.suite:
                return name
        return self.ascii if self.suite is DEFAULT else f"{_FRAME}{self.suite.name}\n{self.ascii}"

    @cached_property
    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The middle of cell (0, 0), float [2]; the steps down and right as rows, float [2, 2]."""
        axes = np.array([self.suite.down, self.suite.right])
        if self.suite.first is not None:
            return np.array(self.suite.first), axes
        return -(np.array(self.shape) - 1) / 2 @ axes, axes

    def cell_to_xy(self, cell: np.ndarray | Sequence[float]) -> np.ndarray:
        """Middle of each cell ``[..., 2]`` in the suite's coordinates; undone by :meth:`xy_to_cell`."""
        first, axes = self._axes
        return np.asarray(first + np.asarray(cell, dtype=float) @ axes)

    def on_grid(self, position: np.ndarray) -> np.ndarray:
        """Each position ``[..., 2]`` as (row, column), whole numbers in the middle of cells."""
        first, axes = self._axes
        return np.asarray((np.asarray(position, dtype=float) - first) @ np.linalg.inv(axes))

    def xy_to_cell(self, position: np.ndarray) -> np.ndarray:
        """Cell that holds each position ``[..., 2]``, int [..., 2]."""
        return np.floor(self.on_grid(position) + 0.5).astype(int)

    def contains(self, position: np.ndarray, radius: float | None = None) -> np.ndarray:
        """Whether a ball at each position ``[..., 2]`` is clear of walls.

        Exact: no wall cell, and nothing outside the maze, is nearer than ``radius``. A position
        that is not finite is outside.

        Args:
            position: in the suite's coordinates.
            radius: below a cell's side; by default the ball's.

        Returns:
            bool [...].
        """
        radius = (self.suite.ball_radius if radius is None else radius) / self.suite.unit
        position = np.asarray(position, dtype=float)
        finite = np.isfinite(position).all(-1, keepdims=True)
        height, width = self.shape
        known = np.where(finite, self.on_grid(np.where(finite, position, 0.0)), -1.0)
        known = np.clip(known, -1.0, [height, width])
        cells = np.floor(known + 0.5).astype(int)[..., None, :] + _NEIGHBORS
        inside = (cells >= 0).all(-1) & (cells < [height, width]).all(-1)
        clipped = np.clip(cells, 0, [height - 1, width - 1])
        blocked = ~inside | self.walls[clipped[..., 0], clipped[..., 1]]
        gap = np.maximum(np.abs(known[..., None, :] - cells) - 0.5, 0.0)
        apart = np.linalg.norm(gap, axis=-1)
        # A wall cell that holds the position blocks it at any radius, zero too.
        hit = blocked & ((apart < radius) | (apart == 0.0))
        return np.asarray(~hit.any(-1))

    def require_free(self, position: np.ndarray, what: str, radius: float | None = None) -> None:
        """Raise :class:`MazeError` unless a ball of ``radius`` at ``position`` [2] is free.

        Args:
            position: in the suite's coordinates, float [2].
            what: names the position in the message.
            radius: room that must be left to the walls, by default the ball's; 0 for a point.
        """
        radius = self.suite.ball_radius if radius is None else radius
        position = np.asarray(position, dtype=float)
        if bool(self.contains(position, radius)):
            return
        distance = np.linalg.norm(self.cell_to_xy(self.free_cells) - position, axis=-1)
        nearest = self.free_cells[np.argmin(distance)]
        room = f", {radius} from every wall," if radius else ""
        raise MazeError(
            f"The {what} must lie in free space{room} of maze {self.name!r}; "
            f"{np.round(position, 3).tolist()} is in a wall or outside. The nearest free "
            f"cell is {nearest.tolist()}, centered at {self.cell_to_xy(nearest).round(3).tolist()}."
        )

    def shortest_cells(self, start: Sequence[int], goal: Sequence[int]) -> list[tuple[int, int]]:
        """A shortest 4-connected path of cells after ``start``, up to and with ``goal``.

        ``[goal]`` where the two are one. Raises :class:`MazeError` where no path joins them.
        """
        source, target = (int(start[0]), int(start[1])), (int(goal[0]), int(goal[1]))
        steps = self._steps_towards(target)
        if source not in steps:
            raise MazeError(f"No path joins cells {source} and {target} of maze {self.name!r}.")
        path = [steps[source]]
        while path[-1] != target:
            path.append(steps[path[-1]])
        return path

    @property
    def longest_way(self) -> int:
        """Cells, the first not counted, on the longest of all shortest paths."""
        index = np.full(self.shape, -1)
        index[tuple(self.free_cells.T)] = np.arange(len(self.free_cells))
        beside = [(index[1:], index[:-1]), (index[:, 1:], index[:, :-1])]
        pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in beside])
        pairs = pairs[(pairs >= 0).all(1)]
        size = (len(self.free_cells),) * 2
        graph = csr_array((np.ones(len(pairs)), tuple(pairs.T)), shape=size)
        steps = shortest_path(graph, directed=False, unweighted=True)
        return int(steps[np.isfinite(steps)].max())

    @cached_property
    def _step_tables(self) -> dict[tuple[int, int], dict[tuple[int, int], tuple[int, int]]]:
        return {}

    def _steps_towards(self, target: tuple[int, int]) -> dict[tuple[int, int], tuple[int, int]]:
        """For every cell that reaches ``target``: the next cell on a shortest path to it."""
        if target not in self._step_tables:
            free = {(int(i), int(j)) for i, j in self.free_cells}
            steps = {target: target} if target in free else {}
            queue = deque(steps)
            while queue:
                i, j = queue.popleft()
                for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                    if cell in free and cell not in steps:
                        steps[cell] = (i, j)
                        queue.append(cell)
            self._step_tables[target] = steps
        return self._step_tables[target]


def parse_maze(
    maze: Maze | str | Sequence[Sequence[object]], name: str = "custom", suite: Suite = DEFAULT
) -> Maze:
    r"""Read a maze: a known name, ASCII lines, D4RL's string, or a list of rows.

    Args:
        maze: a :class:`Maze` (returned as it is); a name (:func:`named_maze`); text whose rows are
            parted by line breaks or by D4RL's ``\``, with ``#`` or ``1`` for walls, ``O``, ``0``,
            ``.`` or a blank for free cells and ``G`` for the goal (blanks around a row are
            dropped), after a line such as ``frame ogbench`` if they have the coordinates of another suite than
            ``suite``; or rows of such characters or numbers, as gymnasium-robotics writes them
            (its ``r`` and ``c`` are free cells here), or a wall mask, bool [H, W].
        name: what to call it in messages and checkpoints.
        suite: whose coordinates its cells have, unless it is a maze or a name already.

    Raises:
        MazeError: rows of different lengths, an unknown character, a hole in the outer wall,
            no free cell, free cells that no path joins, more than one goal, or no maze at all.
        ConfigError: a name that is not known.
    """
    if isinstance(maze, Maze):
        return maze
    if isinstance(maze, str):
        text = maze.removeprefix(_MARK).strip()
        if text in _NAMED:
            return named_maze(text)
        lines: list[Sequence[object]] = [
            line.strip() for line in text.replace("\\", "\n").splitlines() if line.strip()
        ]
        if lines and str(lines[0]).startswith(_FRAME):
            told = str(lines.pop(0)).removeprefix(_FRAME).strip()
            if told not in SUITES:
                raise unknown_name("suite", told, SUITES)
            suite = SUITES[told]
        if [text] == lines and len(text) < 80 and not {*text.upper()} <= _WALL | _FREE | _GOAL:
            raise unknown_name("maze", text, _NAMED)
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
    if cells > _LARGEST:
        raise MazeError(f"A maze has at most {_LARGEST} cells; got {cells}.")
    rows = tuple(
        "".join(_character(cell, i, j) for j, cell in enumerate(line))
        for i, line in enumerate(lines)
    )
    return _checked(Maze(rows=rows, name=name, suite=suite))


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
    """Read a maze from a text file, in UTF-8 or UTF-16 with any line ends; its name is the file's.

    Args:
        path: of the text, as :func:`parse_maze` takes it; ``~`` is the home folder.
        suite: whose coordinates its cells have, unless the text says.

    Raises:
        MazeError: the file cannot be read, is no text, or holds no maze; see :func:`parse_maze`.
        ConfigError: an empty path or the like.
    """
    path = expanded(path)
    try:
        with path.open("rb") as file:
            content = file.read(4 * _LARGEST + 1)
        if len(content) > 4 * _LARGEST:
            raise MazeError(f"{path} is too large: a maze has at most {_LARGEST} cells.")
        text = _decoded(content)
    except OSError as error:
        raise MazeError(f"Cannot read a maze from {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise MazeError(f"{path} must be a text of # and O in UTF-8 or UTF-16: {error}.") from error
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


def _checked(maze: Maze) -> Maze:
    lengths = [len(row) for row in maze.rows]
    odd = next((i for i, length in enumerate(lengths) if length != lengths[0]), 0)
    if len(lengths) < 3 or odd or lengths[0] < 3:
        got = f"{len(lengths)} rows" + (f" of {lengths[0]}" if lengths else "")
        raise MazeError(
            "A maze needs at least 3 rows of one length, at least 3 each; got "
            f"{f'row {odd} of {lengths[odd]} after rows of {lengths[0]}' if odd else got}. "
            "Check the row separators."
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
            "(with no G at all, every episode draws its goal among the free cells)."
        )
    reached = maze._steps_towards((int(maze.free_cells[0][0]), int(maze.free_cells[0][1])))
    if len(reached) != len(maze.free_cells):
        raise MazeError(
            f"Every free cell must be reachable from every other; {len(reached)} of "
            f"{len(maze.free_cells)} are joined. Open a wall or fill the separate part."
        )
    return maze


_NAMED = {
    f"{suite.prefix}-{size}".removeprefix(f"{DEFAULT.prefix}-"): (suite, rows)
    for suite in SUITES.values()
    for size, rows in suite.mazes.items()
}


def named_maze(name: str) -> Maze:
    """A suite's maze in the suite's frame.

    ``umaze``, ``medium`` and ``large`` are D4RL's, and so are ``maze2d-{umaze,medium,large}``;
    ``pointmaze-{umaze,medium,large}`` gymnasium-robotics'; and
    ``ogbench-{medium,large,giant,teleport}`` OGBench's.

    Raises:
        ConfigError: an unknown name.
    """
    known = name.removeprefix(f"{DEFAULT.prefix}-")
    if known not in _NAMED:
        raise unknown_name("maze", name, _NAMED)
    suite, rows = _NAMED[known]
    return Maze(rows=tuple(rows.split("\\")), name=known, suite=suite)
