"""How long does training take, how much memory does it need, and is the result as good?

    python benchmarks/training.py

Trains each preset with another seed than the shipped checkpoint's, and runs both checkpoints on the
same validation starts, which no other table reports. "train s" is the wall time of reading the
data, fitting its statistics and all optimizer steps; collecting the data is a separate column.
"peak GiB" is the peak resident memory of a process that did nothing else. "ratio" is the new mean
score divided by the shipped one; "difference" is paired and followed by half of its 95% interval.
"""

from __future__ import annotations

import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree

from findings import RESULTS, publish
from jsonargparse import auto_cli

from dfplan.data import load_data
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import named_task, problems
from dfplan.evaluation.statistics import paired_difference
from dfplan.planning.policy import Policy
from dfplan.pretrained import load
from dfplan.training.loop import train
from dfplan.training.presets import PRESETS, preset_data

FORCING = [name for name in PRESETS if name.startswith("maze2d-")]


def main(
    presets: list[str] = FORCING,
    steps: int | None = None,
    seed: int = 1,
    episodes: int = 100,
    runs: Path = Path("runs/training"),
    out: Path = RESULTS,
) -> None:
    """Train presets and compare them with the shipped checkpoints.

    Args:
        presets: names of presets, each of which also names a shipped checkpoint.
        steps: optimizer steps, if not the preset's.
        seed: of weights and batches.
        episodes: number of starts per task.
        runs: folder for data and trainings; existing data is used again.
        out: folder for the results.
    """
    started = time.perf_counter()
    # All trainings come first: on Linux, the peak memory of a new process includes its parent's.
    trained = {name: _train_in_process(name, steps, seed, runs) for name in presets}
    scores = [
        {"preset": name, **_compare(runs / name, name, suite, episodes)}
        for name in presets
        for suite in ("maze2d", "multi2d")
    ]
    publish(out, "training", __doc__, started, {"Cost": list(trained.values()), "Score": scores})


def _train_in_process(name: str, steps: int | None, seed: int, runs: Path) -> dict[str, object]:
    """Train in a separate process; return a row of the first table."""
    preset = PRESETS[name]
    started = time.perf_counter()
    data = preset_data(preset, runs / preset.maze.name)
    collected = time.perf_counter() - started
    rmtree(runs / name, ignore_errors=True)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seconds, peak, size = pool.submit(_train, name, steps, seed, data, runs / name).result()
    return {
        "preset": name,
        "data steps": size,
        "collect s": collected,
        "train steps": steps or preset.settings.steps,
        "train s": seconds,
        "peak GiB": peak,
    }


def _train(
    name: str, steps: int | None, seed: int, data: Path, run: Path
) -> tuple[float, float, int]:
    """Train once; return seconds, peak memory in GiB and the number of steps of data."""
    preset = PRESETS[name]
    settings = replace(preset.settings, seed=seed, steps=steps or preset.settings.steps)
    started = time.perf_counter()
    trajectories = load_data(data)
    train(preset.recipe, trajectories, run, settings=settings)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    return seconds, peak, len(trajectories.observations)


def _compare(run: Path, name: str, suite: str, episodes: int) -> dict[str, object]:
    """Compare a training with the shipped checkpoint; return a row of the second table."""
    task = named_task(f"{suite}-{PRESETS[name].maze.name}", "validation")
    starts = problems(task, episodes)
    new, shipped = (
        run_episodes(Policy(load(checkpoint)), task, starts).scores() for checkpoint in (run, name)
    )
    difference = paired_difference(new[None], shipped[None])
    return {
        "task": task.id,
        "n": episodes,
        "score": float(new.mean()),
        "shipped": float(shipped.mean()),
        "ratio": float(new.mean() / shipped.mean()),
        "difference": difference.value,
        "±": difference.half_width,
    }


if __name__ == "__main__":
    auto_cli(main)
