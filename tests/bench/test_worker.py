"""The worker: errors of a plugin stay in their episodes, and plans are shared."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import toy_plugins

from dfplan.bench.launcher import HEARTBEAT
from dfplan.bench.records import EpisodeRecord, read_episodes, read_header
from dfplan.bench.spec import RunSpec
from dfplan.bench.worker import PlanCache, run_worker
from dfplan.collect.controllers import DataController
from dfplan.errors import CheckpointError, ConfigError
from dfplan.evaluation.episodes import run_episodes

TASK = "dfplan-maze2d-umaze"
TRAINING = ("parameters", "training_seconds", "training_steps")
LEFT = [row for row, start in enumerate(RunSpec(TASK, "controller", ("none",)).problems.starts)
        if start[0] < 2.0]  # fmt: skip


def run_here(
    folder: Path,
    planner: str,
    trackers: tuple[str, ...] = ("default",),
    task: str = TASK,
    **more: Any,
) -> list[list[EpisodeRecord]]:
    """The episodes of each tracker."""
    folder.mkdir(exist_ok=True)
    (folder / HEARTBEAT).touch()
    job = RunSpec(task, planner, trackers, **more)
    run_worker(job, folder)
    paths = [folder / f"{index}.jsonl" for index in range(len(trackers))]
    for path, tracker in zip(paths, trackers, strict=True):
        assert read_header(path) == job.header(tracker)
        json.loads(path.with_suffix(".json").read_text())
    return [read_episodes(path) for path in paths]


def cost(folder: Path, index: int = 0) -> dict[str, Any]:
    content = json.loads((folder / f"{index}.json").read_text())
    return {**content["cost"], "examples": content["examples"]}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[EpisodeRecord]:
    """What the policy does that the bad ones are made from."""
    return run_here(tmp_path_factory.mktemp("good"), "toy_plugins:straight")[0]


def test_records_agree_with_the_episodes(tmp_path: Path) -> None:
    (rows,) = run_here(tmp_path, "controller", ("none",), "maze2d-umaze", episodes=23)
    job = RunSpec("maze2d-umaze", "controller", ("none",), episodes=23)
    played = run_episodes(DataController(job.task.maze), job.task, job.problems, progress=False)
    assert [row.episode for row in rows] == list(range(23))
    assert [row.episode_return for row in rows] == played.returns.tolist()
    assert [row.score for row in rows] == played.scores().tolist()
    assert [row.upper_bound for row in rows] == job.task.upper_bound(job.steps_needed).tolist()
    assert [row.steps for row in rows] == [300] * 23
    for row, start, goal, touch, rewards in zip(
        rows,
        job.problems.starts,
        job.problems.goals,
        played.steps_to_goal,
        played.rewards,
        strict=True,
    ):
        assert row.start == tuple(start) and row.goal == tuple(goal)
        assert row.steps_to_goal == touch and row.latched_return == 301 - touch
        assert row.success_any and row.success_last == bool(rewards[-1]) and row.error is None
        assert row.episode_return <= row.latched_return and row.score <= row.upper_bound
    costs = cost(tmp_path)
    assert costs["plan"] is None and costs["parameters"] is None and costs["step"]["count"] == 300
    assert [example["plan"] for example in costs["examples"]] == [None] * 3
    hardest = sorted(range(23), key=lambda row: -job.steps_needed[row])[:3]
    assert [example["episode"] for example in costs["examples"]] == hardest


@pytest.mark.parametrize(
    ("planner", "fault"),
    [
        ("raises_in_make", r"raised ValueError: no such thing? as that"),
        ("neither", "raised ConfigError: expected a planner with plan"),
        ("nothing", "raised ConfigError: expected a planner with plan"),
        ("NUMBER", "raised TypeError: 'int' object is not callable"),
        ("timid", "raised RuntimeError: no tracker today"),
        ("flat", "raised ObservationError: Expected actions [1, 2]"),
        ("words", "raised ObservationError: Expected actions that are numbers"),
        ("complexes", "raised ObservationError: Expected actions that are numbers"),
        ("none", "raised ObservationError: Expected actions that are numbers"),
        ("ragged", "raised ValueError"),
        ("blank", "raised AttributeError"),
        ("nan_line", "raised DataError: "),
        ("mutely", "raised _MuteError"),
    ],
)
def test_an_unusable_plugin_has_an_error_in_all_episodes(
    tmp_path: Path, planner: str, fault: str
) -> None:
    (rows,) = run_here(tmp_path, f"toy_plugins:{planner}", episodes=3)
    assert len(rows) == 3
    for row in rows:
        assert row.error is not None and row.error.startswith(fault), row.error
        assert len(row.error) < 260 and "\n" not in row.error
        assert (row.score, row.episode_return, row.steps, row.steps_to_goal) == (0.0, 0.0, 0, None)
        assert row.upper_bound == 100.0
    assert cost(tmp_path)["step"] is None


@pytest.mark.parametrize(
    ("planner", "fault"),
    [("picky", "raised KeyError: 'left'"), ("nan", "an action was not finite")],
)
def test_errors_do_not_change_other_episodes(
    tmp_path: Path, planner: str, fault: str, good: list[EpisodeRecord]
) -> None:
    (rows,) = run_here(tmp_path, f"toy_plugins:{planner}")
    assert 3 < len(LEFT) < 17
    for row, whole in zip(rows, good, strict=True):
        if row.episode in LEFT:
            assert (row.error, row.score, row.steps) == (fault, 0.0, 0)
        else:
            assert row == whole
    assert max(row.score for row in rows) > 0


@pytest.mark.parametrize("planner", ["beyond", "least"])
def test_actions_out_of_bounds_keep_the_score(tmp_path: Path, planner: str) -> None:
    """The environment clips actions, so a clipped copy of the policy has the same scores."""
    wanted, rows = (
        run_here(tmp_path / name, f"toy_plugins:{name}")[0]
        for name in (f"{planner}_clipped", planner)
    )
    assert {row.error for row in rows} == {"an action was out of bounds"}
    assert [replace(row, error=None) for row in rows] == wanted


@pytest.mark.parametrize("planner", ["greedy", "locked", "talks"])
def test_unusual_policies_do_not_change_episodes(
    tmp_path: Path, planner: str, good: list[EpisodeRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    (rows,) = run_here(tmp_path, f"toy_plugins:{planner}")
    capsys.readouterr()
    assert rows == good


@pytest.mark.parametrize("planner", ["greedy_line", "odd", "uncounted"])
def test_unusual_plans_do_not_change_episodes(tmp_path: Path, planner: str) -> None:
    # The tracker never looks at the stride.
    (wanted,) = run_here(tmp_path / "line", "toy_plugins:tracked", episodes=5)
    base = "pursuit" if planner == "greedy_line" else "default"
    if base == "pursuit":
        (wanted,) = run_here(tmp_path / "line", "toy_plugins:line", episodes=5)
    (rows,) = run_here(tmp_path / "odd", f"toy_plugins:{planner}", episodes=5)
    assert rows == wanted and not any(row.error for row in rows)


def test_an_import_error_of_a_plugin_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rogue.py").write_text("1 / 0\n")
    (rows,) = run_here(tmp_path, "rogue:make", episodes=2)
    assert len(rows) == 2
    assert all(str(row.error).startswith("raised ConfigError") for row in rows)


def test_an_error_while_timing_keeps_the_episodes(
    tmp_path: Path, good: list[EpisodeRecord]
) -> None:
    (rows,) = run_here(tmp_path, "toy_plugins:twenty")  # raises where one episode is timed alone
    assert rows == good and cost(tmp_path)["step"] is None


def test_a_planner_without_tracker_is_run_with_pursuit(tmp_path: Path) -> None:
    own, pursuit = run_here(tmp_path, "toy_plugins:line", ("default", "pursuit"), episodes=6)
    assert own == pursuit
    brought, other = run_here(
        tmp_path / "brings", "toy_plugins:tracked", ("default", "pursuit"), episodes=6
    )
    assert other == pursuit and brought != pursuit
    costs = cost(tmp_path)
    assert costs["evaluations"] == 3 and 3 <= costs["plan"]["count"] <= 20
    assert len(costs["examples"][0]["plan"]) == 10


def test_a_policy_takes_no_tracker(tmp_path: Path) -> None:
    own, named = run_here(tmp_path, "toy_plugins:straight", ("default", "timed"), episodes=3)
    assert not any(row.error for row in own)
    assert {row.error for row in named} == {
        "raised ConfigError: a policy needs no tracker; leave it out"
    }


def test_trackers_share_first_plans_and_do_not_change_each_other(tmp_path: Path) -> None:
    trackers = ("default", "pursuit", "timed")
    shared = run_here(
        tmp_path / "all", "toy_plugins:tracked", trackers, "multi2d-umaze", episodes=21
    )
    alone = [
        run_here(tmp_path / name, "toy_plugins:tracked", (name,), "multi2d-umaze", episodes=21)[0]
        for name in trackers
    ]
    assert shared == alone
    turned = run_here(
        tmp_path / "turned", "toy_plugins:tracked", trackers[::-1], "multi2d-umaze", episodes=21
    )
    assert turned == shared[::-1]
    assert len({tuple(row.episode_return for row in rows) for rows in shared}) == 3
    first = [cost(tmp_path / "all", index)["examples"] for index in range(3)]
    for examples in zip(*first, strict=True):
        assert all(example["plan"] == examples[0]["plan"] for example in examples)
    assert first[0][0]["path"] != first[2][0]["path"]


def test_trackers_of_a_shipped_planner_do_not_change_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.perf_counter", count(step=1000.0).__next__)  # times few plans
    name = "maze2d-umaze"
    both = run_here(tmp_path / "both", "dfplan", ("pursuit", "forcing"), name, episodes=2)
    alone = run_here(tmp_path / "alone", "dfplan", ("forcing",), name, episodes=2)
    assert both[1] == alone[0] and both[0] != both[1]
    costs = cost(tmp_path / "both")
    assert costs["parameters"] > 1000 and costs["training_seconds"] > 0 and costs["training_steps"]
    examples = [cost(tmp_path / "both", index)["examples"] for index in (0, 1)]
    assert examples[0][0]["plan"] == examples[1][0]["plan"] is not None


def test_first_plans_are_made_once(tmp_path: Path) -> None:
    asked = []
    for trackers in (("default",), ("default", "pursuit", "timed")):
        toy_plugins.Line.calls = 0
        run_here(tmp_path / str(len(trackers)), "toy_plugins:tracked", trackers, "multi2d-umaze")
        asked.append(toy_plugins.Line.calls)
    # The timed episode of each tracker has its own plans; other plans are made on the way.
    assert asked[0] < asked[1]
    toy_plugins.Line.calls = 0
    planner = toy_plugins.Tracked()
    plans, state, goal = PlanCache(planner), np.zeros(4), np.ones(2)
    for _ in range(3):
        plans.first = None
        first = plans.plan(state, goal, seed=1)
        assert plans.first is first
    assert toy_plugins.Line.calls == 1
    plans.plan(state, goal, seed=1)  # no first one any more
    plans.first = None
    for changed in ((state + 1, goal, 1), (state, goal + 1, 1), (state, goal, 2)):
        plans.first = None
        assert plans.plan(*changed[:2], seed=changed[2]) is not first
    assert toy_plugins.Line.calls == 5


def test_timing_does_not_change_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played, timed = [], []
    for tick in (0.0, 1000.0):  # on a slow machine, fewer plans are timed
        ticks = count(step=tick)
        monkeypatch.setattr("time.perf_counter", lambda ticks=ticks: next(ticks))
        folder = tmp_path / f"{tick}"
        played.append(
            run_here(folder, "toy_plugins:wandering", ("default", "pursuit"), "multi2d-umaze")
        )
        timed.append(cost(folder)["plan"]["count"])
    assert timed[0] > timed[1]
    assert played[0] == played[1] and played[0][0] != played[0][1]


def test_a_damaged_checkpoint_is_not_an_error_of_the_method(tmp_path: Path) -> None:
    (tmp_path / "maze2d-umaze.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError):
        run_here(
            tmp_path,
            "dfplan",
            ("pursuit",),
            "maze2d-umaze",
            checkpoints=(str(tmp_path),),
            episodes=1,
        )


def test_a_missing_tracker_is_not_an_error_of_the_method(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dfplan train inverse-umaze"):
        run_here(tmp_path, "toy_plugins:tracked", ("inverse",), "maze2d-umaze", episodes=1)
    run_here(tmp_path, "toy_plugins:tracked", ("default",), "ogbench-teleport-navigate", episodes=1)


def test_the_roadmap_alone_has_no_cost_of_a_training(tmp_path: Path) -> None:
    for method, trained in (("graph", False), ("dfplan", True)):
        run_here(tmp_path / method, method, ("default",), "maze2d-umaze", episodes=1)
        known = cost(tmp_path / method)
        assert all((known.get(name) is not None) is trained for name in TRAINING)
