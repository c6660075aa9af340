"""How long does one plan take, compared with Diffuser, and which part takes the time?

    python benchmarks/planning_speed.py

One plan at a time (batch size 1) from test starts of the fixed-goal task. The planners take turns
on each start, so other load on the machine affects all of them alike. "times dfplan" is the ratio
of the median time to dfplan's. "network calls" is the number of sequences that the network
evaluates per plan. "with spread" makes each plan again to measure its spread, as is the default of
``dfplan.load``, but not of a policy or the benchmark.

The second table has the milliseconds of one of dfplan's plans if many are made in one call. It is
the median over calls, which take turns.

The third table repeats dfplan's plans under Python's profiler, which costs a few percent: "network"
is the denoiser, "way" the expected way to the goal, "guidance" the reward's gradients during
sampling, "refinement" the gradients on the chosen candidate afterwards, "score" the comparison of
candidates, and "rest" all other time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from cProfile import Profile
from pathlib import Path
from pstats import Stats
from typing import cast

import numpy as np
from findings import RESULTS, publish
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.bench.methods import METHODS
from dfplan.evaluation.protocols import Problems, Task, named_task, problems
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.single import ForcingPlanner
from dfplan.types import Planner

CHECKPOINTS = Path(__file__).parent / "checkpoints"
BATCHES = (1, 8, 64)
DFPLAN = METHODS["dfplan"].title
WITH_SPREAD = f"{DFPLAN}, with spread"
OTHERS = ("graph", "dfplan-noise", "dfplan-mcg", "diffuser-brief")


def main(
    mazes: tuple[str, ...] = ("umaze", "medium", "large"), plans: int = 30, out: Path = RESULTS
) -> None:
    started = time.perf_counter()
    speeds, batches, parts = [], [], []
    for maze in mazes:
        task = named_task(f"maze2d-{maze}")
        planner = cast(ForcingPlanner, _make("dfplan", task))
        with_spread = planner.with_settings(replans=PlannerSettings().replans)
        planners: dict[str, Planner] = {DFPLAN: planner, WITH_SPREAD: with_spread}
        planners |= {METHODS[name].title: _make(name, task) for name in OTHERS}
        starts = problems(task, plans)
        speeds += [{"maze": maze, **row} for row in _time(planners, starts)]
        for name in (DFPLAN, WITH_SPREAD):
            batches.append({"maze": maze, "planner": name, **_batches(planners[name], task)})
        parts.append({"maze": maze, **_profile(planner, starts)})
    tables = {
        "One plan": speeds,
        "Milliseconds a plan, by plans in a call": batches,
        "Where dfplan's milliseconds go, mean of the plans": parts,
    }
    publish(out, "planning_speed", __doc__, started, tables)


def _make(name: str, task: Task) -> Planner:
    method = METHODS[name]
    return cast(Planner, method.make(task, 0, method.checkpoint(task, 0, [CHECKPOINTS])))


def _time(planners: Mapping[str, Planner], starts: Problems) -> list[dict[str, object]]:
    """Return a row per planner; the planners take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in planners}
    evaluations = dict.fromkeys(planners, 0)
    for index in tqdm(range(-1, len(starts)), unit="start"):  # the first plan is a warm-up
        for name, planner in planners.items():
            started = time.perf_counter()
            plan = planner.plan(starts.starts[index], starts.goals[index], seed=max(index, 0))
            evaluations[name] = plan.evaluations
            if index >= 0:
                seconds[name].append(time.perf_counter() - started)
    p50, p95 = (
        {
            name: 1e3 * float(np.percentile(seconds_of, share))
            for name, seconds_of in seconds.items()
        }
        for share in (50, 95)
    )
    return [
        {
            "planner": name,
            "p50 ms": p50[name],
            "p95 ms": p95[name],
            "times dfplan": p50[name] / p50[DFPLAN],
            "network calls": evaluations[name],
        }
        for name in planners
    ]


def _batches(planner: Planner, task: Task, rounds: int = 5) -> dict[str, float]:
    """Milliseconds a plan for each number of plans in a call."""
    starts = problems(task, max(BATCHES))
    seconds: dict[int, list[float]] = {size: [] for size in BATCHES}
    for _ in range(1 + rounds):  # the first is a warm-up
        for size, times in seconds.items():
            started = time.perf_counter()
            planner.plan(starts.starts[:size], starts.goals[:size], seed=0)
            times.append((time.perf_counter() - started) / size)
    return {str(size): 1e3 * float(np.median(times[1:])) for size, times in seconds.items()}


def _profile(planner: Planner, starts: Problems) -> dict[str, float]:
    """Milliseconds of the parts of a plan, by the functions that compute them."""
    with Profile() as profile:
        for index in range(len(starts)):
            planner.plan(starts.starts[index], starts.goals[index], seed=index)
    seconds_of: dict[tuple[str, str], float] = {}
    for (file, _, function), (_, _, _, seconds, _) in Stats(profile).stats.items():  # type: ignore[attr-defined]
        seconds_of[Path(file).name, function] = 1e3 * seconds / len(starts)
    whole, network = seconds_of["planner.py", "plan"], seconds_of["denoiser.py", "__call__"]
    parts = {
        "network": network,
        "guidance": seconds_of["guidance.py", "guided"] - network,
        "way": seconds_of["route.py", "find_routes"],
        "refinement": seconds_of["objective.py", "refine"],
        "score": seconds_of["objective.py", "score"],
    }
    return {"whole": whole, **parts, "rest": whole - sum(parts.values())}


if __name__ == "__main__":
    auto_cli(main)
