"""Methods, trackers, plugins and run plans."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from dfplan.bench import plugins
from dfplan.bench.methods import (
    DEFAULT_TRACKER,
    METHODS,
    NO_TRACKER,
    TRACKERS,
    make_tracker,
    named_method,
    tracker_checkpoint,
)
from dfplan.bench.plan import ALL, DEFAULT_METHODS, plan_runs
from dfplan.errors import ConfigError
from dfplan.evaluation.protocols import PROTOCOLS, TASKS, named_task
from dfplan.planning.graph import GraphPlanner
from dfplan.planning.trackers import PlannedActions, Pursuit, TimedPD
from dfplan.pretrained import load, pretrained_names
from dfplan.training.presets import PRESETS
from dfplan.types import Planner

HERE = Path(__file__).parent
UMAZE = named_task("maze2d-umaze")


@pytest.fixture(autouse=True)
def _plugins_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    # For the process of the trial import.
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(HERE), path])))


def _shipped(name: str) -> list[str]:
    """Tasks for which a planner's checkpoint is shipped, one for each data."""
    model = METHODS[name].checkpoint_name
    known = {task.data: task.id for task in TASKS.values()}
    return [task for data, task in known.items() if model and model(data) in pretrained_names()]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_makes_a_planner_or_a_policy(name: str) -> None:
    method = named_method(name)
    assert method.name == name and method.title
    tasks = _shipped(name)[:2] if method.checkpoint_name else ["pointmaze-umaze"]
    for task in map(named_task, tasks):
        made = method.make(task, 0, method.checkpoint(task, 0, []))
        assert isinstance(made, Planner) != method.is_policy
        assert callable(getattr(made, "act" if method.is_policy else "plan"))
        if isinstance(made, Planner):
            assert method.default_tracker in TRACKERS
            assert callable(make_tracker(made, method.default_tracker, task, []).act)


def test_default_methods_have_checkpoints_for_all_tasks_of_d4rl() -> None:
    for name in DEFAULT_METHODS:
        for task in TASKS.values():
            if task.protocol.id == "d4rl-maze2d-v1":
                METHODS[name].checkpoint(task, 0, [])
    planned = plan_runs()
    assert not planned.skipped and len(planned.specs) == 6 * len(DEFAULT_METHODS)
    assert {job.episodes for job in planned.specs} == {20}


@pytest.mark.parametrize("name", [n for n, c in METHODS.items() if c.checkpoint_name])
@pytest.mark.parametrize("data", ["maze2d-umaze", "ogbench-medium"])
def test_a_missing_checkpoint_names_the_command_that_trains_it(
    name: str, data: str, tmp_path: Path
) -> None:
    task = next(task for task in TASKS.values() if task.data == data)
    method = METHODS[name]
    with pytest.raises(ConfigError) as raised:
        method.checkpoint(task, 3, [tmp_path])
    said = str(raised.value)
    assert method.checkpoint_name is not None
    preset = method.checkpoint_name(data)
    command = f"dfplan train {preset} --settings.seed 3 --out runs/{preset}-s3"
    assert command in said and str(tmp_path) in said and "--checkpoints runs" in said
    if data == "maze2d-umaze":
        assert preset in PRESETS
    for path in (f"{preset}-s3.safetensors", f"{preset}-s3/checkpoint.safetensors"):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
        assert method.checkpoint(task, 3, [tmp_path / "no", tmp_path]) == file
        file.unlink()


def test_folders_come_before_shipped_checkpoints(tmp_path: Path) -> None:
    shipped = METHODS["dfplan"].checkpoint(UMAZE, 0, [])
    assert shipped is not None and shipped.name == "maze2d-umaze.safetensors"
    own = tmp_path / "maze2d-umaze.safetensors"
    own.write_bytes(b"")
    assert METHODS["dfplan"].checkpoint(UMAZE, 0, [tmp_path]) == own
    assert tracker_checkpoint("pursuit", UMAZE, [tmp_path]) == own


@pytest.mark.parametrize(
    ("planner", "task", "tracker", "reason"),
    [
        ("iql", "multi2d-umaze", NO_TRACKER, "only knows one fixed goal"),
        ("cql", "ogbench-medium-stitch", NO_TRACKER, "only knows one fixed goal"),
        ("iql", "maze2d-umaze", NO_TRACKER, None),
        ("controller", "maze2d-umaze", "pursuit", "needs no tracker"),
        ("bc", "maze2d-umaze", "timed", "needs no tracker"),
        ("dfplan", "maze2d-umaze", NO_TRACKER, "needs a tracker"),
        ("dfplan", "maze2d-umaze", "planned-actions", "plans no actions"),
        ("diffuser", "maze2d-umaze", "planned-actions", None),
        ("dfplan", "ogbench-giant-navigate", "timed", "tracker"),
        ("dfplan", "ogbench-giant-navigate", "forcing", "tracker"),
        ("dfplan", "ogbench-giant-navigate", "inverse", None),
        ("dfplan", "ogbench-giant-navigate", "pursuit", None),
        ("dfplan", "pointmaze-large", "forcing", None),
        ("toy_plugins:line", "ogbench-giant-navigate", "default", None),
        ("toy_plugins:line", "maze2d-umaze", "planned-actions", None),
    ],
)
def test_incompatible_methods_and_trackers_have_a_reason(
    planner: str, task: str, tracker: str, reason: str | None
) -> None:
    said = named_method(planner).incompatibility(named_task(task), tracker)
    assert said is None if reason is None else said is not None and said.startswith(reason)


