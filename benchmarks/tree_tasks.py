"""Is tree search better than single plans, with the same number of network evaluations?

    python benchmarks/tree_tasks.py

The first starts of each Maze2D and OGBench task, with the shipped planners. "single" denoises all
candidates at once and chooses the best by the planner's score, "tree" is tree search over segments.
Both start from the expected way, and with "noise" from pure noise. A single plan from pure noise is
not longer than a window, which is too short on some tasks. Bodies replan as usual. "evaluations"
are those of the plan for the first start. Those of trees are at most the budget. A budget pays for
as many single candidates as for the first start; farther goals take more windows. Scores are means
over starts, ± half of a 95% interval. "difference" is the paired difference of the tree's score to
that of the single plan.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import numpy as np
from findings import RESULTS, publish
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.cli.arguments import Names
from dfplan.errors import ConfigError
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import (
    Split,
    Task,
    named_protocol,
    named_task,
    problems,
    tasks_of,
)
from dfplan.evaluation.statistics import mean, paired_difference
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.pretrained import load
from dfplan.types import Planner

TASKS = tuple(
    task.id
    for protocol in ("d4rl-maze2d-v1", "ogbench-pointmaze-v0")
    for task in tasks_of(named_protocol(protocol))
)


def main(
    tasks: Names = Names(TASKS),
    budget: int = 192,
    episodes: int = 50,
    split: Split = "test",
    out: Path = RESULTS,
) -> None:
    """Compare them.

    Args:
        tasks: of any suite.
        budget: network evaluations of a plan.
        episodes: of each task.
        split: test or validation.
        out: folder for the results.
    """
    started = time.perf_counter()
    tables: dict[str, list[dict[str, object]]] = {
        "from the expected way": [],
        "from pure noise": [],
    }
    for name in tqdm(tasks):
        task = named_task(name, split)
        planner = cast(ForcingPlanner, load(task.data))
        noise = planner.with_settings(route_noise=np.inf)
        steps = planner.settings.sampling.steps
        pairs: dict[str, tuple[ForcingPlanner, TreePlanner]] = {
            "from the expected way": (
                planner.with_settings(route_candidates=_candidates(planner, task, budget)),
                TreePlanner(planner, TreeSettings(budget)),
            ),
            "from pure noise": (
                noise.with_settings(candidates=budget // steps),
                TreePlanner(noise, TreeSettings(budget)),
            ),
        }
        for title, (single, tree) in pairs.items():
            tables[title].append({"task": name} | _row(task, episodes, single, tree))
        publish(out, "tree_tasks", __doc__, started, tables)


def _candidates(planner: ForcingPlanner, task: Task, budget: int) -> int:
    """How many candidates from the expected way the budget pays; long ones take more windows."""
    first = problems(task, 1)
    one = planner.with_settings(route_candidates=1).plan(first.starts, first.goals, seed=0)
    return max(1, budget // one.evaluations)


def _row(task: Task, episodes: int, single: Planner, tree: Planner) -> dict[str, object]:
    starts = problems(task, episodes)
    row: dict[str, object] = {}
    scores: dict[str, np.ndarray] = {}
    for name, planner in (("single", single), ("tree", tree)):
        try:
            plan = planner.plan(starts.starts[:1], starts.goals[:1], seed=0)
            policy = Policy(planner, on_error="hold")  # no way may lead on after a jump
            batch = run_episodes(policy, task, starts, progress=False)
        except ConfigError:  # the goal is farther than a window
            row |= {name: None, f"{name} ±": None, f"{name} evaluations": None}
            continue
        scores[name] = batch.scores()
        score = mean(scores[name][None])
        row |= {
            name: score.value,
            f"{name} ±": score.half_width,
            f"{name} evaluations": plan.evaluations,
        }
    if len(scores) < 2:
        return row | {"difference": None, "difference ±": None}
    difference = paired_difference(scores["tree"][None], scores["single"][None])
    return row | {"difference": difference.value, "difference ±": difference.half_width}


if __name__ == "__main__":
    auto_cli(main)
