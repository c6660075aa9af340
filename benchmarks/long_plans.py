"""What does each part of long plans contribute?

    python benchmarks/long_plans.py

Plans from the test starts of each task. The windows of the models are shorter than plans in
giant-stitch and in teleport-navigate, and as long in multi2d-large:

- "graph alone": the expected way on the roadmap of the data, without a network.
- "windows alone": windows are denoised together from pure noise. Nothing but the start, the goal
  and the usual guidance shapes the plan. Its length is twice that of a straight line at top speed.
- "windows, time to goal": the same, guided and compared by ``TimeToGoal``, too. Its length is 1.1
  times the expected time to the goal.
- "windows along the way": the shipped settings, which start from the expected way with noise.
- "again every 50 steps": with a new plan every 50 steps, which starts from the rest of the one
  before (warm start), or not.
- "jumps as choices": as shipped, but a place where the data jumps counts as one from which the body
  can choose its landing.
- "searched from both ends": no roadmap. Windows are sampled from the start and from the goal until
  two of them meet, and the plan starts from this line with noise (``both_ends.py``). Only where
  windows are shorter than plans and the data has no jumps.

Scores are means over starts and training seeds; ± is half of a 95% interval. "evaluations" are
network evaluations per plan, "ms" is the median time of a plan of one query on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from both_ends import BothEnds
from findings import RESULTS, publish
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.cli.arguments import Names
from dfplan.errors import unknown_name
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import Split, Task, named_task, problems
from dfplan.evaluation.statistics import mean
from dfplan.planning.graph import GraphPlanner
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.policy import Policy
from dfplan.planning.rewards import TimeToGoal
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.time_to_goal import goal_times
from dfplan.pretrained import checkpoint_path, load, pretrained_names
from dfplan.types import Plan, Planner

CHECKPOINTS = Path(__file__).parent / "checkpoints"

_TIMED_PLANS = 20
_EVERY = 50
_TIME_WEIGHT = 0.1
_SLOW = {"patience": None}
"""Plans that take long are made again only when their time is over or the body is far away."""


@dataclass(frozen=True)
class FromNoise(BasePlanner):
    """Plans one query from pure noise, of a given length if it can be longer than a window."""

    planner: ForcingPlanner

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :class:`BasePlanner`."""
        start, goal = _ends(arguments, self.planner)
        straight = np.abs(goal - start).max() / self.planner.model.statistics.motion.max_step
        horizon = _horizon(2 * straight, self.planner)
        planner = self.planner.with_settings(route_noise=np.inf)
        return replace(arguments, horizon=horizon).plan_with(planner)


@dataclass(frozen=True)
class WithTimeToGoal(BasePlanner):
    """Plans one query from pure noise, with the expected time to its goal as a reward."""

    planner: ForcingPlanner

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :class:`BasePlanner`."""
        statistics = self.planner.model.statistics
        assert statistics.roadmap is not None
        start, goal = _ends(arguments, self.planner)
        times = goal_times(statistics.roadmap, statistics.support, goal)
        expected = times.steps[times.start_bin(start)]
        horizon = _horizon(1.1 * expected, self.planner)
        reward = _TIME_WEIGHT * TimeToGoal(times)
        return replace(arguments, horizon=horizon, reward=reward).plan_with(self.planner)


def _ends(arguments: PlanArguments, planner: ForcingPlanner) -> tuple[np.ndarray, np.ndarray]:
    """Start [2] and goal [2] of the one query."""
    assert arguments.goal is not None
    observation = np.atleast_2d(np.asarray(arguments.observation, np.float64))
    start = planner.observation_layout.positions(observation)[0]
    return start, np.atleast_2d(np.asarray(arguments.goal, np.float64))[0]


def _horizon(steps: float, planner: ForcingPlanner) -> int | None:
    """These steps; None if a window of the model is as long."""
    return None if steps <= planner.model.layout.longest_horizon else int(steps)


@dataclass(frozen=True)
class OneByOne(BasePlanner):
    """Plans the queries of a batch one after another."""

    planner: Planner

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :class:`BasePlanner`."""
        states, goals = np.atleast_2d(arguments.observation), np.atleast_2d(arguments.goal)
        plans = [
            replace(arguments, observation=state[None], goal=goal[None]).plan_with(self.planner)
            for state, goal in zip(states, goals, strict=True)
        ]
        length = max(plan.points.shape[1] for plan in plans)

        def padded(values: np.ndarray, axis: int) -> np.ndarray:
            pad = [(0, 0)] * values.ndim
            pad[axis] = (0, length - values.shape[axis])
            return np.pad(values, pad, mode="edge")

        return replace(
            plans[0],
            points=np.concatenate([padded(plan.points, 1) for plan in plans]),
            steps=np.concatenate([plan.steps for plan in plans]),
            level=np.concatenate([padded(plan.level, 1) for plan in plans]),
            spread=np.concatenate([padded(plan.spread, 1) for plan in plans]),
            candidates=np.concatenate([padded(plan.candidates[:, :1], 2) for plan in plans]),
            scores=np.concatenate([plan.scores[:, :1] for plan in plans]),
            observation=np.concatenate([plan.observation for plan in plans]),
            goal=goals,
            arrival=None,
            on_plan=None,
            loss=None,
            futures=None,
            seconds=sum(plan.seconds for plan in plans),
        )


