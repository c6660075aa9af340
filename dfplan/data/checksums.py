"""SHA-256 checksums of data files, in the format of ``sha256sum``.

The checksum of ``walk.npz`` is in ``walk.npz.sha256``. Those of all files of a Minari data set are
in ``folder.sha256`` next to its folder. ``sha256sum -c`` can read both. Readers compare data with
its checksum file if there is one.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dfplan.data.formats.minari_files import is_dataset
from dfplan.errors import DataError
from dfplan.files import atomic_path, expand_path
from dfplan.types import FileStamp

_ENDING = ".sha256"
_BLOCK = 1 << 20
_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}  # of sha256sum, in names of files

_SETTLED = 2_000_000_000
"""Nanoseconds after a file's last change from which on the next change has another time stamp."""

_digests: dict[FileStamp, str] = {}


def stamp(path: str | Path) -> FileStamp:
    """Return the present state of the file at ``path``.

    Raises:
        OSError: there is no such file.
    """
    status = os.stat(path)
    absolute = Path(os.path.abspath(path))
    return FileStamp(
        absolute, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    )


def is_settled(file: FileStamp) -> bool:
    """Whether every later change of the file changes its stamp.

    A change within the resolution of the file system's clock may not.
    """
    return time.time_ns() - max(file.mtime_ns, file.ctime_ns) > _SETTLED


def checksum(source: str | Path) -> Path:
    """Write the checksum of a data file, or of all files of a Minari data set.

    From then on the data is compared with it whenever it is read. :func:`dfplan.data.write`
    updates it.

    Args:
        source: a file, or the folder of a Minari data set.

    Returns:
        The checksum file: the path of ``source`` with ``.sha256`` appended.

    Raises:
        ConfigError: ``source`` is not a valid path.
        DataError: there is no such file or data set, or it cannot be read.
        OSError: the checksum cannot be written.
    """
    path = Path(os.path.abspath(expand_path(source)))
    if os.path.isdir(path):
        if not is_dataset(path):
            raise DataError(f"The folder {path} is not a Minari data set. Pass one, or a file.")
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif os.path.isfile(path):
        files = [path]
    else:
        raise DataError(f"There is no file or Minari data set at {path}. Check the path.")
    lines = [_line(sha256(file), file.relative_to(path.parent).as_posix()) for file in files]
    with atomic_path(_checksum_file(path)) as temporary:
        temporary.write_text("".join(lines), "utf-8", "surrogateescape")
    return _checksum_file(path)


def recorded_sha256(path: Path) -> str | None:
    """Return the checksum in the checksum file of ``path``; None if there is no checksum file.

    ``path`` itself need not exist.

    Raises:
        DataError: the checksum file is invalid, or has no line for ``path``.
    """
    path = Path(os.path.abspath(path))
    file = _checksum_file(path)
    if not os.path.isfile(file):
        return None
    entries = _entries(file)
    # The line may name the file relative to another folder.
    same_name = [digest for entry, digest in entries.items() if entry.name == path.name]
    if not same_name:
        raise DataError(f"{file} has no line for {path.name}. {_how_to_renew(file)}")
    return entries.get(path, same_name[0])


def verify(path: Path, folder: Path | None = None) -> None:
    """Compare a file with its checksum file, if there is one.

    Args:
        path: the file.
        folder: a folder that contains it. If given, the checksum file is that of the folder, and
            all files that it names are compared.

    Raises:
        DataError: a file does not match its checksum, or the checksum file does not name it.
    """
    path = Path(os.path.abspath(path))
    file = _checksum_file(Path(os.path.abspath(folder or path)))
    if folder is None:
        digest = recorded_sha256(path)
        expected = {} if digest is None else {path: digest}
    elif os.path.isfile(file):
        expected = _entries(file)
        if path not in expected:
            raise DataError(f"{file} has no line for {path.name}. {_how_to_renew(file)}")
    else:
        expected = {}
    for entry, digest in expected.items():
        if not os.path.isfile(entry):
            raise DataError(f"{file} names {entry}, which does not exist. {_how_to_renew(file)}")
        if sha256(entry) != digest:
            raise DataError(
                f"{entry} does not match its checksum in {file}: it was damaged or replaced. If it "
                "was downloaded, delete it and fetch it again. If it was changed on purpose: "
                f"{_how_to_renew(file)}"
            )


@contextmanager
def replacing(
    path: Path,
    atomic: Callable[[Path], AbstractContextManager[Path]] = atomic_path,
) -> Iterator[Path]:
    """Write data with ``atomic``, and update its checksum file if there is one.

    Args:
        path: the file or folder to write.
        atomic: :func:`~dfplan.files.atomic_path` or :func:`~dfplan.files.atomic_folder`.

    Yields:
        The temporary path to write to.
    """
    file = _checksum_file(path)
    with atomic(path) as temporary:
        yield temporary
        had_checksum = os.path.isfile(file)
        if had_checksum:
            file.unlink()
    if had_checksum:
        checksum(path)


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits; once while the file does not change.

    Raises:
        DataError: the file cannot be read, or changes meanwhile.
    """
    try:
        before = stamp(path)
        if before in _digests:
            return _digests[before]
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        changed = stamp(path) != before
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}).") from error
    if changed:
        raise DataError(f"{path} was changed while it was read. Try again when it is complete.")
    if is_settled(before):
        _digests[before] = digest.hexdigest()
    return digest.hexdigest()


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + _ENDING)


def _line(digest: str, name: str) -> str:
    escaped = re.sub(r"[\\\n\r]", lambda match: _ESCAPES[match[0]], name)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def _entries(checksum_file: Path) -> dict[Path, str]:
    """Read the checksums in a file of ``sha256sum``, by the path of each file."""
    unescaped = {escape: character for character, escape in _ESCAPES.items()}
    entries = {}
    try:
        text = checksum_file.read_text("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(
            f"{checksum_file} cannot be read ({error}). {_how_to_renew(checksum_file)}"
        ) from error
    for line in text.split("\n"):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip("\r"))
        if match is None:
            raise DataError(
                f"{checksum_file} must have lines of sha256sum (64 digits, two blanks, a name); "
                f"got {line[:100]!r}. {_how_to_renew(checksum_file)}"
            )
        name = match[3]
        if match[1]:
            name = re.sub(r"\\[\\nr]", lambda escape: unescaped[escape[0]], name)
        entries[Path(os.path.abspath(checksum_file.parent / name))] = match[2].lower()
    return entries


def _how_to_renew(checksum_file: Path) -> str:
    data = checksum_file.with_suffix("")
    return f"`dfplan data checksum {data}` writes the checksum again."
