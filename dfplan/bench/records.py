"""What a benchmark keeps: every episode, as lines of JSON, and beside them what they cost.

A cell is one planner with one tracker and one training seed on one task. Its folder
``cells/<task>/`` holds two files a cell:

- ``<planner>+<tracker>+<seed>.jsonl``: a line that says what was played, then a line an episode.
  It depends on nothing but that, so two runs on one machine write the same bytes.
- the same name with ``.json``: costs, where they were measured, and example plans.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from reprlib import repr as shortened
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from dfplan.bench.provenance import Provenance
from dfplan.errors import DataError
from dfplan.files import atomic_path, expanded
from dfplan.record import Record

FORMAT = 2
"""Of the files; a folder of another format is refused."""


@dataclass(frozen=True, order=True)
class CellName:
    """What was played.

    Attributes:
        protocol: id of a :class:`~dfplan.evaluation.protocols.Protocol`.
        task: id of one of its tasks.
        planner: name of a planner or policy, or a dotted name of a user's own.
        tracker: what turns its plans into actions; ``own`` is the planner's, or none where a
            policy needs none.
        seed: of the training.
    """

    protocol: str
    task: str
    planner: str
    tracker: str
    seed: int

    @property
    def stem(self) -> str:
        """The name of its files, without folder and ending; no two cells share one."""
        # Not all systems have colons in names of files.
        planner = self.planner.replace(":", "=")
        return re.sub(r"[^\w.+=-]", "_", f"{planner}+{self.tracker}+{self.seed}")


@dataclass(frozen=True)
class Head:
    """The first line of a cell.

    Attributes:
        name: what was played.
        episodes: how many there are.
        split: ``test``, or ``validation`` while something is tuned.
        problems: digest of their starts, goals and seeds.
        model: sha256 of the planner's checkpoint, or of the file of a user's own module; None where
            there is neither.
        follows: sha256 of the checkpoint that the tracker is made from; None where there is none.
    """

    name: CellName
    episodes: int
    split: str
    problems: str
    model: str | None
    follows: str | None = None


@dataclass(frozen=True)
class EpisodeRow:
    """One episode.

    Attributes:
        episode: its number among the task's problems, from 0.
        part: the suite's own task (from 1), or the stratum of path lengths (from 1); 0 where the
            task has neither.
        start: position, and velocity where there is one, in the maze's frame.
        goal: position.
        score: the protocol's.
        most: the score that no policy can exceed on this problem.
        reward: the true sum of what the environment paid.
        latched: the sum if every step after the first paid one were paid.
        first_touch: the first step, from 1, after which the ball was at the goal; None if there
            was none.
        steps: how many were played.
        success_any: whether the ball was ever at the goal.
        success_last: whether it was there after the last step.
        fault: what the planner did wrong, or None.
    """

    episode: int
    part: int
    start: tuple[float, ...]
    goal: tuple[float, float]
    score: float
    most: float
    reward: float
    latched: float
    first_touch: int | None
    steps: int
    success_any: bool
    success_last: bool
    fault: str | None


@dataclass(frozen=True)
class Quantiles:
    """Of some seconds.

    Attributes:
        p50, p95, p99: percentiles.
        count: how many were measured.
    """

    p50: float
    p95: float
    p99: float
    count: int


@dataclass(frozen=True)
class Cost:
    """What a cell cost. What does not apply, or is not known, is None.

    Attributes:
        plan: seconds of one plan of one problem, alone, on one thread.
        step: seconds of the policy in one step of one episode, alone, its plans included.
        evaluations: of the network, for one plan.
        parameters: of the network.
        training_seconds: of computing, summed over cores.
        training_steps: of the optimizer.
        peak_bytes: the most memory that the cell's process held.
        seconds: wall time of the episodes.
        policy_seconds: how much of it the planner and its tracker took.
        environment_seconds: how much of it the environments took.
    """

    plan: Quantiles | None = None
    step: Quantiles | None = None
    evaluations: float | None = None
    parameters: int | None = None
    training_seconds: float | None = None
    training_steps: int | None = None
    peak_bytes: int | None = None
    seconds: float = 0.0
    policy_seconds: float = 0.0
    environment_seconds: float = 0.0


@dataclass(frozen=True)
class Example(Record):
    """A plan and how it was driven, in the maze's frame.

    Attributes:
        episode: which.
        plan: the first plan's points, [P, 2]; None where a policy makes none.
        path: positions visited, the start first, until a little after the goal was reached;
            [S, 2].
    """

    episode: int
    plan: list[list[float]] | None
    path: list[list[float]]


@dataclass(frozen=True)
class Cell(Record):
    """All that is kept of one cell.

    Attributes:
        head: what was played.
        rows: the episodes, in order.
        cost: what it cost.
        examples: of the hardest problems, those whose way is longest.
        provenance: where it was played.
    """

    head: Head
    rows: tuple[EpisodeRow, ...]
    cost: Cost
    examples: tuple[Example, ...]
    provenance: Provenance

    @property
    def name(self) -> CellName:
        """What was played."""
        return self.head.name


def rows_text(head: Head, rows: Iterable[EpisodeRow]) -> str:
    """The lines of a cell's ``.jsonl``."""
    first = {"format": FORMAT, **asdict(head.name)}
    first |= {key: value for key, value in asdict(head).items() if key != "name"}
    lines = (first, *map(asdict, rows))
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)


