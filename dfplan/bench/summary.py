"""What a report says of a benchmark, as tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dfplan.bench.records import Cost, Quantiles
from dfplan.bench.results import Result, Leaderboard
from dfplan.bench.tables import Mark, Table, without
from dfplan.evaluation import statistics
from dfplan.evaluation.published import COMPARABLE, Published, published
from dfplan.evaluation.statistics import Estimate

BOUND = "upper bound"
"""Label of the line of scores that no policy can exceed."""

PROBLEMS = "problems"
"""Label of the line of the first digits of their digests."""

SCORES = {
    "n": "n",
    "score": "Score",
    "iqm": "IQM",
    "return": "Return",
    "latched": "Latched",
    "success": "Success % [95%]",
    "at-end": "At end %",
    "first-touch": "First touch",
    "share": "Share of bound",
    "against": "Against controller",
    "to-tell": "Episodes to tell",
    "faults": "Faults",
}
"""Columns of a task's scores, by the names that they are asked for by."""

COSTS = {
    "plan": "Plan ms p50 / p95 / p99",
    "timed": "Timed",
    "step": "Step ms p50 / p95 / p99",
    "calls": "Network calls",
    "parameters": "Parameters",
    "training": "Training s",
    "peak": "Peak MiB",
    "seconds": "Episodes s",
}
"""Columns of a task's costs."""

_BEYOND = "scores above its bound: the file was edited, or the bound is wrong"
_MIB = 2**20


def overview(leaderboard: Leaderboard) -> Table:
    """Every planner on every task of a protocol."""
    tasks = leaderboard.tasks
    found = {task.id: leaderboard.on(task) for task in tasks}
    digests = (found[task.id][0].cells[0].head.problems[:8] for task in tasks)
    lines = [(PROBLEMS, *digests, "", "")]
    bounds = [float(found[task.id][0].most.mean()) for task in tasks]
    lines.append((BOUND, *(f"{bound:.1f}" for bound in bounds), "100%", ""))
    for label in leaderboard.labels:
        mine = {result.task.id: result for result in leaderboard.of(label)}
        scores = [plus_minus(mine[task.id].mean) if task.id in mine else "" for task in tasks]
        share = f"{100 * leaderboard.share(label):.1f}%" if len(mine) == len(tasks) else ""
        lines.append((label, *scores, share, sizes(mine.values())))
    apart = 2 + len(leaderboard.labels) - len(leaderboard.ranked)
    marks: dict[tuple[int, int], Mark] = {}
    for column, task in enumerate(tasks, start=1):
        marks |= {
            (2 + leaderboard.labels.index(label), column): mark
            for label, mark in marked(found[task.id]).items()
        }
    if leaderboard.ranked and lines[apart][-2]:
        marks[apart, len(tasks) + 1] = "best"
    header = ("Planner", *(short(leaderboard, task.id) for task in tasks), "Share of bound", "n")
    title = f"{leaderboard.protocol.unit}, by mean share of the upper bound"
    return Table(title, header, tuple(lines), marks, apart)


def marked(found: Sequence[Result]) -> dict[str, Mark]:
    """The best of the results on one task, and those that are not told from it, by label.

    Not told: the 95% interval of the paired difference holds 0.
    """
    ranked = [result for result in found if not result.is_controller]
    if not ranked:
        return {}
    best = ranked[0]
    marks: dict[str, Mark] = {}
    for result in ranked:
        if result.mean.value == best.mean.value:
            marks[result.label] = "best"
        elif statistics.paired_difference(best.scores, result.scores).includes_zero:
            marks[result.label] = "near"
    return marks


