"""What changed between two benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dfplan.bench.records import Cell, CellName, read_cells
from dfplan.bench.results import standings
from dfplan.bench.summary import plus_minus
from dfplan.bench.tables import Table, markdown, without
from dfplan.errors import ConfigError
from dfplan.evaluation import statistics

_SHOWN = 12


def compare(before: str | Path, after: str | Path) -> str:
    """What changed from one folder of a benchmark to another, as Markdown.

    Cells are paired by protocol, task, planner, tracker and training seed. A change of the score
    is noise where the 95% bootstrap interval over the shared starts holds 0; cells that met
    different problems are not paired. Where one met the first of the other's, those are compared.

    Raises:
        ConfigError: the two have no protocol in common, or a cell is of an unknown one.
        DataError: a folder holds no cells, or one that cannot be read.
    """
    olds, news = (_cells(each) for each in (before, after))
    protocols = [sorted({name.protocol for name in each}) for each in (olds, news)]
    if not set(protocols[0]) & set(protocols[1]):
        raise ConfigError(
            f"Expected a protocol in common; {before} holds {', '.join(protocols[0])} and {after} "
            f"holds {', '.join(protocols[1])}. Scores of different protocols do not compare."
        )
    shared = sorted(olds.keys() & news.keys())
    pairs = [_on_shared_problems(olds[name], news[name]) for name in shared]
    paired = [(old, new) for old, new in pairs if _met_the_same(old, new)]
    parts = [f"# {before} and {after}", _verdict(paired, len(pairs) - len(paired), olds, news)]
    for protocol in sorted({old.name.protocol for old, _ in paired}):
        mine = [(old, new) for old, new in paired if old.name.protocol == protocol]
        parts += [f"## {protocol}", markdown(_changes(mine))]
    if refused := [(old, new) for old, new in pairs if not _met_the_same(old, new)]:
        text = "These met other problems in the second folder, so their scores are not compared:"
        names = (
            f"{_words(old.name)} ({old.head.problems[:8]}, {new.head.problems[:8]})"
            for old, new in refused
        )
        parts += ["## Different problems", text, _list(names)]
    for title, names_of in (("first", olds.keys() - news), ("second", news.keys() - olds)):
        if names_of:
            parts += [f"## Only in the {title}", _list(map(_words, sorted(names_of)))]
    origin = _origin(pairs)
    if origin.lines:
        parts += ["## Where they come from", markdown(origin)]
    return "\n\n".join(parts) + "\n"


def _cells(folder: str | Path) -> dict[CellName, Cell]:
    """The cells of a folder that a report could be made of, by name."""
    cells = read_cells(folder)
    standings(cells)
    return {cell.name: cell for cell in cells}


def _on_shared_problems(old: Cell, new: Cell) -> tuple[Cell, Cell]:
    """Both, cut to the first problems of the longer one if those are what the shorter one met."""
    count = min(len(old.rows), len(new.rows))
    if len(old.rows) == len(new.rows) or any(
        (a.start, a.goal) != (b.start, b.goal)
        for a, b in zip(old.rows[:count], new.rows[:count], strict=True)
    ):
        return old, new
    return replace(old, rows=old.rows[:count]), replace(new, rows=new.rows[:count])


def _met_the_same(old: Cell, new: Cell) -> bool:
    """Of two cells from :func:`_on_shared_problems`; lengths still differ where nothing is."""
    if old.head.episodes == new.head.episodes:
        return old.head.problems == new.head.problems
    return len(old.rows) == len(new.rows)


def _verdict(
    paired: Sequence[tuple[Cell, Cell]],
    refused: int,
    olds: dict[CellName, Cell],
    news: dict[CellName, Cell],
) -> str:
    changes = [_difference(old, new) for old, new in paired]
    real = sum(not change.is_noise for change in changes)
    same = sum(old.rows == new.rows for old, new in paired)
    text = f"{len(paired)} cells are in both and met the same problems: "
    text += f"{real} changed, {len(paired) - real - same} by no more than noise, {same} not at all."
    if cut := {len(old.rows) for old, _ in paired if len(old.rows) < _longest(old, olds, news)}:
        text += f" Compared are the first {' or '.join(map(str, sorted(cut)))} of the problems."
    if refused:
        text += f" {refused} met different problems."
    alone = [len(olds.keys() - news), len(news.keys() - olds)]
    if any(alone):
        text += f" {alone[0]} are only in the first, {alone[1]} only in the second."
    if real:
        text += " At 5% a test, one in twenty equal cells would look changed, too."
    return text


def _longest(cell: Cell, *folders: Mapping[CellName, Cell]) -> int:
    return max(len(folder[cell.name].rows) for folder in folders)


def _difference(old: Cell, new: Cell) -> statistics.Estimate:
    return statistics.paired_difference(_scores(new), _scores(old))


def _scores(cell: Cell) -> np.ndarray:
    return np.array([[row.score for row in cell.rows]])


def _changes(pairs: Sequence[tuple[Cell, Cell]]) -> Table:
    lines = []
    for old, new in pairs:
        change = _difference(old, new)
        name = new.name
        success = [100 * np.mean([row.success_any for row in cell.rows]) for cell in (old, new)]
        times = [cell.cost.plan.p50 if cell.cost.plan else None for cell in (old, new)]
        ratio = "" if None in times or not times[0] else f"{times[1] / times[0]:.2f}"  # type: ignore[operator]
        same = "the same" if old.rows == new.rows else ""
        better = "better" if change.value > 0 else "worse"
        lines.append(
            (
                name.task,
                name.planner,
                name.tracker,
                str(name.seed),
                *(f"{_scores(cell).mean():.1f}" for cell in (old, new)),
                plus_minus(change, "+"),
                same or ("noise" if change.is_noise else better),
                f"{success[0]:.0f} → {success[1]:.0f}",
                ratio,
            )
        )
    header = (
        "Task",
        "Planner",
        "Tracker",
        "Seed",
        "Before",
        "After",
        "Difference",
        "Verdict",
        "Success %",
        "Plan time ratio",
    )
    return without(Table("", header, tuple(lines)))


def _origin(pairs: Sequence[tuple[Cell, Cell]]) -> Table:
    """What differs in where the shared cells come from."""
    found: dict[tuple[str, str, str], int] = {}
    for old, new in pairs:
        for what, (first, second) in _facts(old, new).items():
            if first != second:
                key = what, first, second
                found[key] = found.get(key, 0) + 1
    lines = tuple(
        (what, first, second, str(number)) for (what, first, second), number in found.items()
    )
    return Table("", ("What", "First", "Second", "Of the cells"), lines)


def _facts(old: Cell, new: Cell) -> dict[str, tuple[str, str]]:
    both = old.provenance, new.provenance
    packages = sorted(both[0].versions.keys() | both[1].versions.keys())
    rows: dict[str, Iterable[object]] = {
        "commit": [each.commit for each in both],
        "machine": [f"{each.cpu}, {each.cores} cores, {each.system}" for each in both],
        **{name: [each.versions.get(name) for each in both] for name in packages},
        f"checkpoint of {new.name.task}, {new.name.planner}, seed {new.name.seed}": [
            None if cell.head.model is None else cell.head.model[:8] for cell in (old, new)
        ],
    }
    found = {}
    for what, values in rows.items():
        first, second = ("not known" if value is None else str(value) for value in values)
        found[what] = first, second
    return found


def _words(name: CellName) -> str:
    return f"{name.task}: {name.planner} · {name.tracker}, seed {name.seed}"


def _list(names: Iterable[str]) -> str:
    all_names = list(names)
    shown = [f"- {name}" for name in all_names[:_SHOWN]]
    if len(all_names) > _SHOWN:
        shown.append(f"- and {len(all_names) - _SHOWN} more")
    return "\n".join(shown)
