"""How good does Diffuser get with training, beside its published figures?

    python benchmarks/learning_curve.py --runs runs/models

Each checkpoint that was kept on the way (``dfplan train diffuser-umaze --settings.keep_every
2500``) plays the same validation starts in Diffuser's own way: one plan an episode, its controller
with both gains 1. "Training s" is computing time summed over cores, until that checkpoint. "score"
is D4RL's, of the true sum of rewards, "±" half of its 95% interval over starts; "published" what
the authors' code gives (arXiv 2205.09991) after two million steps, and "ratio" the score over it.
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
    """Play every checkpoint that was kept.

    Args:
        runs: folder of the runs.
        mazes: umaze, medium, large.
        run: name of a maze's run in it.
        episodes: starts a task and checkpoint.
        split: which starts.
        workers: processes, of one thread each.
        out: folder of the results.
    """
    began = time.perf_counter()
    jobs = []
    for maze in mazes:
        kept = sorted((runs / run.format(maze)).glob("checkpoint-*.safetensors"), key=_step)
        if not kept:
            raise ConfigError(
                f"Expected checkpoint-<step>.safetensors in {runs / run.format(maze)}; there are "
                f"none. Train: dfplan train diffuser-{maze} --settings.keep_every 1000 --out ..."
            )
        jobs += [
            (path, f"{suite}-{maze}", split, episodes)
            for suite in ("maze2d", "multi2d")
            for path in kept
        ]
    rows = Parallel(n_jobs=workers)(delayed(played)(*job) for job in jobs)
    tables: dict[str, list[dict[str, object]]] = {}
    for (_, task, *_), row in zip(jobs, rows, strict=True):
        tables.setdefault(task, []).append(row)
    publish(out, "learning_curve", __doc__, began, tables)


def played(path: Path, task_name: str, split: Split, episodes: int) -> dict[str, object]:
    """A row: one checkpoint on one task."""
    torch.set_num_threads(1)
    task, training = named_task(task_name, split), Checkpoint.load(path).training
    policy = Policy(load(path), tolerance=None)
    result = run_episodes(policy, task, problems(task, episodes), progress=False)
    score = statistics.mean(result.scores()[None])
    (figure,) = (
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
        "published": figure,
        "ratio": score.value / figure,
    }


def _step(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


if __name__ == "__main__":
    auto_cli(main)
