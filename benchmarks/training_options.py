"""How does each option of the training change the score?

    python benchmarks/training_options.py

Trains the preset with one option changed at a time: what the network predicts, the weight of the
loss, and the noise schedule. All trainings have the same seed and number of steps. Each result
plans from the same validation starts, which no other table reports. "against default" is the paired
difference of scores on the same starts, followed by half of its 95% interval. Each network is
trained once, so the intervals do not describe the variation between seeds. "paper" combines the
schedule, the target and the weight of the authors' code (arXiv 2407.01392): cosine, v, fused_snr.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
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

from dfplan.data import load_data
from dfplan.diffusion.loss import WEIGHTS
from dfplan.diffusion.schedules import SCHEDULES
from dfplan.diffusion.targets import TARGETS
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import named_task, problems
from dfplan.evaluation.statistics import mean, paired_difference
from dfplan.planning.policy import Policy
from dfplan.training.loop import train
from dfplan.training.presets import PRESETS, preset_data
from dfplan.training.recipes.forcing import ForcingConfig

_OPTIONS = {"target": TARGETS, "weight": WEIGHTS, "schedule": SCHEDULES}
_DEFAULT = ForcingConfig()
CHANGES: dict[str, dict[str, str]] = {
    "default": {},
    **{
        f"{field} {value}": {field: value}
        for field, values in _OPTIONS.items()
        for value in values
        if value != getattr(_DEFAULT, field)
    },
    "paper": {"schedule": "cosine", "target": "v", "weight": "fused_snr"},
}
"""The options that are changed, by name of the row."""


@dataclass(frozen=True)
class Job:
    """One training and its episodes.

    Attributes:
        preset: name of the preset.
        task: the task of the episodes.
        changes: options of the recipe that are changed.
        steps: optimizer steps.
        seed: of weights and batches.
        episodes: number of starts.
        folder: of the training; what is there is removed.
        data: the data file.
    """

    preset: str
    task: str
    changes: dict[str, str]
    steps: int | None
    seed: int
    episodes: int
    folder: Path
    data: Path

    def scores(self) -> tuple[np.ndarray, float]:
        """The scores of all starts, and the CPU seconds of the training."""
        torch.set_num_threads(1)
        preset = PRESETS[self.preset]
        recipe = replace(cast(ForcingConfig, preset.recipe), **self.changes)
        steps = self.steps or preset.settings.steps
        settings = replace(preset.settings, seed=self.seed, steps=steps)
        rmtree(self.folder, ignore_errors=True)
        checkpoint = train(
            recipe,
            load_data(self.data),
            self.folder,
            settings=settings,
            fabric=Fabric(accelerator="cpu", devices=1),
            progress=False,
        )
        task = named_task(self.task, "validation")
        starts = problems(task, self.episodes)
        batch = run_episodes(
            Policy(recipe.load(checkpoint).with_settings(route_noise=np.inf)),
            task,
            starts,
            progress=False,
        )
        return batch.scores(), float(checkpoint.training["cpu_seconds"])


def main(
    preset: str = "maze2d-medium",
    task: str = "multi2d-medium",
    steps: int | None = None,
    seed: int = 0,
    episodes: int = 200,
    workers: int = 1,
    runs: Path = Path("runs/training_options"),
    out: Path = RESULTS,
) -> None:
    """Train with each option, and compare the scores.

    Args:
        preset: name of a preset of Diffusion Forcing.
        task: the task of the episodes.
        steps: optimizer steps, if not the preset's.
        seed: of weights and batches.
        episodes: number of starts.
        workers: processes with one thread each.
        runs: folder for data and trainings.
        out: folder for the results.
    """
    started = time.perf_counter()
    data = preset_data(PRESETS[preset], runs / "data")
    jobs = [
        Job(preset, task, changes, steps, seed, episodes, runs / name.replace(" ", "-"), data)
        for name, changes in CHANGES.items()
    ]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = list(tqdm(pool.map(Job.scores, jobs), total=len(jobs)))
    default = results[0][0]
    rows = []
    for name, (scores, seconds) in zip(CHANGES, results, strict=True):
        score, difference = mean(scores[None]), paired_difference(scores[None], default[None])
        rows.append(
            {
                "option": name,
                "score": score.value,
                "±": score.half_width,
                "against default": difference.value,
                "± of it": difference.half_width,
                "train s": seconds,
            }
        )
    publish(out, "training_options", __doc__, started, {f"{preset} on {task}": rows})


if __name__ == "__main__":
    auto_cli(main)
