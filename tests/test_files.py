"""Atomic files and folders, locks, and removal of what killed processes left."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from dfplan.errors import BusyError, ConfigError
from dfplan.files import (
    SCRATCH_PREFIX,
    atomic_folder,
    atomic_path,
    exclusive_lock,
    remove_folder,
    scratch_folder,
)


@contextmanager
def child_inside(block: AbstractContextManager[Path | None]) -> Iterator[int]:
    """A process that writes something inside a block and stays there until it is killed."""
    entered, enter = os.pipe()
    child = os.fork()
    if child == 0:
        with block as given:
            if given is not None:
                (given / "half" if given.is_dir() else given).write_text("half")
            os.write(enter, b"x")
            signal.pause()
    os.read(entered, 1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(entered)
        os.close(enter)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".txt" and not target.exists()
        temporary.write_text("first")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("second")
        raise RuntimeError
    assert target.read_text() == "first" and names(target.parent) == ["a.txt"]
    with atomic_path(target) as temporary:
        temporary.unlink()  # as a writer that replaces the file does
        temporary.write_text("third")
    assert target.read_text() == "third"


def test_a_folder_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "a") as temporary:
        (temporary / "file").write_text("x")
        raise RuntimeError
    assert names(tmp_path) == []
    with atomic_folder(tmp_path / "a") as temporary:
        (temporary / "file").write_text("x")
    assert names(tmp_path) == ["a"] and (tmp_path / "a" / "file").read_text() == "x"
    with pytest.raises(OSError), atomic_folder(tmp_path / "a"):
        pass
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "block",
    [
        lambda folder: atomic_path(folder / "b"),
        lambda folder: atomic_folder(folder / "b"),
        lambda folder: scratch_folder(folder, SCRATCH_PREFIX),
    ],
)
def test_the_next_write_removes_leftovers_of_a_killed_process(
    tmp_path: Path, block: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("whole")

    with child_inside(block(tmp_path)):
        write()
        assert len(names(tmp_path)) == 2  # what is in use stays
    write()
    assert names(tmp_path) == ["a"]


def test_scratch_folders_in_use_are_kept(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a") as first, atomic_folder(tmp_path / "c") as second:
        with atomic_path(tmp_path / "b") as other:
            other.write_text("b")
        first.write_text("a")
        (second / "file").write_text("c")
    assert names(tmp_path) == ["a", "b", "c"]


def test_folders_with_another_prefix_are_kept(tmp_path: Path) -> None:
    (tmp_path / f"{SCRATCH_PREFIX}of-somebody.txt").write_text("a file, no folder")
    (tmp_path / ".partial-1").mkdir()
    with scratch_folder(tmp_path, SCRATCH_PREFIX) as folder:
        assert folder.is_dir()
    assert names(tmp_path) == [f"{SCRATCH_PREFIX}of-somebody.txt", ".partial-1"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT, 0o600))
        with atomic_folder(tmp_path / "b"):
            pass
    finally:
        assert os.umask(before) == umask
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o777 & ~umask


def test_concurrent_writers_leave_one_complete_file(tmp_path: Path) -> None:
    """Threads write the same file; nothing may change the umask, which all threads share."""

    def write(number: int) -> None:
        for _ in range(20):
            with atomic_path(tmp_path / "a") as temporary:
                temporary.write_text(str(number) * 1000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in {str(number) * 1000 for number in range(4)}
    assert names(tmp_path) == ["a"]


def test_a_lock_excludes_others_while_its_owner_lives(tmp_path: Path) -> None:
    with child_inside(exclusive_lock(tmp_path, "a training")) as child:
        for _ in range(2):
            with (
                pytest.raises(BusyError, match=f"a training: process {child} on"),
                exclusive_lock(tmp_path, "another"),
            ):
                pass
    assert names(tmp_path) == [".lock"]
    with (
        exclusive_lock(tmp_path, "a training"),
        pytest.raises(BusyError, match=f"process {os.getpid()} "),
        exclusive_lock(tmp_path, "another in the same process"),
    ):
        pass
    assert names(tmp_path) == []


def test_a_folder_is_removed_completely_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is moved away before anything in it is deleted."""
    remove = shutil.rmtree
    seen = []

    def noting(path: Path, **given: bool) -> None:
        seen.append((tmp_path / "a").exists())
        remove(path, **given)

    monkeypatch.setattr("dfplan.files.shutil.rmtree", noting)
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "header").write_text("x")
    remove_folder(tmp_path / "a")
    remove_folder(tmp_path / "a")  # nothing there is fine
    assert seen and not any(seen) and names(tmp_path) == []


def test_folders_created_for_a_lock_are_removed_if_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "new" / "folder", tmp_path / "mine"):
        with pytest.raises(ZeroDivisionError), exclusive_lock(folder, "a test"):
            _ = 1 / 0
    with pytest.raises(OSError), exclusive_lock(tmp_path / "new" / ("x" * 300) / "y", "a test"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    with exclusive_lock(tmp_path / "new" / "folder", "a test"):
        (tmp_path / "new" / "folder" / "kept").touch()
    assert (tmp_path / "new" / "folder" / "kept").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_devices_and_pipes_are_not_replaced(tmp_path: Path) -> None:
    pipe, link, stream = (tmp_path / name for name in ("pipe", "link", "stream"))
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    with (tmp_path / "out").open("w") as file:
        stream.symlink_to(f"/proc/self/fd/{file.fileno()}")
        for path in (pipe, link, stream):
            with pytest.raises(ConfigError, match="pipe"), atomic_path(path):
                pass
    assert pipe.is_fifo() and link.is_symlink() and stream.is_symlink()
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("name", ["backup", "2024", "0123abcd", "0123abcde"])
@pytest.mark.parametrize("prefix", [SCRATCH_PREFIX, "dfplan-job-"])
def test_folders_of_the_user_are_kept(tmp_path: Path, prefix: str, name: str) -> None:
    own = tmp_path / f"{prefix}{name}"
    own.mkdir()
    (own / "thesis.txt").write_text("work")
    with scratch_folder(tmp_path, prefix):
        pass
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
    remove_folder(tmp_path / "gone")
    assert (own / "thesis.txt").read_text() == "work"
    assert names(tmp_path) == sorted([own.name, "a.txt"])


def test_a_forked_child_keeps_no_lock_of_its_parent(tmp_path: Path) -> None:
    owner = os.fork()
    if owner == 0:
        with exclusive_lock(tmp_path / "run", "a training"), scratch_folder(tmp_path, ".dfplan-"):
            if (child := os.fork()) == 0:
                signal.pause()
            (tmp_path / "child").write_text(str(child))
            signal.pause()
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        pass
    with pytest.raises(BusyError), exclusive_lock(tmp_path / "run", "another"):
        pass
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    with exclusive_lock(tmp_path / "run", "another"), scratch_folder(tmp_path, ".dfplan-"):
        assert len([name for name in names(tmp_path) if name.startswith(".dfplan-")]) == 1
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_a_forked_child_that_leaves_the_block_changes_nothing(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "run", "a training"), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("a")
        if (child := os.fork()) == 0:
            try:
                raise RuntimeError
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(BusyError), exclusive_lock(tmp_path / "run", "another"):
            pass
    assert (tmp_path / "a").read_text() == "a"
