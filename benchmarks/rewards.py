"""What can rewards express that a goal cannot, and do plans satisfy them?

    python benchmarks/rewards.py --workers 2
    python benchmarks/rewards.py --split validation --episodes 20 --requirements via,slow

Random starts and goals in the large maze. Each problem has one requirement besides the goal (see
``reward_requirements.py``). It depends on the maze, the problem's own random numbers and its
baseline plan (the plan to the goal alone), so it is the same for all planners:

- via: pass within 0.5 of the center of a free cell, with a detour of 2 to 8 cells.
- two_vias: pass two cells in order, 3 or more cells apart, with a detour of 2 to 16 cells.
- keep_out: stay out of a disc of radius 0.45 that fills a cell on the baseline plan; the maze has a
  path around that cell.
- moving: stay out of a disc of radius 0.3 that crosses the baseline plan at 2 cells per second and
  is centered on the plan when the plan is there.
- slow: stay below 3 cells per second in a disc of radius 0.5 on the baseline plan.
- arrive_by: be at the goal after one and a half times as many steps, plus 10, as the benchmark's
  lower bound. Problems with a bound below 60 steps are left out.
- reach: end at the goal, which only the reward knows. The planner gets no goal, so "unguided" and
  "horizon" have no row.

No path is longer than 24 cells on the grid, for which a plan of 560 steps has enough time. Problems
without room for the requirement are skipped: "drawn" is the number of examined problems for n.

Each problem is planned once, one problem at a time. All plans are then executed together in the
environment, each to the end of its episode, by a tracker that keeps the timing of the plan: some
requirements depend on time, and pure pursuit cuts the turn at the end of a detour. "unguided" is
the shipped planner from pure noise, which does not know the requirement. The others have its
horizon: 560 steps if a detour or a low speed takes time, the deadline of arrive_by, and none in
moving. "horizon" knows nothing else. "guided" also has the reward, with the settings below, which
were chosen on validation problems. "along the way" is guided, and starts from the expected way
through the places and around the regions; other requirements do not concern the way, so it starts
from pure noise as the others do. "tree" is tree search that starts from the same ways, with the
reward and the number of network evaluations of "guided".

"satisfied" is the share of episodes in which the requirement is met, from the first to the last
position, and the last step ends at the goal; "kept" and "at goal" are these two conditions alone.
"score" is the score of the true sum of rewards, ± half of its 95% interval. "network calls" and
"plan ms" (median, with as many requirements at a time as workers) are per plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import numpy as np
from findings import RESULTS, publish
from jsonargparse import auto_cli
from reward_requirements import REQUIREMENTS, Requirement, RequirementFactory, Setup
from tqdm import tqdm

from dfplan.cli.arguments import Names
from dfplan.errors import unknown_name
from dfplan.evaluation.bounds import steps_needed
from dfplan.evaluation.episodes import EpisodeRunner
from dfplan.evaluation.protocols import Problems, Split, Task, named_task, problems
from dfplan.evaluation.statistics import mean
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.rewards import OnSupport
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import TimedPD, Tracker, timed_gains
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.pretrained import load
from dfplan.types import Plan, Planner


@dataclass(frozen=True)
class WithoutReward(BasePlanner):
    """A planner without the reward, and with the horizon only if ``sees_horizon``."""

    planner: Planner
    sees_horizon: bool = False

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :class:`BasePlanner`."""
        horizon = arguments.horizon if self.sees_horizon else None
        return replace(arguments, reward=None, horizon=horizon).plan_with(self.planner)


def _shipped() -> ForcingPlanner:
    planner = cast(ForcingPlanner, load("maze2d-large"))
    return planner.with_settings(route_noise=np.inf, replans=0)


def _guided(mc_samples: int = 1) -> ForcingPlanner:
    return (
        _shipped()
        .for_rewards()
        .with_settings(
            steps=5, candidates=144, refine_steps=100, refine_top_k=8, mc_samples=mc_samples
        )
    )


def _along_the_way() -> ForcingPlanner:
    return _guided().with_settings(route_noise=PlannerSettings().route_noise, refine_top_k=4)


def _tree() -> TreePlanner:
    evaluations = _guided().settings.candidates * _guided().settings.sampling.steps
    return TreePlanner(_along_the_way(), TreeSettings(evaluations, leaves=48))


PLANNERS: dict[str, Callable[[], Planner]] = {
    "unguided": lambda: WithoutReward(_shipped()),
    "horizon": lambda: WithoutReward(_shipped(), sees_horizon=True),
    "guided": _guided,
    "along the way": _along_the_way,
    "tree": _tree,
    "guided-mc": lambda: _guided(mc_samples=4),
}
"""Planners by name. ``horizon`` is unguided with the requirement's horizon; ``guided-mc`` averages
the guidance over four samples."""

