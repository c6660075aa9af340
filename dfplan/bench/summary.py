"""The tables of a benchmark report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dfplan.bench.records import Cost, EpisodeRecord, Quantiles
from dfplan.bench.results import Leaderboard, Result
from dfplan.bench.tables import Mark, Table, drop_columns
from dfplan.evaluation import statistics
from dfplan.evaluation.published import COMPARABLE, Published, published
from dfplan.evaluation.statistics import Estimate

_UPPER_BOUND = "upper bound"  # label of the row with the bound on the score of any policy

SCORES = {
    "n": "n",
    "score": "Score",
    "iqm": "IQM",
    "return": "Return",
    "latched": "Latched score",
    "success": "Success % [95%]",
    "at-end": "Success at end %",
    "steps-to-goal": "Steps to goal",
    "share": "Share of bound",
    "against": "Against controller",
    "episodes-needed": "Episodes needed",
    "errors": "Errors",
}
"""Headings of the columns with a task's scores, by name in commands."""

COSTS = {
    "plan": "Plan ms p50 / p95 / p99",
    "timed": "Timed plans",
    "step": "Step ms p50 / p95 / p99",
    "evaluations": "Network evaluations",
    "parameters": "Parameters",
    "training": "Training CPU s",
    "peak": "Peak MiB",
    "seconds": "Episodes s",
}
"""Headings of the columns with a task's costs, by name in commands."""

_ABOVE_BOUND = "a score above its upper bound: the file was edited, or the bound is wrong"
_MIB = 2**20


def overview_table(board: Leaderboard) -> Table:
    """Scores of all methods on all tasks of a protocol."""
    tasks = board.tasks
    results = {task.id: board.results_on(task) for task in tasks}
    digests = (results[task.id][0].runs[0].header.problems_digest[:8] for task in tasks)
    rows = [("problems", *digests, "", "")]
    bounds = (f"{results[task.id][0].values('upper_bound').mean():.1f}" for task in tasks)
    rows.append((_UPPER_BOUND, *bounds, "100%", ""))
    for label in board.labels:
        by_task = {result.task.id: result for result in board.results_of(label)}
        scores = [
            format_estimate(by_task[task.id].mean_score) if task.id in by_task else ""
            for task in tasks
        ]
        share = f"{100 * board.share(label):.1f}%" if len(by_task) == len(tasks) else ""
        rows.append((label, *scores, share, format_sizes(by_task.values())))
    references = 2 + len(board.labels) - len(board.ranked)
    marks: dict[tuple[int, int], Mark] = {}
    for column, task in enumerate(tasks, start=1):
        marks |= {
            (2 + board.labels.index(label), column): mark
            for label, mark in best_and_tied(results[task.id]).items()
        }
    for label in board.best:
        marks[2 + board.labels.index(label), len(tasks) + 1] = "best"
    header = ("Method", *(short_id(board, task.id) for task in tasks), "Share of bound", "n")
    title = f"{board.protocol.unit}, sorted by mean share of the upper bound"
    return Table(title, header, tuple(rows), marks, references)


def best_and_tied(results: Sequence[Result]) -> dict[str, Mark]:
    """Mark the best results on one task, and those that do not differ significantly from the best.

    A difference is not significant if the 95% interval of the paired difference contains 0. The
    data's own controller gets no mark. The results are in the order of
    :meth:`~dfplan.bench.results.Leaderboard.results_on`, the marks by label.
    """
    ranked = [result for result in results if not result.is_controller]
    marks: dict[str, Mark] = {}
    for result in ranked:
        best = ranked[0]
        if result.mean_score.value == best.mean_score.value:
            marks[result.label] = "best"
        elif statistics.paired_difference(best.scores, result.scores).includes_zero:
            marks[result.label] = "tied"
    return marks


