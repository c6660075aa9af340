"""Damaged records of a benchmark: one clear error, or what was written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfplan.bench.compare import compare
from dfplan.bench.records import (
    Run,
    read_episodes,
    read_header,
    read_run,
    read_runs,
    run_path,
)
from dfplan.bench.report import terminal_report, write_report
from dfplan.cli import main
from dfplan.errors import DataError, DfplanError

MakeRun = Callable[..., Run]
WriteRuns = Callable[[Path, Iterable[Run]], Path]


@pytest.fixture(scope="module")
def kept(make_run: MakeRun) -> list[Run]:
    return [
        make_run("maze2d-umaze", "controller", tracker="default", episodes=8),
        make_run("maze2d-umaze", "dfplan", episodes=8),
    ]


@pytest.fixture
def folder(kept: list[Run], write_runs: WriteRuns, tmp_path: Path) -> Path:
    return write_runs(tmp_path / "bench", kept)


def path_of(folder: Path, run: Run) -> Path:
    return run_path(folder, run.name)


def error_of(act: Callable[[], object]) -> str:
    """The one error that ``act`` raises; empty if it raises none."""
    try:
        act()
    except DfplanError as error:
        assert len(str(error)) < 2000 and "\n" not in str(error)
        return str(error)
    return ""


Change = tuple[str, int, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "cut", "zero", "repeat", "swap"]),
        st.integers(0, 1 << 14),
        st.binary(min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


def changed(content: bytes, changes: list[Change]) -> bytes:
    for how, where, value in changes:
        lines = content.splitlines(keepends=True) or [b""]
        at, line = where % (len(content) + 1), where % len(lines)
        if how == "set":
            content = content[:at] + value + content[at + len(value) :]
        elif how == "insert":
            content = content[:at] + value + content[at:]
        elif how == "delete":
            content = content[:at] + content[at + len(value) :]
        elif how == "cut":
            content = content[:at]
        elif how == "zero":
            content = content[:at] + bytes(len(content) - at)
        elif how == "repeat":
            content = b"".join([*lines[:line], lines[line], *lines[line:]])
        else:
            content = b"".join([*lines[:line], *lines[line + 1 :], lines[line]])
    return content


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=CHANGES, ending=st.sampled_from([".jsonl", ".json"]))
def test_changed_bytes_give_an_error_or_a_run(
    kept: list[Run],
    write_runs: WriteRuns,
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[Change],
    ending: str,
) -> None:
    folder = write_runs(tmp_path_factory.getbasetemp() / "changed", kept)
    path = path_of(folder, kept[1]).with_suffix(ending)
    path.write_bytes(changed(path.read_bytes(), changes))
    lines = path.with_suffix(".jsonl")
    error_of(lambda: read_header(lines))
    error_of(lambda: read_episodes(lines))
    said = error_of(lambda: read_run(lines))
    assert said == "" or path.stem in said
    if said:
        assert error_of(lambda: read_runs(folder))
        return
    found = read_run(lines)
    # There is no checksum: a digit may have become another, but no row has come or gone.
    assert [row.episode for row in found.episodes] == list(range(8))
    if not error_of(lambda: read_runs(folder)):
        error_of(lambda: terminal_report(read_runs(folder)))


VALUES: list[Any] = [None, True, 1, -1, 2**63, 10**400, 0.5, -0.5, 1e300, 5e-324, "", "$\\frac$"]
VALUES += ["\0", "\ud800", "<b>|`", [], [1], [[]], [[1, 2, 3]], {}, {"a": 1}, float("nan")]
VALUES += [float("inf"), "é" * 300]


def places(content: Any, place: tuple[Any, ...] = ()) -> Iterable[tuple[Any, ...]]:
    """Where there are values."""
    if place:
        yield place
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in inner:
        if isinstance(value, dict | list):
            yield from places(value, (*place, key))
        else:
            yield (*place, key)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), ending=st.sampled_from([".jsonl", ".json"]))
def test_changed_values_give_an_error_or_a_report(
    kept: list[Run],
    write_runs: WriteRuns,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    ending: str,
) -> None:
    base = tmp_path_factory.getbasetemp()
    folder, other = write_runs(base / "values", kept), write_runs(base / "whole", kept)
    path = path_of(folder, kept[1]).with_suffix(ending)
    content = [json.loads(line) for line in path.read_text().splitlines()]
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from([*places(content)]))
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        value = data.draw(st.one_of(st.sampled_from(VALUES), st.just(KeyError)))
        if value is KeyError:
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in content))
    for act in (
        lambda: write_report(folder),
        lambda: terminal_report(read_runs(folder)),
        lambda: compare(folder, other),
    ):
        error_of(act)


def _nested(path: Path) -> None:
    path.write_bytes(b"[" * 100_000 + b"]" * 100_000)


def _replaced(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _looped(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _last_line(edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def act(path: Path) -> None:
        *lines, last = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines, edit(last)]))

    return act


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "nested": _nested,
    "a folder": _replaced,
    "a symlink to itself": _looped,
    "a pipe": _piped,
    "a device": _endless,
    "of another encoding": lambda path: path.write_bytes(path.read_text().encode("cp037")),
    "another program's": lambda path: path.write_text("a,b\n1,2\n"),
    "torn": _last_line(lambda line: line[: len(line) // 2]),
    "not a number": _last_line(lambda line: re.sub(rb": \d+\.\d+", b": NaN", line, count=1)),
    "endless": _last_line(lambda line: re.sub(rb": \d+\.\d+", b": 1e400", line, count=1)),
    "huge": _last_line(lambda line: re.sub(rb": \d+", b": 1" + b"0" * 4000, line, count=1)),
    "longer than any": _last_line(
        lambda line: re.sub(rb": \d+", b": " + b"9" * 9999, line, count=1)
    ),
}


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_line_that_names_the_file(
    kind: str,
    ending: str,
    folder: Path,
    kept: list[Run],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = path_of(folder, kept[1]).with_suffix(ending)
    DAMAGE[kind](path)
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_run(path.with_suffix(".jsonl"))
    assert main(["bench", "compare", str(folder), str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("dfplan: error: ") and said.count("\n") == 1 and path.name in said
    run = ["bench", "--out", str(folder), "--tasks=maze2d-umaze", "--planner=controller"]
    assert main([*run, "--episodes=8", "--workers=1"]) == 2
    assert "dfplan: error: " in capsys.readouterr().err


@pytest.mark.parametrize("row", [0, 3, 7])
def test_errors_name_the_line(folder: Path, kept: list[Run], row: int) -> None:
    path = path_of(folder, kept[0])
    lines = path.read_text().splitlines()
    lines[row + 1] = lines[row + 1].replace("score", "scores", 1)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=f"line {row + 2}, .*score"):
        read_run(path)


def test_line_ends_and_byte_order_mark_do_not_matter(folder: Path, kept: list[Run]) -> None:
    for run in kept:
        path = path_of(folder, run)
        for each in (path, path.with_suffix(".json")):
            each.write_bytes(b"\xef\xbb\xbf" + each.read_bytes().replace(b"\n", b"\r\n"))
    assert read_runs(folder) == kept
    assert [read_header(path_of(folder, run)) for run in kept] == [run.header for run in kept]


def test_other_files_are_ignored(folder: Path, kept: list[Run]) -> None:
    (folder / "cells" / "notes.txt").write_text("mine")
    (folder / "cells" / "maze2d-umaze" / "notes.txt").write_text("mine")
    (folder / "cells" / "maze2d-umaze" / "below").mkdir()
    (folder / "cells" / "stray.jsonl").write_text("mine")
    assert read_runs(folder) == kept


@pytest.mark.parametrize("name", ["maze2d-nowhere", "../maze2d-umaze", "multi2d-umaze"])
def test_a_run_in_another_folder_is_refused(folder: Path, kept: list[Run], name: str) -> None:
    path = path_of(folder, kept[1])
    target = folder / "cells" / name / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    for ending in (".jsonl", ".json"):
        path.with_suffix(ending).rename(target.with_suffix(ending))
    with pytest.raises(DfplanError):
        if len(read_runs(folder)) < len(kept):  # it is in no folder of runs
            raise DataError("gone")


def test_a_run_of_an_unknown_task_is_named(
    folder: Path, kept: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    path = path_of(folder, kept[1])
    target = folder / "cells" / "maze2d-gone" / path.name
    target.parent.mkdir()
    target.write_text(path.read_text().replace('"maze2d-umaze"', '"maze2d-gone"'))
    path.with_suffix(".json").rename(target.with_suffix(".json"))
    path.unlink()
    assert main(["bench", "compare", str(folder), str(folder)]) == 2
    said = capsys.readouterr().err
    assert path.stem in said and "maze2d-gone" in said and said.count("\n") == 1
