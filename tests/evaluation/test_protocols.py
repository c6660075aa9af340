"""Protocols: frozen problems, their distributions, and scores."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dfplan.envs.make import make
from dfplan.errors import ConfigError, DataError
from dfplan.evaluation import protocols
from dfplan.evaluation.bounds import path_lengths
from dfplan.evaluation.protocols import (
    PROTOCOLS,
    SPLITS,
    TASKS,
    Problems,
    custom_problems,
    named_protocol,
    named_task,
    problems,
    tasks_of,
)

FROZEN = [name for name in TASKS if TASKS[name].protocol.frozen is not None]
DRAWN_HERE = [name for name in TASKS if TASKS[name].protocol.id == "d4rl-maze2d-v1"]
OF_EACH = ["multi2d-medium", "pointmaze-umaze", "ogbench-teleport-stitch", "dfplan-ogbench-giant"]
ROOT = Path(__file__).parent.parent.parent

# A change of these is a new version of the protocol: earlier results no longer compare.
DIGESTS = {
    "maze2d-large": "e48f5cc8c8b0d2ddaa24de8bcc54f965687a4c6831bc269cbeca6bdedd990e88",
    "pointmaze-large": "d5f6cbec1b1c67570e6c8cf2f7e6ea953f918160c8a2a29ad8e97991a6cdab6d",
    "ogbench-giant-navigate": "b02e3da934cf53aa2bc24a3bcbfed6a68c108bc9e6ae074e21de8940654ab68b",
    "dfplan-maze2d-large": "2e2470fc25c99e69cf76a371b95d3b77825bc431d2290aec7cef6e6fbed97881",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_problems_are_frozen(name: str) -> None:
    assert problems(named_task(name), 20).digest == DIGESTS[name]


@pytest.mark.parametrize("name", [*DIGESTS, *OF_EACH])
def test_fewer_problems_are_a_prefix(name: str) -> None:
    task = named_task(name)
    fewer, many = problems(task, 20), problems(task, min(250, task.protocol.episodes))
    assert len(many) >= 100 and many.subset(slice(20)).digest == fewer.digest
    assert many.digest != fewer.digest == problems(task, 20).digest
    assert problems(task, 23).digest == many.subset(slice(23)).digest  # no whole round of tasks


def _rows(posed: Problems) -> set[bytes]:
    together = np.concatenate([posed.starts, posed.goals], axis=1)
    return {row.tobytes() for row in together}


@pytest.mark.parametrize("name", ["maze2d-umaze", *OF_EACH[:3]])
def test_splits_and_seeds_share_no_problem(name: str) -> None:
    sets = [problems(named_task(name, split), 150, seed) for split in SPLITS for seed in (0, 1)]
    assert len(set.union(*map(_rows, sets))) == sum(map(len, sets)) == 600
    assert len({posed.digest for posed in sets}) == 4
    if sets[0].seeds is not None:
        assert len(np.unique(np.concatenate([posed.seeds for posed in sets]))) == 600


def test_the_digest_depends_on_all_fields() -> None:
    posed = problems(named_task("pointmaze-umaze"), 3)
    assert posed.seeds is not None
    others = [
        replace(posed, starts=posed.starts + 1e-9),
        replace(posed, goals=posed.goals[::-1]),
        replace(posed, strata=posed.strata + 1),
        replace(posed, seeds=posed.seeds + 1),
        replace(posed, seeds=None),
        custom_problems(posed.starts, posed.goals),
    ]
    assert len({other.digest for other in [posed, *others]}) == 6  # the last two are the same


@pytest.mark.parametrize("name", DRAWN_HERE)
@pytest.mark.parametrize("split", SPLITS)
def test_problems_of_d4rl_have_its_distribution(name: str, split: protocols.Split) -> None:
    task = named_task(name, split)
    posed = problems(task, 2000)
    positions = posed.starts[:, :2]
    cells = np.round(positions).astype(int)
    assert np.abs(positions - cells).max() <= 0.1
    assert task.maze.is_free(positions).all() and task.maze.is_free(posed.goals).all()
    assert {tuple(cell) for cell in cells} == {tuple(cell) for cell in task.maze.free_cells}
    assert posed.starts[:, 2:].std(axis=0) == pytest.approx([0.1, 0.1], rel=0.1)
    if name.startswith("multi2d"):
        assert task.goal is None and len(np.unique(posed.goals, axis=0)) == 2000
        assert np.abs(posed.goals - np.round(posed.goals)).max() <= 0.1
    else:
        assert task.goal is not None and (posed.goals == task.goal).all()


@pytest.mark.parametrize("name", ["pointmaze-medium", "ogbench-large-navigate"])
def test_other_suites_draw_by_their_resets(name: str) -> None:
    task = named_task(name)
    posed, env = problems(task, 12), make(task.environment)
    assert posed.seeds is not None
    assert posed.strata.tolist() == (
        [*range(1, 6), *range(1, 6), 1, 2] if env.start_goal_pairs else [0] * 12
    )
    for row in (0, 7, 11):
        options = {"start_goal_pair": int(posed.strata[row])} if env.start_goal_pairs else {}
        observation, _ = env.reset(seed=int(posed.seeds[row]), options=options)
        assert np.array_equal(observation["observation"], posed.starts[row])
        assert np.array_equal(observation["desired_goal"], posed.goals[row])
    env.close()


@pytest.mark.parametrize("name", TASKS)
def test_a_task_agrees_with_its_environment(name: str) -> None:
    task = named_task(name)
    env = make(task.environment)
    assert (env.maze, env.max_steps) == (task.maze, task.max_steps)
    assert env.terminates <= task.protocol.ends_at_goal
    env.close()


def test_reference_returns_are_d4rls() -> None:
    # d4rl/infos.py, REF_MIN_SCORE and REF_MAX_SCORE of maze2d-*-v1
    for size, returns in (
        ("umaze", (23.85, 161.86)),
        ("medium", (13.13, 277.39)),
        ("large", (6.7, 273.99)),
    ):
        for suite in ("maze2d", "multi2d"):
            assert TASKS[f"{suite}-{size}"].reference_returns == returns
    assert {name for name in TASKS if TASKS[name].reference_returns} == {*DRAWN_HERE}


def test_navigate_and_stitch_differ_in_the_data_alone() -> None:
    one, other = (named_task(f"ogbench-medium-{data}") for data in ("navigate", "stitch"))
    assert one.data == "ogbench-medium" and other.data == "ogbench-medium-stitch"
    assert problems(one, 5).digest == problems(other, 5).digest
    assert replace(one, id=other.id, data=other.data) == other


# The frozen list.


@pytest.fixture(scope="module")
def freezing() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "freeze_problems", ROOT / "benchmarks" / "freeze_problems.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_list_can_be_drawn_again(freezing: ModuleType) -> None:
    task = named_task("dfplan-maze2d-umaze")
    number = tasks_of(task.protocol).index(task)
    drawn = freezing.draw_problems(task.maze, task.protocol.episodes, number)
    posed = problems(task, task.protocol.episodes)
    assert posed.strata.tolist() == [stratum for stratum, _, _ in drawn]
    assert np.array_equal(posed.starts[:, :2], [start for _, start, _ in drawn])
    assert np.array_equal(posed.goals, [goal for _, _, goal in drawn])


@pytest.mark.parametrize("name", FROZEN)
def test_strata_are_balanced_and_ordered_by_length(name: str) -> None:
    task = named_task(name)
    posed = problems(task, 100)
    assert posed.strata.tolist() == [1, 2, 3, 4, 5] * 20 and posed.seeds is None
    assert posed.starts.shape == (100, 4 if task.maze.suite.name == "d4rl" else 2)
    assert not posed.starts[:, 2:].any()
    lengths = path_lengths(task.maze, posed.starts[:, :2], posed.goals)
    assert lengths.min() > 0
    strata = [lengths[posed.strata == part] for part in range(1, 6)]
    for shorter, longer in pairwise(strata):
        assert shorter.max() <= longer.min()
    radius = task.maze.suite.ball_radius
    for places in (posed.starts[:, :2], posed.goals):
        assert task.maze.is_free(places, radius).all()
        off = task.maze.xy_to_grid(places) - np.round(task.maze.xy_to_grid(places))
        assert np.abs(off).max() <= 0.1 + 1e-4
    assert len(_rows(posed)) == 100


def test_a_modified_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, shipped = named_task(FROZEN[0]), Path(protocols.__file__).parent / "dfplan-v1.csv"
    # Another id, because a list is read once per protocol.
    task = replace(task, protocol=replace(task.protocol, id="copy"))
    monkeypatch.setattr(protocols.resources, "files", lambda package: tmp_path)
    text = shipped.read_text()
    (tmp_path / "copy.csv").write_text(text.replace("2.7485", "2.7486", 1))
    with pytest.raises(DataError, match="copy was modified"):
        problems(task, 1)
    (tmp_path / "copy.csv").write_text(text)
    assert problems(task, 1).starts[0, 0] == 2.7485


# Scores.

STEPS_TO_GOAL, NEEDED = np.array([1, 100, 301]), np.array([1, 50, 200])


def test_d4rls_score_is_d4rls() -> None:
    task = named_task("maze2d-umaze")
    paid = np.array([23.85, 161.86, 0.0])
    scores = task.scores(paid, STEPS_TO_GOAL, NEEDED)
    assert scores == pytest.approx([0.0, 100.0, -100 * 23.85 / (161.86 - 23.85)])
    # A policy that needs 50 steps is rewarded from step 50 to step 300.
    assert task.upper_bound(np.array([50, 300, 999])) == pytest.approx(
        task.scores(np.array([251.0, 1.0, 0.0]), STEPS_TO_GOAL, NEEDED)
    )


def test_pointmazes_score_is_the_return() -> None:
    task = named_task("pointmaze-umaze")
    assert task.scores(np.array([0.0, 7.0, 9.0]), STEPS_TO_GOAL, NEEDED).tolist() == [0.0, 7.0, 9.0]
    assert task.upper_bound(np.array([1, 300, 301])).tolist() == [300.0, 1.0, 0.0]


def test_ogbenchs_score_is_success() -> None:
    task = named_task("ogbench-giant-navigate")
    steps_to_goal = np.array([1, 1000, 1001])
    assert task.scores(np.zeros(3), steps_to_goal, NEEDED).tolist() == [100.0, 100.0, 0.0]
    assert task.upper_bound(steps_to_goal).tolist() == [100.0, 100.0, 0.0]


def test_dfplans_score_is_success_weighted_by_time() -> None:
    task = named_task("dfplan-maze2d-umaze")
    assert task.scores(np.ones(3), STEPS_TO_GOAL, NEEDED).tolist() == [100.0, 50.0, 0.0]
    assert task.upper_bound(NEEDED).tolist() == [100.0] * 3


# Names and numbers.


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: named_task("maze2d-lage"), "'maze2d-large'"),
        (lambda: named_task("ogbench-giant-navigat"), "Did you mean 'ogbench-giant-navigate'"),
        (lambda: named_task("maze2d-large", "train"), "Unknown split 'train'"),  # type: ignore[arg-type]
        (lambda: named_task("maze2d-large", "tset"), "Did you mean 'test'"),  # type: ignore[arg-type]
        (lambda: named_protocol("d4rl-maze2d-v2"), "Did you mean 'd4rl-maze2d-v1'"),
        (lambda: named_task(FROZEN[0], "validation"), "frozen list"),
        (lambda: problems(named_task("maze2d-large"), 0), "at least 1; got 0"),
        (lambda: problems(named_task("maze2d-large"), 1, -1), "at least 0; got -1"),
        (lambda: problems(named_task(FROZEN[0]), 101), "has 100 problems of .*; got 101"),
    ],
)
def test_unknown_names_and_numbers_are_refused(ask: object, message: str) -> None:
    assert callable(ask)
    with pytest.raises(ConfigError, match=message):
        ask()


def test_tables_of_tasks_and_protocols_agree() -> None:
    of_all = [task for protocol in PROTOCOLS.values() for task in tasks_of(protocol)]
    assert of_all == list(TASKS.values()) and len(of_all) == 34
    for name, task in TASKS.items():
        assert name == task.id and named_task(name) == task
        assert named_protocol(task.protocol.id) is task.protocol
        assert task.with_split("test") == task