def aggregate_table(board: Leaderboard) -> Table | None:
    """Aggregates over the tasks of a protocol, as in arXiv 2108.13264.

    None if no method has results on all tasks.
    """
    shares = {label: board.seed_shares(label) for label in board.labels}
    complete = {label: matrix for label, matrix in shares.items() if matrix is not None}
    if not complete:
        return None
    first = next((label for label in board.ranked if label in complete), None)
    rows = []
    for label, matrix in complete.items():
        probability = ""
        if first is not None and label != first:
            estimate = statistics.probability_of_improvement(complete[first], matrix)
            probability = format_interval(estimate)
        middle = format_interval(statistics.interquartile_mean(matrix), 100, 1, "%")
        rows.append((label, f"{100 * matrix.mean():.1f}%", middle, probability, str(len(matrix))))
    header = ("Method", "Mean share", "Interquartile mean share", f"P({first} better)", "Seeds")
    references = sum(label not in board.ranked for label in complete)
    note = (
        "A run is a training seed; its score on a task is the share of the upper bound. Intervals "
        "[95%] resample the runs of each task separately (arXiv 2108.13264), so a single training "
        f"seed has none. P: the probability that a run of {first} beats a run of this method on a "
        "random task."
    )
    table = Table("Over all tasks", header, tuple(rows), {}, references, note)
    return drop_columns(table)


def score_table(results: Sequence[Result]) -> Table:
    """All statistics of the results on one task."""
    controller = next((result for result in results if result.is_controller), None)
    best = next((result for result in results if not result.is_controller), None)
    bounds = results[0].values("upper_bound")
    bound = ("", f"{bounds.mean():.1f}", f"{statistics.trimmed_mean(bounds):.1f}")
    rows = [(_UPPER_BOUND, *bound, "", "", "", "", "", "100%", "", "", "")]
    is_normalized = results[0].task.protocol.score_kind == "normalized"
    for result in results:
        difference = needed = ""
        if controller is not None and result is not controller:
            against = statistics.paired_difference(result.scores, controller.scores)
            difference = format_estimate(against, "+")
        if best is not None and result is not best:
            needed = format_count(statistics.required_episodes(best.scores, result.scores))
        latched = result.latched_scores
        errors = sum(episode.error is not None for episode in result.episodes)
        rows.append(
            (
                result.label,
                format_sizes([result]),
                format_estimate(result.mean_score),
                f"{statistics.trimmed_mean(result.scores):.1f}",
                f"{result.values('episode_return').mean():.1f}" if is_normalized else "",
                "" if latched is None else f"{latched.mean():.1f}",
                format_interval(statistics.wilson_interval(result.values("success_any")), 100, 0),
                f"{100 * result.values('success_last').mean():.0f}",
                median_steps(result),
                f"{100 * result.share:.1f}%",
                difference,
                needed,
                str(errors) if errors else "",
            )
        )
    header = ("Method", *SCORES.values())
    labels = [result.label for result in results]
    marks: dict[tuple[int, int], Mark] = {
        (1 + labels.index(label), 2): mark for label, mark in best_and_tied(results).items()
    }
    references = 1 + sum(result.is_controller for result in results)
    return drop_columns(Table("Scores", header, tuple(rows), marks, references))


def cost_table(results: Sequence[Result]) -> Table:
    """Costs of the results on one task."""
    rows = []
    for result in results:
        costs = [run.cost for run in result.runs]
        rows.append(
            (
                result.label,
                format_milliseconds([cost.plan for cost in costs]),
                str(sum(cost.plan.count for cost in costs if cost.plan is not None) or ""),
                format_milliseconds([cost.step for cost in costs]),
                _median(costs, "evaluations", ",.0f"),
                _median(costs, "parameters", ",.0f"),
                _median(costs, "training_seconds", ",.0f"),
                _median(costs, "peak_bytes", ",.0f", _MIB),
                f"{sum(cost.seconds for cost in costs):,.0f}",
            )
        )
    header = ("Method", *COSTS.values())
    references = sum(result.is_controller for result in results)
    return drop_columns(Table("Costs", header, tuple(rows), {}, references))