def over_tasks(leaderboard: Leaderboard) -> Table | None:
    """Aggregates over the tasks of a protocol, in the way of arXiv 2108.13264.

    None where nothing was played on all tasks.
    """
    matrices = {label: leaderboard.matrix(label) for label in leaderboard.labels}
    whole = {label: matrix for label, matrix in matrices.items() if matrix is not None}
    if not whole:
        return None
    first = next((label for label in leaderboard.ranked if label in whole), None)
    lines = []
    for label, matrix in whole.items():
        wins = ""
        if first is not None and label != first:
            wins = interval(statistics.probability_of_improvement(whole[first], matrix))
        middle = interval(statistics.interquartile_mean(matrix), 100, 1, "%")
        lines.append((label, f"{100 * matrix.mean():.1f}%", middle, wins, str(len(matrix))))
    header = ("Planner", "Mean share", "Interquartile mean share", f"P({first} better)", "Seeds")
    apart = sum(label not in leaderboard.ranked for label in whole)
    note = (
        "A run is a training seed, its score on a task the share of the upper bound; intervals "
        "[95%] resample the runs of each task apart (arXiv 2108.13264), so a single training seed "
        f"has none. P: the chance that a run of {first} beats a run of this one on a random task."
    )
    return without(Table("Over all tasks", header, tuple(lines), {}, apart, note))


def in_full(leaderboard: Leaderboard, found: Sequence[Result]) -> Table:
    """Every figure of one task."""
    controller, best = leaderboard.controller_on(found[0].task), leaderboard.best_on(found[0].task)
    lines = []
    most = found[0].most
    bound = (BOUND, "", f"{most.mean():.1f}", f"{statistics.trimmed_mean(most):.1f}")
    lines.append((*bound, "", "", "", "", "", "100%", "", "", ""))
    is_normalized = found[0].task.protocol.score_kind == "normalized"
    for result in found:
        difference = needed = ""
        if controller is not None and result is not controller:
            against = statistics.paired_difference(result.scores, controller.scores)
            difference = plus_minus(against, "+")
        if best is not None and result is not best:
            needed = count(statistics.required_episodes(best.scores, result.scores))
        latched = result.latched
        faults = sum(row.fault is not None for row in result.rows)
        lines.append(
            (
                result.label,
                sizes([result]),
                plus_minus(result.mean),
                f"{statistics.trimmed_mean(result.scores):.1f}",
                f"{result.returns.mean():.1f}" if is_normalized else "",
                "" if latched is None else f"{latched.mean():.1f}",
                interval(statistics.wilson_interval(result.success_any), 100, 0),
                f"{100 * result.success_last.mean():.0f}",
                median_touch(result),
                f"{100 * result.share:.1f}%",
                difference,
                needed,
                str(faults) if faults else "",
            )
        )
    header = ("Planner", *SCORES.values())
    marks: dict[tuple[int, int], Mark] = {
        (1 + [result.label for result in found].index(label), 2): mark
        for label, mark in marked(found).items()
    }
    apart = 1 + sum(result.is_controller for result in found)
    return without(Table("Scores", header, tuple(lines), marks, apart))


def costs(found: Sequence[Result]) -> Table:
    """What the results on one task cost."""
    lines = []
    for result in found:
        every = [cell.cost for cell in result.cells]
        lines.append(
            (
                result.label,
                milliseconds([cost.plan for cost in every]),
                str(sum(cost.plan.count for cost in every if cost.plan is not None) or ""),
                milliseconds([cost.step for cost in every]),
                _middle(every, "evaluations", ",.0f"),
                _middle(every, "parameters", ",.0f"),
                _middle(every, "training_seconds", ",.0f"),
                _middle(every, "peak_bytes", ",.0f", _MIB),
                f"{sum(cost.seconds for cost in every):,.0f}",
            )
        )
    header = ("Planner", *COSTS.values())
    apart = sum(result.is_controller for result in found)
    return without(Table("Costs", header, tuple(lines), {}, apart))


def matrix(found: Sequence[Result]) -> Table | None:
    """Scores of one task by planner and tracker; None where no planner has two trackers."""
    marks = marked(found)
    places = {
        (result.planner, result.tracker): (plus_minus(result.mean), marks.get(result.label))
        for result in found
        if not result.is_controller
    }
    return _by_tracker("Score by planner and tracker", places)


