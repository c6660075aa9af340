"""Parallel runs, each in a process: lost and missing runs, equal results, and damaged files."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dfplan.bench import executor as module
from dfplan.bench.executor import execute_runs, missing_runs
from dfplan.bench.launcher import HEARTBEAT, SCRATCH, LostRunError, RunFiles, launch
from dfplan.bench.plugins import require_importable
from dfplan.bench.provenance import provenance
from dfplan.bench.records import (
    Cost,
    episodes_text,
    metadata_text,
    read_header,
    read_run,
    read_runs,
    run_path,
    run_paths,
)
from dfplan.bench.spec import RunSpec
from dfplan.bench.worker import run_worker
from dfplan.errors import ConfigError, DataError
from dfplan.files import scratch_folder

HERE = Path(__file__).parent
SHORT = "dfplan-maze2d-umaze"
GOOD = (
    RunSpec("maze2d-umaze", "controller", ("none",), episodes=21),
    RunSpec(SHORT, "toy_plugins:tracked", ("default", "timed"), episodes=3),
)


@pytest.fixture(autouse=True)
def _plugins_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes find the bad planners, too."""
    monkeypatch.syspath_prepend(str(HERE))
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(HERE), path])))


def run_here(job: RunSpec, folder: Path) -> list[RunFiles]:
    """What :func:`dfplan.bench.launcher.launch` gives, without a process."""
    folder.mkdir(parents=True)
    (folder / HEARTBEAT).touch()
    run_worker(job, folder)
    return [
        RunFiles(
            job.header(tracker).name,
            (folder / f"{index}.jsonl").read_text(),
            (folder / f"{index}.json").read_text(),
        )
        for index, tracker in enumerate(job.trackers)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[RunFiles]]:
    """What the good jobs come to, by their planners, played in this process."""
    sys.path.insert(0, str(HERE))
    folder = tmp_path_factory.mktemp("made")
    return {job.method: run_here(job, folder / job.task_id) for job in GOOD}


@pytest.fixture(scope="module")
def wanted(made: dict[str, list[RunFiles]]) -> dict[str, bytes]:
    """The lines of the good jobs' runs, by their names."""
    return {
        f"{each.name.task}/{each.name.stem}.jsonl": each.episodes.encode()
        for files in made.values()
        for each in files
    }


def cells(out: Path) -> dict[str, bytes]:
    folder = out / "cells"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jsonl")
    }


