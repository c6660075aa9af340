"""The report of a benchmark, made from its cells alone: Markdown, one HTML page, a terminal's text.

Results of different protocols share no table and no picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from dfplan.bench import summary
from dfplan.bench.methods import CONTENDERS, TRACKERS
from dfplan.bench.records import Cell, read_cells
from dfplan.bench.results import Result, Standing, standings
from dfplan.bench.tables import NEAR, WIDTH, Table, escaped, markdown, plain, without
from dfplan.errors import unknown_name
from dfplan.evaluation import statistics
from dfplan.evaluation.protocols import Task
from dfplan.files import atomic_path
from dfplan.plotting.results import Drive, Profile, drives_svg, profiles_svg, times_svg

_WHO = ("planner", "tracker")
_COMMANDS = ("Command", "Other cells by")
_PAGE_ONLY = ("iqm", "return", "latched", "at-end")

_HEADINGS = {**summary.SCORES, **summary.COSTS}

COLUMNS = tuple(_HEADINGS)
"""Names of the columns of a task's tables."""

USUAL_COLUMNS = tuple(name for name in COLUMNS if name not in _PAGE_ONLY)
"""Those that a terminal shows unless others are asked for."""
_RANKING = (
    f"Bold (in a terminal: *) is the best mean of a column; {NEAR} is what these episodes do not "
    "tell from it: the 95% interval of the paired difference on shared starts holds 0. The upper "
    "bound and the data's own controller stand apart and are not ranked. ± is half of a 95% "
    "bootstrap interval of the mean, over starts and training seeds, or over starts alone where "
    "there is one training seed. n: training seeds x episodes."
)
_LEGEND = (
    "±: the interval resamples starts and training seeds, crossed (arXiv 0712.1111). With a "
    "single training seed it says nothing of another training. All planners of a task meet the "
    "same starts, and differences are paired.",
    "Share of bound: mean score over the mean of the scores that no policy can exceed on the same "
    "problems. IQM: mean of the middle half of the episodes. Return: the mean sum of rewards, "
    "where the score is a normalized one. Latched: the score if every step after the first paid "
    "one were paid. Success: share of episodes in which the goal was reached, with Wilson's "
    "interval; at end: in which the ball was there after the last step. First touch: the step by "
    "which half of the episodes had reached the goal. Against controller: paired difference to the "
    "data's own controller. Episodes to tell: how many shared starts would tell a row from the "
    "best (5%, two-sided, power 80%), training seeds as they are; ∞ where the means are equal. "
    "Faults: episodes in which the planner did something wrong: where it raises or hangs, the "
    "episode is not played and scores as one of 0 steps; where an action is not finite, the "
    "episode ends there; where it is out of bounds, it is clipped.",
    "Times are of one thread: a plan of one problem alone, a step of one episode alone; of several "
    "training seeds the median. Timed: how many plans, of all training seeds; of few, p95 and p99 "
    "are near the longest. Cells may have been played in different hours and beside other work, "
    "which makes times differ that should not. Who plans once in some hundred steps does so above "
    "the p99 of a step: see that of a plan. Network calls: of the network for one plan. Training "
    "s: computing time, summed over cores. Episodes s: wall time of all episodes; trackers of one "
    "planner share first plans, which only the first tracker's time holds. Peak: of the process, "
    "which plays all trackers of a planner one after the other.",
)


