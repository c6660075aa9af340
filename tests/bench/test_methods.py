"""Who plays what: names, checkpoints, what fits what, and a user's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from dfplan.bench import plugins as own
from dfplan.bench.methods import (
    CONTENDERS,
    NO_TRACKER,
    OWN_TRACKER,
    TRACKERS,
    follower,
    named_contender,
    tracker_checkpoint,
)
from dfplan.bench.plan import ALL, DEFAULT, roster
from dfplan.errors import ConfigError
from dfplan.evaluation.protocols import PROTOCOLS, TASKS, named_task
from dfplan.planning.trackers import DiffusedActions, Pursuit, TimedPD
from dfplan.pretrained import load, pretrained_names
from dfplan.training.presets import PRESETS
from dfplan.types import Planner

HERE = Path(__file__).parent
UMAZE = named_task("maze2d-umaze")


@pytest.fixture(autouse=True)
def _entrants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # of the process that imports them first


def _shipped(name: str) -> list[str]:
    """Tasks for which a planner's checkpoint is shipped, one for each data."""
    model = CONTENDERS[name].model
    known = {task.data: task.id for task in TASKS.values()}
    return [task for data, task in known.items() if model and model(data) in pretrained_names()]


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_name_builds_what_it_says(name: str) -> None:
    contender = named_contender(name)
    assert contender.name == name and contender.title
    tasks = _shipped(name)[:2] if contender.model else ["pointmaze-umaze"]
    for task in map(named_task, tasks):
        made = contender.make(task, 0, contender.checkpoint(task, 0, []))
        assert isinstance(made, Planner) != contender.is_policy
        assert callable(getattr(made, "act" if contender.is_policy else "plan"))
        if isinstance(made, Planner):
            assert contender.tracker in TRACKERS
            assert callable(follower(made, contender.tracker, task, []).act)


def test_shipped_names_build_for_all_of_d4rls_tasks() -> None:
    for name in DEFAULT:
        for task in TASKS.values():
            if task.protocol.id == "d4rl-maze2d-v1":
                CONTENDERS[name].checkpoint(task, 0, [])
    entered = roster()
    assert not entered.left_out and len(entered.jobs) == 6 * len(DEFAULT)
    assert {job.episodes for job in entered.jobs} == {20}


@pytest.mark.parametrize("name", [n for n, c in CONTENDERS.items() if c.model])
@pytest.mark.parametrize("data", ["maze2d-umaze", "ogbench-medium"])
def test_a_missing_checkpoint_names_the_command_that_trains_it(
    name: str, data: str, tmp_path: Path
) -> None:
    task = next(task for task in TASKS.values() if task.data == data)
    contender = CONTENDERS[name]
    with pytest.raises(ConfigError) as raised:
        contender.checkpoint(task, 3, [tmp_path])
    said = str(raised.value)
    assert contender.model is not None
    preset = contender.model(data)
    command = f"dfplan train {preset} --settings.seed 3 --out runs/{preset}-s3"
    assert command in said and str(tmp_path) in said and "--checkpoints runs" in said
    if data == "maze2d-umaze":
        assert preset in PRESETS
    for path in (f"{preset}-s3.safetensors", f"{preset}-s3/checkpoint.safetensors"):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
        assert contender.checkpoint(task, 3, [tmp_path / "no", tmp_path]) == file
        file.unlink()


def test_a_folder_comes_before_what_is_shipped(tmp_path: Path) -> None:
    shipped = CONTENDERS["dfplan"].checkpoint(UMAZE, 0, [])
    assert shipped is not None and shipped.name == "maze2d-umaze.safetensors"
    own = tmp_path / "maze2d-umaze.safetensors"
    own.write_bytes(b"")
    assert CONTENDERS["dfplan"].checkpoint(UMAZE, 0, [tmp_path]) == own
    assert tracker_checkpoint("pursuit", UMAZE, [tmp_path]) == own


@pytest.mark.parametrize(
    ("planner", "task", "tracker", "reason"),
    [
        ("iql", "multi2d-umaze", NO_TRACKER, "knows one goal"),
        ("cql", "ogbench-medium-stitch", NO_TRACKER, "knows one goal"),
        ("iql", "maze2d-umaze", NO_TRACKER, None),
        ("controller", "maze2d-umaze", "pursuit", "needs no tracker"),
        ("bc", "maze2d-umaze", "timed", "needs no tracker"),
        ("dfplan", "maze2d-umaze", NO_TRACKER, "needs a tracker"),
        ("dfplan", "maze2d-umaze", "diffused", "plans no actions"),
        ("diffuser", "maze2d-umaze", "diffused", None),
        ("dfplan", "ogbench-giant-navigate", "timed", "follows velocities"),
        ("dfplan", "ogbench-giant-navigate", "forcing", "follows velocities"),
        ("dfplan", "ogbench-giant-navigate", "inverse", None),
        ("dfplan", "ogbench-giant-navigate", "pursuit", None),
        ("dfplan", "pointmaze-large", "forcing", None),
        ("entrants:line", "ogbench-giant-navigate", "own", None),
        ("entrants:line", "maze2d-umaze", "diffused", None),
    ],
)
def test_what_does_not_fit_has_a_reason(
    planner: str, task: str, tracker: str, reason: str | None
) -> None:
    said = named_contender(planner).unfit(named_task(task), tracker)
    assert said is None if reason is None else said is not None and said.startswith(reason)


