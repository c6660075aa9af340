"""Is what is drawn as uncertain as what is?

    python benchmarks/uncertainty.py

Validation problems of four tasks. The regions and the calibration of each checkpoint come from
other validation problems (``dfplan calibrate``).

"spread": the plan spread against what it means. "real" is the root mean square distance from each
point of a plan to the same problem planned with ten other seeds, on the same route. "rank
correlation" is the median over plans of Spearman's correlation along the plan, and "size" the mean
spread over the mean of "real". "unknown" is the share of plans, in percent, whose route no plan
made again takes; they do not count. "ten others" predicts "real" by ten more seeds; nothing can be
expected to do better.
Plans start from the expected way, with as little noise as by default or with much noise, as in
pictures, or from pure noise. "time of the spread" compares single plans with and without one, in
percent (median of paired runs, one at a time).

"regions": how many noisy tokens end inside their prediction regions, in percent, while plans are
denoised by the pyramid matrix, from the expected way with much noise, as pictures show them, and
from pure noise. A bin is a noise level and a number of tokens ahead;
"bins that hold" counts those with at least 400 tokens whose 95% interval, resampled by problem,
contains the nominal value. "in walls" is the share of the regions' area, as drawn, that lies in
walls of the maze.

"tracking": how many points of plans the path passes inside their tracking regions of 90%, in
percent: without disturbance, with the mildest one, and among the third of the points with the
smallest and the largest regions, both cases together.

"success": the predicted probability of success of plans that are followed to the end, under pushes
and noise, against what happens. Conditions in which 30 to 90% of the episodes succeed are pooled;
each problem is planned and run with three seeds.
"calibration error" is the expected one, over ten bins; "base rate" is the Brier score of always
predicting the mean.

"time": of plans to the goal, and of plans that pass through a place on the way: the steps after
which the plan says that the body is within the goal's radius, over the steps that it takes;
"planned" is the same for the horizon that was planned. "too fast" is the share of a plan's parts,
in percent, that are faster than the body; pictures mark them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from findings import RESULTS, publish
from joblib import Parallel, delayed
from jsonargparse import auto_cli
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from dfplan.calibrating import (
    denoised_plans,
    followed,
    passages,
    rows_of,
    success_test,
)
from dfplan.cli.arguments import Names
from dfplan.evaluation.protocols import Problems, Task, named_task, problems
from dfplan.mazes import Maze
from dfplan.planning.disturbance import Disturbance
from dfplan.planning.replans import same_route, spread
from dfplan.planning.rewards import PassThrough
from dfplan.planning.settings import MUCH_NOISE
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.success import success_probability
from dfplan.planning.timing import arrival_times
from dfplan.plotting import marks
from dfplan.plotting.figures import save
from dfplan.plotting.maze import floor_outline, maze_limits, to_picture
from dfplan.plotting.reliability import reliability_bins, reliability_figure
from dfplan.pretrained import load
from dfplan.regions import COVERAGE, region_samples
from dfplan.suites import CELL_OFFSET
from dfplan.types import Plan, Reward

TASKS = ("multi2d-medium", "multi2d-large", "ogbench-giant-navigate", "ogbench-teleport-navigate")

CONDITIONS = tuple(
    Disturbance(action_noise=0.3, push_chance=chance)
    for chance in (0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
)
"""Pushes and noise, the mildest first."""

_REPLANS = {2: "2 (default)", 8: "8"}
"""Plans that are made again for the spread, by number."""

_SEEDS = 3
"""How often each problem is run under each condition."""

_FEWEST = 400
"""Tokens of a bin that is judged."""


def main(
    tasks: Names = Names(TASKS), count: int = 100, workers: int = 2, out: Path = RESULTS
) -> None:
    """Measure them.

    Args:
        tasks: of any suite, with validation problems.
        count: problems of each task.
        workers: tasks that are measured at a time.
        out: folder for the results.
    """
    started = time.perf_counter()
    measured = Parallel(n_jobs=workers)(delayed(measure)(name, count) for name in tasks)
    tables = {
        table: [{"task": task.name} | row for task in measured for row in task.tables[table]]
        for table in measured[0].tables
    }
    for start in measured[0].tokens:
        judged = _judged_regions([task.tokens[start] for task in measured])
        tables["regions"].append(
            {"task": "all of them", "from": start} | judged | {"in walls": None}
        )
    pushed = [task for task in measured if len(task.episodes[0])]
    tables["success"] = [{"task": task.name} | _judged(*task.episodes) for task in pushed]
    if pushed:
        pooled = zip(*(task.episodes for task in pushed), strict=True)
        predicted, reached = (np.concatenate(part) for part in pooled)
        tables["success"].append({"task": "all of them"} | _judged(predicted, reached))
    tables["time of the spread"] = [row for name in tasks for row in _extra_times(name, count)]
    publish(out, "uncertainty", __doc__, started, {n: rows for n, rows in tables.items() if rows})
    for task in pushed:
        figure = reliability_figure(*task.episodes, title=task.name)
        save(figure, out / f"uncertainty_{task.name}.svg")


@dataclass(frozen=True)
class Measured:
    """What was measured of one task.

    Attributes:
        name: of the task.
        tables: rows by table.
        tokens: noisy tokens (:func:`_noisy_tokens`), by where their plans start from.
        episodes: predicted probabilities of success, and whether the goal was reached.
    """

    name: str
    tables: dict[str, list[dict[str, object]]]
    tokens: dict[str, np.ndarray]
    episodes: tuple[np.ndarray, np.ndarray]


def measure(name: str, count: int) -> Measured:
    """Measure a task on so many problems."""
    torch.set_num_threads(1)
    task = named_task(name, "validation")
    planner = cast(ForcingPlanner, load(task.data))
    drawn = problems(task, count)
    spread, regions, tokens = [], [], {}
    for start, arm in _arms(planner).items():
        spread += [{"from": start} | row for row in _spread(arm, drawn)]
    for start, noise in (("way, much noise", MUCH_NOISE), ("noise", np.inf)):
        tokens[start] = _noisy_tokens(planner, drawn, noise)
        walls = _share_in_walls(planner, task, drawn, noise)
        judged = _judged_regions([tokens[start]])
        regions.append({"from": start} | judged | {"in walls": walls})
    via = planner.for_rewards(task.maze.suite.cell_size), PassThrough(_via(task.maze))
    times = [
        {"plans": label} | _times(arm, reward, task, drawn)
        for label, (arm, reward) in (("to the goal", (planner, None)), ("by a place", via))
    ]
    tracking = [_tracking(planner, task, drawn)]
    tables = {"spread": spread, "regions": regions, "tracking": tracking, "time": times}
    return Measured(name, tables, tokens, _success(planner, task, drawn))


def _arms(planner: ForcingPlanner) -> dict[str, ForcingPlanner]:
    """Planners by where their plans start from."""
    noises = {"way": planner.settings.route_noise, "way, much noise": MUCH_NOISE, "noise": np.inf}
    return {start: planner.with_settings(route_noise=noise) for start, noise in noises.items()}


def _spread(planner: ForcingPlanner, drawn: Problems) -> list[dict[str, object]]:
    """A row for each number of plans that are made again."""
    plan = planner.with_settings(replans=2).plan(drawn.starts, drawn.goals, seed=0)
    again = [
        planner.with_settings(replans=0).plan(drawn.starts, drawn.goals, seed=seed).points
        for seed in range(1, 21)
    ]
    islands = planner.model.statistics.support.islands
    real, others = (_real_spread(plan.points, part, islands) for part in (again[:10], again[10:]))
    many = planner.with_settings(replans=8).plan(drawn.starts, drawn.goals, seed=0)
    rows = []
    for name, guess in (
        (_REPLANS[2], plan.spread),
        (_REPLANS[8], many.spread),
        ("ten others", others),
    ):
        assert guess is not None
        rank, size, unknown = _compared(plan, guess, real)
        rows.append(
            {
                "plans made again": name,
                "rank correlation": rank,
                "size": size,
                "unknown": unknown,
            }
        )
    return rows


def _real_spread(
    points: np.ndarray, again: Sequence[np.ndarray], islands: np.ndarray
) -> np.ndarray:
    """How far points [B, P, 2] move in plans that were made again, on the same route; [B, P]."""
    length = max(line.shape[1] for line in again)
    lines = np.stack(
        [np.pad(line, ((0, 0), (0, length - line.shape[1]), (0, 0)), "edge") for line in again], 1
    )
    same = np.stack([same_route(*pair, islands) for pair in zip(points, lines, strict=True)])
    return spread(points, lines, same)


def _compared(plan: Plan, guess: np.ndarray, real: np.ndarray) -> tuple[float, float, float]:
    """Median rank correlation along the plans, ratio of the means, and percent of unknown ones."""
    ranks, means, unknown = [], [], 0
    for row, steps in enumerate(plan.steps):
        inner = slice(1, int(steps) // plan.stride)
        pair = guess[row, inner], real[row, inner]
        if len(pair[0]) < 6:
            continue
        if np.isnan(pair).any():
            unknown += 1
            continue
        means.append([part.mean() for part in pair])
        varies = min(float(np.ptp(part)) for part in pair) > 0
        ranks.append(spearmanr(*pair).statistic if varies else 0.0)
    first, second = np.mean(means, axis=0)
    return float(np.median(ranks)), float(first / second), 100 * unknown / len(plan)


def _extra_times(name: str, count: int) -> list[dict[str, object]]:
    """A row for each planner of a task, and number of plans that are made again."""
    task = named_task(name, "validation")
    drawn = problems(task, count)
    return [
        {
            "task": name,
            "from": start,
            "plans made again": title,
            "extra time": _extra_time(arm, drawn, replans),
        }
        for start, arm in _arms(cast(ForcingPlanner, load(task.data))).items()
        for replans, title in _REPLANS.items()
    ]


def _extra_time(planner: ForcingPlanner, drawn: Problems, replans: int, count: int = 20) -> float:
    """How much longer a single plan takes with a spread, in percent."""
    arms = [planner.with_settings(replans=number) for number in (0, replans)]
    ratios = []
    for row in range(-1, count):  # the first one warms up
        seconds = [
            arm.plan(drawn.starts[row % len(drawn)], drawn.goals[row % len(drawn)], seed=0).seconds
            for arm in arms
        ]
        if row >= 0:
            ratios.append(seconds[1] / seconds[0])
    return float(100 * (np.median(ratios) - 1))


def _noisy_tokens(planner: ForcingPlanner, drawn: Problems, route_noise: float) -> np.ndarray:
    """For each noisy token: its problem, its bin, and whether it ends inside each region."""
    parts, problem = [], 0
    for plan in denoised_plans(planner, drawn, route_noise):
        table = plan.regions
        assert table is not None, "Run dfplan calibrate first."
        for rows, final in rows_of(plan):
            noise, ahead, error = region_samples(rows, final, table.points_per_token)
            place = np.searchsorted(table.ahead, ahead, side="right")
            key = np.round(1000 * noise) * 100 + place
            inside = error[:, None] <= table.at(noise, ahead)
            parts.append(np.column_stack([np.full(len(key), problem), key, inside]))
            problem += 1
    return np.concatenate(parts)


def _judged_regions(tasks: Sequence[np.ndarray]) -> dict[str, object]:
    """How many tokens end inside their regions, and in how many bins of the tasks that holds."""
    tokens = np.concatenate(tasks)
    holds, judged = np.sum([_bins_that_hold(found) for found in tasks], axis=0)
    row: dict[str, object] = {
        f"inside {nominal:.0%}": float(100 * tokens[:, 2 + column].mean())
        for column, nominal in enumerate(COVERAGE)
    }
    return row | {"bins that hold": int(holds), "of bins": int(judged)}


def _share_in_walls(
    planner: ForcingPlanner, task: Task, drawn: Problems, route_noise: float
) -> float:
    """The share of the regions' area that lies in walls, in percent, over 20 plans."""
    walls, area = 0.0, 0.0
    for plan in denoised_plans(planner, drawn.subset(slice(0, 20)), route_noise):
        assert plan.regions is not None
        for rows, final in rows_of(plan):
            noise, points = rows[len(rows) // 3]
            radii = plan.regions.of(noise)[: len(final), 1]
            both = _area(plan, task, points[: len(final)], radii)
            walls, area = walls + both[0], area + both[1]
    return 100 * walls / max(area, 1e-9)


def _bins_that_hold(found: np.ndarray) -> tuple[int, int]:
    rng, holds, judged = np.random.default_rng(0), 0, 0
    for key in np.unique(found[:, 1]):
        own = found[found[:, 1] == key]
        if len(own) < _FEWEST:
            continue
        ids, place = np.unique(own[:, 0], return_inverse=True)
        drawn = rng.integers(len(ids), size=(1000, len(ids)))
        size = np.bincount(place)[drawn].sum(1)
        for column, nominal in enumerate(COVERAGE):
            inside = np.bincount(place, own[:, 2 + column])[drawn].sum(1)
            low, high = np.quantile(inside / size, [0.025, 0.975])
            holds, judged = holds + int(low <= nominal <= high), judged + 1
    return holds, judged


def _area(
    plan: Plan, task: Task, points: np.ndarray, radii: np.ndarray, pixels: int = 60
) -> tuple[float, float]:
    """The area of regions in walls, and all of it, as drawn with so many pixels for a cell."""
    assert plan.floor is not None
    maze = task.maze
    low0, high0, low1, high1 = maze_limits(maze)
    figure = Figure(figsize=(high1 - low1, high0 - low0), dpi=pixels, facecolor="white")
    canvas, ax = FigureCanvasAgg(figure), figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(low1, high1), ylim=(high0, low0))
    ax.set_axis_off()
    noisy = radii > 0
    places, cells = to_picture(maze, points)[noisy], radii[noisy] / maze.suite.cell_size
    both, black = np.stack([cells, cells], 1), np.tile([0.0, 0.0, 0.0, 1.0], (len(cells), 1))
    drawn = marks.draw_regions(ax, places, both, black)
    marks.cut_off(ax, drawn, floor_outline(plan.floor, maze))
    canvas.draw()  # type: ignore[no-untyped-call]
    pixel = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    ink = 255.0 - pixel[..., 0]
    q0, q1 = (
        low + (np.arange(count) + 0.5) / pixels
        for low, count in zip((low0, low1), ink.shape, strict=True)
    )
    first, second = (np.floor(q + 0.5 - CELL_OFFSET).astype(int) for q in (q0, q1))
    walls = maze.walls[np.ix_(first.clip(0), second.clip(0))]
    return float(ink[walls].sum()), float(ink.sum())


