"""How much of a score is the planner's, and how much its tracker's?

    python benchmarks/trackers.py

Every planner's plans under every tracker, on the same starts. Each episode is planned once, and
those very plans are driven by all trackers; nothing is planned again on the way. Trackers: dfplan's
pure pursuit, which takes only the path from a plan; Diffuser's law (gains 1 and 1, a plan without
velocities has those of its lines); and that of Diffusion Forcing's authors (gains 12.5 and 1.2,
velocity the plan's step). Scores are of the true summed reward; ± is half of the 95% interval.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from findings import RESULTS, publish
from jsonargparse import auto_cli

from dfplan.cli import Names
from dfplan.data.motion import Motion
from dfplan.evaluation.bench import METHODS
from dfplan.evaluation.bounds import return_bounds
from dfplan.evaluation.metrics import summarize
from dfplan.evaluation.protocols import TASKS, Split, named_task, problems
from dfplan.evaluation.rollout import rollout
from dfplan.planning.policy import Policy
from dfplan.planning.tracking import Pursuit, TimedPD, Tracker, pursuit_gains
from dfplan.types import Plan, Planner, Reward


def trackers(motion: Motion) -> dict[str, Tracker]:
    """New trackers by name."""
    return {
        "pursuit": Pursuit(pursuit_gains(motion), motion.max_step),
        "PD 1, 1": TimedPD(1.0, 1.0, dt=motion.dt),
        "PD 12.5, 1.2": _PathPD(12.5, 1.2),
    }


class _PathPD(TimedPD):
    """Takes the velocity from the path, whether or not the plan has its own."""

    def assign(self, rows: np.ndarray, plan: Plan) -> None:
        super().assign(rows, replace(plan, velocities=None))


@dataclass
class _Once:
    """Plans on the first call and gives that plan again on every later one."""

    planner: Planner
    made: list[Plan] = field(default_factory=list)

    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Plan:
        """See :class:`dfplan.types.Planner`."""
        if not self.made:
            arguments = {"reward": reward, "horizon": horizon, "seed": seed}
            self.made.append(self.planner.plan(observation, goal, **arguments))
        return self.made[0]


def main(
    tasks: Names = Names(tuple(TASKS)),
    methods: Names = Names("dfplan,diffuser"),
    episodes: int = 100,
    split: Split = "test",
    out: Path = RESULTS,
) -> None:
    began = time.perf_counter()
    tables: dict[str, list[dict[str, object]]] = {}
    for task in (named_task(name, split) for name in tasks):
        starts = problems(task, episodes)
        bounds = return_bounds(task, starts)
        rows = tables[task.id] = []
        for method in (METHODS[name] for name in methods):
            planner = method.planner(task.maze_name)
            once = _Once(planner)
            for name, tracker in trackers(planner.statistics.motion).items():
                policy = Policy(once, tracker, tolerance=None)
                played = rollout(policy, task, starts, chunk=episodes)
                result = summarize(task, played.rewards, bounds)
                rows.append(
                    {
                        "planner": method.name,
                        "tracker": name,
                        "n": episodes,
                        "score": result.score.mean,
                        "±": result.score.ci95,
                        "latched": result.latched.mean,
                        "success at any step": result.success_any,
                        "at the last": result.success_last,
                        "share of bound": result.share_of_bound,
                    }
                )
    publish(out, "trackers", __doc__, began, tables)


if __name__ == "__main__":
    auto_cli(main)
