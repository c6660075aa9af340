"""The figures of a benchmark report, as SVG elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfplan.bench.records import Example, Run
from dfplan.bench.results import Leaderboard, Result
from dfplan.evaluation import statistics
from dfplan.evaluation.protocols import Task
from dfplan.plotting.results import ExecutedPlan, Profile, episode_svg, profiles_svg, times_svg


@dataclass(frozen=True)
class Figure:
    """A figure of the HTML report: its caption and its SVG."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Grid:
    """Figures of methods on problems.

    Attributes:
        columns: names of the problems.
        rows: for each method, a figure per problem; None where there is none.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Figure | None, ...]], ...]


def protocol_figures(board: Leaderboard) -> list[Figure]:
    """Scores against times, and performance profiles; each method with its best tracker."""
    figures, name = [], board.protocol.id
    points: dict[str, tuple[list[float], list[float]]] = {}
    leading = board.best_trackers
    for label in leading:
        results = [result for result in board.results_of(label) if _plan_milliseconds(result)]
        if results and len(results) == len(board.tasks):
            points[label] = [*map(_plan_milliseconds, results)], [each.share for each in results]
    references = [label for label in board.labels if label not in board.ranked]
    line = (references[0], board.share(references[0])) if references else None
    if points:
        caption = (
            "Share of the upper bound against the time of a plan. Markers: means over tasks "
            "(geometric means for times); whiskers: range over tasks, cut at the edges. Up and "
            "left is better. Each method is shown with its best tracker; policies, which make no "
            "plans, are left out."
        )
        figures.append(Figure(caption, times_svg(f"{name}-times", points, leading, line)))
    thresholds = np.linspace(0, 1, 101)
    shares = {label: board.seed_shares(label) for label in (*references, *leading)}
    profiles = {
        label: Profile(*statistics.performance_profile(matrix, thresholds))
        for label, matrix in shares.items()
        if matrix is not None and matrix.size > 2
    }
    if profiles:
        caption = (
            "Performance profiles (arXiv 2108.13264): the share of runs whose share of the upper "
            "bound is above a threshold. Right is better. Bands: 95% intervals over training "
            "seeds, if there are several. Each method is shown with its best tracker."
        )
        svg = profiles_svg(f"{name}-profiles", thresholds, profiles, leading)
        figures.append(Figure(caption, svg))
    return figures


def _plan_milliseconds(result: Result) -> float:
    known = [run.cost.plan.p50 for run in result.runs if run.cost.plan is not None]
    return 1000 * float(np.median(known)) if known else 0.0


def example_grid(task: Task, results: Sequence[Result]) -> Grid | None:
    """Plans and their episodes on the same problems, for each method with its best tracker.

    None if the records have no examples.
    """
    best: dict[str, Result] = {}
    for result in results:
        best.setdefault(result.method, result)
    runs = {result.label: result.runs[0] for result in best.values() if result.runs[0].examples}
    if not runs:
        return None
    numbers = dict.fromkeys(each.episode for run in runs.values() for each in run.examples)
    rows = []
    for row, (label, run) in enumerate(runs.items()):
        panels = {each.episode: _panel(task, run, each, row) for each in run.examples}
        rows.append((label, tuple(map(panels.get, numbers))))
    caption = (
        "The problems with the longest paths. Thick line: first plan. Thin line: executed path. "
        "Circle: start. Red: goal. Each method is shown with its best tracker and its first "
        "training seed."
    )
    return Grid(caption, tuple(f"problem {number}" for number in numbers), tuple(rows))


def _panel(task: Task, run: Run, example: Example, row: int) -> Figure:
    episode = run.episodes[example.episode]
    executed = ExecutedPlan(
        None if example.plan is None else np.array(example.plan, dtype=float),
        np.array(example.path, dtype=float),
        np.array(episode.goal),
    )
    steps = episode.steps_to_goal
    caption = "not reached" if steps is None else f"{steps} steps"
    name = f"{task.id}-{row}-{example.episode}"
    return Figure(caption, episode_svg(name, task.maze.text, executed))