def _tracking(planner: ForcingPlanner, task: Task, drawn: Problems) -> dict[str, object]:
    row: dict[str, object] = {}
    found = []
    for name, condition in (("inside 90%", Disturbance()), ("inside, disturbed", CONDITIONS[0])):
        pairs = [
            pair
            for plan, batch in followed(planner, task, drawn, condition, seed=0)
            for pair in passages(planner, plan, batch, planner.calibration, condition, seed=1)
        ]
        distance, radius = (np.concatenate(part) for part in zip(*pairs, strict=True))
        row[name] = float(100 * (distance <= radius).mean())
        found.append(np.stack([distance <= radius, radius]))
    inside, radius = np.concatenate(found, 1)
    low, high = np.quantile(radius, [1 / 3, 2 / 3])
    row["smallest third"] = float(100 * inside[radius <= low].mean())
    row["largest third"] = float(100 * inside[radius >= high].mean())
    return row


def _success(planner: ForcingPlanner, task: Task, drawn: Problems) -> tuple[np.ndarray, np.ndarray]:
    """Predicted probabilities and whether the goal was reached, where 30 to 90% succeed."""
    predicted, reached = [], []
    for condition in CONDITIONS:
        test, pairs = success_test(task, condition), []
        for seed in range(_SEEDS):
            for plan, batch in followed(planner, task, drawn, condition, 1000 * seed):
                pairs.append((success_probability(planner, plan, test, seed=seed), batch.success))
        guess, success = (np.concatenate(part) for part in zip(*pairs, strict=True))
        if 0.3 <= success.mean() <= 0.9:
            predicted.append(guess)
            reached.append(success)
        elif success.mean() < 0.3:
            break
    nothing = np.zeros(0)
    return np.concatenate([nothing, *predicted]), np.concatenate([nothing, *reached])


