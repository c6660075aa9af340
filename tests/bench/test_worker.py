"""What a job's process plays: faults of a user's own stay in their episodes, plans are shared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import entrants

from dfplan.bench import worker as playing
from dfplan.bench.job import BEAT, Job
from dfplan.bench.records import EpisodeRow, read_head, read_rows
from dfplan.bench.worker import FirstPlans, play
from dfplan.collect.controllers import DataController
from dfplan.errors import CheckpointError, ConfigError
from dfplan.evaluation.episodes import rollout

TASK = "dfplan-maze2d-umaze"
LEFT = [row for row, start in enumerate(Job(TASK, "controller", ("none",)).problems.starts)
        if start[0] < 2.0]  # fmt: skip


def acted(
    folder: Path, planner: str, trackers: tuple[str, ...] = ("own",), task: str = TASK, **more: Any
) -> list[list[EpisodeRow]]:
    """The episodes of each tracker."""
    folder.mkdir(exist_ok=True)
    (folder / BEAT).touch()
    job = Job(task, planner, trackers, **more)
    play(job, folder)
    paths = [folder / f"{index}.jsonl" for index in range(len(trackers))]
    for path, tracker in zip(paths, trackers, strict=True):
        assert read_head(path) == job.head(tracker)
        json.loads(path.with_suffix(".json").read_text())
    return [read_rows(path) for path in paths]


def cost(folder: Path, index: int = 0) -> dict[str, Any]:
    content = json.loads((folder / f"{index}.json").read_text())
    return {**content["cost"], "examples": content["examples"]}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[EpisodeRow]:
    """What the policy does that the bad ones are made from."""
    return acted(tmp_path_factory.mktemp("good"), "entrants:straight")[0]


def test_rows_are_what_was_played(tmp_path: Path) -> None:
    (rows,) = acted(tmp_path, "controller", ("none",), "maze2d-umaze", episodes=23)
    job = Job("maze2d-umaze", "controller", ("none",), episodes=23)
    played = rollout(DataController(job.played.maze), job.played, job.problems, progress=False)
    assert [row.episode for row in rows] == list(range(23))
    assert [row.reward for row in rows] == played.returns.tolist()
    assert [row.score for row in rows] == played.scores().tolist()
    assert [row.most for row in rows] == job.played.most(job.needed).tolist()
    assert [row.steps for row in rows] == [300] * 23
    for row, start, goal, touch, rewards in zip(
        rows,
        job.problems.starts,
        job.problems.goals,
        played.first_touch,
        played.rewards,
        strict=True,
    ):
        assert row.start == tuple(start) and row.goal == tuple(goal)
        assert row.first_touch == touch and row.latched == 301 - touch
        assert row.success_any and row.success_last == bool(rewards[-1]) and row.fault is None
        assert row.reward <= row.latched and row.score <= row.most
    told = cost(tmp_path)
    assert told["plan"] is None and told["parameters"] is None and told["step"]["count"] == 300
    assert [example["plan"] for example in told["examples"]] == [None] * 3
    hardest = sorted(range(23), key=lambda row: -job.needed[row])[:3]
    assert [example["episode"] for example in told["examples"]] == hardest


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
        ("nan_line", "raised DataError: The planner gave a plan whose points are not"),
        ("mutely", "raised _MuteError"),
    ],
)
def test_what_cannot_play_is_at_fault_in_all_episodes(
    tmp_path: Path, planner: str, fault: str
) -> None:
    (rows,) = acted(tmp_path, f"entrants:{planner}", episodes=3)
    assert len(rows) == 3
    for row in rows:
        assert row.fault is not None and row.fault.startswith(fault), row.fault
        assert len(row.fault) < 260 and "\n" not in row.fault
        assert (row.score, row.reward, row.steps, row.first_touch) == (0.0, 0.0, 0, None)
        assert row.most == 100.0
    assert cost(tmp_path)["step"] is None


@pytest.mark.parametrize(
    ("planner", "fault"),
    [("picky", "raised KeyError: 'left'"), ("nan", "an action was not finite")],
)
def test_other_episodes_are_untouched(
    tmp_path: Path, planner: str, fault: str, good: list[EpisodeRow]
) -> None:
    (rows,) = acted(tmp_path, f"entrants:{planner}")
    assert 3 < len(LEFT) < 17
    for row, whole in zip(rows, good, strict=True):
        if row.episode in LEFT:
            assert (row.fault, row.score, row.steps) == (fault, 0.0, 0)
        else:
            assert row == whole
    assert max(row.score for row in rows) > 0


@pytest.mark.parametrize("planner", ["beyond", "least"])
def test_the_score_is_what_was_reached_before_a_fault(tmp_path: Path, planner: str) -> None:
    (rows,) = acted(tmp_path, f"entrants:{planner}")
    assert {row.fault for row in rows} == {"an action was out of bounds"}
    assert planner == "least" or any(row.score > 0 for row in rows)
    assert all(row.steps for row in rows)


@pytest.mark.parametrize("planner", ["greedy", "locked", "talks"])
def test_what_is_only_odd_changes_nothing(
    tmp_path: Path, planner: str, good: list[EpisodeRow], capsys: pytest.CaptureFixture[str]
) -> None:
    (rows,) = acted(tmp_path, f"entrants:{planner}")
    capsys.readouterr()
    assert rows == good


@pytest.mark.parametrize("planner", ["greedy_line", "odd", "uncounted"])
def test_what_is_odd_in_plans_changes_nothing(tmp_path: Path, planner: str) -> None:
    # The tracker never looks at the stride.
    (wanted,) = acted(tmp_path / "line", "entrants:tracked", episodes=5)
    base = "pursuit" if planner == "greedy_line" else "own"
    if base == "pursuit":
        (wanted,) = acted(tmp_path / "line", "entrants:line", episodes=5)
    (rows,) = acted(tmp_path / "odd", f"entrants:{planner}", episodes=5)
    assert rows == wanted and not any(row.fault for row in rows)


def test_episodes_that_are_over_are_kept_whatever_comes_after(
    tmp_path: Path, good: list[EpisodeRow]
) -> None:
    (rows,) = acted(tmp_path, "entrants:twenty")  # raises where one episode is timed alone
    assert rows == good and cost(tmp_path)["step"] is None


def test_a_planner_without_tracker_gets_pursuit(tmp_path: Path) -> None:
    own, pursuit = acted(tmp_path, "entrants:line", ("own", "pursuit"), episodes=6)
    assert own == pursuit
    brought, other = acted(tmp_path / "brings", "entrants:tracked", ("own", "pursuit"), episodes=6)
    assert other == pursuit and brought != pursuit
    told = cost(tmp_path)
    assert told["evaluations"] == 3 and 3 <= told["plan"]["count"] <= 20
    assert len(told["examples"][0]["plan"]) == 10


def test_a_policy_takes_no_tracker(tmp_path: Path) -> None:
    own, named = acted(tmp_path, "entrants:straight", ("own", "timed"), episodes=3)
    assert not any(row.fault for row in own)
    assert {row.fault for row in named} == {
        "raised ConfigError: a policy needs no tracker; leave it out"
    }


def test_first_plans_are_shared_and_a_cell_is_the_same_beside_others(tmp_path: Path) -> None:
    trackers = ("own", "pursuit", "timed")
    shared = acted(tmp_path / "all", "entrants:tracked", trackers, "multi2d-umaze", episodes=21)
    alone = [
        acted(tmp_path / name, "entrants:tracked", (name,), "multi2d-umaze", episodes=21)[0]
        for name in trackers
    ]
    assert shared == alone
    turned = acted(
        tmp_path / "turned", "entrants:tracked", trackers[::-1], "multi2d-umaze", episodes=21
    )
    assert turned == shared[::-1]
    assert len({tuple(row.reward for row in rows) for rows in shared}) == 3
    first = [cost(tmp_path / "all", index)["examples"] for index in range(3)]
    for examples in zip(*first, strict=True):
        assert all(example["plan"] == examples[0]["plan"] for example in examples)
    assert first[0][0]["path"] != first[2][0]["path"]


def test_shipped_plans_are_the_same_beside_others(tmp_path: Path) -> None:
    name = "maze2d-umaze"
    both = acted(tmp_path / "both", "dfplan", ("pursuit", "forcing"), name, episodes=2)
    alone = acted(tmp_path / "alone", "dfplan", ("forcing",), name, episodes=2)
    assert both[1] == alone[0] and both[0] != both[1]
    told = cost(tmp_path / "both")
    assert told["parameters"] > 1000 and told["training_seconds"] > 0 and told["training_steps"]
    examples = [cost(tmp_path / "both", index)["examples"] for index in (0, 1)]
    assert examples[0][0]["plan"] == examples[1][0]["plan"] is not None


def test_first_plans_are_asked_for_once(tmp_path: Path) -> None:
    asked = []
    for trackers in (("own",), ("own", "pursuit", "timed")):
        entrants.Line.calls = 0
        acted(tmp_path / str(len(trackers)), "entrants:tracked", trackers, "multi2d-umaze")
        asked.append(entrants.Line.calls)
    # Each tracker's timed episode plans for itself; the rest is plans anew, on the way.
    assert asked[0] < asked[1]
    entrants.Line.calls = 0
    planner = entrants.Tracked()
    plans, state, goal = FirstPlans(planner), np.zeros(4), np.ones(2)
    for _ in range(3):
        plans.begin()
        first = plans.plan(state, goal, seed=1)
        assert plans.first is first
    assert entrants.Line.calls == 1
    plans.plan(state, goal, seed=1)  # no first one any more
    plans.begin()
    for changed in ((state + 1, goal, 1), (state, goal + 1, 1), (state, goal, 2)):
        plans.begin()
        assert plans.plan(*changed[:2], seed=changed[2]) is not first
    assert entrants.Line.calls == 5


def test_how_many_plans_are_timed_changes_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = []
    for count in (3, 20):
        monkeypatch.setattr(playing, "_MOST_TIMED", count)
        folder = tmp_path / str(count)
        played.append(acted(folder, "entrants:wandering", ("own", "pursuit"), "multi2d-umaze"))
        assert cost(folder)["plan"]["count"] == count
    assert played[0] == played[1] and played[0][0] != played[0][1]


def test_a_damaged_checkpoint_is_no_fault_of_the_planner(tmp_path: Path) -> None:
    (tmp_path / "maze2d-umaze.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError):
        acted(
            tmp_path,
            "dfplan",
            ("pursuit",),
            "maze2d-umaze",
            checkpoints=(str(tmp_path),),
            episodes=1,
        )


def test_a_missing_tracker_is_no_fault_of_the_planner(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No checkpoint 'inverse-umaze'.*dfplan train inverse-"):
        acted(tmp_path, "entrants:tracked", ("inverse",), "maze2d-umaze", episodes=1)
    with pytest.raises(ConfigError, match="No checkpoint 'ogbench-teleport'"):
        acted(tmp_path, "entrants:line", ("own",), "ogbench-teleport-navigate", episodes=1)
    acted(tmp_path, "entrants:tracked", ("own",), "ogbench-teleport-navigate", episodes=1)
