"""How far is the bound of Maze2D from what a body can do?

    python benchmarks/bound_slack.py

The first problems of each task whose start is not at the goal. "bound" is the lower bound on the
steps to the goal (:mod:`dfplan.evaluation.bounds`); "former bound" is that of commit f7ae42b. A
"drive" is optimized for each problem, with the true walls, and played in the simulator: first the
episode of dfplan, then shorter and shorter drives by linear programs (``fastest_drives.py``).
Columns are means of steps. "slack" is the mean score of the drives as a share of the mean score of
the bound, so 100% is a bound that is attained. "dfplan" is the share of the planner's score.

The second table has the shares of dfplan's recorded scores in both bounds.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import numpy as np
from fastest_drives import fastest_steps
from findings import RESULTS, publish
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.bench.records import EpisodeRecord, read_runs
from dfplan.cli.arguments import Names
from dfplan.envs.dynamics import MAX_SPEED, PointMass
from dfplan.errors import DfplanError
from dfplan.evaluation.bounds import contacts, measure_force, path_lengths, steps_needed
from dfplan.evaluation.protocols import Split, Task, named_task, problems
from dfplan.mazes import Maze
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner
from dfplan.pretrained import load

_SHARES = "of the bound %", "of the former bound %"

_MANY = 10
"""Problems that are drawn for each one that is used."""


def main(
    tasks: Names = Names("maze2d-umaze,maze2d-medium,maze2d-large,multi2d-large"),
    count: int = 10,
    split: Split = "test",
    records: Path = RESULTS / "maze2d-500",
    out: Path = RESULTS,
) -> None:
    """Optimize drives.

    Args:
        tasks: of D4RL.
        count: problems of each task.
        split: test or validation.
        records: results of `dfplan bench` for the second table.
        out: folder for the results.
    """
    started = time.perf_counter()
    rows = [_row(name, named_task(name, split), count) for name in tasks]
    tables = {f"{count} problems of each task": rows, "recorded scores": _recorded(records)}
    publish(out, "bound_slack", __doc__, started, tables)


def _row(name: str, task: Task, count: int) -> dict[str, object]:
    drawn = problems(task, _MANY * count)
    needed = steps_needed(task.maze, drawn.starts, drawn.goals)
    chosen = np.flatnonzero(needed > 1)[:count]
    starts, goals, needed = drawn.starts[chosen], drawn.goals[chosen], needed[chosen]
    drives = [
        _drives(task, start, goal, int(least))
        for start, goal, least in tqdm(list(zip(starts, goals, needed, strict=True)), desc=name)
    ]
    planned, driven = np.array(drives).T
    bound = task.upper_bound(needed).mean()
    return {
        "task": name,
        "bound": float(needed.mean()),
        "former bound": float(_former_bound(task.maze, starts, goals).mean()),
        "drive": float(driven.mean()),
        "dfplan steps": float(planned.mean()),
        "slack %": float(100 * task.upper_bound(driven).mean() / bound),
        "dfplan %": float(100 * task.upper_bound(planned).mean() / bound),
    }


def _recorded(folder: Path) -> list[dict[str, object]]:
    """Shares of dfplan's recorded scores, by task and over all tasks."""
    episodes: dict[str, list[EpisodeRecord]] = {}
    for run in read_runs(folder):
        if run.name.method == "dfplan":
            episodes.setdefault(run.name.task, []).extend(run.episodes)
    rows = []
    for name, own in episodes.items():
        task = named_task(name)
        starts, goals = (
            np.array([getattr(each, key) for each in own]) for key in ("start", "goal")
        )
        score = float(np.mean([each.score for each in own]))
        bounds = [of(task.maze, starts, goals) for of in (steps_needed, _former_bound)]
        shares = [100 * score / float(task.upper_bound(needed).mean()) for needed in bounds]
        rows.append(
            {"task": name, "episodes": len(own), "score": score}
            | dict(zip(_SHARES, shares, strict=True))
        )
    mean: dict[str, object] = {"task": "mean", "episodes": None, "score": None}
    for share in _SHARES:
        mean[share] = float(np.mean([cast(float, row[share]) for row in rows]))
    return [*rows, mean]


def _drives(task: Task, start: np.ndarray, goal: np.ndarray, least: int) -> tuple[int, int]:
    """Steps to the goal of dfplan and of the best drive."""
    positions = _planned_drive(task, start, goal)
    return len(positions) - 1, fastest_steps(task.maze, start, goal, positions, least)


def _planned_drive(task: Task, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Positions [M + 1, 2] of an episode of dfplan, to the goal."""
    policy, ball = Policy(cast(ForcingPlanner, load(task.data))), PointMass(task.maze)
    policy.reset(seed=0)
    ball.set_state(start[:2], start[2:])
    state, positions = start, [start[:2]]
    for _ in range(task.max_steps):
        action = policy.act(state, goal=goal)
        state = np.array(ball.advance(*np.asarray(action, float).tolist()))
        positions.append(state[:2])
        if np.linalg.norm(state[:2] - goal) <= task.maze.suite.goal_radius:
            return np.array(positions)
    raise DfplanError(f"dfplan must reach the goal {goal}; it did not.")


def _former_bound(maze: Maze, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """The bound of commit f7ae42b, which granted the speed of contacts from the first step on."""
    granted, (gain, keep) = contacts(maze.suite), measure_force()
    remaining = path_lengths(maze, starts[:, :2], goals)
    remaining = remaining * (1 - granted.corner_gain / granted.spacing) - granted.corner_gain
    is_clear = maze.is_free(starts[:, :2], maze.suite.ball_radius + 0.02)
    speed = np.linalg.norm(starts[:, 2:], axis=1) + np.where(is_clear, 0.01, 0.02)
    steps = np.zeros(len(starts), dtype=int)
    while (remaining > 1e-9).any() or not steps.any():
        steps += (remaining > 1e-9) | (steps == 0)
        speed = np.minimum(keep * speed + np.sqrt(2) * gain, keep * MAX_SPEED + gain)
        remaining = remaining - 0.01 * speed
    return steps


if __name__ == "__main__":
    auto_cli(main)