def _judged(predicted: np.ndarray, reached: np.ndarray) -> dict[str, object]:
    share = reached.mean()
    error = sum(
        abs(each.predicted - each.observed) * each.count
        for each in reliability_bins(predicted, reached)
    )
    return {
        "episodes": len(reached),
        "succeed": float(100 * share),
        "predicted": float(100 * predicted.mean()),
        "calibration error": float(error / len(reached)),
        "Brier score": float(np.square(predicted - reached).mean()),
        "base rate": float(share * (1 - share)),
    }


def _via(maze: Maze) -> torch.Tensor:
    """The center of the free cell in the middle of the list of free cells, [1, 2]."""
    cells = maze.free_cells
    return torch.as_tensor(maze.cell_to_xy(cells[[len(cells) // 2]]), dtype=torch.float32)


def _times(
    planner: ForcingPlanner, reward: Reward | None, task: Task, drawn: Problems
) -> dict[str, object]:
    said: list[np.ndarray] = []
    planned: list[np.ndarray] = []
    fast, parts = 0, 0
    radius = task.maze.suite.goal_radius
    for plan, batch in followed(planner, task, drawn, Disturbance(), 0, reward):
        assert plan.times is not None and plan.too_fast is not None
        fast += int(plan.too_fast.sum())
        parts += int((plan.steps // plan.stride).sum())
        goals = batch.problems.goals
        stride = np.broadcast_to(np.arange(plan.points.shape[1]) * plan.stride, plan.times.shape)
        counts = batch.success & (batch.steps_to_goal > 20)
        for times, ratios in ((plan.times, said), (stride, planned)):
            arrival = arrival_times(plan.points, times, goals, radius)
            ratios.append((arrival / batch.steps_to_goal)[counts])
    return {
        "said / taken": float(np.concatenate(said).mean()),
        "deviation": float(np.concatenate(said).std()),
        "planned / taken": float(np.concatenate(planned).mean()),
        "too fast": 100 * fast / parts,
    }


if __name__ == "__main__":
    auto_cli(main)