def aside_text(cost: Cost, examples: Sequence[Example], provenance: Provenance) -> str:
    """The text of a cell's ``.json``."""
    content = {
        "format": FORMAT,
        "cost": asdict(cost),
        "provenance": asdict(provenance),
        "examples": [asdict(example) for example in examples],
    }
    return json.dumps(content, allow_nan=False) + "\n"


def cell_path(folder: str | Path, name: CellName) -> Path:
    """Where a cell's ``.jsonl`` lies in the folder of a benchmark."""
    return Path(folder) / "cells" / name.task / f"{name.stem}.jsonl"


def cell_paths(folder: str | Path, task: str = "*") -> list[Path]:
    """Where the cells in the folder of a benchmark lie, of one task or of all."""
    # What is being written, or was when its writer was killed, has a name with a dot before it.
    return sorted(Path(folder).glob(f"cells/{task}/[!.]*.jsonl"))


def write_cell(folder: str | Path, name: CellName, rows: str, aside: str) -> Path:
    """Write what :func:`rows_text` and :func:`aside_text` gave; the path of the first.

    The lines come last, so that a cell that has them has both.
    """
    path = cell_path(folder, name)
    for target, text in ((path.with_suffix(".json"), aside), (path, rows)):
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


def read_head(path: str | Path) -> Head:
    """The first line of a cell.

    Raises:
        DataError: the file is no cell, or of another format.
    """
    return _head(Path(path), _content(Path(path)).partition(b"\n")[0])


def read_rows(path: str | Path) -> list[EpisodeRow]:
    """The episodes of a cell's ``.jsonl``; a last line that was cut short is left out.

    Raises:
        DataError: the file cannot be read, or another line is damaged.
    """
    lines = _content(Path(path)).splitlines(keepends=True)
    return [*_rows(Path(path), [line for line in lines if line.endswith(b"\n")])]


def read_cell(path: str | Path) -> Cell:
    """A cell that :func:`write_cell` wrote, by the path of its lines.

    Raises:
        DataError: a file is missing, damaged, or of another format.
    """
    path = Path(path)
    lines = _content(path).splitlines()
    head = _head(path, lines[0] if lines else b"")
    rows = _rows(path, lines)
    for number, row in enumerate(rows):
        if row.episode != number:
            raise _damaged(path, number + 2, f"it has episode {row.episode} in place of {number}")
    if len(rows) != head.episodes or not rows:
        raise _damaged(
            path, len(lines), f"it ends after {len(rows)} episodes and says {head.episodes}"
        )
    beside = path.with_suffix(".json")
    aside: _Aside = _built(beside, 1, _Aside, _first(beside, _content(beside)))
    for example in aside.examples:
        lines_drawn = [example.path, *([] if example.plan is None else [example.plan])]
        if example.episode >= len(rows) or not all(
            line and all(len(point) == 2 for point in line) for line in lines_drawn
        ):
            raise _damaged(beside, 1, f"its example of episode {example.episode} is none")
    return Cell(head, rows, aside.cost, aside.examples, aside.provenance)


def read_cells(folder: str | Path) -> list[Cell]:
    """All cells in the folder of a benchmark, by name.

    Raises:
        DataError: there are none, or one cannot be read.
    """
    folder = expanded(folder)
    paths = cell_paths(folder)
    if not paths:
        raise DataError(
            f"Expected a benchmark's results in {folder}, in its folder cells/; there are none. "
            "Make them by dfplan bench --out."
        )
    cells = [read_cell(path) for path in paths]
    for path, cell in zip(paths, cells, strict=True):
        if path != cell_path(folder, cell.name):
            raise DataError(f"{path} says that it is {cell_path(folder, cell.name)}. {_AGAIN}")
    return sorted(cells, key=lambda cell: cell.name)


def has_cells(folder: str | Path) -> bool:
    """Whether there are any cells in the folder of a benchmark."""
    return bool(cell_paths(folder))


@dataclass(frozen=True)
class _Aside:
    """The content of a cell's ``.json``."""

    format: int
    cost: Cost
    provenance: Provenance
    examples: tuple[Example, ...]


