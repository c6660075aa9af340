"""What does the clearance of plans change?

    python benchmarks/clearance.py

Plans the test starts of each task, and runs them. "clearance" says how far plans stay from the edge
of the visited region and from recorded contacts, in steps at top speed:

- "shipped": as chosen by ``dfplan tune`` on validation starts (:mod:`dfplan.tuning`).
- "no contacts": the shipped distance from the edge, and contacts are not known.
- "none": the edge of the visited region is the limit, and contacts are not known.

"touching" is the share of plans whose line, if the body followed it exactly, touches a wall: some
point of it is nearer to a wall than the radius of the body. "steps" are the mean steps to the goal.
"graph" is the expected way alone, without a network. Scores are means over starts; ± is half of a
95% interval.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from findings import RESULTS, publish, task_names
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.cli.arguments import Names
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import Split, Task, named_task, problems
from dfplan.evaluation.statistics import mean
from dfplan.mazes import Maze
from dfplan.planning.graph import GraphPlanner
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner
from dfplan.pretrained import load
from dfplan.tokens.free_region import Clearance
from dfplan.tokens.statistics import Statistics
from dfplan.types import Plan, Planner

TASKS = task_names("d4rl-maze2d-v1", "gymnasium-pointmaze-v3", "ogbench-pointmaze-v0")

_POINTS_PER_LINE = 20

_CLEARANCES: dict[str, Callable[[Clearance], Clearance]] = {
    "shipped": lambda shipped: shipped,
    "no contacts": lambda shipped: replace(shipped, contact=0.0),
    "none": lambda shipped: Clearance(0.0, 0.0),
}


def main(
    tasks: Names = Names(TASKS),
    episodes: int = 100,
    split: Split = "test",
    out: Path = RESULTS,
) -> None:
    started = time.perf_counter()
    tables = {
        name: [
            _row(named_task(name, split), episodes, planner, clearance)
            for planner in ("dfplan", "graph")
            for clearance in _CLEARANCES
        ]
        for name in tqdm(tasks)
    }
    publish(out, "clearance", __doc__, started, tables)


def _row(task: Task, episodes: int, name: str, clearance: str) -> dict[str, object]:
    starts = problems(task, episodes)
    shipped = cast(ForcingPlanner, load(task.data))
    statistics = shipped.model.statistics
    changed = replace(statistics, clearance=_CLEARANCES[clearance](statistics.clearance))
    planner = _planner(name, shipped, changed)
    plan = planner.plan(starts.starts, starts.goals, seed=0)
    batch = run_episodes(Policy(planner), task, starts, progress=False)
    score = mean(batch.scores()[None])
    return {
        "planner": name,
        "clearance": clearance,
        "edge": changed.clearance.edge,
        "contact": changed.clearance.contact,
        "score": score.value,
        "±": score.half_width,
        "steps": float(batch.steps_to_goal.mean()),
        "touching %": 100 * float(np.mean(_touching(plan, task.maze))),
    }


def _planner(name: str, shipped: ForcingPlanner, statistics: Statistics) -> Planner:
    if name == "graph":
        return GraphPlanner(statistics, observation_layout=shipped.observation_layout)
    return replace(shipped, model=replace(shipped.model, statistics=statistics))


def _touching(plan: Plan, maze: Maze) -> list[bool]:
    """Whether the line of each plan touches a wall."""
    share = np.linspace(0, 1, _POINTS_PER_LINE, endpoint=False)[:, None, None]
    touching = []
    for points, steps in zip(plan.points, plan.steps, strict=True):
        line = points[: 1 + steps // plan.stride].astype(np.float64)
        places = (line[:-1] + share * np.diff(line, axis=0)).reshape(-1, 2)
        touching.append(not maze.is_free(places, maze.suite.ball_radius).all())
    return touching


if __name__ == "__main__":
    auto_cli(main)