def tracker_table(results: Sequence[Result]) -> Table | None:
    """Scores on one task by method and tracker; None if no method has two trackers."""
    marks = best_and_tied(results)
    cells = {
        (result.method, result.tracker): (
            format_estimate(result.mean_score),
            marks.get(result.label),
        )
        for result in results
        if not result.is_controller
    }
    return _by_tracker("Score by method and tracker", cells)


def tracker_table_over_tasks(board: Leaderboard) -> Table | None:
    """Mean shares of the upper bound by method and tracker, for those with results on all tasks.

    None if no method has two trackers.
    """
    cells: dict[tuple[str, str], tuple[str, Mark | None]] = {}
    for label in board.complete:
        first = board.results_of(label)[0]
        mark: Mark | None = "best" if label in board.best else None
        cells[first.method, first.tracker] = f"{100 * board.share(label):.1f}%", mark
    return _by_tracker("Mean share of the upper bound by method and tracker", cells)


def _by_tracker(
    title: str, cells: Mapping[tuple[str, str], tuple[str, Mark | None]]
) -> Table | None:
    """A row per method, in the order of ``cells``, and a column per tracker."""
    methods = list(dict.fromkeys(method for method, _ in cells))
    trackers = sorted({tracker for _, tracker in cells})
    if len(cells) == len(methods):
        return None
    rows = []
    marks: dict[tuple[int, int], Mark] = {}
    for number, method in enumerate(methods):
        row = [cells.get((method, tracker), ("", None)) for tracker in trackers]
        rows.append((method, *(text for text, _ in row)))
        marks |= {(number, column): mark for column, (_, mark) in enumerate(row, 1) if mark}
    return Table(title, ("Method", *trackers), tuple(rows), marks)


def stratum_table(results: Sequence[Result]) -> Table | None:
    """Success rates by the suite's start-goal pair or stratum of path length, if there are any."""
    strata = np.array([episode.stratum for episode in results[0].runs[0].episodes])
    numbers = sorted({*strata.tolist()} - {0})
    if not numbers:
        return None
    rows = [
        (
            result.label,
            *(
                f"{100 * result.values('success_any')[:, strata == number].mean():.0f}"
                for number in numbers
            ),
        )
        for result in results
    ]
    name, text = (
        ("fifth", "fifth of path lengths, short to long")
        if results[0].task.protocol.frozen is not None
        else ("pair", "the suite's start-goal pair")
    )
    references = sum(result.is_controller for result in results)
    header = ("Method", *(f"{name} {number}" for number in numbers))
    return Table(f"Success % by {text}", header, tuple(rows), {}, references)


def published_tables(board: Leaderboard) -> list[Table]:
    """Published scores on the tasks of a protocol: comparable ones first, then the others."""
    scores = [score for task in board.tasks for score in published(task.id)]
    groups = (
        (
            [score for score in scores if score.scored in COMPARABLE],
            "Published, with the same score",
            "Other starts and other code, so these scores do not enter the ranking.",
        ),
        (
            [score for score in scores if score.scored not in (*COMPARABLE, "seconds")],
            "Published, latched, unclear or under a changed protocol: do not compare",
            "Latched: every step after the first one at the goal counts, which never lowers the "
            "score. Unclear: the source does not say which sum it uses. Changed: other starts or "
            "noise.",
        ),
        (
            [score for score in scores if score.scored == "seconds"],
            "Published, seconds per plan",
            "On the machine that the source names.",
        ),
    )
    return [_published_table(board, title, group, note) for group, title, note in groups if group]


def _published_table(
    board: Leaderboard, title: str, scores: Sequence[Published], note: str
) -> Table:
    tasks = [task.id for task in board.tasks if any(score.task == task.id for score in scores)]
    by_source: dict[tuple[str, str, str | None, str], dict[str, Published]] = {}
    for score in scores:
        key = score.method, score.scored, score.spread_kind, score.source
        by_source.setdefault(key, {})[score.task] = score
    rows = []
    for (method, scored, kind, source), by_task in by_source.items():
        texts = [_format_published(by_task[task]) if task in by_task else "" for task in tasks]
        rows.append((method, *texts, "" if scored == "seconds" else scored, kind or "", source))
    header = ("Method", *(short_id(board, task) for task in tasks), "Scored", "± is", "Source")
    return drop_columns(Table(title, header, tuple(rows), note=note))


