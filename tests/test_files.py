"""Files that are written whole or not at all, by one process at a time, and nothing left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dfplan.errors import BusyError
from dfplan.files import atomic_folder, atomic_path, exclusive, scratch_folder

KILLED_WHILE = """
import os, signal, sys
from pathlib import Path
from dfplan.files import *
folder = Path(sys.argv[1])
with {block} as given:
    {act}
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_while(folder: Path, block: str, act: str = "pass") -> None:
    """Run the block in a process of its own, which is killed inside of it."""
    code = KILLED_WHILE.format(block=block, act=act)
    process = subprocess.run([sys.executable, "-c", code, str(folder)])
    assert process.returncode == -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
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


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
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
    ("block", "act"),
    [
        ("atomic_path(folder / 'b')", "given.write_text('half')"),
        ("atomic_folder(folder / 'b')", "(given / 'file').write_text('half')"),
        ("scratch_folder(folder, '.partial-')", "(given / 'file').write_text('half')"),
    ],
)
def test_the_next_write_removes_what_a_killed_one_left(
    tmp_path: Path, block: str, act: str
) -> None:
    killed_while(tmp_path, block, act)
    assert len(names(tmp_path)) == 1
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["a"]


def test_what_is_being_written_is_left_alone(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a") as first, atomic_folder(tmp_path / "c") as second:
        with atomic_path(tmp_path / "b") as other:
            other.write_text("b")
        first.write_text("a")
        (second / "file").write_text("c")
    assert names(tmp_path) == ["a", "b", "c"]


def test_scratch_folders_of_another_prefix_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".partial-of-somebody.txt").write_text("a file, no folder")
    (tmp_path / "other-1").mkdir()
    with scratch_folder(tmp_path, ".partial-") as folder:
        assert folder.is_dir()
    assert names(tmp_path) == [".partial-of-somebody.txt", "other-1"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_rights_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
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


def test_many_writers_of_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    """Threads write the same file at once; the umask is never touched, as others would see it."""

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


def test_a_lock_names_its_owner_and_goes_with_it(tmp_path: Path) -> None:
    with exclusive(tmp_path / "run", "a training"):
        with (
            pytest.raises(BusyError, match=f"a training: process {os.getpid()} "),
            exclusive(tmp_path / "run", "another"),
        ):
            pass
    with exclusive(tmp_path / "run", "another"):
        pass
    assert names(tmp_path / "run") == []


def test_the_lock_of_a_killed_process_does_not_count(tmp_path: Path) -> None:
    killed_while(tmp_path, "exclusive(folder, 'a training')")
    assert names(tmp_path) == [".lock"]
    with exclusive(tmp_path, "a training"):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    assert names(tmp_path) == []


def test_a_lock_keeps_other_processes_out(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom dfplan.files import exclusive\n"
        "with exclusive(sys.argv[1], 'a training'):\n    print('in', flush=True)\n    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        with (
            pytest.raises(BusyError, match=f"process {other.pid} "),
            exclusive(tmp_path, "a training"),
        ):
            pass
        other.communicate("\n")
    with exclusive(tmp_path, "a training"):
        pass