_AGAIN = "Delete it and run the benchmark again, which computes what is missing."
_MOST = 2.0**53  # no number of a benchmark is nearly as large
_MEASURED = (Quantiles, Cost, Provenance)  # have no negative numbers
_NO_TEXT = re.compile("[\ud800-\udfff]")  # halves of characters, which no file can hold


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError(f"Expected a file of a benchmark at {path}; there is none. {_AGAIN}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). {_AGAIN}") from error


def _head(path: Path, line: bytes) -> Head:
    content = _first(path, line)
    names = [field.name for field in fields(CellName)]
    name = {key: content.pop(key) for key in names if key in content}
    del content["format"]
    head: Head = _built(path, 1, Head, {"name": name, **content})
    return head


def _rows(path: Path, lines: Sequence[bytes]) -> tuple[EpisodeRow, ...]:
    """The lines after the first."""
    rows: list[EpisodeRow] = []
    for number, line in enumerate(lines[1:], 2):
        rows.append(_built(path, number, EpisodeRow, _parsed(path, number, line)))
        if rows[-1].first_touch == 0:
            raise _damaged(path, number, "first_touch: expected a step, from 1, got 0")
    return tuple(rows)


def _first(path: Path, line: bytes) -> dict[str, Any]:
    """The object of a first line, which says its format."""
    content = _parsed(path, 1, line)
    if "format" not in content:
        raise _damaged(path, 1, "'format' is missing")
    if content["format"] != FORMAT:
        raise DataError(
            f"{path} has format {shortened(content['format'])}; this version of dfplan reads "
            f"format {FORMAT}. Run the benchmark into another folder."
        )
    return content


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """A line's object."""
    try:
        content: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, number, error) from error
    if not isinstance(content, dict):
        raise _damaged(path, number, f"expected names with values, got {shortened(content)}")
    return content


def _built(path: Path, number: int, kind: Any, content: dict[str, Any]) -> Any:
    try:
        return _reader(kind)(content)
    except ValueError as error:
        raise _damaged(path, number, error) from error


def _damaged(path: Path, line: int, why: object) -> DataError:
    return DataError(f"{path}, line {line}, is damaged or no cell of a benchmark: {why}. {_AGAIN}")


@cache
def _reader(kind: Any, least: float = -_MOST) -> Callable[[Any], Any]:
    """What makes a value of a type from JSON, or raises ValueError.

    Args:
        kind: a type as a field of a dataclass here has it.
        least: of numbers that are not whole; whole ones are not negative.
    """
    if is_dataclass(kind):
        return _reader_of_fields(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (other,) = (_reader(each, least) for each in inner if each is not NoneType)
        return lambda value: None if value is None else other(value)
    if origin in (list, tuple):
        one = _reader(inner[0], least)
        count = len(inner) if origin is tuple and inner[-1] is not ... else None

        def read_list(value: Any) -> Any:
            if type(value) is not list or count not in (None, len(value)):
                raise ValueError(f"expected a list of {count or 'such'}, got {shortened(value)}")
            return origin(map(one, value))

        return read_list
    if origin is dict:
        text = _reader(str)

        def read_texts(value: Any) -> dict[str, str]:
            if type(value) is not dict:
                raise ValueError(f"expected names with texts, got {shortened(value)}")
            return {text(key): text(each) for key, each in value.items()}

        return read_texts
    leaves: dict[Any, tuple[str, Callable[[Any], bool]]] = {
        str: ("a text", lambda value: type(value) is str and not _NO_TEXT.search(value)),
        bool: ("true or false", lambda value: type(value) is bool),
        int: ("a whole number, from 0", lambda value: type(value) is int and 0 <= value <= _MOST),
        float: ("a number", lambda value: type(value) in (int, float) and least <= value <= _MOST),
    }
    expected, fits = leaves[kind]

    def read(value: Any) -> Any:
        if not fits(value):
            raise ValueError(f"expected {expected}, got {shortened(value)}")
        return value

    return read


def _reader_of_fields(kind: Any) -> Callable[[Any], Any]:
    hints, least = get_type_hints(kind), 0.0 if kind in _MEASURED else -_MOST
    readers = {name: _reader(hint, least) for name, hint in hints.items()}
    needed = {field.name for field in fields(kind) if field.default is MISSING}

    def read_fields(value: Any) -> Any:
        if type(value) is not dict:
            raise ValueError(f"expected names with values, got {shortened(value)}")
        for name in (needed - value.keys()) | (value.keys() - readers.keys()):
            what = "is missing" if name in needed else "is not known"
            raise ValueError(f"{shortened(name)} {what}")
        values = {}
        for name, each in value.items():
            try:
                values[name] = readers[name](each)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return kind(**values)

    return read_fields
