"""How does Diffuser's score grow with training, compared with its published scores?

    python benchmarks/learning_curve.py --runs runs/models

Each intermediate checkpoint (``dfplan train diffuser-umaze --settings.keep_every 2500``) is run on
the same validation starts with Diffuser's own execution: one plan per episode, and its controller
with both gains 1. "training s" is the CPU time up to that checkpoint, summed over cores. "score" is
D4RL's score of the true sum of rewards, "±" half of its 95% interval over starts. "published" is
the score of the authors' code (arXiv 2205.09991) after two million steps, "ratio" the score divided
by it.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from findings import RESULTS, publish
from joblib import Parallel, delayed
from jsonargparse import auto_cli

from dfplan.cli.arguments import Names
from dfplan.errors import ConfigError
from dfplan.evaluation import statistics
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.protocols import Split, named_task, problems
from dfplan.evaluation.published import published
from dfplan.planning.policy import Policy
from dfplan.pretrained import load
from dfplan.training.checkpoint import Checkpoint


def main(
    runs: Path = Path("runs/models"),
    mazes: Names = Names("umaze,medium,large"),
    run: str = "diffuser-{}",
    episodes: int = 40,
    split: Split = "validation",
    workers: int = 2,
    out: Path = RESULTS,
) -> None:
    """Evaluate all intermediate checkpoints.

    Args:
        runs: folder of the trainings.
        mazes: umaze, medium, large.
        run: name of a maze's training in ``runs``.
        episodes: number of starts per task and checkpoint.
        split: of the starts.
        workers: processes with one thread each.
        out: folder for the results.
    """
    started = time.perf_counter()
    arguments = []
    for maze in mazes:
        checkpoints = sorted((runs / run.format(maze)).glob("checkpoint-*.safetensors"), key=_step)
        if not checkpoints:
            raise ConfigError(
                f"Expected checkpoint-<step>.safetensors in {runs / run.format(maze)}; there are "
                f"none. Train: dfplan train diffuser-{maze} --settings.keep_every 1000 --out ..."
            )
        arguments += [
            (path, f"{suite}-{maze}", split, episodes)
            for suite in ("maze2d", "multi2d")
            for path in checkpoints
        ]
    rows = Parallel(n_jobs=workers)(delayed(evaluate)(*each) for each in arguments)
    tables: dict[str, list[dict[str, object]]] = {}
    for (_, task, *_), row in zip(arguments, rows, strict=True):
        tables.setdefault(task, []).append(row)
    publish(out, "learning_curve", __doc__, started, tables)


def evaluate(path: Path, task_name: str, split: Split, episodes: int) -> dict[str, object]:
    """Return a row: one checkpoint on one task."""
    torch.set_num_threads(1)
    task, training = named_task(task_name, split), Checkpoint.load(path).training
    policy = Policy(load(path), tolerance=None)
    result = run_episodes(policy, task, problems(task, episodes), progress=False)
    score = statistics.mean(result.scores()[None])
    (reference,) = (
        each.mean
        for each in published(task.id)
        if (each.method, each.scored) == ("Diffuser", "true")
    )
    return {
        "steps": training["step"],
        "training s": round(training["cpu_seconds"]),
        "n": episodes,
        "score": score.value,
        "±": score.half_width,
        "success, %": 100 * float(result.success.mean()),
        "published": reference,
        "ratio": score.value / reference,
    }


def _step(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


if __name__ == "__main__":
    auto_cli(main)