def processes(mark: str) -> dict[int, str]:
    """Running processes with ``mark`` in their command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if mark in line and int(folder.name) != os.getpid():
            found[int(folder.name)] = line
    return found


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="needs /proc")


@needs_proc
def test_a_killed_worker_loses_only_its_run_which_runs_again(
    tmp_path: Path, wanted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"dfplan bench of {tmp_path}"
    bad = [
        RunSpec(SHORT, "toy_plugins:sleeps", ("default",), episodes=3, command=mark),
        RunSpec(SHORT, "toy_plugins:leaves", ("default",), episodes=3),
        RunSpec(
            "dfplan-maze2d-medium", "toy_plugins:hangs", ("default",), episodes=22, timeout=2.0
        ),
        RunSpec(SHORT, "toy_plugins:spawns", ("default",), episodes=3, timeout=2.0, command=mark),
    ]

    def kill() -> None:
        until(lambda: any('"toy_plugins:sleeps"' in line for line in processes(mark).values()))
        for number, line in processes(mark).items():
            if '"toy_plugins:sleeps"' in line:
                os.kill(number, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    out = tmp_path / "odd näme, with spaces; and more"
    lost = execute_runs([*bad, *GOOD[::-1]], out, workers=2, progress=False)
    killer.join()
    until(lambda: not processes(mark), 5)  # nor what a planner has started
    (killed,) = lost
    assert killed.startswith(f"{SHORT}, toy_plugins:sleeps, ") and "signal 9" in killed
    assert "only what is missing" in killed and len(killed.splitlines()) == 1

    # One that hangs is ended: what was over is kept, the rest is its fault.
    hung = read_run(run_path(out, bad[2].header("default").name))
    assert {row.error for row in hung.episodes[:20]} == {None}
    assert {row.error for row in hung.episodes[20:]} == {"a call took longer than 2 s"}
    assert len(hung.episodes) == 22 and not any(row.steps for row in hung.episodes[20:])
    # So is one that ends its process, which is not lost: played again it would end again.
    left = read_run(run_path(out, bad[1].header("default").name))
    assert {row.error for row in left.episodes} == {"the method ended its process with exit code 0"}
    found = cells(out)
    faulty = [bad[number].header("default").name for number in (1, 2, 3)]
    assert all(found.pop(f"{name.task}/{name.stem}.jsonl") for name in faulty)
    assert found == wanted
    assert sorted(path.name for path in out.iterdir()) == ["cells"]
    assert len(read_runs(out)) == 6

    # Again: that alone which was lost.
    remaining = missing_runs([*bad, *GOOD], out)
    assert remaining == bad[:1]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.jsonl")}
    asked: list[str] = []

    def instead(job: RunSpec) -> list[RunFiles]:
        asked.append(job.method)
        mended = replace(job, method="toy_plugins:straight")
        return [
            replace(each, name=replace(each.name, method=job.method))
            for each in run_here(mended, tmp_path / f"again-{len(asked)}")
        ]

    monkeypatch.setattr(module, "launch", instead)
    assert execute_runs(remaining, out, workers=1, progress=False) == []
    assert asked == ["toy_plugins:sleeps"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(cells(out)) == 7


@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_clusters_write_the_same_bytes(
    backend: str, tmp_path: Path, wanted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"ray": "ray", "dask": "distributed"}[backend])
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else its workers are nice to all others
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:1")  # another cluster, which must not be used
    assert execute_runs(GOOD, tmp_path, workers=1, backend=backend, progress=False) == []
    assert cells(tmp_path) == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells"]


@pytest.mark.parametrize("backend", ["ray", "dask"])
@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "127.0.0.1",
        "127.0.0.1:1",
        "foo://127.0.0.1:1",
        "no.such.host.example:80",
        "tcp://127.0.0.1:99999",
        "[::1",
        "a b:1",
        "é" * 70 + ":1",
        "no\x00host:1",
    ],
)
def test_a_bad_cluster_address_is_one_clear_error(
    backend: str, address: str, tmp_path: Path
) -> None:
    pytest.importorskip({"ray": "ray", "dask": "distributed"}[backend])
    with pytest.raises(ConfigError, match=f"no {backend} cluster") as raised:
        execute_runs(GOOD, tmp_path, backend=backend, address=address, progress=False)
    assert "\n" not in str(raised.value) and repr(address) in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_another_server_at_the_address_is_a_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            for _ in range(2):  # the first connection is only a check
                accepted, _ = other.accept()
                with accepted:
                    accepted.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match="no dask cluster"):
            execute_runs(GOOD, tmp_path, backend="dask", address=address, progress=False)
        thread.join()


def test_a_running_cluster_is_used(
    tmp_path: Path,
    made: dict[str, list[RunFiles]],
    wanted: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(module, "launch", lambda job: made[job.method])
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler.listeners[0].contact_address
        execute_runs(GOOD, tmp_path, backend="dask", address=address, progress=False)
    assert cells(tmp_path) == wanted


# Missing runs.


@pytest.fixture
def filled(tmp_path: Path, wanted: dict[str, bytes]) -> Path:
    """A folder with the good runs, as far as their heads go."""
    for name, rows in wanted.items():
        path = tmp_path / "cells" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rows)
    return tmp_path


def test_nothing_is_missing_in_a_complete_folder(filled: Path) -> None:
    assert missing_runs(GOOD, filled) == []
    assert missing_runs(GOOD, filled / "elsewhere") == [*GOOD]


@pytest.mark.parametrize("change", [{"episodes": 20}, {"episodes": 22}, {"split": "validation"}])
def test_other_episodes_need_another_folder(filled: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"21 test episodes of maze2d-umaze.*--out"):
        missing_runs([replace(GOOD[0], **change)], filled)
    other = replace(GOOD[0], task_id="multi2d-umaze", **change)
    assert missing_runs([other], filled) == [other]


def test_other_seeds_and_trackers_are_missing(filled: Path) -> None:
    job = replace(GOOD[0], seed=1)
    assert missing_runs([job], filled) == [job]
    assert missing_runs([replace(GOOD[0], timeout=1.0, command="another")], filled) == []
    more = replace(GOOD[1], trackers=("default", "pursuit", "timed"))
    assert missing_runs([more], filled) == [replace(more, trackers=("pursuit",))]


def test_a_changed_checkpoint_makes_a_run_missing(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    path = folder / "maze2d-umaze.safetensors"
    path.write_bytes(b"first")
    job = RunSpec("maze2d-umaze", "dfplan", ("pursuit",), checkpoints=(str(folder),))
    head = job.header("pursuit")
    target = run_path(tmp_path, head.name)
    target.parent.mkdir(parents=True)
    target.write_text(episodes_text(head, []))
    assert missing_runs([replace(job)], tmp_path) == []
    path.write_bytes(b"second")
    assert missing_runs([replace(job)], tmp_path) == [job]
    assert missing_runs([replace(job, checkpoints=())], tmp_path) == [replace(job, checkpoints=())]


def test_an_edited_plugin_makes_its_runs_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    own = tmp_path / "edited_now_and_then.py"
    own.write_text("def make(task, seed): ...\n")
    job = RunSpec(SHORT, "edited_now_and_then:make", ("default",), episodes=1)
    head = job.header("default")
    target = run_path(tmp_path, head.name)
    target.parent.mkdir(parents=True)
    target.write_text(episodes_text(head, []))
    assert missing_runs([job], tmp_path) == []
    own.write_text("def make(task, seed): return 1\n")
    assert missing_runs([job], tmp_path) == [job]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("score", "abc", "number, got 'abc'"),
        ("score", float("nan"), "number, got nan"),
        ("steps", 1.5, "integer, got 1.5"),
        ("steps", -1, "got -1"),
        ("reward", None, "number, got None"),
        ("first_touch", "abc", "integer, got 'abc'"),
        ("first_touch", 0, "got 0"),
        ("success_any", 17, "boolean, got 17"),
        ("goal", "here", "got 'here'"),
    ],
)
def test_error_names_file_line_field_and_value(
    filled: Path, key: str, value: object, said: str
) -> None:
    path = run_path(filled, GOOD[0].header("none").name)
    head, row, rest = path.read_text().split("\n", 2)
    path.write_text("\n".join((head, json.dumps({**json.loads(row), key: value}), rest)))
    with pytest.raises(DataError, match=f"{re.escape(str(path))}, line 2, .*{key}.*{said}"):
        read_run(path)


def test_episodes_out_of_order_are_refused(filled: Path) -> None:
    path = run_path(filled, GOOD[0].header("none").name)
    head, row, _, rest = path.read_text().split("\n", 3)
    path.write_text("\n".join((head, row, row, rest)))
    path.with_suffix(".json").write_text(metadata_text(Cost(), [], provenance("", 0.0)))
    with pytest.raises(DataError, match=r"line 3, .*expected episode 1, got 0"):
        read_run(path)


def test_a_run_under_another_name_is_refused(filled: Path) -> None:
    path = run_path(filled, GOOD[0].header("none").name)
    path.rename(path.with_name("bc+none+0.jsonl"))
    for each in filled.rglob("*.jsonl"):
        each.with_suffix(".json").write_text(metadata_text(Cost(), [], provenance("", 0.0)))
    with pytest.raises(DataError, match=r"bc\+none\+0.jsonl .*belongs to .*controller\+none"):
        read_runs(filled)


@pytest.mark.parametrize(
    ("key", "value"), [("protocol", "d4rl-maze2d-v2"), ("model", "0" * 64), ("seed", 3)]
)
def test_a_run_with_another_header_is_missing(filled: Path, key: str, value: object) -> None:
    path = run_path(filled, GOOD[0].header("none").name)
    first, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps({**json.loads(first), key: value}) + "\n" + rest)
    assert missing_runs(GOOD, filled) == [GOOD[0]]


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_another_format_is_refused(filled: Path, version: object) -> None:
    path = run_path(filled, GOOD[0].header("none").name)
    first, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps({**json.loads(first), "format": version}) + "\n" + rest)
    with pytest.raises(DataError, match=rf"format {version!r}.*reads format 2"):
        missing_runs(GOOD, filled)


@pytest.mark.parametrize("content", ["", "{", "[]", "7\n", '{"format": 2}\n', "text\n", "\xe9\n"])
def test_a_damaged_header_is_refused(filled: Path, content: str) -> None:
    run_path(filled, GOOD[0].header("none").name).write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=r"is damaged.*Delete it"):
        missing_runs(GOOD, filled)


def test_partial_files_never_count(
    filled: Path, wanted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "launch", lambda job: run_here(job, filled / "played"))
    path = run_path(filled, GOOD[0].header("none").name)
    whole = path.read_bytes()
    path.unlink()
    # What a writer leaves that is killed before the file has its name.
    (path.parent / ".partial-abc.jsonl").write_bytes(whole[:1000])
    (path.parent / ".partial-abd.json").write_bytes(b"{")
    assert missing_runs(GOOD, filled) == [GOOD[0]]

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dfplan.files.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            execute_runs([GOOD[0]], filled, workers=1, progress=False)
    assert missing_runs(GOOD, filled) == [GOOD[0]]
    (filled / "played").rename(filled / "played-first")
    execute_runs([GOOD[0]], filled, workers=1, progress=False)
    assert path.read_bytes() == whole
    assert [each.name for each in runs_with_costs(filled)] == [GOOD[0].header("none").name]


def runs_with_costs(out: Path) -> list[object]:
    """Of the runs that have their costs, since :func:`filled` has none."""
    for path in (out / "cells").rglob("[!.]*.jsonl"):
        if not path.with_suffix(".json").exists():
            path.unlink()
    return [*read_runs(out)]


def test_file_names_of_runs_are_unique(tmp_path: Path) -> None:
    names = ["a.b:make", "a:b_make", "a_b:make", "a.b:make_", "a_b_make:x", "a:b_make_x"]
    heads = [replace(GOOD[1].header("default").name, method=name) for name in names]
    assert len({run_path(tmp_path, head) for head in heads}) == len(names)
    assert all(run_path(tmp_path, head).parent == tmp_path / "cells" / SHORT for head in heads)


def test_two_executions_into_one_folder_write_complete_runs(
    tmp_path: Path,
    made: dict[str, list[RunFiles]],
    wanted: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "launch", lambda job: made[job.method])
    out, errors = tmp_path / "out", []

    def many() -> None:
        try:
            for _ in range(20):
                execute_runs(GOOD, out, workers=10**9, progress=False)
                read_runs(out)
        except BaseException as error:
            errors.append(error)

    both = [threading.Thread(target=many) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert not errors and cells(out) == wanted
    assert sorted(path.name for path in out.iterdir()) == ["cells"]


# Errors.


def test_invalid_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for how, message in (
        ({"backend": "rya"}, "backend.*'ray'"),
        ({"workers": 0}, "workers"),
        ({"address": "1.2.3.4:8786"}, "name its backend"),
    ):
        with pytest.raises(ConfigError, match=message):
            execute_runs(GOOD, tmp_path / "none", progress=False, **how)  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        execute_runs(GOOD, tmp_path / "file", progress=False)
    with pytest.raises(OSError, match="file"):
        execute_runs(GOOD, tmp_path / "file" / "below", progress=False)
    for name in ("ray", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    for backend in ("ray", "dask"):
        with pytest.raises(ConfigError, match=rf"pip install 'dfplan\[{backend}\]'"):
            execute_runs(GOOD, tmp_path, backend=backend, progress=False)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("import os; os._exit(0)", "the method ended its process with exit code 0"),
        ("import time; time.sleep(600)", "a call took longer than 2 s"),
    ],
)
def test_import_errors_of_a_plugin_are_recorded(
    content: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rogue.py").write_text(content + "\n")
    job = RunSpec(SHORT, "rogue:make", ("default",), episodes=2, timeout=2.0)
    assert execute_runs([job], tmp_path, workers=1, progress=False) == []
    rows = read_run(run_path(tmp_path, job.header("default").name)).episodes
    assert len(rows) == 2 and all(str(row.error).startswith(fault) for row in rows)


@pytest.mark.parametrize(
    "change", [{"episodes": 0}, {"seed": -1}, {"timeout": 0.0}, {"timeout": float("nan")}]
)
def test_numbers_of_a_spec_are_checked(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(GOOD[0], **change)  # type: ignore[arg-type]


def test_a_lost_run_reports_the_last_line_of_output(tmp_path: Path) -> None:
    (tmp_path / "maze2d-umaze.safetensors").write_bytes(b"damaged")
    job = RunSpec("maze2d-umaze", "dfplan", ("pursuit",), checkpoints=(str(tmp_path),), episodes=1)
    with pytest.raises(LostRunError, match=r"exit code 1: dfplan\.errors\.CheckpointError: "):
        launch(job)


@needs_proc
@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGKILL])
def test_interrupt_and_kill_leave_complete_runs_and_no_process(
    signalled: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "a folder with spaces"
    here.mkdir()
    mark = f"marked-{tmp_path.name}-{os.getpid()}"
    command = [sys.executable, "-m", "dfplan", "bench", "--out", mark, f"--tasks={SHORT}"]
    command += [
        "--planner=controller,toy_plugins:sleeps",
        "--episodes=3",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment["TMPDIR"] = str(tmp_path / "temporary")
    (tmp_path / "temporary").mkdir()
    process = subprocess.Popen(
        [*command, "--workers=2", "--tracker=default"],
        cwd=here,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: run_paths(here / mark))  # one run is complete, another is running
        # A terminal sends an interrupt to the whole group; a kill reaches the command alone.
        (os.killpg if signalled == signal.SIGINT else os.kill)(process.pid, signalled)
        said = process.communicate(timeout=60)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if signalled == signal.SIGINT:
        assert process.returncode == 130 and said.splitlines()[-1] == "dfplan: interrupted"
    if signalled == signal.SIGKILL:
        assert list((tmp_path / "temporary").iterdir())
    else:
        assert [path.name for path in (here / mark).iterdir()] == ["cells"]
    until(lambda: not processes(mark), 60)
    for path in run_paths(here / mark):
        assert read_run(path).header == read_header(path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    execute_runs([], here / mark, progress=False)  # cleans up even without specs
    assert not list((tmp_path / "temporary").iterdir())


def completes_before(event: int, act: Callable[[], object]) -> bool:
    """Whether ``act``, in a process that is killed before that event, comes to its end.

    An event is whatever changes a file or a folder.
    """
    child = os.fork()
    if child == 0:
        left = itertools.count(-event)

        def watch(name: str, given: tuple[Any, ...]) -> None:
            changes = name in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod")
            if (changes or (name == "open" and given[1] not in ("r", "rb", None))) and not next(
                left
            ):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            act()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_after_a_kill_at_any_write_the_next_execution_completes(
    tmp_path: Path,
    made: dict[str, list[RunFiles]],
    wanted: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def run(job: RunSpec) -> list[RunFiles]:
        with scratch_folder(tempfile.gettempdir(), SCRATCH):
            names = {job.header(tracker).name for tracker in job.trackers}
            return [each for each in made[job.method] if each.name in names]

    (job,) = GOOD[1:]
    wanted = {name: lines for name, lines in wanted.items() if job.task_id in name}

    def go(out: Path) -> None:
        execute_runs(missing_runs([job], out), out, workers=2, progress=False)

    monkeypatch.setattr(module, "launch", run)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for event in itertools.count():
        out = tmp_path / f"out-{event}"
        ended = completes_before(event, lambda out=out: go(out))
        go(out)
        assert cells(out) == wanted
        named = {path.name for path in [*out.rglob("*"), *(tmp_path / "temporary").iterdir()]}
        expected = {part for name in wanted for part in Path(name).parts}
        expected |= {name.removesuffix("l") for name in expected if name.endswith("l")}
        assert named == {"cells", *expected}
        if ended:
            break
    assert event > 20


@needs_proc
def test_a_hanging_import_ends_with_its_parent(tmp_path: Path) -> None:
    mark = f"hanging-{tmp_path.name}-{os.getpid()}"
    (tmp_path / f"{mark}.py").write_text("import time; time.sleep(3600)\n")
    child = os.fork()
    if child == 0:
        try:
            os.chdir(tmp_path)
            require_importable(f"{mark}:make")
        finally:
            os._exit(0)
    until(lambda: processes(mark))
    time.sleep(0.5)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    until(lambda: not processes(mark), 60)
