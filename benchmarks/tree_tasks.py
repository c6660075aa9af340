"""Is tree search better than single plans, with the same number of network evaluations?

    python benchmarks/tree_tasks.py

The first starts of each Maze2D and OGBench task, with the shipped planners. "single" denoises all
candidates at once and chooses the best by the planner's score, "tree" is tree search over segments.
Both start from the expected way on the roadmap of the data, and with "noise" from pure noise; then
the roadmap still gives the values of nodes, the way on which a tree goes on that has not arrived,
and the horizons of single plans. "graph" is that way alone, without a network. Bodies replan as
usual.

"evaluations" are those of the plan for the first start; single plans have as many candidates as
these allow. "by the network" is the share, in percent, of the first plans' points that the network
of the tree made; the others are on the recorded way. Scores are means over starts, ± half of a 95%
interval. "difference" is the paired difference of the tree's score to that of the single plan.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import numpy as np
from findings import RESULTS, affordable_candidates, publish, task_names
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.cli.arguments import Names
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import Problems, Split, Task, named_task, problems
from dfplan.evaluation.statistics import mean, paired_difference
from dfplan.planning.graph import GraphPlanner
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.pretrained import load

TASKS = task_names("d4rl-maze2d-v1", "ogbench-pointmaze-v0")


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
        planner = cast(ForcingPlanner, load(task.data)).with_settings(replans=0)
        graph = GraphPlanner(planner.model.statistics, planner.settings.risk_aversion)
        for title, arm in (
            ("from the expected way", planner),
            ("from pure noise", planner.with_settings(route_noise=np.inf)),
        ):
            tree = TreePlanner(arm, TreeSettings(budget))
            first = problems(task, 1)
            count = affordable_candidates(arm, first.starts[0], first.goals[0], budget)
            single = arm.with_settings(candidates=count, route_candidates=count)
            row = _row(task, episodes, single, tree, graph)
            tables[title].append({"task": name} | row)
        publish(out, "tree_tasks", __doc__, started, tables)


def _row(
    task: Task, episodes: int, single: ForcingPlanner, tree: TreePlanner, graph: GraphPlanner
) -> dict[str, object]:
    starts = problems(task, episodes)
    row: dict[str, object] = {}
    scores: dict[str, np.ndarray] = {}
    for name, planner in (("single", single), ("tree", tree), ("graph", graph)):
        policy = Policy(planner, on_error="hold")  # no way may lead on after a jump
        scores[name] = run_episodes(policy, task, starts, progress=False).scores()
        score = mean(scores[name][None])
        row |= {name: score.value, f"{name} ±": score.half_width}
        if name != "graph":
            plan = planner.plan(starts.starts[:1], starts.goals[:1], seed=0)
            row[f"{name} evaluations"] = plan.evaluations
    difference = paired_difference(scores["tree"][None], scores["single"][None])
    return row | {
        "by the network": _share_of_network(tree, starts),
        "difference": difference.value,
        "difference ±": difference.half_width,
    }


def _share_of_network(tree: TreePlanner, starts: Problems) -> float:
    """The share, in percent, of plans' points that the network made."""
    plan = tree.plan(starts.starts[:10], starts.goals[:10], seed=0, trace=True)
    assert plan.tree is not None
    row, best = np.arange(len(plan)), plan.tree.scores.argmax(1)
    made = plan.tree.ends[row, best] / (plan.steps // plan.stride).clip(min=1)
    return float(100 * made.clip(max=1).mean())


if __name__ == "__main__":
    auto_cli(main)