def _choices(planner: ForcingPlanner) -> ForcingPlanner:
    """The planner for whose roadmap a jump is a choice that takes one step."""
    statistics = planner.model.statistics
    roadmap = statistics.roadmap
    assert roadmap is not None
    pairs = np.concatenate([roadmap.edges, roadmap.jumps])
    steps = np.concatenate([roadmap.steps, np.ones(len(roadmap.jumps), np.float32)])
    _, first = np.unique(pairs[:, 0].astype(np.int64) * len(roadmap) + pairs[:, 1], True)
    free = replace(
        roadmap,
        edges=pairs[first],
        steps=steps[first],
        jumps=roadmap.jumps[:0],
        chance=roadmap.chance[:0],
        departures=roadmap.departures[:0],
    )
    return replace(
        planner, model=replace(planner.model, statistics=replace(statistics, roadmap=free))
    )


def _graph(planner: ForcingPlanner) -> Planner:
    return GraphPlanner(planner.model.statistics)


SEARCHED = "searched from both ends"

VARIANTS: dict[str, tuple[Callable[[ForcingPlanner], Planner], dict[str, Any]]] = {
    "graph alone": (_graph, {}),
    "windows alone": (lambda planner: OneByOne(FromNoise(planner)), _SLOW),
    "windows, time to goal": (lambda planner: OneByOne(WithTimeToGoal(planner)), _SLOW),
    "windows along the way": (lambda planner: planner, {}),
    "again every 50 steps, warm start": (lambda planner: planner, {"replan_every": _EVERY}),
    "again every 50 steps, no warm start": (
        lambda planner: planner,
        {"replan_every": _EVERY, "warm_start": False},
    ),
    "jumps as choices": (_choices, {}),
    "graph alone, jumps as choices": (lambda planner: _graph(_choices(planner)), {}),
    SEARCHED: (lambda planner: OneByOne(BothEnds(planner)), _SLOW),
}
"""What is compared: how to plan with a trained planner, and arguments of the policy."""

TASKS = ("ogbench-giant-stitch", "ogbench-teleport-navigate", "multi2d-large")

_SEARCHABLE = ("ogbench-giant-stitch",)
"""Where windows are shorter than plans and never have to jump; others are not searched."""


def main(
    tasks: Names = Names(TASKS),
    variants: Names = Names(tuple(VARIANTS)),
    seeds: int = 3,
    episodes: int = 50,
    split: Split = "test",
    workers: int = 1,
    name: str = "long_plans",
    out: Path = RESULTS,
) -> None:
    """Run every variant on every task.

    Args:
        tasks: names of tasks.
        variants: keys of VARIANTS.
        seeds: number of training seeds.
        episodes: number of starts per task and seed; fewer if the task has fewer.
        split: of the problems.
        workers: processes with one thread each.
        name: of the result.
        out: folder for the results.
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise unknown_name("variant", variant, VARIANTS)
    started = time.perf_counter()
    jobs = [
        (task, variant, range(1 if variant.startswith("graph") else seeds), episodes, split)
        for task in tasks
        for variant in variants
        if variant != SEARCHED or task in _SEARCHABLE
    ]
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        rows = list(tqdm(pool.map(_row, *zip(*jobs, strict=True)), total=len(jobs)))
    tables = {
        task: [row for job, row in zip(jobs, rows, strict=True) if job[0] == task] for task in tasks
    }
    publish(out, name, __doc__, started, tables)


def _row(
    task_name: str, variant: str, seeds: range, episodes: int, split: Split
) -> dict[str, object]:
    task = named_task(task_name, split)
    starts = problems(task, min(episodes, task.protocol.episodes))
    build, options = VARIANTS[variant]
    scores, evaluations, seconds, steps = [], [], [], []
    for seed in seeds:
        planner = build(_planner(task, seed))
        batch = run_episodes(
            # A body that a jump has left where no way leads on keeps its plan.
            Policy(planner, _planner(task, seed).tracker(), on_error="hold", **options),
            task,
            starts,
            progress=False,
        )
        scores.append(batch.scores())
        steps.append(batch.steps_to_goal)
        for index in range(min(_TIMED_PLANS, len(starts))):
            plan = planner.plan(starts.starts[index], starts.goals[index], seed=index)
            evaluations.append(plan.evaluations)
            seconds.append(plan.seconds)
    score = mean(np.stack(scores))
    return {
        "variant": variant,
        "seeds": len(seeds),
        "score": score.value,
        "±": score.half_width,
        "steps to the goal": float(np.mean(steps)),
        "evaluations": float(np.mean(evaluations)),
        "ms": 1e3 * float(np.median(seconds)),
    }


def _planner(task: Task, seed: int) -> ForcingPlanner:
    stem = f"{task.data}-s{seed}" if seed else task.data
    path = (
        checkpoint_path(stem) if stem in pretrained_names() else CHECKPOINTS / f"{stem}.safetensors"
    )
    return cast(ForcingPlanner, load(path))


if __name__ == "__main__":
    auto_cli(main)
