"""What does each part of the method do to the score: network, training levels, matrix, guidance?

    python benchmarks/ablation.py

Every network is trained on every pattern of noise levels for the same seconds of computing on one
thread: the number of its steps follows from the time that 100 steps take, and is the same for all
levels; "s" is what they really took. Warm-up and the horizon of the averaged weights keep the
preset's shares of a run, or a short run would be judged by weights that it had long left.

Levels: "forcing" is dfplan's own mixture; "independent" Diffusion Forcing as published, a level for
each token; "full sequence" one level for all; "teacher forcing" a clean past and one noisy token.
A planner shows the network a clean start and a clean goal, so all four see these equally often,
and what is compared is the noise between.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree

import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli
from lightning_fabric import Fabric
from tqdm import tqdm

from dfplan.cli import Names
from dfplan.data import load_d4rl
from dfplan.diffusion.levels import FULL_SEQUENCE, INDEPENDENT, TEACHER_FORCING, LevelMixture
from dfplan.errors import unknown_name
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train
from dfplan.training.presets import PRESETS, preset_data
from dfplan.training.recipes import NETWORKS

_OWN = LevelMixture()

LEVELS = {
    "forcing": _OWN,
    **{
        name: replace(levels, known_start=_OWN.known_start, known_goal=_OWN.known_goal)
        for name, levels in (
            ("full sequence", FULL_SEQUENCE),
            ("teacher forcing", TEACHER_FORCING),
            ("independent", INDEPENDENT),
        )
    },
}
"""Training levels by name, the ends of a window known as often in all of them."""

_TIMED_STEPS = 100


@dataclass(frozen=True)
class Arm:
    """One network to train.

    Attributes:
        maze: medium or large.
        network: a key of :data:`~dfplan.training.recipes.NETWORKS`.
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
            replace(preset.recipe, network=self.network, levels=LEVELS[self.levels]),
            load_d4rl(self.data),
            self.folder,
            settings=settings,
            fabric=Fabric(accelerator="cpu", devices=1),
            progress=False,
        )


def main(
    mazes: Names = Names("medium,large"),
    networks: Names = Names(tuple(NETWORKS)),
    levels: Names = Names(tuple(LEVELS)),
    seconds: float = 90.0,
    seed: int = 0,
    workers: int = 2,
    runs: Path = Path("runs/ablation"),
    out: Path = RESULTS,
) -> None:
    """Train all arms.

    Args:
        mazes: umaze, medium or large.
        networks: keys of NETWORKS.
        levels: keys of LEVELS.
        seconds: of computing to train each arm for.
        seed: of weights and batches.
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
    publish(out, "ablation", __doc__, began, {f"Training, {seconds:g} s each": trained})


def _pool(workers: int) -> ProcessPoolExecutor:
    context = get_context("spawn")
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    )


def _seconds(arm: Arm) -> float:
    """Seconds of computing that the run took."""
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


if __name__ == "__main__":
    auto_cli(main)
