"""The benchmark: every method on the same problems of every task, one table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from dfplan.errors import CheckpointError, unknown_name
from dfplan.evaluation.bounds import return_bounds
from dfplan.evaluation.controller import WaypointPolicy
from dfplan.evaluation.protocols import Problems, Task, named_task, problems
from dfplan.evaluation.provenance import provenance
from dfplan.evaluation.report import (
    Row,
    bound_row,
    measured_row,
    published_rows,
    write_markdown,
    write_rows,
)
from dfplan.evaluation.rollout import Rollouts, latency, rollout
from dfplan.planning.forcing import ForcingPlanner
from dfplan.planning.policy import Policy
from dfplan.planning.tracking import Tracker
from dfplan.pretrained import load
from dfplan.types import Plan, Planner

FULL_EPISODES = 500
"""Problems a task of the whole benchmark."""

SLICE_EPISODES = 30
"""Problems a task of the slice that fits into a quarter of an hour on two cores."""


@dataclass(frozen=True)
class Method:
    """A planner of the benchmark.

    Attributes:
        name: what the table calls it.
        tracker: name of what turns its plans into actions.
        planner: makes it for a maze.
        replan: whether its policy plans again when the state leaves the plan.
    """

    name: str
    tracker: str
    planner: Callable[[str], Planner]
    replan: bool = True


def _forcing(maze: str) -> ForcingPlanner:
    planner = load(f"maze2d-{maze}")
    if not isinstance(planner, ForcingPlanner):
        raise CheckpointError(f"Checkpoint maze2d-{maze} must come from Diffusion Forcing.")
    return planner


def _monte_carlo(maze: str) -> ForcingPlanner:
    planner = _forcing(maze)
    return replace(planner, settings=replace(planner.settings, futures=4))


METHODS = {
    "dfplan": Method("dfplan", "pursuit", _forcing),
    "dfplan-mcg": Method("dfplan, Monte Carlo guidance (N=4)", "pursuit", _monte_carlo),
    "diffuser": Method("Diffuser", "its PD", lambda maze: load(f"diffuser-{maze}"), replan=False),
}
"""What can be benchmarked, by the name that ``methods`` takes."""


def bench(
    out: str | Path,
    *,
    tasks: Sequence[str],
    methods: Sequence[str],
    episodes: int,
    timed_plans: int = 10,
    workers: int = 1,
    command: str = "dfplan bench",
    progress: bool = True,
) -> list[Row]:
    """Run methods on tasks; write rows, report and pictures into the folder ``out``.

    Every method meets the same first ``episodes`` problems of a task. The rows, with those of
    the upper bound, the data's own controller and published figures, are written after each task
    as ``rows.json`` and ``report.md``; ``<task>.png`` shows one plan and how it was executed, and
    ``<task>-denoising.png`` how it came about.

    Args:
        out: folder to write to.
        tasks: ids of tasks.
        methods: keys of :data:`METHODS`.
        episodes: problems a task.
        timed_plans: single plans that are timed, a method and task.
        workers: processes that step environments.
        command: what the report says made it.
        progress: show progress bars.

    Returns:
        The rows.

    Raises:
        ConfigError: an unknown task or method.
    """
    for method in methods:
        if method not in METHODS:
            raise unknown_name("method", method, METHODS)
    chosen = [named_task(task) for task in dict.fromkeys(tasks)]
    began, rows = time.perf_counter(), []
    for task in chosen:
        run = _TaskRun(task, problems(task, episodes), timed_plans, workers, progress)
        rows += run.rows([METHODS[method] for method in methods])
        if "dfplan" in methods:
            run.draw(Path(out))
        source = provenance(command, time.perf_counter() - began)
        write_rows(Path(out) / "rows.json", rows, source)
        write_markdown(Path(out) / "report.md", rows, source)
    return rows


@dataclass(frozen=True)
class _TaskRun:
    """One task on its frozen problems."""

    task: Task
    problems: Problems
    timed_plans: int
    workers: int
    progress: bool

    @cached_property
    def bounds(self) -> np.ndarray:
        """The highest return from each problem, [n]."""
        return return_bounds(self.task, self.problems)

    def rows(self, methods: Sequence[Method]) -> list[Row]:
        controller = self._roll(WaypointPolicy(self.task.maze))
        rows = [bound_row(self.task, self.problems)]
        rows.append(measured_row("data's own controller", controller, self.bounds))
        rows += [self._method_row(method, controller) for method in methods]
        return rows + published_rows(self.task)

    def _method_row(self, method: Method, controller: Rollouts) -> Row:
        planner = method.planner(self.task.maze_name)
        timing = latency(planner, self.problems, min(self.timed_plans, len(self.problems)))
        policy = Policy(planner) if method.replan else Policy(planner, tolerance=None)
        return measured_row(
            method.name,
            self._roll(policy),
            self.bounds,
            tracker=method.tracker,
            reference=controller,
            latency=timing,
        )

    def _roll(self, policy: Policy | WaypointPolicy) -> Rollouts:
        return rollout(
            policy, self.task, self.problems, workers=self.workers, progress=self.progress
        )

    def draw(self, out: Path) -> None:
        """How a plan of the problem with the longest way came about, and how it was driven.

        The path driven is drawn over the plan as it stood when half of it was denoised, so that
        the levels show: the near future certain, the far one not.
        """
        row = [int(self.bounds.argmin())]
        starts, goals = self.problems.starts[row], self.problems.goals[row]
        loaded = _forcing(self.task.maze_name)
        planner = replace(loaded, settings=replace(loaded.settings, matrix="pyramid", steps=8))
        plan = planner.plan(starts, goals, seed=0, trace=True)
        plan.plot_denoising(out / f"{self.task.id}-denoising.png")
        few = replace(self.problems, starts=starts, goals=goals)
        played = rollout(_Drive(planner.tracker(), plan), self.task, few, progress=False)
        until = int(played.rewards[0].argmax()) + 50
        tokens = int(plan.steps[0]) // planner.layout.token_steps
        level, points = plan.trace[(planner.settings.steps + tokens) // 2]
        half = replace(plan, level=level, points=points)
        half.plot(out / f"{self.task.id}.png", executed=played.positions[0, :until])


@dataclass(frozen=True)
class _Drive:
    """Follows one plan, come what may; see :class:`dfplan.evaluation.rollout.Actor`."""

    tracker: Tracker
    plan: Plan

    def reset(self, seed: int | None = None) -> None:
        self.tracker.assign(np.arange(len(self.plan)), self.plan)

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        return self.tracker.act(observation)
