"""Atomic writing of files and folders, and locks between processes.

Content is written to a scratch folder that its process locks, then moved to its place. The system
releases the lock when the process ends for any reason, so a scratch folder without a lock was left
by a killed process. The next write to the same parent folder removes it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dfplan.errors import BusyError, ConfigError

# Windows has no fcntl: nothing is locked there, and no leftovers are removed.
fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None

SCRATCH_PREFIX = ".dfplan-"
"""Prefix of the names of scratch folders."""

_MARKER = ".dfplan-scratch"  # a file in every scratch folder, so that no other folder is removed

# Locks of this process. A forked child inherits them, and would keep them when its parent ends.
_locks: set[int] = set()


def _close_inherited_locks() -> None:
    for handle in _locks:
        os.close(handle)
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited_locks)


def expand_path(path: str | os.PathLike[str]) -> Path:
    """Replace ``~`` and ``~user`` at the start of a path, as a shell does.

    A name that only starts with ``~``, such as ``~$notes``, stays a file of the working folder.

    Raises:
        ConfigError: the path is empty or has a null character, or the home folder is unknown.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise ConfigError(f"Expected the path of a file or folder; got {path!r}.")
    home = Path(os.path.expanduser(text))
    if len(home.parts) > 1 and home.parts[0].startswith("~"):
        raise ConfigError(
            f"{text} begins with an unknown home folder. Give the full path, or "
            f"{Path.cwd() / text} for a folder of that name."
        )
    return home


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file; rename it to ``path`` if the block succeeds.

    If the block raises (a full disk, an interrupt), the temporary file is removed and ``path`` does
    not change. The temporary file has the same name as ``path``.

    Raises:
        ConfigError: ``path`` is a device or a pipe, which a file must not replace.
    """
    path = Path(path)
    is_stream = os.path.islink(path) and os.readlink(path).startswith("/proc/")  # /dev/stdout
    if is_stream or (os.path.exists(path) and not (path.is_file() or path.is_dir())):
        raise ConfigError(f"Expected a file to write at {path}; there is a device or a pipe.")
    with scratch_folder(path.parent, SCRATCH_PREFIX) as folder:
        temporary = folder / path.name
        temporary.touch()
        yield temporary
        _flush(temporary)
        # Some writers create a new file that only its owner can read.
        temporary.chmod(folder.stat().st_mode & 0o666)
        temporary.replace(path)


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Yield a new temporary folder; rename it to ``folder`` if the block succeeds.

    If the block raises, the temporary folder and all in it are removed.

    Raises:
        OSError: ``folder`` exists and is not an empty folder.
    """
    folder = Path(folder)
    with scratch_folder(folder.parent, SCRATCH_PREFIX) as scratch:
        temporary = scratch / folder.name
        temporary.mkdir()
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                _flush(path)
        temporary.rename(folder)


@contextmanager
def scratch_folder(parent: str | Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in ``parent``; remove it after the block.

    First removes folders with the same prefix whose process was killed.

    Args:
        parent: created if missing.
        prefix: of the folder's name.
    """
    parent, process = Path(parent), os.getpid()
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent, prefix)
    folder, handle = _create_locked(parent, prefix)
    try:
        yield folder
    finally:
        if os.getpid() == process:  # else this is a forked child, and the folder its parent's
            _remove_scratch(folder)
            _unlock(handle)


def remove_folder(folder: Path) -> None:
    """Remove a folder if it exists.

    If the process is killed meanwhile, ``folder`` is either complete or no longer there.
    """
    with scratch_folder(folder.parent, SCRATCH_PREFIX) as scratch, suppress(FileNotFoundError):
        folder.rename(scratch / folder.name)


@contextmanager
def exclusive_lock(folder: str | Path, purpose: str) -> Iterator[None]:
    """Lock ``folder`` during the block, against other callers of this function.

    The file ``.lock`` in the folder names the owner. The system releases the lock if the owner is
    killed.

    Args:
        folder: created if missing; removed again if the block leaves it empty.
        purpose: what the lock is for, such as ``"a training"``; others see it in the error.

    Raises:
        BusyError: another process, or another call in this process, has locked the folder.
    """
    path, process = Path(folder) / ".lock", os.getpid()
    with _created(path.parent):
        handle = _open_locked(path, folder)
        try:
            since = datetime.now().astimezone().isoformat(timespec="seconds")
            owner = f"{purpose}: process {process} on {socket.gethostname()}, since {since}\n"
            os.ftruncate(handle, 0)
            os.write(handle, owner.encode())
            yield
        finally:
            if os.getpid() == process:  # else this is a forked child, and the lock its parent's
                path.unlink(missing_ok=True)
                _unlock(handle)


def _open_locked(path: Path, folder: str | Path) -> int:
    """Open and lock a lock file, which is created if it is missing; return its handle."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(handle):
            owner = os.read(handle, 1000).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise BusyError(
                f"{folder} is in use by {owner}. Wait until it ends, or choose another folder."
            )
        if _is_at(handle, path):
            return handle
        _unlock(handle)  # the owner removed the file between the two calls


@contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Create a folder if it is missing; remove created folders that the block leaves empty."""
    missing = [each for each in (folder, *folder.parents) if not os.path.exists(each)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for each in missing:
            with suppress(OSError):  # not empty, or never created
                each.rmdir()


def _create_locked(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """Create a folder; return it and the handle of its lock, None if the system has no locks."""
    while True:
        folder = parent / f"{prefix}{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True)  # another process may have removed an empty parent
        except FileExistsError:
            continue
        if fcntl is None:
            return folder, None
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process removed it as a leftover
        if _lock(handle):
            if _is_at(handle, folder):
                (folder / _MARKER).touch()
                return folder, handle
            _unlock(handle)
        else:
            os.close(handle)


def remove_leftovers(parent: Path, prefix: str = SCRATCH_PREFIX) -> None:
    """Remove the scratch folders of killed processes from ``parent``.

    A scratch folder has a name that :func:`scratch_folder` gives and holds a marker file; a process
    that was killed before it wrote the marker left an empty folder.
    """
    if fcntl is None:
        return
    scratch = re.compile(f"{re.escape(prefix)}[0-9a-f]{{8}}")
    with os.scandir(parent) as entries:
        names = [entry.path for entry in entries if scratch.fullmatch(entry.name)]
    for name in names:
        try:
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # removed meanwhile, not a folder, or no permission
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (content := os.listdir(name)) or _MARKER in content:
                _remove_scratch(Path(name))
        except OSError:
            pass  # in use, or the file system has no locks
        finally:
            os.close(handle)


def _remove_scratch(folder: Path) -> None:
    """Remove a scratch folder, its marker last.

    If the process is killed meanwhile, :func:`remove_leftovers` still recognizes the folder.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _MARKER:
                path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _lock(handle: int) -> bool:
    """Lock a handle; return False if another handle has the lock."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        # Other errors mean that the file system has no locks.
    _locks.add(handle)
    return True


def _unlock(handle: int | None) -> None:
    """Close a locked handle."""
    if handle is not None:
        _locks.discard(handle)
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether ``path`` is still the file or folder that ``handle`` refers to."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _flush(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
