"""How long does one plan take, beside Diffuser's, and what takes the time?

    python benchmarks/planning_speed.py

One plan at a time (batch 1) from test starts of the fixed-goal task. The planners take turns on
each start, so that whatever else slows the machine slows all of them alike. "Times dfplan" is the
ratio of the median to dfplan's. "Network calls" is the number of sequences that the network
evaluates for a plan.

The second table runs dfplan's plans again under Python's profiler, which costs a few percent:
"network" is the denoiser, "guidance" the reward's gradients while sampling, "refinement" the same
on the chosen candidate afterwards, "score" the comparison of candidates, "rest" all else.
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
from dfplan.types import Planner

CHECKPOINTS = Path(__file__).parent / "checkpoints"
PLANNERS = ("dfplan", "dfplan-mcg", "diffuser-brief")


def main(
    mazes: tuple[str, ...] = ("umaze", "medium", "large"), plans: int = 30, out: Path = RESULTS
) -> None:
    began = time.perf_counter()
    speeds, parts = [], []
    for maze in mazes:
        task = named_task(f"maze2d-{maze}")
        planners = {name: _made(name, task) for name in PLANNERS}
        starts = problems(task, plans)
        speeds += [{"maze": maze, **row} for row in _speeds(planners, starts)]
        parts.append({"maze": maze, **_profile(planners["dfplan"], starts)})
    tables = {"One plan": speeds, "Where dfplan's milliseconds go, mean of the plans": parts}
    publish(out, "planning_speed", __doc__, began, tables)


def _made(name: str, task: Task) -> Planner:
    method = METHODS[name]
    return cast(Planner, method.make(task, 0, method.checkpoint(task, 0, [CHECKPOINTS])))


def _speeds(planners: Mapping[str, Planner], starts: Problems) -> list[dict[str, object]]:
    """A row for each planner, from plans made in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in planners}
    evaluations = dict.fromkeys(planners, 0)
    for index in tqdm(range(-1, len(starts)), unit="start"):  # the first warms up
        for name, planner in planners.items():
            began = time.perf_counter()
            plan = planner.plan(starts.starts[index], starts.goals[index], seed=max(index, 0))
            evaluations[name] = plan.evaluations
            if index >= 0:
                seconds[name].append(time.perf_counter() - began)
    p50, p95 = (
        {name: 1e3 * float(np.percentile(spent, share)) for name, spent in seconds.items()}
        for share in (50, 95)
    )
    return [
        {
            "planner": METHODS[name].title,
            "p50 ms": p50[name],
            "p95 ms": p95[name],
            "times dfplan": p50[name] / p50["dfplan"],
            "network calls": evaluations[name],
        }
        for name in planners
    ]


def _profile(planner: Planner, starts: Problems) -> dict[str, float]:
    """Milliseconds of a plan's parts, by the functions that do them."""
    with Profile() as profile:
        for index in range(len(starts)):
            planner.plan(starts.starts[index], starts.goals[index], seed=index)
    spent: dict[tuple[str, str], float] = {}
    for (file, _, function), (_, _, _, seconds, _) in Stats(profile).stats.items():  # type: ignore[attr-defined]
        spent[Path(file).name, function] = 1e3 * seconds / len(starts)
    whole, network = spent["single.py", "plan"], spent["denoiser.py", "__call__"]
    parts = {
        "network": network,
        "guidance": spent["guidance.py", "wrapped"] - network,
        "refinement": spent["select.py", "refine"],
        "score": spent["select.py", "score"],
    }
    return {"whole": whole, **parts, "rest": whole - sum(parts.values())}


if __name__ == "__main__":
    auto_cli(main)
