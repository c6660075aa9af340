"""What does each part of the method do to the score: network, training levels, matrix, guidance?

    python benchmarks/ablation.py

Every network is trained on every pattern of noise levels for the same seconds of computing on one
thread: the number of its steps follows from the time that 100 steps take, and is the same for all
levels; "s" is what they really took. Warm-up and the horizon of the averaged weights keep the
preset's shares of a run, or a short run would be judged by weights that it had long left. Of the
networks, causal_transformer and gru do not see the goal from the tokens before it.

Levels: "forcing" is dfplan's own mixture; "independent" Diffusion Forcing as published, a level for
each token; "full sequence" one level for all; "teacher forcing" a clean past and one noisy token.
A planner shows the network a clean start and a clean goal, so all four see these equally often,
and what is compared is the noise between.

A window of teacher forcing has one token to denoise; those after it are pure noise, of which the
mean is learned.

Each trained network plans from the same starts with every scheduling matrix and every guidance.
Guidance "none" samples what the network has learned; "reward" pulls each clean estimate to short
lines where the data has been, which is Monte Carlo guidance with N = 1. "Monte Carlo" averages over
N futures that are estimated in one call each; "sampled" over N that are drawn in three calls each,
so that its N = 1 is guided by one sample. "Tree" is the tree search under the reward, with as many
evaluations as Monte Carlo, N = 16, and as "64 candidates", the reward alone with 16 times as many
candidates; these and the sampled futures are tried under one matrix.

Whatever the guidance, the plan is the best of 4 candidates of different lengths, of the 64, or of
the tree, by travel time and by how much of it lies off the data: "none" does without the map of
visited places in sampling, but not in this choice. Nothing is polished afterwards, which would be
guidance too. Each episode is planned once and followed by pure pursuit.

"Score" is of the true summed reward, ± half of its 95% interval; "against first" is the paired
difference to the table's first row on the same starts. Tables are means over all that they do not
name, start by start before anything else, so their intervals say what other starts would change;
each network was trained once, so they do not say what another seed would. Where the guidance is
not named, only those count that every matrix has. "Evaluations" are of the
network for one plan, and "plan ms" its computing time on one thread, of the first start's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree
from typing import cast

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
from dfplan.training.loop import train
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

GUIDANCES: dict[str, Callable[[PlannerSettings], PlannerSettings]] = {
    "none": lambda settings: replace(settings, guidance=replace(settings.guidance, scale=0.0)),
    "reward (N=1)": lambda settings: settings,
    "Monte Carlo, N=4": lambda settings: replace(settings, mc_samples=4),
    "Monte Carlo, N=16": lambda settings: replace(settings, mc_samples=16),
}
"""Settings of a guidance by name, for every matrix."""


def _sampled(mc_samples: int) -> Callable[[PlannerSettings], PlannerSettings]:
    return lambda settings: replace(
        settings, mc_samples=mc_samples, guidance=replace(settings.guidance, mc_sample_steps=3)
    )


COSTLY: dict[str, Callable[[PlannerSettings], PlannerSettings]] = {
    **{f"sampled, N={mc_samples}": _sampled(mc_samples) for mc_samples in (1, 4, 16)},
    "64 candidates": lambda settings: replace(settings, candidates=64),
}
"""Those for one matrix."""


def _sampling(matrix: str, guidance: str, planner: ForcingPlanner) -> Planner:
    """``planner`` with that matrix and that guidance."""
    settings = replace(planner.settings, matrix=matrix)
    return replace(planner, settings=(GUIDANCES | COSTLY)[guidance](settings))


PLANNERS: dict[tuple[str, str], Callable[[ForcingPlanner], Planner]] = {
    names: partial(_sampling, *names)
    for names in (*product(MATRICES, GUIDANCES), *product(["full_sequence"], COSTLY))
}
PLANNERS["full_sequence", "tree"] = lambda planner: TreePlanner(planner, TreeSettings(192))
"""How to plan with a trained network, by matrix and guidance."""

# Smaller batches than the default's are faster on one thread.
_SETTINGS = PlannerSettings(candidates=4, refine_steps=0, largest_batch=64)

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
        folder: where the run is or will be.
    """

    maze: str
    network: str
    levels: str
    steps: int
    seed: int
    data: Path
    folder: Path

    def trained(self) -> Checkpoint:
        """The finished run, trained now if there is none."""
        file = self.folder / "checkpoint.safetensors"
        if file.exists():
            return Checkpoint.load(file)
        rmtree(self.folder, ignore_errors=True)  # what an interrupted run left
        preset = PRESETS[f"maze2d-{self.maze}"]
        share = self.steps / preset.settings.steps
        settings = replace(
            preset.settings,
            steps=self.steps,
            seed=self.seed,
            warmup=round(share * preset.settings.warmup),
            ema_decay=max(0.0, 1 - (1 - preset.settings.ema_decay) / share),
        )
        return train(
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
class Run:
    """One way of planning with one trained network.

    Attributes:
        network: see :class:`Arm`.
        levels: see :class:`Arm`.
        matrix: see :data:`PLANNERS`.
        guidance: see :data:`PLANNERS`.
        played: an episode from each start.
        evaluations: of the network, a plan.
        ms: milliseconds of computing, a plan.
    """

    network: str
    levels: str
    matrix: str
    guidance: str
    played: EpisodeBatch
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
    """Train all networks that are not yet trained, and plan with each in every way.

    Args:
        mazes: umaze, medium or large.
        networks: keys of NETWORKS.
        levels: keys of LEVELS.
        seconds: of computing to train each arm for.
        seed: of weights and batches.
        episodes: starts a maze.
        split: of the problems.
        workers: processes, of one thread each.
        runs: folder for data and runs; a finished run is used again.
        out: folder for the findings.
    """
    for kind, names, known in (("network", networks, NETWORKS), ("levels", levels, LEVELS)):
        for name in names:
            if name not in known:
                raise unknown_name(kind, name, known)
    began = time.perf_counter()
    data = {maze: preset_data(PRESETS[f"maze2d-{maze}"], runs / maze) for maze in mazes}
    with _pool(workers) as pool:
        # What a step takes does not depend on the levels.
        tried = [
            Arm(
                maze, network, "forcing", _TIMED_STEPS, seed, data[maze], runs / f"{maze}-{network}"
            )
            for maze, network in product(mazes, networks)
        ]
        steps = {
            (arm.maze, arm.network): max(1, round(_TIMED_STEPS * seconds / took))
            for arm, took in zip(tried, tqdm(pool.map(_seconds, tried), "time"), strict=True)
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
        play = partial(_played, episodes=episodes, split=split)
        played = list(tqdm(pool.map(play, arms), "play", total=len(arms)))
    for maze in mazes:
        cells = [
            cell
            for arm, of_arm in zip(arms, played, strict=True)
            for cell in of_arm
            if arm.maze == maze
        ]
        task = named_task(f"multi2d-{maze}", split)
        everywhere = [cell for cell in cells if cell.guidance in GUIDANCES]
        for keys, group in (
            (("network", "levels"), everywhere),
            (("matrix", "guidance"), cells),
            (("levels", "matrix"), everywhere),
            (("network", "levels", "matrix", "guidance"), cells),
        ):
            tables[f"{task.id}: {', '.join(keys)}"] = _compared(group, keys)
    publish(out, "ablation", __doc__, began, tables)


def _pool(workers: int) -> ProcessPoolExecutor:
    context = get_context("spawn")
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    )


def _seconds(arm: Arm) -> float:
    """Seconds of computing that the run of ``arm`` took."""
    return float(arm.trained().training["cpu_seconds"])


def _training(arm: Arm) -> dict[str, object]:
    """Train ``arm`` unless that is done; a row of the table of training."""
    checkpoint = arm.trained()
    return {
        "maze": arm.maze,
        "network": arm.network,
        "levels": arm.levels,
        "parameters": sum(value.numel() for value in checkpoint.network.values()),
        "steps": checkpoint.training["steps"],
        "s": checkpoint.training["cpu_seconds"],
    }


def _played(arm: Arm, episodes: int, split: Split) -> list[Run]:
    """Plan and drive in every way with the trained network of ``arm``."""
    task = named_task(f"multi2d-{arm.maze}", split)
    starts = problems(task, episodes)
    trained = arm.trained()
    network = replace(ForcingConfig.from_json(trained.config).load(trained), settings=_SETTINGS)
    cells = []
    for (matrix, guidance), build in PLANNERS.items():
        planner = build(network)
        policy = Policy(planner, network.tracker(), tolerance=None)
        played = run_episodes(policy, task, starts, progress=False)
        began = time.process_time()  # other processes share the machine
        plan = planner.plan(starts.starts[0], starts.goals[0], seed=0)
        seconds = time.process_time() - began
        cells.append(
            Run(
                network=arm.network,
                levels=arm.levels,
                matrix=matrix,
                guidance=guidance,
                played=played,
                evaluations=plan.evaluations,
                ms=1e3 * seconds,
            )
        )
    return cells


def _compared(cells: Sequence[Run], keys: Sequence[str]) -> list[dict[str, object]]:
    """A row for each combination of the attributes ``keys``, the mean over its cells."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for cell in cells:
        groups.setdefault(tuple(getattr(cell, key) for key in keys), []).append(cell)
    rows: list[dict[str, object]] = []
    first = None
    for names, group in groups.items():
        rewards = np.stack([cell.played.rewards for cell in group])
        scores = np.mean([cell.played.scores() for cell in group], axis=0)[None]
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
                "evaluations": float(np.mean([cell.evaluations for cell in group])),
                "plan ms": float(np.mean([cell.ms for cell in group])),
            }
        )
    return rows


if __name__ == "__main__":
    auto_cli(main)
