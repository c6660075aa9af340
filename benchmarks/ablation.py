"""How does each part of the method change the score: network, training levels, matrix, guidance?

    python benchmarks/ablation.py

Each network is trained with each pattern of noise levels for the same CPU time on one thread. The
number of steps follows from the time of 100 steps and is the same for all patterns; "s" is the
actual CPU time. Warm-up and the horizon of the averaged weights keep the preset's shares of a
training; otherwise a short training would be judged by outdated averages. The networks
causal_transformer and gru do not see the goal from the tokens before it.

Levels: "forcing" is dfplan's own mixture. "independent" is Diffusion Forcing as published, with a
level for each token. "full sequence" has one level for all tokens. "teacher forcing" has a clean
history and one noisy token. A planner shows the network a clean start and a clean goal, so all four
patterns contain these equally often, and the comparison is about the noise in between. A window of
teacher forcing has one token to denoise; those after it are pure noise, for which the network
learns the mean.

Each trained network plans from the same starts with each scheduling matrix and each guidance.
Guidance "none" samples what the network has learned. "reward" moves each clean estimate toward
short lines inside the data's support; this is Monte Carlo guidance with N = 1. "Monte Carlo"
averages over N samples that are estimated in one network call each, "sampled" over N samples that
are drawn in three calls each, so that its N = 1 is guided by one sample. "through the denoiser"
takes the reward's gradient with respect to the network's input, as in the paper (arXiv 2407.01392,
algorithm 2), with the scale that scored best in ``sampling_options``. "tree" is tree search under
the reward, with as many evaluations as Monte Carlo with N = 16 and as "64 candidates", the reward
alone with 16 times as many candidates. These, the sampled variants and "through the denoiser" are
run with one matrix only.

With every guidance, the plan is the best of 4 candidates of different lengths, of the 64, or of the
tree, by travel time and by the share of the plan outside the data's support: "none" does not use
the support in sampling, but in this choice. There is no refinement, which would also be guidance.
Each episode has one plan, which is tracked by pure pursuit.

"score" is the score of the true sum of rewards, ± half of its 95% interval. "against first" is the
paired difference to the first row of the table on the same starts. The tables are means over all
parts that they do not name, start by start, so their intervals describe the variation between
starts. Each network was trained once, so they do not describe the variation between seeds. Tables
that do not name the guidance contain only the guidances that all matrices have. "evaluations" are
network evaluations per plan, and "plan ms" is the CPU time of the first start's plan on one thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree
from typing import Any, cast

import numpy as np
import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli
from lightning_fabric import Fabric
from tqdm import tqdm

from dfplan.cli.arguments import Names
from dfplan.data import load_data
from dfplan.diffusion.levels import (
    FULL_SEQUENCE,
    INDEPENDENT,
    TEACHER_FORCING,
    LevelMixture,
    with_known_ends,
)
from dfplan.errors import unknown_name
from dfplan.evaluation.episodes import EpisodeBatch, run_episodes
from dfplan.evaluation.protocols import Split, named_task, problems
from dfplan.evaluation.statistics import mean, paired_difference
from dfplan.planning.policy import Policy
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.sampling.matrices import MATRICES
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train as train_model
from dfplan.training.presets import PRESETS, preset_data
from dfplan.training.recipes.forcing import NETWORKS, ForcingConfig
from dfplan.types import Planner

LEVELS = {
    "forcing": LevelMixture(),
    "full sequence": with_known_ends(FULL_SEQUENCE),
    "teacher forcing": with_known_ends(TEACHER_FORCING),
    "independent": with_known_ends(INDEPENDENT),
}
"""Training levels by name."""

GUIDANCES: dict[str, Callable[[ForcingPlanner], ForcingPlanner]] = {
    "none": lambda planner: _with_guidance(planner, scale=0.0),
    "reward (N=1)": lambda planner: planner,
    "Monte Carlo, N=4": lambda planner: planner.with_settings(mc_samples=4),
    "Monte Carlo, N=16": lambda planner: planner.with_settings(mc_samples=16),
}
"""Planners with a guidance by name, for every matrix."""


def _with_guidance(planner: ForcingPlanner, **changes: Any) -> ForcingPlanner:
    return planner.with_settings(guidance=replace(planner.settings.guidance, **changes))


def _sampled(mc_samples: int) -> Callable[[ForcingPlanner], ForcingPlanner]:
    return lambda planner: _with_guidance(
        planner.with_settings(mc_samples=mc_samples), mc_sample_steps=3
    )


ONE_MATRIX_GUIDANCES: dict[str, Callable[[ForcingPlanner], ForcingPlanner]] = {
    **{f"sampled, N={mc_samples}": _sampled(mc_samples) for mc_samples in (1, 4, 16)},
    "through the denoiser": lambda planner: _with_guidance(
        planner, method="denoiser", scale=0.5, iterations=1
    ),
    "64 candidates": lambda planner: planner.with_settings(candidates=64),
}
"""Planners with a guidance by name, for one matrix only."""


def _sampling(matrix: str, guidance: str, planner: ForcingPlanner) -> Planner:
    """Return ``planner`` with a matrix and a guidance."""
    return (GUIDANCES | ONE_MATRIX_GUIDANCES)[guidance](planner.with_settings(matrix=matrix))


PLANNERS: dict[tuple[str, str], Callable[[ForcingPlanner], Planner]] = {
    names: partial(_sampling, *names)
    for names in (*product(MATRICES, GUIDANCES), *product(["full_sequence"], ONE_MATRIX_GUIDANCES))
}
PLANNERS["full_sequence", "tree"] = lambda planner: TreePlanner(planner, TreeSettings(192))
"""How to plan with a trained network, by matrix and guidance."""

# Smaller batches than the default's are faster on one thread.
_SETTINGS = PlannerSettings(candidates=4, route_noise=math.inf, refine_steps=0, largest_batch=64)

_TIMED_STEPS = 100


@dataclass(frozen=True)
class Arm:
    """One network to train.

    Attributes:
        maze: medium or large.
        network: a key of :data:`~dfplan.training.recipes.forcing.NETWORKS`.
        levels: a key of :data:`LEVELS`.
        steps: optimizer steps.
        seed: of weights and batches.
        data: the maze's data file.
        folder: of the training.
    """

    maze: str
    network: str
    levels: str
    steps: int
    seed: int
    data: Path
    folder: Path

    def train(self) -> Checkpoint:
        """Return the finished training; train now if there is none."""
        file = self.folder / "checkpoint.safetensors"
        if file.exists():
            return Checkpoint.load(file)
        rmtree(self.folder, ignore_errors=True)  # of an interrupted training
        preset = PRESETS[f"maze2d-{self.maze}"]
        share = self.steps / preset.settings.steps
        settings = replace(
            preset.settings,
            steps=self.steps,
            seed=self.seed,
            warmup=round(share * preset.settings.warmup),
            ema_decay=max(0.0, 1 - (1 - preset.settings.ema_decay) / share),
        )
        return train_model(
            replace(
                cast(ForcingConfig, preset.recipe),
                network=self.network,
                levels=LEVELS[self.levels],
            ),
            load_data(self.data),
            self.folder,
            settings=settings,
            fabric=Fabric(accelerator="cpu", devices=1),
            progress=False,
        )


@dataclass(frozen=True)
class Result:
    """One way of planning with one trained network.

    Attributes:
        network: see :class:`Arm`.
        levels: see :class:`Arm`.
        matrix: see :data:`PLANNERS`.
        guidance: see :data:`PLANNERS`.
        batch: one episode per start.
        evaluations: network evaluations per plan.
        ms: CPU milliseconds per plan.
    """

    network: str
    levels: str
    matrix: str
    guidance: str
    batch: EpisodeBatch
    evaluations: int
    ms: float


def main(
    mazes: Names = Names("medium,large"),
    networks: Names = Names(tuple(NETWORKS)),
    levels: Names = Names(tuple(LEVELS)),
    seconds: float = 90.0,
    seed: int = 0,
    episodes: int = 8,
    split: Split = "test",
    workers: int = 2,
    runs: Path = Path("runs/ablation"),
    out: Path = RESULTS,
) -> None:
    """Train all networks that are not yet trained, and run each with all matrices and guidances.

    Args:
        mazes: umaze, medium or large.
        networks: keys of NETWORKS.
        levels: keys of LEVELS.
        seconds: CPU time of each training.
        seed: of weights and batches.
        episodes: number of starts per maze.
        split: of the problems.
        workers: processes with one thread each.
        runs: folder for data and trainings; a finished training is used again.
        out: folder for the results.
    """
    for kind, names, known in (("network", networks, NETWORKS), ("levels", levels, LEVELS)):
        for name in names:
            if name not in known:
                raise unknown_name(kind, name, known)
    started = time.perf_counter()
    data = {maze: preset_data(PRESETS[f"maze2d-{maze}"], runs / maze) for maze in mazes}
    with _pool(workers) as pool:
        # The time of a step does not depend on the levels.
        timed = [
            Arm(
                maze, network, "forcing", _TIMED_STEPS, seed, data[maze], runs / f"{maze}-{network}"
            )
            for maze, network in product(mazes, networks)
        ]
        steps = {
            (arm.maze, arm.network): max(1, round(_TIMED_STEPS * seconds / spent))
            for arm, spent in zip(timed, tqdm(pool.map(_seconds, timed), "time"), strict=True)
        }
        arms = [
            Arm(
                maze,
                network,
                pattern,
                steps[maze, network],
                seed,
                data[maze],
                runs / f"{maze}-{network}-{pattern.replace(' ', '_')}-{seconds:g}-{seed}",
            )
            for pattern, maze, network in product(levels, mazes, networks)
        ]
        trained = list(tqdm(pool.map(_training, arms), "train", total=len(arms)))
        tables: dict[str, list[dict[str, object]]] = {f"Training, {seconds:g} s each": trained}
        run = partial(_run, episodes=episodes, split=split)
        of_arms = list(tqdm(pool.map(run, arms), "run", total=len(arms)))
    for maze in mazes:
        pairs = zip(arms, of_arms, strict=True)
        results = [result for arm, of_arm in pairs for result in of_arm if arm.maze == maze]
        tables |= _tables(f"multi2d-{maze}", results)
    publish(out, "ablation", __doc__, started, tables)


def _tables(task: str, results: Sequence[Result]) -> dict[str, list[dict[str, object]]]:
    all_matrices = [result for result in results if result.guidance in GUIDANCES]
    groups = {
        ("network", "levels"): all_matrices,
        ("matrix", "guidance"): results,
        ("levels", "matrix"): all_matrices,
        ("network", "levels", "matrix", "guidance"): results,
    }
    return {f"{task}: {', '.join(keys)}": _compare(group, keys) for keys, group in groups.items()}


def _pool(workers: int) -> ProcessPoolExecutor:
    context = get_context("spawn")
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    )


def _seconds(arm: Arm) -> float:
    """CPU seconds of the training of ``arm``."""
    return float(arm.train().training["cpu_seconds"])


def _training(arm: Arm) -> dict[str, object]:
    """Train ``arm`` unless that is done; return a row of the training table."""
    checkpoint = arm.train()
    return {
        "maze": arm.maze,
        "network": arm.network,
        "levels": arm.levels,
        "parameters": sum(value.numel() for value in checkpoint.network.values()),
        "steps": checkpoint.training["steps"],
        "s": checkpoint.training["cpu_seconds"],
    }


def _run(arm: Arm, episodes: int, split: Split) -> list[Result]:
    """Run the trained network of ``arm`` with all matrices and guidances."""
    task = named_task(f"multi2d-{arm.maze}", split)
    starts = problems(task, episodes)
    trained = arm.train()
    network = replace(ForcingConfig.from_json(trained.config).load(trained), settings=_SETTINGS)
    results = []
    for (matrix, guidance), build in PLANNERS.items():
        planner = build(network)
        policy = Policy(planner, network.tracker(), tolerance=None)
        batch = run_episodes(policy, task, starts, progress=False)
        started = time.process_time()  # other processes share the machine
        plan = planner.plan(starts.starts[0], starts.goals[0], seed=0)
        seconds = time.process_time() - started
        results.append(
            Result(
                network=arm.network,
                levels=arm.levels,
                matrix=matrix,
                guidance=guidance,
                batch=batch,
                evaluations=plan.evaluations,
                ms=1e3 * seconds,
            )
        )
    return results


def _compare(results: Sequence[Result], keys: Sequence[str]) -> list[dict[str, object]]:
    """Return a row per combination of the attributes ``keys``: the mean over its results."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(getattr(result, key) for key in keys), []).append(result)
    rows: list[dict[str, object]] = []
    first = None
    for names, group in groups.items():
        rewards = np.stack([result.batch.rewards for result in group])
        scores = np.mean([result.batch.scores() for result in group], axis=0)[None]
        first = scores if first is None else first
        score, difference = mean(scores), paired_difference(scores, first)
        rows.append(
            {
                **dict(zip(keys, names, strict=True)),
                "score": score.value,
                "±": score.half_width,
                "against first": difference.value,
                "± of it": difference.half_width,
                "success at any step": float((rewards > 0).any(-1).mean()),
                "at the last": float((rewards[..., -1] > 0).mean()),
                "evaluations": float(np.mean([result.evaluations for result in group])),
                "plan ms": float(np.mean([result.ms for result in group])),
            }
        )
    return rows


if __name__ == "__main__":
    auto_cli(main)