def matrix_over_tasks(leaderboard: Leaderboard) -> Table | None:
    """Mean shares of the upper bound by planner and tracker, of those that played all tasks.

    None where no planner has two trackers.
    """
    places: dict[tuple[str, str], tuple[str, Mark | None]] = {}
    for label in leaderboard.ranked:
        mine = leaderboard.of(label)
        if len(mine) == len(leaderboard.tasks):
            place = mine[0].planner, mine[0].tracker
            places[place] = f"{100 * leaderboard.share(label):.1f}%", None if places else "best"
    return _by_tracker("Mean share of the upper bound by planner and tracker", places)


def _by_tracker(
    title: str, places: Mapping[tuple[str, str], tuple[str, Mark | None]]
) -> Table | None:
    """A line a planner, in the order of ``places``, a column a tracker."""
    planners = list(dict.fromkeys(planner for planner, _ in places))
    trackers = sorted({tracker for _, tracker in places})
    if len(places) == len(planners):
        return None
    lines = []
    marks: dict[tuple[int, int], Mark] = {}
    for line, planner in enumerate(planners):
        found = [places.get((planner, tracker), ("", None)) for tracker in trackers]
        lines.append((planner, *(text for text, _ in found)))
        marks |= {(line, column): mark for column, (_, mark) in enumerate(found, 1) if mark}
    return Table(title, ("Planner", *trackers), tuple(lines), marks)


def parts(found: Sequence[Result]) -> Table | None:
    """Success by the suite's own task or the stratum of path lengths; None where there are none."""
    labels = sorted({row.part for row in found[0].cells[0].rows} - {0})
    if not labels:
        return None
    frozen = found[0].task.protocol.frozen is not None
    which = np.array([row.part for row in found[0].cells[0].rows])
    lines = [
        (
            result.label,
            *(f"{100 * result.success_any[:, which == part].mean():.0f}" for part in labels),
        )
        for result in found
    ]
    name = "fifth" if frozen else "task"
    title = "Success % by " + ("fifth of path lengths, short to long" if frozen else "its own task")
    apart = sum(result.is_controller for result in found)
    header = ("Planner", *(f"{name} {part}" for part in labels))
    return Table(title, header, tuple(lines), {}, apart)


def published_tables(leaderboard: Leaderboard) -> list[Table]:
    """Others' figures for the tasks of a protocol: those that compare, then those that do not."""
    tasks = [task.id for task in leaderboard.tasks]
    figures = [figure for task in tasks for figure in published(task)]
    scores = [figure for figure in figures if figure.scored != "seconds"]
    true = [figure for figure in scores if figure.scored in COMPARABLE]
    other = [figure for figure in scores if figure.scored not in COMPARABLE]
    found = (
        (true, "Published, counted as here", "Other starts, other code: a look, not a ranking."),
        (
            other,
            "Published, latched, unclear or under a changed protocol: do not compare",
            "Latched: every step after the first at the goal counts, which is never less. "
            "Unclear: the source does not say which sum. Changed: other starts or noise.",
        ),
        (
            [figure for figure in figures if figure.scored == "seconds"],
            "Published, seconds of a plan",
            "On the machine that the source names.",
        ),
    )
    return [_published(leaderboard, title, group, note) for group, title, note in found if group]