def test_trackers_have_their_types() -> None:
    made = load("maze2d-umaze")
    kinds = {
        name: type(make_tracker(made, name, UMAZE, [])) for name in TRACKERS if name != "inverse"
    }
    assert kinds == {
        "pursuit": Pursuit,
        "timed": TimedPD,
        "diffuser": TimedPD,
        "forcing": TimedPD,
        "planned-actions": PlannedActions,
    }
    with pytest.raises(ConfigError, match="dfplan train inverse-umaze"):
        make_tracker(made, "inverse", UMAZE, [])


# Plugins.


def test_plugins_are_named_by_module_and_function() -> None:
    method = named_method("toy_plugins:line")
    assert method.is_plugin and method.has_seeds and not method.is_policy
    assert method.default_tracker == DEFAULT_TRACKER and method.checkpoint(UMAZE, 5, []) is None
    made: Any = method.make(UMAZE, 0, None)
    assert isinstance(made, Planner)
    assert isinstance(make_tracker(made, DEFAULT_TRACKER, UMAZE, []), Pursuit)
    planner: Any = named_method("toy_plugins:tracked").make(UMAZE, 0, None)
    own = planner.tracker()
    planner.tracker = lambda: own
    assert make_tracker(planner, DEFAULT_TRACKER, UMAZE, []) is own
    assert make_tracker(planner, "pursuit", UMAZE, []) is not own


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine:make", "def mak(task, seed): ...\nimport os as _os\n", "Did you mean 'mak'"),
        ("mine:make", "def broken(:\n", r"cannot be imported \(SyntaxError: "),
        ("mine:make", "1 / 0\n", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("mine:make", "import no_such_module\n", "No module named 'no_such_module'"),
        ("other_mine:make", "", "'other_mine' cannot be imported.*Run in its folder"),
        ("mine.inner:make", "", "cannot be imported .there is no 'mine.inner'"),
        (":make", "", "module '' cannot be imported"),
        (".mine:make", "", "module '.mine' cannot be imported"),
        ("mine:", "", "Unknown attribute of mine ''"),
        ("dfplann", "", "Unknown planner 'dfplann'. Did you mean 'dfplan'"),
    ],
)
def test_a_wrong_name_is_a_short_error(
    name: str, content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    with pytest.raises(ConfigError, match=message) as raised:
        plan_runs(tasks=["maze2d-umaze"], methods=[name])
    assert len(str(raised.value).splitlines()) == 1 and "_os" not in str(raised.value)


@pytest.mark.parametrize("content", ["import os; os._exit(0)", "import time; time.sleep(600)"])
def test_an_import_that_ends_or_blocks_its_process_is_not_refused(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(plugins, "IMPORT_TIMEOUT", 3.0)
    package = tmp_path / "rogue"
    package.mkdir()
    (package / "__init__.py").write_text(content + "\n")
    (package / "module.py").write_text("def make(task, seed): ...\n")
    (job,) = plan_runs(tasks=["maze2d-umaze"], methods=["rogue.module:make"]).specs
    assert (
        job.header("default").checkpoint_digest is not None
    )  # the file is known without running it


def test_a_plugin_in_the_working_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with spaces"
    folder.mkdir()
    (folder / "plugin_in_this_folder.py").write_text("def make(task, seed): return task.id, seed\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert named_method("plugin_in_this_folder:make").make(UMAZE, 4, None) == ("maze2d-umaze", 4)


# Run plans.


@pytest.fixture
def _without_trial_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process imports the plugins, which are imported here."""
    monkeypatch.setattr("dfplan.bench.plan.require_importable", lambda name: None)


def _played(**how: Any) -> set[tuple[str, str, tuple[str, ...], int]]:
    jobs = plan_runs(**how).specs
    found = {(job.task_id, job.method, job.trackers, job.seed) for job in jobs}
    assert len(found) == len(jobs)
    return found


@pytest.mark.usefixtures("_without_trial_imports")
def test_planned_actions_of_a_plugin_must_be_requested_by_name() -> None:
    def trackers(*asked: str) -> tuple[str, ...]:
        how = {"tasks": ["maze2d-umaze"], "methods": ["toy_plugins:line"], "trackers": asked}
        (job,) = plan_runs(**how).specs
        return job.trackers

    assert "planned-actions" not in trackers(ALL) and "timed" in trackers(ALL)
    assert "planned-actions" in trackers(ALL, "planned-actions")


@pytest.mark.usefixtures("_without_trial_imports")
def test_a_plan_contains_what_was_requested() -> None:
    assert _played(tasks=["maze2d-umaze"], methods=["controller", "dfplan"]) == {
        ("maze2d-umaze", "controller", ("none",), 0),
        ("maze2d-umaze", "dfplan", ("pursuit",), 0),
    }
    own = ["toy_plugins:line"]
    assert _played(tasks=["maze2d-umaze"] * 2, methods=own * 2, seeds=[2, 3, 2]) == {
        ("maze2d-umaze", "toy_plugins:line", ("default",), 2),
        ("maze2d-umaze", "toy_plugins:line", ("default",), 3),
    }
    # A method without training runs once, whatever the seeds.
    assert _played(tasks=["maze2d-umaze"], methods=["controller"], seeds=[1, 2]) == {
        ("maze2d-umaze", "controller", ("none",), 0)
    }
    assert _played(
        tasks=["pointmaze-large"], methods=["dfplan"], trackers=["forcing", "default", "forcing"]
    ) == {("pointmaze-large", "dfplan", ("forcing", "pursuit"), 0)}
    of_both = _played(protocols=["d4rl-maze2d-v1", "dfplan-v1"] * 2, methods=["controller"])
    assert {task for task, *_ in of_both} == {
        task.id for task in TASKS.values() if task.protocol.id in ("d4rl-maze2d-v1", "dfplan-v1")
    }


def test_the_default_number_of_episodes_is_the_protocols() -> None:
    jobs = plan_runs(protocols=list(PROTOCOLS), methods=["controller"], episodes=None).specs
    assert {(job.task.protocol.id, job.episodes) for job in jobs} == {
        ("d4rl-maze2d-v1", 500),
        ("gymnasium-pointmaze-v3", 250),
        ("ogbench-pointmaze-v0", 250),
        ("ogbench-antmaze-v0", 250),
        ("dfplan-v1", 100),
    }


def test_all_skips_what_cannot_run_with_reasons() -> None:
    planned = plan_runs(protocols=list(PROTOCOLS), methods=[ALL], trackers=[ALL])
    for job in planned.specs:
        method = named_method(job.method)
        for tracker in job.trackers:
            assert method.incompatibility(job.task, tracker) is None
            tracker_checkpoint(tracker, job.task, [])
        method.checkpoint(job.task, job.seed, [])
    assert len({(job.task_id, job.method) for job in planned.specs}) == len(planned.specs)
    text = "\n".join(planned.skipped)
    assert "iql on multi2d-large: only knows one fixed goal" in text
    assert "bc on maze2d-umaze, seed 0: no checkpoint" in text
    assert "dfplan on maze2d-large: no checkpoint for tracker inverse" in text


def test_slow_methods_come_first(tmp_path: Path) -> None:
    (tmp_path / "diffuser-umaze.safetensors").touch()
    planned = plan_runs(
        tasks=["maze2d-umaze"], methods=["controller", "diffuser"], checkpoints=[tmp_path]
    )
    assert [spec.method for spec in planned.specs] == ["diffuser", "controller"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"protocols": ["d4rl-maze2d"]}, "Unknown protocol.*Did you mean 'd4rl-maze2d-v1'"),
        ({"tasks": ["maze2d-lage"]}, "Unknown task.*Did you mean 'maze2d-large'"),
        ({"protocols": ["d4rl-maze2d-v1"], "tasks": ["pointmaze-large"]}, "Add that protocol"),
        ({"episodes": 501}, "episodes of maze2d-umaze must be .*at most 500"),
        ({"methods": ["difuser"]}, "Did you mean 'diffuser'.*module:make"),
        ({"trackers": ["persuit"]}, "Unknown tracker.*Did you mean 'pursuit'"),
        ({"split": "valid"}, "Unknown split.*Did you mean 'validation'"),
        ({"checkpoints": ["nowhere"]}, "folder of checkpoints at nowhere; there is none"),
        ({"methods": ["bc"]}, "dfplan train bc-umaze"),
        ({"seeds": [1], "methods": ["dfplan"]}, "dfplan train maze2d-umaze --settings.seed 1"),
        ({"trackers": ["inverse"], "methods": ["dfplan"]}, "dfplan train inverse-umaze"),
        (
            {"trackers": ["planned-actions"], "methods": ["dfplan"]},
            "Nothing can run: dfplan on maze2d-umaze: plans no actions",
        ),
        ({"methods": []}, "no planner, tracker or seed was named"),
        ({"seeds": [-1], "methods": ["toy_plugins:line"]}, "seed must be .*at least 0"),
        ({"timeout": 0}, "timeout"),
        ({"split": "validation", "tasks": ["dfplan-maze2d-umaze"]}, "frozen list"),
    ],
)
def test_invalid_requests_are_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_runs(**{"tasks": ["maze2d-umaze"], "methods": ["controller"], **how})


def test_a_method_without_a_network_runs_once_for_all_training_seeds() -> None:
    plan = plan_runs(tasks=["maze2d-umaze"], methods=["graph"], seeds=[0, 1, 2])
    assert [spec.seed for spec in plan.specs] == [0]
    graph = named_method("graph")
    planner = graph.make(UMAZE, 0, graph.checkpoint(UMAZE, 0, []))
    assert isinstance(planner, GraphPlanner)
