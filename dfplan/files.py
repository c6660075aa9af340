"""Files and folders that are written whole or not at all, by one process at a time.

Whatever is being written lies in a scratch folder, which its process locks. The system frees the
lock when the process ends, however it ends, so a folder without a lock is what a killed process
left: the next write beside it removes it.
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

# On Windows nothing is locked, and no leftovers are removed.
fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None

PARTIAL = ".dfplan-"
"""How the names of scratch folders beside files begin; what else begins so may be removed."""


def expanded(path: str | Path) -> Path:
    """A path as a user writes it, ``~`` and ``~user`` at its start replaced as a shell does.

    A file in the working folder whose name begins with ``~`` is that file.

    Raises:
        ConfigError: an empty path, one with a null character, or no such user's home.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ConfigError(f"Expected the path of a file or folder; got {text!r}.")
    home = Path(os.path.expanduser(text))
    if len(home.parts) > 1 and home.parts[0].startswith("~"):
        raise ConfigError(
            f"{text} begins with a home folder that is not known. Write the whole path, or "
            f"{Path.cwd() / text} for a folder of that name."
        )
    return home


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file; rename it to ``path`` if the block succeeds.

    If the block raises (a full disk, an interrupt), the temporary file is removed and whatever
    ``path`` held before stays whole. The temporary file has the name of ``path``, in a folder
    beside it.

    Raises:
        ConfigError: there is a device or a pipe at ``path``, which a file would take the place of.
    """
    path = Path(path)
    is_stream = os.path.islink(path) and os.readlink(path).startswith("/proc/")  # /dev/stdout
    if is_stream or (os.path.exists(path) and not (path.is_file() or path.is_dir())):
        raise ConfigError(f"Expected a file to write at {path}; there is a device or a pipe.")
    with scratch_folder(path.parent, PARTIAL) as folder:
        temporary = folder / path.name
        temporary.touch()
        yield temporary
        _flush(temporary)
        # Some writers make a new file that only its owner may read.
        temporary.chmod(folder.stat().st_mode & 0o666)
        temporary.replace(path)


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Yield a new temporary folder; rename it to ``folder`` if the block succeeds.

    If the block raises, the temporary folder and all in it are removed.

    Raises:
        OSError: there is something at ``folder`` already, unless an empty folder.
    """
    folder = Path(folder)
    with scratch_folder(folder.parent, PARTIAL) as scratch:
        temporary = scratch / folder.name
        temporary.mkdir()
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                _flush(path)
        temporary.rename(folder)


@contextmanager
def scratch_folder(parent: str | Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in ``parent``, which is made if missing; remove it after the block.

    Folders of the same prefix whose process was killed are removed first.

    Args:
        parent: where the folder lies.
        prefix: how its name begins. No other program may use it in ``parent``.
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent, prefix)
    folder, handle = _locked_folder(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it is there, so that a kill leaves all of it at its place or nothing."""
    with scratch_folder(folder.parent, PARTIAL) as scratch, suppress(FileNotFoundError):
        folder.rename(scratch / folder.name)


@contextmanager
def exclusive(folder: str | Path, purpose: str) -> Iterator[None]:
    """Keep other processes that ask for the same out of ``folder`` during the block.

    The file ``.lock`` in the folder names the owner. It counts only while its owner lives: the
    system frees the lock of a process that was killed.

    Args:
        folder: made if missing; goes again where the block leaves nothing in it.
        purpose: what is done in it, for the error of others, such as ``"a training"``.

    Raises:
        BusyError: another process, or another call in this one, has the folder.
    """
    path = Path(folder) / ".lock"
    with _made(path.parent):
        while True:
            # Not "w", which would empty the file of the owner.
            with path.open("a+", encoding="utf-8") as file:
                if not _lock(file.fileno()):
                    file.seek(0)
                    owner = file.read().strip() or "another process"
                    raise BusyError(
                        f"{folder} is in use by {owner}. Wait until it ends, or choose another "
                        "folder."
                    )
                if not _is_at(file.fileno(), path):
                    continue  # its owner removed it between the two calls
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
def _made(folder: Path) -> Iterator[None]:
    """Make a folder if it is missing; remove what was made where the block leaves it empty."""
    missing = [each for each in (folder, *folder.parents) if not os.path.exists(each)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for each in missing:
            with suppress(OSError):  # not empty, or never made
                each.rmdir()


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """A new folder and the handle that holds its lock, None where there are no locks."""
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
            continue  # another process took it for a leftover
        if _lock(handle) and _is_at(handle, folder):
            return folder, handle
        os.close(handle)


def remove_leftovers(parent: Path, prefix: str = PARTIAL) -> None:
    """Remove the scratch folders of killed processes, by default those of files half written."""
    if fcntl is None:
        return
    with os.scandir(parent) as entries:
        names = [entry.path for entry in entries if entry.name.startswith(prefix)]
    for name in names:
        try:
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # gone meanwhile, no folder, or somebody else's
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(name, ignore_errors=True)
        except OSError:
            pass  # in use, or a file system without locks
        finally:
            os.close(handle)


def _lock(handle: int) -> bool:
    """Lock a handle; False where another handle has the lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Any other error: a file system without locks.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether ``path`` is still the file or folder that ``handle`` has open."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _flush(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
