"""How does each setting of the planner and its tracker change the score and the time?

    python benchmarks/settings.py
    python benchmarks/settings.py --tasks multi2d-large --fields candidates,lookahead

Changes one setting of the defaults at a time, on validation starts, which no other table reports.
"against default" is the paired difference of scores on the same starts, followed by half of its 95%
interval. Options of sampling from pure noise are measured with ``--route_noise inf``. "plan ms" is
the median CPU time of single plans. "lookahead" belongs to the tracker, in braking distances.
"guidance.scale" 0 disables guidance and refinement, because it is the step size of both; refinement
keeps it in the rows of guidance through the denoiser. "drawn mc_samples" are drawn in three network
calls each. With "network" none, the denoiser returns its input, so only guidance acts.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from findings import RESULTS, publish
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.cli.arguments import Names
from dfplan.errors import unknown_name
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import Problems, Task, named_task, problems
from dfplan.evaluation.statistics import mean, paired_difference
from dfplan.planning.policy import Policy
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import Pursuit, pursuit_gains
from dfplan.pretrained import load

Setting = float | str | None

_TIMED_PLANS = 10

VALUES: dict[str, tuple[Setting, ...]] = {
    "candidates": (1, 4, 8, 16, 32),
    "steps": (1, 2, 3, 5, 10),
    "route_noise": (1.0, 2.0, 5.0, 10.0, 20.0),
    "route_candidates": (1, 2, 4, 8, 16),
    "risk_aversion": (0.0, 1.0, 3.0, 10.0, 30.0),
    "matrix": ("full_sequence", "pyramid", "trapezoid", "autoregressive"),
    "step": ("ddim", "ddpm", "second_order"),
    "mc_samples": (1, 2, 4, 8),
    "drawn mc_samples": (1, 4),
    "guidance.scale": (0.0, 0.15, 0.5, 1.5),
    "scale through the denoiser": (0.15, 0.5, 1.5, 5.0),
    "smoothness_weight": (0.0, 0.1, 0.2, 0.5, 1.0),
    "support_weight": (0.0, 1.5, 3.0, 6.0, 12.0),
    "refine_steps": (0, 10, 30, 100),
    "refine_top_k": (1, 4),
    "support_penalty": (0.0, 5.0, 20.0, 80.0),
    "support_margin": (0.5, 1.5, 3.0, 6.0),
    "patience": (5, 10, 20, 50, None),
    "lookahead": (0.8, 1.2, 1.5, 1.8, 2.2, 3.0),
    "network": ("none",),
}


def main(
    tasks: Names = Names("maze2d-umaze,maze2d-medium,maze2d-large"),
    fields: Names = Names(tuple(VALUES)),
    episodes: int = 100,
    route_noise: float = PlannerSettings().route_noise,
    name: str = "settings",
    out: Path = RESULTS,
) -> None:
    for field in fields:
        if field not in VALUES:
            raise unknown_name("setting", field, VALUES)
    started = time.perf_counter()
    changes = [(field, value) for field in fields for value in VALUES[field]]
    tables: dict[str, list[dict[str, object]]] = {}
    for task in (named_task(name, "validation") for name in tasks):
        starts = problems(task, episodes)
        planner = load(task.data).with_settings(route_noise=route_noise)
        default = _scores(Policy(planner, on_error="hold"), task, starts)
        rows = tables[task.id] = [_row("default", "", planner, default, default, starts)]
        for field, value in tqdm(changes, desc=task.id):
            policy, changed = _change(planner, field, value)
            scores = _scores(policy, task, starts)
            rows.append(_row(field, value, changed, scores, default, starts))
    publish(out, name, __doc__, started, tables)


def _change(planner: ForcingPlanner, field: str, value: Setting) -> tuple[Policy, ForcingPlanner]:
    """Change one setting of the planner or its tracker; return the policy and the planner."""
    if field == "lookahead":
        motion = planner.model.statistics.motion
        tracker = Pursuit(pursuit_gains(motion, float(value)), motion.max_step)
        return Policy(planner, tracker, on_error="hold"), planner
    if field == "patience":
        return Policy(planner, patience=value, on_error="hold"), planner
    if field == "network":
        planner = replace(planner, model=replace(planner.model, denoiser=lambda x, level: x))
    elif field == "guidance.scale":
        guidance = replace(planner.settings.guidance, scale=value)
        planner = planner.with_settings(guidance=guidance)
    elif field == "scale through the denoiser":
        guidance = replace(planner.settings.guidance, method="denoiser", scale=value, iterations=1)
        planner = planner.with_settings(guidance=guidance)
    elif field == "drawn mc_samples":
        guidance = replace(planner.settings.guidance, mc_sample_steps=3)
        planner = planner.with_settings(guidance=guidance, mc_samples=value)
    else:
        planner = planner.with_settings(**{field: value})
    return Policy(planner, on_error="hold"), planner


def _scores(policy: Policy, task: Task, starts: Problems) -> np.ndarray:
    return run_episodes(policy, task, starts, progress=False).scores()


def _row(
    field: str,
    value: Setting,
    planner: ForcingPlanner,
    scores: np.ndarray,
    default: np.ndarray,
    starts: Problems,
) -> dict[str, object]:
    score = mean(scores[None])
    difference = paired_difference(scores[None], default[None])
    return {
        "setting": field,
        "value": str(value),
        "score": score.value,
        "±": score.half_width,
        "against default": difference.value,
        "± of it": difference.half_width,
        "plan ms": 1e3 * _plan_seconds(planner, starts),
    }


def _plan_seconds(planner: ForcingPlanner, starts: Problems) -> float:
    """Median time of single plans, after one for warming up."""
    seconds = []
    for index in range(-1, min(_TIMED_PLANS, len(starts))):
        started = time.process_time()  # other processes share the machine
        planner.plan(starts.starts[index], starts.goals[index], seed=max(index, 0))
        seconds.append(time.process_time() - started)
    return float(np.median(seconds[1:]))


if __name__ == "__main__":
    auto_cli(main)
