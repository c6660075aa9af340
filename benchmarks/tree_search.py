"""Does tree search find plans that single plans miss, with the same number of network evaluations?

    python benchmarks/tree_search.py

The maze is 3 times as wide as D4RL's large one: three of them side by side, with one door between
neighbors. The network is trained in it for about as long as the shipped one in the large maze.
"single" denoises all candidates at once, from start to goal, and chooses the best by the planner's
score. "tree" is variable-horizon Monte Carlo tree search over segments with the same network,
guidance, score and budget of evaluations. Both start from the expected way on the roadmap of the
data, the tree also with more noise. With "noise", both start from pure noise. In the tree, the
roadmap also gives the values of nodes, and a plan that has not arrived within the budget goes on
along it; so "tree, noise" knows the roadmap, and "single, noise" does not. All methods have the
same starts, plan once, and use the same tracker in the environment. The settings of the tree were
chosen on starts of another seed.

Starts and goals are drawn from all free cells. In the first table they lie in different thirds of
the maze, in the second anywhere. "success" is the share of episodes that reach the goal, "±" half
of its 95% interval. "off the data" is the share of plans with a line outside the data's support,
which is all that planners know about walls. "score" is the planner's own. "against single" is the
paired difference of success to "single, noise" with as many evaluations.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from findings import RESULTS, affordable_candidates, publish
from jsonargparse import auto_cli

import dfplan
from dfplan.collect import generate
from dfplan.data import load_data
from dfplan.errors import CheckpointError, DfplanError
from dfplan.evaluation.episodes import EpisodeRunner
from dfplan.evaluation.protocols import PROTOCOLS, Problems, Task, custom_problems
from dfplan.evaluation.statistics import mean, paired_difference
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.planning.objective import PlanObjective
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.training.loop import train
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Planner

EPISODE_STEPS = 1800

BUDGETS = (48, 96, 192, 384)
"""Network evaluations per plan; the default single plan has 48."""


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
        starts: number of problems.
        seed: of the problems; 0 for results, others for choosing settings.
        steps: optimizer steps.
        runs: folder for data and training.
        out: folder for the results.
    """
    started = time.perf_counter()
    planner = _train_planner(runs, steps)
    tables: dict[str, list[dict[str, object]]] = {}
    for title, distant in (("to another third", True), ("to any goal", False)):
        problems = _problems(starts, seed, distant)
        rows = tables[f"{title}, {starts} starts"] = []
        for budget in BUDGETS:
            candidates = budget // planner.settings.sampling.steps
            noise = planner.with_settings(candidates=candidates, route_noise=np.inf)
            row, reference = _row("single, noise", noise, planner, problems)
            rows.append(row | {"against single": None, "± of it": None})
            settings = TreeSettings(evaluations=budget)
            arms: dict[str, Planner] = {
                "tree, noise": TreePlanner(noise, settings),
                "tree": TreePlanner(planner, settings),
                "single": planner.with_settings(
                    route_candidates=affordable_candidates(
                        planner, problems.starts[0], problems.goals[0], budget
                    )
                ),
            }
            for name, arm in arms.items():
                row, reached = _row(name, arm, planner, problems)
                difference = paired_difference(reached[None], reference[None])
                rows.append(
                    row | {"against single": difference.value, "± of it": difference.half_width}
                )
            publish(out, "tree_search", __doc__, started, tables)


def _train_planner(runs: Path, steps: int) -> ForcingPlanner:
    data, folder = runs / "data.hdf5", runs / f"steps-{steps}"
    if not data.exists():
        generate(wide_maze(), 4_000_000, seed=0, path=data)
    if not (folder / "checkpoint.safetensors").exists():
        settings = TrainSettings(steps=steps, batch_size=64)
        # Tokens of 20 steps, enough for the longest path between two cells.
        train(ForcingConfig(tokens=72), load_data(data), folder, settings=settings)
    planner = dfplan.load(folder)
    if not isinstance(planner, ForcingPlanner):
        raise CheckpointError(f"{folder} must contain a training of Diffusion Forcing.")
    return planner.with_settings(replans=0)


def _task() -> Task:
    maze = wide_maze()
    return Task("wide", PROTOCOLS["d4rl-maze2d-v1"], maze, maze, "wide", EPISODE_STEPS)


def _problems(count: int, seed: int, distant: bool) -> Problems:
    """Draw starts and goals as D4RL does: near free cells' coordinates, nearly at rest."""
    rng = np.random.default_rng(np.random.SeedSequence((count, seed, distant)))
    maze = wide_maze()
    cells = maze.free_cells
    third = 3 * cells[:, 1] // maze.shape[1]
    pairs = rng.integers(len(cells), size=(100 * count, 2))
    if distant:
        pairs = pairs[third[pairs[:, 0]] != third[pairs[:, 1]]]
    places = cells[pairs[:count]] + rng.uniform(-0.1, 0.1, (count, 2, 2))
    starts = np.concatenate([places[:, 0], 0.1 * rng.standard_normal((count, 2))], 1)
    return custom_problems(starts, places[:, 1])


def _row(
    name: str, planner: Planner, judge: ForcingPlanner, problems: Problems
) -> tuple[dict[str, object], np.ndarray]:
    """Return a row of the table, and for each episode 100 if it reached the goal, else 0."""
    policy = Policy(planner, tolerance=None)
    runner = EpisodeRunner(_task(), len(problems))
    batch = runner.run(policy, problems, seed=0)
    runner.close()
    plan = policy.plan
    if plan is None or len(plan) != len(problems):
        raise DfplanError("Expected one plan for all problems.")
    reached = 100.0 * batch.success
    success = mean(reached[None])
    objective = PlanObjective(judge.settings, judge.model)
    off = objective.off_support(torch.from_numpy(plan.points)).any(1).double()
    row: dict[str, object] = {
        "arm": name,
        "evaluations": plan.evaluations,
        "success": success.value,
        "±": success.half_width,
        "off the data": 100 * float(off.mean()),
        "score": float(plan.scores.max(1).mean()),
        "ms a plan": 1e3 * plan.seconds / len(plan),
    }
    return row, reached


if __name__ == "__main__":
    auto_cli(main)
