"""How much success is left when sensors, actuators and the ground are bad?

    python benchmarks/robust.py

The suites' own episodes, with problems of the test split. A row is a planner on a task, a column
a disturbance (:class:`~dfplan.planning.disturbance.Disturbance`): "noise" is Gaussian noise of
0.25 cells on each observed position, "lost" 30% of the observations, "bias" 0.2 on each number of
the actions, with a random sign that an episode keeps, "delay" one to three environment steps
between an action and its effect, and "pushes" one a second on average, each of a tenth of a second,
in which the action is a full one in a random direction. "all" is noise, losses, bias, a delay of
one step and pushes together. With noise or losses, the policy has the state estimator; it is not
told of anything else.

"success" is in percent, and "share" the share of the undisturbed success, with half of the 95%
bootstrap interval over starts. "time" is the mean number of steps to the goal over the undisturbed
one, among the problems whose goal was reached in both.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from findings import RESULTS, publish
from joblib import Parallel, delayed
from jsonargparse import auto_cli

from dfplan.bench.methods import named_method
from dfplan.calibrating import Disturbed
from dfplan.cli.arguments import Names
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import Task, named_task, problems
from dfplan.planning.disturbance import Disturbance
from dfplan.planning.policy import Policy
from dfplan.planning.state_estimator import StateEstimatorSettings
from dfplan.suites import D4RL, GYMNASIUM, OGBENCH, OGBENCH_ANT
from dfplan.types import Planner

ROWS = (
    "dfplan:multi2d-medium",
    "dfplan:multi2d-large",
    "dfplan-actions:multi2d-medium",
    "dfplan-actions:multi2d-large",
    "dfplan:ogbench-giant-navigate",
)
"""Planners of the benchmark and tasks."""

_NOISE = 0.25
"""In cells."""

_STEPS_A_SECOND = {D4RL: 100, GYMNASIUM: 100, OGBENCH: 10, OGBENCH_ANT: 10}
"""Environment steps in a second. A ball of OGBench has no time; it gets that of its ant."""


def conditions(task: Task) -> dict[str, Disturbance]:
    """The disturbances, by column."""
    suite = task.maze.suite
    noise = _NOISE * suite.cell_size
    rate = _STEPS_A_SECOND[suite]
    pushes: dict[str, Any] = {"push_chance": 1 / rate, "push_steps": rate // 10}
    together = Disturbance(
        action_bias=0.2, action_delay=1, observation_noise=noise, observation_loss=0.3, **pushes
    )
    return {
        "none": Disturbance(),
        "noise": Disturbance(observation_noise=noise),
        "lost": Disturbance(observation_loss=0.3),
        "bias": Disturbance(action_bias=0.2),
        "delay 1": Disturbance(action_delay=1),
        "delay 2": Disturbance(action_delay=2),
        "delay 3": Disturbance(action_delay=3),
        "pushes": Disturbance(**pushes),
        "all": together,
    }


def main(
    rows: Names = Names(ROWS), episodes: int = 100, workers: int = 2, out: Path = RESULTS
) -> None:
    """Measure them.

    Args:
        rows: planner and task of each row, as planner:task.
        episodes: of each row under each disturbance.
        workers: rows that are measured at a time.
        out: folder for the results.
    """
    started = time.perf_counter()
    measured = Parallel(n_jobs=workers)(delayed(measure)(row, episodes) for row in rows)
    tables: dict[str, list[dict[str, object]]] = {"success": [], "share": [], "time": []}
    for row, steps in zip(rows, measured, strict=True):
        planner, task = row.split(":")
        title: dict[str, object] = {"planner": planner, "task": task}
        reached = {name: np.isfinite(each) for name, each in steps.items()}
        tables["success"].append(
            title | {name: 100 * float(each.mean()) for name, each in reached.items()}
        )
        disturbed = [name for name in steps if name != "none"]
        shares = {name: _share(reached[name], reached["none"]) for name in disturbed}
        times = {name: _time(steps[name], steps["none"]) for name in disturbed}
        tables["share"].append(title | shares)
        tables["time"].append(title | times)
    publish(out, "robust", __doc__, started, tables)


def measure(row: str, episodes: int) -> dict[str, np.ndarray]:
    """Steps to the goal in each episode [episodes], NaN if it is not reached, by disturbance."""
    torch.set_num_threads(1)
    name, task_name = row.split(":")
    task, method = named_task(task_name), named_method(name)
    planner = cast(Planner, method.make(task, 0, method.checkpoint(task, 0, ())))
    drawn = problems(task, episodes)
    steps: dict[str, np.ndarray] = {}
    for column, disturbance in conditions(task).items():
        estimator = None
        if disturbance.observation_noise or disturbance.observation_loss:
            estimator = StateEstimatorSettings(noise=disturbance.observation_noise)
        policy = Policy(planner, tolerance=method.tolerance, state_estimator=estimator)
        actor = Disturbed(policy, disturbance, task.maze.suite.observation)
        batch = run_episodes(actor, task, drawn, progress=False)
        steps[column] = np.where(batch.success, batch.steps_to_goal, np.nan)
    return steps


def _share(disturbed: np.ndarray, whole: np.ndarray) -> str:
    """The ratio of the means, with half of its 95% bootstrap interval over starts."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(whole), size=(2000, len(whole)))
    ratios = disturbed[drawn].mean(1) / np.maximum(whole[drawn].mean(1), 1e-9)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return f"{disturbed.mean() / whole.mean():.2f} ± {(high - low) / 2:.2f}"


def _time(disturbed: np.ndarray, whole: np.ndarray) -> float:
    both = np.isfinite(disturbed) & np.isfinite(whole)
    return float(disturbed[both].mean() / whole[both].mean())


if __name__ == "__main__":
    auto_cli(main)
