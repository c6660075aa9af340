"""How often does a shipped planner reach the goals of a suite's stock episodes?

    python benchmarks/suites.py

OGBench: its protocol as shipped, 5 tasks of 50 episodes each, starts and goals with its noise, an
episode over after 1000 steps or when the goal is within 1.0; success is the share of episodes in
which it was reached. gymnasium-robotics: PointMaze as shipped, random starts and goals, never over
before its step limit, success within 0.45 at any step. No start chose a setting: whatever was tuned
was tuned on other episodes (split "validation").

The oracle is the controller that collected OGBench's data, without the noise on its actions. It is
given the walls, and ends in the middle of the goal's cell, from where a goal with its noise can be
farther than 1.0; its failures are these. "±" spans Wilson's 95% interval. "Steps" are the mean of
those until the goal, of the episodes that reached it. "Plan ms" is one plan of one problem, the
median of some, in one thread. Each planner was trained once.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli

from dfplan.cli import Names
from dfplan.envs.suites import make
from dfplan.evaluation.episodes import Episodes, play, success_interval
from dfplan.evaluation.protocols import Split
from dfplan.planning.policy import Policy
from dfplan.pretrained import load

_SHIPPED = ("pointmaze-large", "ogbench-medium", "ogbench-large", "ogbench-giant")


class Oracle:
    """The way that OGBench's data was collected: straight to the next cell's middle."""

    def __init__(self, suite: str) -> None:
        self._environment = make(suite)

    def reset(self, seed: int | None = None) -> None:
        """Nothing is kept from step to step."""

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """Directions [B, 2] of length 1."""
        maze, goals = self._environment.maze, np.asarray(goal)
        aims = [
            maze.cell_to_xy(maze.shortest_cells(maze.xy_to_cell(here), maze.xy_to_cell(there))[0])
            for here, there in zip(observation[:, :2], goals, strict=True)
        ]
        ahead = np.array(aims) - observation[:, :2]
        return np.asarray(ahead / (np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-6))


def main(
    suites: Names = Names(_SHIPPED),
    episodes: int = 50,
    split: Split = "test",
    timed_plans: int = 10,
    out: Path = RESULTS,
) -> None:
    """Play them all.

    Args:
        suites: names of shipped planners, which are the names of their suites.
        episodes: a task; 5 times as many where there are no tasks.
        split: validation while anything is tuned.
        timed_plans: plans that are timed.
        out: folder of the results.
    """
    torch.set_num_threads(1)
    began, rows, tasks = time.perf_counter(), [], []
    for suite in suites:
        planner = load(suite)
        ogbench = bool(make(suite).tasks)
        count = episodes if ogbench else 5 * episodes
        policies = {"dfplan": Policy(planner)} | ({"oracle": Oracle(suite)} if ogbench else {})
        for name, policy in policies.items():
            played = play(policy, suite, count, split=split)
            seconds = _plan_seconds(planner, played, timed_plans) if name == "dfplan" else None
            rows.append({"suite": suite, "method": name, **_row(played, seconds)})
            tasks += [
                {
                    "suite": suite,
                    "method": name,
                    "task": int(task),
                    "episodes": int((played.tasks == task).sum()),
                    "success, %": 100 * float(played.success[played.tasks == task].mean()),
                }
                for task in np.unique(played.tasks[played.tasks > 0])
            ]
    tables = {"Success": rows} | ({"OGBench's tasks": tasks} if tasks else {})
    publish(out, "suites", __doc__, began, tables)


def _row(played: Episodes, plan_seconds: float | None) -> dict[str, object]:
    low, high = success_interval(played.success)
    return {
        "episodes": len(played),
        "success, %": 100 * float(played.success.mean()),
        "±": f"{100 * low:.1f} to {100 * high:.1f}",
        "steps": float(played.steps[played.success].mean()) if played.success.any() else None,
        "return": float(played.returns.mean()),
        "plan ms": None if plan_seconds is None else 1e3 * plan_seconds,
        "policy ms a step": 1e3 * played.policy_seconds / int(played.played.sum()),
    }


def _plan_seconds(planner: object, played: Episodes, count: int) -> float:
    """Median seconds of a plan, of the first problem of as many episodes spread over all."""
    rows = np.linspace(0, len(played) - 1, count + 1).astype(int)
    taken = []
    for seed, row in enumerate(rows):
        began = time.perf_counter()
        planner.plan(played.observations[row], played.goals[row], seed=seed)  # type: ignore[attr-defined]
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[1:]))  # the first one warms up


if __name__ == "__main__":
    auto_cli(main)