def test_trackers_are_what_they_say() -> None:
    made = load("maze2d-umaze")
    kinds = {name: type(follower(made, name, UMAZE, [])) for name in TRACKERS if name != "inverse"}
    assert kinds == {
        "pursuit": Pursuit,
        "timed": TimedPD,
        "diffuser": TimedPD,
        "forcing": TimedPD,
        "diffused": DiffusedActions,
    }
    with pytest.raises(ConfigError, match=r"tracker 'inverse'.*dfplan train inverse-umaze"):
        follower(made, "inverse", UMAZE, [])


# A user's own.


def test_a_users_own_is_known_by_a_dotted_name() -> None:
    contender = named_contender("entrants:line")
    assert contender.is_own and contender.learns and not contender.is_policy
    assert contender.tracker == OWN_TRACKER and contender.checkpoint(UMAZE, 5, []) is None
    made: Any = contender.make(UMAZE, 0, None)
    assert isinstance(made, Planner)
    assert isinstance(follower(made, OWN_TRACKER, UMAZE, []), Pursuit)
    brings: Any = named_contender("entrants:tracked").make(UMAZE, 0, None)
    own, ours = (follower(brings, name, UMAZE, []) for name in (OWN_TRACKER, "pursuit"))
    assert vars(own)["_spacing"] == 0.02 != vars(ours)["_spacing"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine:make", "def mak(task, seed): ...\nimport os as _os\n", "Did you mean 'mak'"),
        ("mine:make", "def broken(:\n", r"cannot be imported \(SyntaxError: "),
        ("mine:make", "1 / 0\n", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("mine:make", "import no_such_module\n", "No module named 'no_such_module'"),
        ("other_mine:make", "", "'other_mine' cannot be imported.*Run where it lies"),
        ("mine.inner:make", "", "cannot be imported .there is no 'mine.inner'"),
        (":make", "", "module '' cannot be imported"),
        (".mine:make", "", "module '.mine' cannot be imported"),
        ("mine:", "", "Unknown attribute of mine ''"),
        ("dfplann", "", "Unknown planner 'dfplann'. Did you mean 'dfplan'"),
    ],
)
def test_a_wrong_name_is_said_in_one_line(
    name: str, content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    with pytest.raises(ConfigError, match=message) as raised:
        roster(tasks=["maze2d-umaze"], planners=[name])
    assert len(str(raised.value).splitlines()) == 1 and "_os" not in str(raised.value)


@pytest.mark.parametrize("content", ["import os; os._exit(0)", "import time; time.sleep(600)"])
def test_what_importing_does_to_a_process_is_left_to_its_rows(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own, "PATIENCE", 3.0)
    package = tmp_path / "rogue"
    package.mkdir()
    (package / "__init__.py").write_text(content + "\n")
    (package / "module.py").write_text("def make(task, seed): ...\n")
    (job,) = roster(tasks=["maze2d-umaze"], planners=["rogue.module:make"]).jobs
    assert job.head("own").model is not None  # the file is known without running it


def test_a_module_where_one_stands_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with spaces"
    folder.mkdir()
    (folder / "standing_here.py").write_text("def make(task, seed): return task.id, seed\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert named_contender("standing_here:make").make(UMAZE, 4, None) == ("maze2d-umaze", 4)


# The roster.


def _played(**how: Any) -> set[tuple[str, str, tuple[str, ...], int]]:
    jobs = roster(**how).jobs
    found = {(job.task, job.planner, job.trackers, job.seed) for job in jobs}
    assert len(found) == len(jobs)
    return found


def test_of_a_users_own_it_is_not_known_whether_it_plans_actions() -> None:
    def trackers(*asked: str) -> tuple[str, ...]:
        how = {"tasks": ["maze2d-umaze"], "planners": ["entrants:line"], "trackers": asked}
        (job,) = roster(**how).jobs
        return job.trackers

    assert "diffused" not in trackers(ALL) and "timed" in trackers(ALL)
    assert "diffused" in trackers(ALL, "diffused")


def test_a_roster_is_what_was_asked_for() -> None:
    assert _played(tasks=["maze2d-umaze"], planners=["controller", "dfplan"]) == {
        ("maze2d-umaze", "controller", ("none",), 0),
        ("maze2d-umaze", "dfplan", ("pursuit",), 0),
    }
    own = ["entrants:line"]
    assert _played(tasks=["maze2d-umaze"] * 2, planners=own * 2, seeds=[2, 3, 2]) == {
        ("maze2d-umaze", "entrants:line", ("own",), 2),
        ("maze2d-umaze", "entrants:line", ("own",), 3),
    }
    # Who was never trained plays once, whatever the seeds, and finds that again.
    assert _played(tasks=["maze2d-umaze"], planners=["controller"], seeds=[1, 2]) == {
        ("maze2d-umaze", "controller", ("none",), 0)
    }
    assert _played(
        tasks=["pointmaze-large"], planners=["dfplan"], trackers=["forcing", "own", "forcing"]
    ) == {("pointmaze-large", "dfplan", ("forcing", "pursuit"), 0)}
    of_both = _played(protocols=["d4rl-maze2d-v1", "dfplan-v1"] * 2, planners=["controller"])
    assert {task for task, *_ in of_both} == {
        task.id for task in TASKS.values() if task.protocol.id in ("d4rl-maze2d-v1", "dfplan-v1")
    }


def test_episodes_are_the_protocols_unless_asked() -> None:
    jobs = roster(protocols=list(PROTOCOLS), planners=["controller"], episodes=None).jobs
    assert {(job.played.protocol.id, job.episodes) for job in jobs} == {
        ("d4rl-maze2d-v1", 500),
        ("gymnasium-pointmaze-v3", 250),
        ("ogbench-pointmaze-v0", 250),
        ("dfplan-v1", 100),
    }


def test_all_leaves_out_what_cannot_be_with_reasons() -> None:
    entered = roster(protocols=list(PROTOCOLS), planners=[ALL], trackers=[ALL])
    for job in entered.jobs:
        contender = named_contender(job.planner)
        for tracker in job.trackers:
            assert contender.unfit(job.played, tracker) is None
            tracker_checkpoint(tracker, job.played, [])
        contender.checkpoint(job.played, job.seed, [])
    assert len({(job.task, job.planner) for job in entered.jobs}) == len(entered.jobs)
    text = "\n".join(entered.left_out)
    assert "iql on multi2d-large: knows one goal" in text
    assert "bc on maze2d-umaze, seed 0: no checkpoint" in text
    assert "dfplan on maze2d-large: no checkpoint for tracker inverse" in text
    slow = [job.planner.startswith("diffuser") for job in entered.jobs]
    assert slow == sorted(slow, reverse=True) and any(slow)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"protocols": ["d4rl-maze2d"]}, "Unknown protocol.*Did you mean 'd4rl-maze2d-v1'"),
        ({"tasks": ["maze2d-lage"]}, "Unknown task.*Did you mean 'maze2d-large'"),
        ({"protocols": ["d4rl-maze2d-v1"], "tasks": ["pointmaze-large"]}, "Name that protocol, or"),
        ({"episodes": 501}, "episodes of maze2d-umaze must be .*at most 500"),
        ({"planners": ["difuser"]}, "Did you mean 'diffuser'.*your own.*module:make"),
        ({"trackers": ["persuit"]}, "Unknown tracker.*Did you mean 'pursuit'"),
        ({"split": "valid"}, "Unknown split.*Did you mean 'validation'"),
        ({"checkpoints": ["nowhere"]}, "folder of checkpoints at nowhere; there is none"),
        ({"planners": ["bc"]}, "dfplan train bc-umaze"),
        ({"seeds": [1], "planners": ["dfplan"]}, "dfplan train maze2d-umaze --settings.seed 1"),
        ({"trackers": ["inverse"], "planners": ["dfplan"]}, "dfplan train inverse-umaze"),
        (
            {"trackers": ["diffused"], "planners": ["dfplan"]},
            "Nothing of this can be played: dfplan on maze2d-umaze: plans no actions. Name other",
        ),
        ({"planners": []}, "no planner, tracker or seed was named. Name other planners"),
        ({"seeds": [-1], "planners": ["entrants:line"]}, "seed must be .*at least 0"),
        ({"limit": 0}, "limit must be .*above 0"),
        ({"split": "validation", "tasks": ["dfplan-maze2d-umaze"]}, "tune on others"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_played(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        roster(**{"tasks": ["maze2d-umaze"], "planners": ["controller"], **how})
