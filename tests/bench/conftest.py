"""Synthetic runs of a benchmark, for reports without executing anything."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from dfplan.bench.provenance import Provenance
from dfplan.bench.records import (
    Cost,
    EpisodeRecord,
    Example,
    Quantiles,
    Run,
    RunHeader,
    RunName,
    episodes_text,
    metadata_text,
    write_run,
)
from dfplan.evaluation.protocols import TASKS

SOURCE = Provenance(
    command="dfplan bench",
    seconds=10.0,
    date="2026-01-02T03:04:05+00:00",
    commit="c0ffee" * 6 + "0000",
    versions={"python": "3.11.7", "numpy": "2.4.6"},
    system="Linux x86_64",
    cpu="A processor",
    cores=2,
)

MakeRun = Callable[..., Run]


def made_run(
    task: str,
    method: str,
    *,
    tracker: str = "pursuit",
    seed: int = 0,
    late: float = 0.0,
    episodes: int = 20,
    error: str | None = None,
    problems: str = "",
    source: Provenance = SOURCE,
) -> Run:
    """A method that reaches each goal ``late`` steps, plus noise, after the lower bound."""
    chosen = TASKS[task]
    shared = np.random.default_rng(0)
    private = np.random.default_rng([seed, *f"{method}{tracker}".encode()])
    needed = shared.integers(40, 200, episodes)
    steps_to_goal = needed + np.maximum(
        0, late + private.normal(0, 8, episodes) + private.normal(0, 3)
    ).astype(int)
    reached = steps_to_goal <= chosen.max_steps
    returns = np.where(reached, chosen.max_steps - steps_to_goal + 1.0, 0.0)
    scores = chosen.scores(returns, steps_to_goal, needed)
    bounds = chosen.upper_bound(needed)
    cells = chosen.maze.free_cells
    ends = [chosen.maze.cell_to_xy(cells[index]) for index in (0, -1)]
    rows = tuple(
        EpisodeRecord(
            episode=index,
            stratum=index % 5 + 1 if chosen.protocol.id != "d4rl-maze2d-v1" else 0,
            start=tuple(ends[0].tolist()),
            goal=(float(ends[1][0]), float(ends[1][1])),
            score=float(scores[index]),
            upper_bound=float(bounds[index]),
            episode_return=float(returns[index]),
            latched_return=float(returns[index]),
            steps_to_goal=int(steps_to_goal[index]) if reached[index] else None,
            steps=chosen.max_steps,
            success_any=bool(reached[index]),
            success_last=bool(reached[index]),
            error=error if index == 3 else None,
        )
        for index in range(episodes)
    )
    path = chosen.maze.cell_to_xy(
        np.array([tuple(cells[0]), *chosen.maze.shortest_path(cells[0], cells[-1])], dtype=float)
    )
    executed = np.repeat(path, 5, axis=0) + private.normal(0, 0.03, (5 * len(path), 2))
    plan = None if method == "controller" else path.tolist()
    ms = 0.05 * (1 + late)
    return Run(
        RunHeader(
            RunName(chosen.protocol.id, task, method, tracker, seed),
            episodes,
            "test",
            problems or f"{zlib.crc32(f'{task}{episodes}'.encode()):08x}" * 8,
            None if method == "controller" else f"{seed}" * 64,
        ),
        rows,
        Cost(
            plan=None if method == "controller" else Quantiles(ms, 1.5 * ms, 2 * ms, 50),
            step=Quantiles(0.001, 0.002, 0.02, 1000),
            evaluations=None if method == "controller" else 200.0,
            parameters=None if method == "controller" else 1_234_567,
            training_seconds=None if method == "controller" else 3600.0,
            training_steps=None if method == "controller" else 100_000,
            peak_bytes=300 * 2**20,
            seconds=60.0,
            policy_seconds=40.0,
            environment_seconds=20.0,
        ),
        tuple(Example(number, plan, executed.tolist()) for number in (7, 2, 5)),
        source,
    )


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Makes a run; see :func:`made_run`."""
    return made_run


@pytest.fixture(scope="session")
def bench_runs() -> list[Run]:
    """Two protocols, two or three tasks each; a controller and three planners, 1 and 3 seeds."""
    tasks = ("maze2d-umaze", "maze2d-large", "multi2d-large")
    tasks += ("ogbench-medium-navigate", "ogbench-giant-navigate")
    runs = []
    for task in tasks:
        runs.append(made_run(task, "controller", tracker="default", late=25))
        for seed in range(3):
            runs.append(made_run(task, "dfplan", seed=seed, late=10))
            runs.append(made_run(task, "dfplan", tracker="pd", seed=seed, late=14))
            runs.append(made_run(task, "diffuser", tracker="pd", seed=seed, late=80))
        runs.append(
            made_run(task, "cloning", tracker="default", late=300, error="The plan is NaN.")
        )
    return runs


@pytest.fixture(scope="session")
def write_runs() -> Callable[[Path, Iterable[Run]], Path]:
    """Writes runs as a benchmark does, and returns the folder."""

    def write(folder: Path, runs: Iterable[Run]) -> Path:
        for run in runs:
            metadata = metadata_text(run.cost, run.examples, run.provenance)
            write_run(folder, run.name, episodes_text(run.header, run.episodes), metadata)
        return folder

    return write
