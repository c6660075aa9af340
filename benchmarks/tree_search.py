"""Does a tree find plans that single ones miss, at the same number of network evaluations?

    python benchmarks/tree_search.py

A maze 3 times as wide as D4RL's large one: three of it side by side, joined by one door each. Starts
and goals are drawn from all free cells. "single" denoises so many candidates at once, from start to
goal, and takes the best by the planner's score, as dfplan does everywhere else, where 16 candidates
are its default; "tree" is variable-horizon Monte Carlo tree guidance with the same network and the
same score, and at most as many network evaluations. All arms have the same starts, network,
guidance and tracker, plan once, and are driven in the environment.

"success" is the share of episodes that touch the goal, "±" half of its 95% interval; "in walls" the
share of plans with a point of their lines in a wall; "score" the planner's own, of which it sees
nothing but the data; "against single" the paired difference of success to the single plan of as
many evaluations.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
from findings import RESULTS, publish
from jsonargparse import auto_cli

import dfplan
from dfplan.data import generate, load_d4rl
from dfplan.evaluation.metrics import estimate, paired_difference
from dfplan.evaluation.protocols import Problems, Task
from dfplan.evaluation.rollout import rollout
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.planning.forcing import ForcingPlanner
from dfplan.planning.policy import Policy
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.training.loop import TrainSettings, train
from dfplan.training.recipes import ForcingConfig
from dfplan.types import Plan, Planner

EPISODE_STEPS = 1800

BUDGETS = (48, 96, 192, 384, 768)
"""Network evaluations a plan; 48 are those of the default single plan."""


def wide_maze() -> Maze:
    """Three large mazes side by side, with a door at the bottom and one at the top."""
    rows = [row.replace("G", "O") * 3 for row in named_maze("large").rows]
    width = len(rows[0]) // 3
    for row, door in ((7, width), (1, 2 * width)):
        rows[row] = rows[row][: door - 1] + "OO" + rows[row][door + 1 :]
    return parse_maze(rows, name="wide")


def main(
    starts: int = 100,
    seed: int = 0,
    steps: int = 1000,
    runs: Path = Path("runs/tree_search"),
    out: Path = RESULTS,
) -> None:
    """Train on the wide maze and plan in it.

    Args:
        starts: problems.
        seed: of the problems; 0 is for results, choose settings on others.
        steps: optimizer steps.
        runs: folder for data and training.
        out: folder for the findings.
    """
    began = time.perf_counter()
    planner = _planner(runs, steps)
    task, problems = _task(), _problems(starts, seed)
    rows = []
    for budget in BUDGETS:
        candidates = budget // planner.settings.steps
        single = replace(planner, settings=replace(planner.settings, candidates=candidates))
        tree = TreePlanner(planner, TreeSettings(evaluations=budget))
        reached = {}
        for name, arm in (("single", single), ("tree", tree)):
            row, reached[name] = _row(name, arm, task, problems)
            difference = paired_difference(reached[name], reached["single"])
            row |= {"against single": difference.mean, "± of it": difference.ci95}
            rows.append(row)
    publish(out, "tree_search", __doc__, began, {f"{starts} starts": rows})


def _planner(runs: Path, steps: int) -> ForcingPlanner:
    data, folder = runs / "data.hdf5", runs / f"steps-{steps}"
    if not data.exists():
        generate(wide_maze(), 4_000_000, seed=0, path=data)
    if not (folder / "checkpoint.safetensors").exists():
        settings = TrainSettings(steps=steps, batch_size=64)
        # Tokens of 20 steps, enough for the longest way between two cells.
        train(ForcingConfig(tokens=72), load_d4rl(data), folder, settings=settings)
    planner = dfplan.load(folder)
    assert isinstance(planner, ForcingPlanner)
    return planner


def _task() -> Task:
    name = "dfplan/wide-v1"
    if name not in gymnasium.registry:
        gymnasium.register(
            name,
            entry_point="dfplan.envs.maze2d:Maze2DEnv",
            max_episode_steps=EPISODE_STEPS,
            kwargs={"maze": wide_maze(), "goal": "random"},
        )
    return Task("wide", "wide", EPISODE_STEPS, 0.0, 1.0, random_goals=True)


def _problems(count: int, seed: int) -> Problems:
    """Starts and goals as D4RL draws them: near free cells' coordinates, nearly at rest."""
    rng = np.random.default_rng(np.random.SeedSequence((count, seed)))
    cells = wide_maze().free_cells
    places = cells[rng.integers(len(cells), size=(2, count))] + rng.uniform(
        -0.1, 0.1, (2, count, 2)
    )
    starts = np.concatenate([places[0], 0.1 * rng.standard_normal((count, 2))], 1)
    return Problems(starts, places[1], digest=f"wide/{count}/{seed}")


def _row(
    name: str, planner: Planner, task: Task, problems: Problems
) -> tuple[dict[str, object], np.ndarray]:
    policy = Policy(planner, tolerance=None)
    played = rollout(policy, task, problems, progress=False)
    plan = policy.plan
    assert plan is not None
    reached = played.rewards.any(1).astype(float)
    success = estimate(100 * reached)
    row: dict[str, object] = {
        "arm": name,
        "evaluations": plan.evaluations,
        "success": success.mean,
        "±": success.ci95,
        "in walls": 100 * float(_in_walls(plan).mean()),
        "score": float(plan.scores.max(1).mean()),
        "ms a plan, in a batch": 1e3 * plan.seconds / len(plan),
    }
    return row, 100 * reached


def _in_walls(plan: Plan) -> np.ndarray:
    """Which plans have a point of their lines in a wall, bool [B]."""
    share = np.arange(10)[:, None] / 10
    lines = np.diff(plan.points, axis=1)[:, :, None]
    on_lines = plan.points[:, :-1, None] + share * lines
    inside: np.ndarray = ~wide_maze().contains(on_lines, radius=0.0)
    return inside.any((1, 2))


if __name__ == "__main__":
    auto_cli(main)