def _format_published(score: Published) -> str:
    return f"{score.mean:g}" + ("" if score.spread is None else f" ± {score.spread:g}")


def digest_table(board: Leaderboard) -> Table:
    """Digests of the problems, which are equal for all methods."""
    headers = [(task.id, board.results_on(task)[0].runs[0].header) for task in board.tasks]
    rows = tuple(
        (task, str(header.episode_count), header.split, header.problems_digest)
        for task, header in headers
    )
    return Table("Problems", ("Task", "n", "Split", "Problems"), rows)


def error_table(boards: Iterable[Leaderboard]) -> Table | None:
    """Table of error messages and how often each method had them; None without errors.

    A score above its upper bound counts as an error.
    """
    counts = Counter(
        (result.task.id, result.label, error)
        for board in boards
        for result in board.results.values()
        for each in result.episodes
        for error in (each.error, _ABOVE_BOUND if _is_above_bound(each) else None)
        if error is not None
    )
    if not counts:
        return None
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = tuple((task, label, error, str(number)) for (task, label, error), number in ordered)
    return Table("", ("Task", "Method", "Error", "Episodes"), rows)


def _is_above_bound(episode: EpisodeRecord) -> bool:
    return episode.score > episode.upper_bound * (1 + 1e-6) + 1e-6


def short_id(board: Leaderboard, task: str) -> str:
    """Return a task's id without the prefix that all tasks of the board share."""
    prefixes = {each.id.partition("-")[0] for each in board.tasks}
    return task.partition("-")[2] if len(prefixes) == 1 else task


def format_sizes(results: Iterable[Result]) -> str:
    """Format training seeds times episodes."""
    sizes = dict.fromkeys((len(result.seeds), result.episode_count) for result in results)
    return ", ".join(f"{seeds} x {episodes}" for seeds, episodes in sizes)


def format_estimate(estimate: Estimate, sign: str = "") -> str:
    """Format an estimate and half the width of its interval."""
    half = "" if estimate.half_width is None else f" ± {estimate.half_width:.1f}"
    return f"{estimate.value:{sign}.1f}{half}"


def format_interval(estimate: Estimate, scale: float = 1, digits: int = 2, unit: str = "") -> str:
    """Format an estimate and the ends of its interval."""
    value = f"{scale * estimate.value:.{digits}f}{unit}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{scale * estimate.low:.{digits}f}, {scale * estimate.high:.{digits}f}]"


def format_count(number: int | None) -> str:
    """Format a number of episodes; None as ∞."""
    return "∞" if number is None else f"{number:,}" if number < 10**6 else "> 10⁶"


def median_steps(result: Result) -> str:
    """Format the median number of steps to the goal; ``never`` if it is infinite."""
    median = float(np.median([each.steps_to_goal or np.inf for each in result.episodes]))
    return f"{median:.0f}" if math.isfinite(median) else "never"


def format_milliseconds(quantiles: Sequence[Quantiles | None]) -> str:
    """Format three percentiles, each the median over training seeds."""
    known = [each for each in quantiles if each is not None]
    if not known:
        return ""
    values = (
        1000 * float(np.median([getattr(each, name) for each in known]))
        for name in ("p50", "p95", "p99")
    )
    return " / ".join(f"{value:.3g}" if value < 100 else f"{value:,.0f}" for value in values)


def _median(costs: Sequence[Cost], name: str, form: str, unit: float = 1) -> str:
    known = [getattr(cost, name) for cost in costs if getattr(cost, name) is not None]
    return format(float(np.median(known)) / unit, form) if known else ""