def _published(leaderboard: Leaderboard, title: str, group: Sequence[Published], note: str) -> Table:
    tasks = [task.id for task in leaderboard.tasks]
    tasks = [task for task in tasks if any(figure.task == task for figure in group)]
    keys = dict.fromkeys(
        (each.method, each.scored, each.spread_kind, each.source) for each in group
    )
    lines = []
    for key in keys:
        mine = {
            figure.task: figure
            for figure in group
            if (figure.method, figure.scored, figure.spread_kind, figure.source) == key
        }
        texts = [
            f"{mine[task].mean:g}" + _spread(mine[task]) if task in mine else "" for task in tasks
        ]
        method, scored, kind, source = key
        counted = "" if scored == "seconds" else scored
        lines.append((method, *texts, counted, kind or "", source))
    header = ("Method", *(short(leaderboard, task) for task in tasks), "Counted", "± is", "Source")
    return without(Table(title, header, tuple(lines), note=note))


def _spread(figure: Published) -> str:
    return "" if figure.spread is None else f" ± {figure.spread:g}"


def digests(leaderboard: Leaderboard) -> Table:
    """Proof that all met the same problems."""
    lines = tuple(
        (task.id, str(found[0].episodes), head.split, head.problems)
        for task in leaderboard.tasks
        for found in [leaderboard.on(task)]
        for head in [found[0].cells[0].head]
    )
    return Table("Problems", ("Task", "n", "Split", "Problems"), lines)


def faults(all_standings: Iterable[Leaderboard]) -> Table | None:
    """What planners did wrong, by text; None where they did nothing wrong.

    A score above what any policy can reach is there, too: by an edited file, or a bound that is
    wrong.
    """
    counts = Counter(
        (result.task.id, result.label, fault)
        for leaderboard in all_standings
        for result in leaderboard.results.values()
        for row in result.rows
        for fault in (row.fault, _BEYOND if row.score > row.most * (1 + 1e-6) + 1e-6 else None)
        if fault is not None
    )
    if not counts:
        return None
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = tuple((task, label, fault, str(number)) for (task, label, fault), number in ordered)
    return Table("", ("Task", "Planner", "Fault", "Episodes"), lines)


def short(leaderboard: Leaderboard, task: str) -> str:
    """A task's id without what all of its protocol's begin with."""
    prefixes = {each.id.partition("-")[0] for each in leaderboard.tasks}
    return task.partition("-")[2] if len(prefixes) == 1 else task


def sizes(results: Iterable[Result]) -> str:
    """Training seeds times episodes."""
    found = dict.fromkeys((len(result.seeds), result.episodes) for result in results)
    return ", ".join(f"{seeds} x {episodes}" for seeds, episodes in found)


def plus_minus(estimate: Estimate, sign: str = "") -> str:
    """Figure and half of its interval."""
    half = "" if estimate.half_width is None else f" ± {estimate.half_width:.1f}"
    return f"{estimate.value:{sign}.1f}{half}"


def interval(estimate: Estimate, scale: float = 1, digits: int = 2, unit: str = "") -> str:
    """Figure and the ends of its interval."""
    value = f"{scale * estimate.value:.{digits}f}{unit}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{scale * estimate.low:.{digits}f}, {scale * estimate.high:.{digits}f}]"


def count(number: int | None) -> str:
    """A number of episodes; an endless one as ∞."""
    return "∞" if number is None else f"{number:,}" if number < 10**6 else "> 10⁶"


def median_touch(result: Result) -> str:
    """The step by which half of the episodes had reached the goal."""
    middle = float(np.median(result.touch))
    return f"{middle:.0f}" if math.isfinite(middle) else "never"


def milliseconds(every: Sequence[Quantiles | None]) -> str:
    """Medians over training seeds of three percentiles."""
    known = [each for each in every if each is not None]
    if not known:
        return ""
    values = (
        1000 * float(np.median([getattr(each, name) for each in known]))
        for name in ("p50", "p95", "p99")
    )
    return " / ".join(f"{value:.3g}" if value < 100 else f"{value:,.0f}" for value in values)


def _middle(every: Sequence[Cost], name: str, form: str, unit: float = 1) -> str:
    known = [getattr(cost, name) for cost in every if getattr(cost, name) is not None]
    return format(float(np.median(known)) / unit, form) if known else ""