@dataclass(frozen=True)
class Picture:
    """A picture of the page: what it shows, and its SVG."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        title: its heading.
        level: of the heading, 2 or 3.
        text: paragraphs.
        tables: in order.
        pictures: on the page only.
        folded: tables that the page folds up.
    """

    title: str
    level: int
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    folded: tuple[Table, ...] = ()

    @property
    def anchor(self) -> str:
        """Where links to it lead."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def write_report(folder: str | Path, command: str) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` beside the cells of a benchmark.

    The page needs no network: its style and pictures are in it.

    Args:
        folder: of the benchmark; its cells are read.
        command: what was run, for the report to say.

    Returns:
        The two paths.

    Raises:
        ConfigError: a cell is of an unknown protocol or task.
        DataError: there are no cells, one cannot be read, or two of a task met different problems.
        OSError: a file cannot be written; the one before it stays whole.
    """
    cells = read_cells(folder)
    facts = _facts(cells, command)
    sections = _sections(standings(cells), cells)
    texts = {"report.md": _markdown(facts, sections), "report.html": _html(facts, sections)}
    paths = []
    for name, text in texts.items():
        paths.append(Path(folder) / name)
        with atomic_path(paths[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths[0], paths[1]


def require_columns(columns: Iterable[str]) -> None:
    """Raise :class:`ConfigError` for one that is not among :data:`COLUMNS`."""
    for column in columns:
        if column not in COLUMNS:
            raise unknown_name("column", column, COLUMNS)


def terminal(cells: Sequence[Cell], columns: Sequence[str] = USUAL_COLUMNS) -> str:
    """The scores as aligned text, 110 columns at most.

    Args:
        cells: of one folder.
        columns: which of :data:`COLUMNS` the tables of each task have, as far as they hold
            anything.

    Raises:
        ConfigError: an unknown column, or a cell of an unknown protocol or task.
        DataError: two cells of a task met different problems.
    """
    require_columns(columns)
    hidden = [heading for name, heading in _HEADINGS.items() if name not in columns]
    blocks, found_standings = [], standings(cells)
    for standing in found_standings:
        blocks.append(textwrap.fill(f"{standing.protocol.id}: {standing.protocol.text}", WIDTH))
        blocks.append(plain(summary.overview(standing)))
        for task in standing.tasks:
            found = standing.on(task)
            scores = replace(summary.in_full(standing, found), title=task.id)
            costs = replace(summary.costs(found), title=f"{task.id}: costs")
            shown = (without(table, *hidden) for table in (scores, costs))
            blocks += [plain(table) for table in shown if len(table.header) > 1]
    if (found_faults := summary.faults(found_standings)) is not None:
        blocks.append(plain(replace(found_faults, title="Faults")))
    blocks.append(textwrap.fill(_RANKING, WIDTH))
    return "\n\n".join(blocks) + "\n"


def _sections(all_standings: Sequence[Standing], cells: Sequence[Cell]) -> list[Section]:
    sections = []
    for standing in all_standings:
        sections.append(_protocol_section(standing))
        sections += [_task_section(standing, task) for task in standing.tasks]
    table = summary.faults(all_standings)
    none = "No planner did anything wrong."
    sections.append(
        Section("Faults", 2, (none,)) if table is None else Section("Faults", 2, (), (table,))
    )
    sections.append(Section("What the columns mean", 2, _LEGEND))
    sections += [_who_section(cells), _origin_section(cells)]
    return sections


def _protocol_section(standing: Standing) -> Section:
    protocol = standing.protocol
    text = [protocol.text, f"Score: {protocol.score}."]
    if any(cell.head.split != "test" for each in standing.results.values() for cell in each.cells):
        text.append("These are validation problems, for tuning: not to be reported.")
    tables = [replace(summary.overview(standing), note=_RANKING)]
    if (over := summary.over_tasks(standing)) is not None and len(standing.tasks) > 1:
        tables.append(over)
        if (by_tracker := summary.matrix_over_tasks(standing)) is not None:
            tables.append(by_tracker)
    tables += summary.published_tables(standing)
    return Section(
        protocol.id,
        2,
        tuple(text),
        tuple(tables),
        tuple(_protocol_pictures(standing)),
        (summary.digests(standing),),
    )


def _protocol_pictures(standing: Standing) -> list[Picture]:
    pictures, name = [], standing.protocol.id
    points: dict[str, tuple[list[float], list[float]]] = {}
    leading = standing.leading
    for label in leading:
        timed = [(_plan_ms(result), result.share) for result in standing.of(label)]
        known = [(time, share) for time, share in timed if time]
        if known and len(known) == len(standing.tasks):
            points[label] = [time for time, _ in known], [share for _, share in known]
    apart = [label for label in standing.labels if label not in standing.ranked]
    line = (apart[0], standing.share(apart[0])) if apart else None
    if points:
        caption = (
            "Share of the upper bound against the time of a plan: means over tasks (of times, the "
            "geometric mean), whiskers over the range of tasks. Up and left is better. Each "
            "planner with its best tracker; policies that make no plans are left out."
        )
        pictures.append(Picture(caption, times_svg(f"{name}-times", points, leading, line)))
    thresholds = np.linspace(0, 1, 101)
    matrices = {label: standing.matrix(label) for label in (*apart, *leading)}
    profiles = {
        label: Profile(*statistics.performance_profile(matrix, thresholds))
        for label, matrix in matrices.items()
        if matrix is not None and matrix.size > 2
    }
    if profiles:
        caption = (
            "Performance profiles (arXiv 2108.13264): the share of runs whose share of the upper "
            "bound is above a threshold. Further right is better; bands are 95% intervals over "
            "training seeds, where there are several. Each planner with its best tracker."
        )
        pictures.append(
            Picture(caption, profiles_svg(f"{name}-profiles", thresholds, profiles, leading))
        )
    return pictures


def _plan_ms(result: Result) -> float | None:
    known = [cell.cost.plan.p50 for cell in result.cells if cell.cost.plan is not None]
    return 1000 * float(np.median(known)) if known else None


def _task_section(standing: Standing, task: Task) -> Section:
    found = standing.on(task)
    digest = found[0].cells[0].head.problems[:8]
    text = f"{found[0].episodes} problems, digest {digest}; {task.max_steps} steps at most."
    tables = (
        summary.in_full(standing, found),
        summary.costs(found),
        summary.matrix(found),
        summary.parts(found),
    )
    return Section(
        task.id,
        3,
        (text,),
        tuple(table for table in tables if table is not None),
        tuple(_examples(task, found)),
    )


def _examples(task: Task, found: Sequence[Result]) -> list[Picture]:
    """The same problems for all, each planner with its best tracker there."""
    best: dict[str, Result] = {}
    for result in found:
        best.setdefault(result.planner, result)
    kept = {
        result.label: {each.episode: each for each in result.cells[0].examples}
        for result in best.values()
    }
    episodes = list(dict.fromkeys(number for each in kept.values() for number in each))
    if not episodes:
        return []
    rows = {}
    for result in best.values():
        drives: list[Drive | None] = []
        for number in episodes:
            example = kept[result.label].get(number)
            if example is None:
                drives.append(None)
                continue
            plan = None if example.plan is None else np.array(example.plan, dtype=float)
            goal = np.array(result.cells[0].rows[number].goal)
            drives.append(Drive(plan, np.array(example.path, dtype=float), goal))
        if any(drives):
            rows[result.label] = drives
    numbers = ", ".join(map(str, episodes))
    caption = (
        f"First plans, and how they were driven, on the hardest problems ({numbers}); each planner "
        "with its best tracker."
    )
    return [Picture(caption, drives_svg(f"{task.id}-drives", task.maze.text, rows))]


def _facts(cells: Sequence[Cell], command: str) -> list[tuple[str, str]]:
    dates = sorted(cell.provenance.date for cell in cells)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    played = sum(cell.provenance.seconds for cell in cells)
    machines = _unique(_machine(cell) for cell in cells)
    commits = _unique(cell.provenance.commit or "not known" for cell in cells)
    others = _unique(c.provenance.command for c in cells if c.provenance.command != command)
    return [
        ("Command", command),
        *(("Other cells by", other) for other in others),
        ("Played", f"{when}, {len(cells)} cells in {played:,.0f} s, summed over processes"),
        ("Machine", "; ".join(machines)),
        ("Commit", ", ".join(commits)),
    ]


def _machine(cell: Cell) -> str:
    source = cell.provenance
    return f"{source.cpu}, {source.cores} cores, {source.system}"


def _who_section(cells: Sequence[Cell]) -> Section:
    planners, trackers = ({getattr(cell.name, part) for cell in cells} for part in _WHO)
    lines = [
        (name, CONTENDERS[name].title if name in CONTENDERS else "a planner of one's own")
        for name in (*CONTENDERS, *sorted(planners - CONTENDERS.keys()))
        if name in planners
    ]
    followers = [(name, each.title) for name, each in TRACKERS.items() if name in trackers]
    tables = [Table("Planners and policies", ("Name", "What it is"), tuple(lines))]
    if followers:
        tables.append(Table("Trackers", ("Name", "What it does"), tuple(followers)))
    return Section("Who is who", 2, tables=tuple(tables))


def _origin_section(cells: Sequence[Cell]) -> Section:
    """Everything that says where a cell was played, and which cells that goes for."""
    values: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        source: dict[str, Any] = asdict(cell.provenance)
        versions = source.pop("versions")
        facts = {
            "machine": _machine(cell),
            "commit": source["commit"] or "not known",
            **versions,
        }
        for what, value in facts.items():
            values.setdefault(what, {}).setdefault(str(value), []).append(_cell(cell))
    lines = [
        (what, value, "all" if len(names) == len(cells) else _named(names))
        for what, found in values.items()
        for value, names in found.items()
    ]
    differ = [what for what, found in values.items() if len(found) > 1]
    if differ:
        text = f"The cells differ in: {', '.join(differ)}. Do not compare times across machines."
    else:
        text = "All cells were played on one machine, with one commit and one set of versions."
    folded = [Table("Machines, commits and versions", ("What", "Value", "Cells"), tuple(lines))]
    trained = [cell for cell in cells if cell.head.model is not None]
    if trained:
        of: dict[str, list[str]] = {}
        for cell in trained:
            of.setdefault(cell.head.model or "", []).append(_cell(cell))
        models = tuple((model, _named(names)) for model, names in of.items())
        folded.append(Table("Checkpoints (sha256 of the file)", ("Checkpoint", "Cells"), models))
    return Section("Where it comes from", 2, (text,), folded=tuple(folded))


def _cell(cell: Cell) -> str:
    return f"{cell.name.task}/{cell.name.stem}"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _markdown(facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    lines = [
        f"- {name}: `{value}`" if name in _COMMANDS else f"- {name}: {value}"
        for name, value in facts
    ]
    parts = ["# Benchmark", "\n".join(lines), "Pictures are in report.html beside this file."]
    for section in sections:
        parts += [f"{'#' * section.level} {section.title}", *map(escaped, section.text)]
        parts += [markdown(table) for table in section.tables]
        for table in section.folded:
            body = markdown(replace(table, title=""))
            parts.append(f"<details><summary>{table.title}</summary>\n\n{body}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _html(facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    # Here and not above: only the page needs it.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files(__package__).joinpath("report.html.jinja").read_text(encoding="utf-8")
    page = environment.from_string(source).render(
        facts=facts, commands=_COMMANDS, sections=sections, near=NEAR
    )
    return "\n".join(line.rstrip() for line in page.splitlines()) + "\n"
