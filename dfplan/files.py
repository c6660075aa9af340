"""Atomic writing of files and folders, and locks between processes.

Content is written to a scratch folder that its process locks, then moved to its place. The system
releases the lock when the process ends for any reason, so a scratch folder without a lock was left
by a killed process. The next write to the same parent folder removes it.
"""

from __future__ import annotations

import errno
import os
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
"""Prefix of the names of scratch folders. Other folders with this prefix may be removed."""


def expand_path(path: str | Path) -> Path:
    """Replace ``~`` and ``~user`` at the start of a path, as a shell does.

    A name that only starts with ``~``, such as ``~$notes``, stays a file of the working folder.

    Raises:
        ConfigError: the path is empty or has a null character, or the home folder is unknown.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ConfigError(f"Expected the path of a file or folder; got {text!r}.")
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
        prefix: of the folder's name. No other program may use it in ``parent``.
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent, prefix)
    folder, handle = _create_locked(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def remove_folder(folder: Path) -> None:
    """Remove a folder if it exists. A kill leaves either the whole folder or nothing of it."""
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
    path = Path(folder) / ".lock"
    with _created(path.parent):
        while True:
            # Not "w", which would truncate the owner's file.
            with path.open("a+", encoding="utf-8") as file:
                if not _lock(file.fileno()):
                    file.seek(0)
                    owner = file.read().strip() or "another process"
                    raise BusyError(
                        f"{folder} is in use by {owner}. Wait until it ends, or choose another "
                        "folder."
                    )
                if not _is_at(file.fileno(), path):
                    continue  # the owner removed it between the two calls
                file.truncate(0)
                since = datetime.now().astimezone().isoformat(timespec="seconds")
                file.write(
                    f"{purpose}: process {os.getpid()} on {socket.gethostname()}, since {since}\n"
                )
                file.flush()
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


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
        if _lock(handle) and _is_at(handle, folder):
            return folder, handle
        os.close(handle)


def remove_leftovers(parent: Path, prefix: str = SCRATCH_PREFIX) -> None:
    """Remove the scratch folders of killed processes from ``parent``."""
    if fcntl is None:
        return
    with os.scandir(parent) as entries:
        names = [entry.path for entry in entries if entry.name.startswith(prefix)]
    for name in names:
        try:
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # removed meanwhile, not a folder, or no permission
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(name, ignore_errors=True)
        except OSError:
            pass  # in use, or the file system has no locks
        finally:
            os.close(handle)


def _lock(handle: int) -> bool:
    """Lock a handle; return False if another handle has the lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Other errors mean that the file system has no locks.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


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