WITHOUT_REWARD = ("unguided", "horizon")
"""Planners that do not see the reward, and so cannot plan without a goal."""


def main(
    requirements: Names = Names(tuple(REQUIREMENTS)),
    planners: Names = Names("unguided,horizon,guided,tree,along the way"),
    episodes: int = 50,
    split: Split = "test",
    workers: int = 1,
    out: Path = RESULTS,
) -> None:
    for name in requirements:
        if name not in REQUIREMENTS:
            raise unknown_name("requirement", name, REQUIREMENTS)
    for planner in planners:
        if planner not in PLANNERS:
            raise unknown_name("planner", planner, PLANNERS)
    started = time.perf_counter()
    tables: dict[str, list[dict[str, object]]] = {}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        rows = partial(_table, planners=planners, episodes=episodes, split=split)
        for name, table in zip(requirements, pool.map(rows, requirements), strict=True):
            tables[name] = table
            publish(out, "rewards", __doc__, started, tables)


def _table(
    name: str, planners: Sequence[str], episodes: int, split: Split
) -> list[dict[str, object]]:
    """Return a row per planner."""
    task = named_task("multi2d-large", split)
    rows, requirements = _make_problems(REQUIREMENTS[name], task, episodes)
    pool = problems(task, rows[-1] + 1)
    starts = pool.subset(rows)
    alone = requirements[0].by_reward_alone
    return [
        {"planner": planner, "n": len(rows), "drawn": len(pool)}
        | _evaluate(PLANNERS[planner](), task, starts, requirements, rows)
        for planner in planners
        if not (alone and planner in WITHOUT_REWARD)
    ]


def _make_problems(
    factory: RequirementFactory, task: Task, count: int
) -> tuple[list[int], list[Requirement]]:
    """Return the first ``count`` problems with room for a requirement, and the requirements."""
    planner, pool = _shipped(), problems(task, 8 * count)
    bounds = steps_needed(task.maze, pool.starts, pool.goals)
    on_support = OnSupport(planner.model.statistics.support)
    rows: list[int] = []
    requirements: list[Requirement] = []
    for index in range(len(pool)):
        start, goal = pool.starts[index], pool.goals[index]
        baseline = planner.plan(start, goal, seed=index)
        rng = np.random.default_rng(index)
        setup = Setup(task.maze, start, goal, baseline, int(bounds[index]), on_support, rng)
        requirement = factory(setup)
        if requirement is not None:
            rows.append(index)
            requirements.append(requirement)
        if len(rows) == count:
            break
    return rows, requirements


def _evaluate(
    planner: Planner,
    task: Task,
    starts: Problems,
    requirements: list[Requirement],
    seeds: list[int],
) -> dict[str, object]:
    """Plan each problem with the seed of its baseline plan, execute all plans, and count."""
    plans = [
        planner.plan(
            start,
            None if requirement.by_reward_alone else goal,
            reward=requirement.reward,
            horizon=requirement.horizon,
            seed=seed,
        )
        for start, goal, requirement, seed in zip(
            tqdm(starts.starts), starts.goals, requirements, seeds, strict=True
        )
    ]
    motion = _shipped().model.statistics.motion
    policy = _TrackedPlans(TimedPD(*timed_gains(motion), dt=motion.dt), plans)
    runner = EpisodeRunner(task, len(starts))
    batch = runner.run(policy, starts, seed=0)
    runner.close()
    kept = [
        requirement.is_met(line)
        for requirement, line in zip(requirements, batch.positions, strict=True)
    ]
    at_goal = batch.rewards[:, -1] > 0
    score = mean(batch.scores()[None])
    return {
        "satisfied": float((np.array(kept) & at_goal).mean()),
        "kept": float(np.mean(kept)),
        "at goal": float(at_goal.mean()),
        "score": score.value,
        "±": score.half_width,
        "too fast": float(np.mean([_share_too_fast(plan) for plan in plans])),
        "network calls": float(np.mean([plan.evaluations for plan in plans])),
        "plan ms": 1e3 * float(np.median([plan.seconds for plan in plans])),
    }


def _share_too_fast(plan: Plan) -> float:
    """The share, in percent, of a plan's parts that are faster than the body."""
    assert plan.too_fast is not None
    return float(100 * plan.too_fast.sum() / (plan.steps[0] // plan.stride))


@dataclass(frozen=True)
class _TrackedPlans:
    """A policy that tracks one plan per environment to the end."""

    tracker: Tracker
    plans: list[Plan]

    def reset(self, seed: int | None = None) -> None:
        for row, plan in enumerate(self.plans):
            self.tracker.assign(np.array([row]), plan)

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        return self.tracker.act(observation)


if __name__ == "__main__":
    auto_cli(main)
