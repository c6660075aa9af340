"""What a benchmark keeps: every episode, as lines of JSON, and beside them what they cost.

A cell is one planner with one tracker and one training seed on one task. Its folder
``cells/<task>/`` holds two files a cell:

- ``<planner>+<tracker>+<seed>.jsonl``: a line that says what was played, then a line an episode.
  It depends on nothing but that, so two runs on one machine write the same bytes.
- the same name with ``.json``: costs, where they were measured, and example plans.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from dfplan.errors import DataError
from dfplan.evaluation.provenance import Provenance
from dfplan.files import atomic_path

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
class Example:
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
class Cell:
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
    with Path(path).open("rb") as file:
        return _head(Path(path), file.readline())


def read_rows(path: str | Path) -> list[EpisodeRow]:
    """The episodes of a cell's ``.jsonl``; a last line that was cut short is left out."""
    lines = Path(path).read_bytes().splitlines(keepends=True)
    return [_row(line) for line in lines[1:] if line.endswith(b"\n")]


def read_cell(path: str | Path) -> Cell:
    """A cell that :func:`write_cell` wrote, by the path of its lines.

    Raises:
        DataError: a file is missing, damaged, or of another format.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
        head = _head(path, lines[0] if lines else b"")
        rows = tuple(map(_row, lines[1:]))
        aside = json.loads(path.with_suffix(".json").read_bytes())
        _require_format(path.with_suffix(".json"), aside["format"])
        cost = {**aside["cost"]}
        for key in ("plan", "step"):
            cost[key] = None if cost[key] is None else Quantiles(**cost[key])
        cell = Cell(
            head,
            rows,
            Cost(**cost),
            tuple(Example(**example) for example in aside["examples"]),
            Provenance(**aside["provenance"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        what = type(error).__name__
        raise DataError(
            f"{path} is no whole cell of a benchmark ({what}: {error}). {_AGAIN}"
        ) from error
    if len(rows) != head.episodes:
        raise DataError(f"{path} says {head.episodes} episodes and holds {len(rows)}. {_AGAIN}")
    for number, row in enumerate(rows):
        if row.episode != number:
            raise DataError(f"{path} has episode {row.episode} in place of {number}. {_AGAIN}")
    return cell


def read_cells(folder: str | Path) -> list[Cell]:
    """All cells in the folder of a benchmark, by name.

    Raises:
        DataError: there are none, or one cannot be read.
    """
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


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(cast(float, value))


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "protocol task planner tracker split problems": ("a text", lambda value: type(value) is str),
    "model follows fault": ("a text or null", lambda value: value is None or type(value) is str),
    "seed episode episodes part steps": ("a whole number", lambda value: type(value) is int),
    "first_touch": (
        "a whole number or null",
        lambda value: value is None or (type(value) is int and value > 0),
    ),
    "score most reward latched": ("a number", _is_number),
    "start goal": ("numbers", lambda value: type(value) is list and all(map(_is_number, value))),
    "success_any success_last": ("true or false", lambda value: type(value) is bool),
}
_AGAIN = "Delete it and run the benchmark again, which computes what is missing."


def _head(path: Path, line: bytes) -> Head:
    try:
        content: dict[str, Any] = dict(json.loads(line))
        _require_format(path, content.pop("format"))
        name = CellName(**{field.name: content.pop(field.name) for field in fields(CellName)})
        _require_kinds(vars(name) | content)
        head = Head(name=name, **content)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is no cell of a benchmark: its first line is not what it should be "
            f"({type(error).__name__}: {error}). {_AGAIN}"
        ) from error
    return head


def _row(line: bytes) -> EpisodeRow:
    row = dict(json.loads(line))
    _require_kinds(row)
    return EpisodeRow(**{**row, "start": tuple(row["start"]), "goal": tuple(row["goal"])})


def _require_format(path: Path, version: object) -> None:
    if version != FORMAT:
        raise DataError(
            f"{path} has format {version!r}; this version of dfplan reads format {FORMAT}. Run the "
            "benchmark into another folder."
        )


def _require_kinds(found: Mapping[str, Any]) -> None:
    for keys, (kind, is_such) in _KINDS.items():
        for key in keys.split():
            if key in found and not is_such(found[key]):
                raise TypeError(f"expected {key} as {kind}, got {found[key]!r}")
