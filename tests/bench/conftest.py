"""Made-up cells of a benchmark: what a report is made from, without playing."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from dfplan.bench.provenance import Provenance
from dfplan.bench.records import (
    Cell,
    CellName,
    Cost,
    EpisodeRow,
    Example,
    Head,
    Quantiles,
    aside_text,
    rows_text,
    write_cell,
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

MakeCell = Callable[..., Cell]


def made_cell(
    task: str,
    planner: str,
    *,
    tracker: str = "pursuit",
    seed: int = 0,
    late: float = 0.0,
    episodes: int = 20,
    fault: str | None = None,
    problems: str = "",
    source: Provenance = SOURCE,
) -> Cell:
    """A planner that reaches each goal ``late`` steps, and some at random, after it could have."""
    chosen = TASKS[task]
    shared = np.random.default_rng(0)
    own = np.random.default_rng([seed, *f"{planner}{tracker}".encode()])
    needed = shared.integers(40, 200, episodes)
    touch = needed + np.maximum(0, late + own.normal(0, 8, episodes) + own.normal(0, 3)).astype(int)
    is_there = touch <= chosen.max_steps
    paid = np.where(is_there, chosen.max_steps - touch + 1.0, 0.0)
    scores = chosen.scores(paid, touch, needed)
    most = chosen.most(needed)
    cells = chosen.maze.free_cells
    ends = [chosen.maze.cell_to_xy(cells[index]) for index in (0, -1)]
    rows = tuple(
        EpisodeRow(
            episode=index,
            part=index % 5 + 1 if chosen.protocol.id != "d4rl-maze2d-v1" else 0,
            start=tuple(ends[0].tolist()),
            goal=(float(ends[1][0]), float(ends[1][1])),
            score=float(scores[index]),
            most=float(most[index]),
            reward=float(paid[index]),
            latched=float(paid[index]),
            first_touch=int(touch[index]) if is_there[index] else None,
            steps=chosen.max_steps,
            success_any=bool(is_there[index]),
            success_last=bool(is_there[index]),
            fault=fault if index == 3 else None,
        )
        for index in range(episodes)
    )
    way = chosen.maze.cell_to_xy(
        np.array([tuple(cells[0]), *chosen.maze.shortest_cells(cells[0], cells[-1])], dtype=float)
    )
    driven = np.repeat(way, 5, axis=0) + own.normal(0, 0.03, (5 * len(way), 2))
    plan = None if planner == "controller" else way.tolist()
    ms = 0.05 * (1 + late)
    return Cell(
        Head(
            CellName(chosen.protocol.id, task, planner, tracker, seed),
            episodes,
            "test",
            problems or f"{zlib.crc32(f'{task}{episodes}'.encode()):08x}" * 8,
            None if planner == "controller" else f"{seed}" * 64,
        ),
        rows,
        Cost(
            plan=None if planner == "controller" else Quantiles(ms, 1.5 * ms, 2 * ms, 50),
            step=Quantiles(0.001, 0.002, 0.02, 1000),
            evaluations=None if planner == "controller" else 200.0,
            parameters=None if planner == "controller" else 1_234_567,
            training_seconds=None if planner == "controller" else 3600.0,
            training_steps=None if planner == "controller" else 100_000,
            peak_bytes=300 * 2**20,
            seconds=60.0,
            policy_seconds=40.0,
            environment_seconds=20.0,
        ),
        tuple(Example(number, plan, driven.tolist()) for number in (7, 2, 5)),
        source,
    )


@pytest.fixture(scope="session")
def make_cell() -> MakeCell:
    """Makes a cell; see :func:`made_cell`."""
    return made_cell


@pytest.fixture(scope="session")
def bench_cells() -> list[Cell]:
    """Two protocols, two or three tasks each; a controller and three planners, 1 and 3 seeds."""
    tasks = ("maze2d-umaze", "maze2d-large", "multi2d-large")
    tasks += ("ogbench-medium-navigate", "ogbench-giant-navigate")
    cells = []
    for task in tasks:
        cells.append(made_cell(task, "controller", tracker="own", late=25))
        for seed in range(3):
            cells.append(made_cell(task, "dfplan", seed=seed, late=10))
            cells.append(made_cell(task, "dfplan", tracker="pd", seed=seed, late=14))
            cells.append(made_cell(task, "diffuser", tracker="pd", seed=seed, late=80))
        cells.append(made_cell(task, "cloning", tracker="own", late=300, fault="The plan is NaN."))
    return cells


@pytest.fixture(scope="session")
def write_cells() -> Callable[[Path, Iterable[Cell]], Path]:
    """Writes cells as a benchmark does, and returns the folder."""

    def write(folder: Path, cells: Iterable[Cell]) -> Path:
        for cell in cells:
            aside = aside_text(cell.cost, cell.examples, cell.provenance)
            write_cell(folder, cell.name, rows_text(cell.head, cell.rows), aside)
        return folder

    return write
