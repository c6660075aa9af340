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
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dfplan.errors import DataError
from dfplan.files import atomic_path
from dfplan.types import FileStamp

_ENDING = ".sha256"
_BLOCK = 1 << 20
_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}  # of sha256sum, in names of files

_SETTLED = 2_000_000_000
"""Nanoseconds after a file's last change from which on the next change has another time stamp."""

_digests: dict[FileStamp, str] = {}


def stamp(path: str | Path) -> FileStamp:
    """Return the present state of a file; raises :class:`OSError` if there is none."""
    status, absolute = os.stat(path), Path(os.path.abspath(path))
    return FileStamp(
        absolute, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    )


def is_settled(file: FileStamp) -> bool:
    """Whether every later change of the file changes its stamp, despite the clock's resolution."""
    return time.time_ns() - max(file.mtime_ns, file.ctime_ns) > _SETTLED


def write_checksum(path: Path, digests: Mapping[Path, str]) -> Path:
    """Write the SHA-256 of files in the folder or the file ``path``; return the checksum file.

    Raises OSError if the checksum file cannot be written.
    """
    lines = [
        _line(digest, file.relative_to(path.parent).as_posix()) for file, digest in digests.items()
    ]
    with atomic_path(checksum_file(path)) as temporary:
        temporary.write_text("".join(lines), "utf-8", "surrogateescape")
    return checksum_file(path)


def recorded_sha256(path: Path) -> str | None:
    """Return the checksum in the checksum file of ``path``; None if there is no checksum file.

    ``path`` itself need not exist. Raises :class:`DataError` if the checksum file is invalid, or
    has no line for ``path``.
    """
    path = Path(os.path.abspath(path))
    file = checksum_file(path)
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

    If a ``folder`` that contains the file is given, the checksum file is that of the folder, and
    all files that it names are compared.

    Raises:
        DataError: a file is missing or does not match its checksum; or the checksum file is
            invalid, or does not name ``path``.
    """
    path = Path(os.path.abspath(path))
    if path.is_symlink() and folder is None:
        verify(path.resolve())
    file = checksum_file(Path(os.path.abspath(folder or path)))
    expected: dict[Path, str] = {}
    if folder is None:
        digest = recorded_sha256(path)
        expected = {} if digest is None else {path: digest}
    elif os.path.isfile(file):
        expected = _entries(file)
        if path not in expected:
            raise DataError(f"{file} has no line for {path.name}. {_how_to_renew(file)}")
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
    path: Path, atomic: Callable[[Path], AbstractContextManager[Path]] = atomic_path
) -> Iterator[Path]:
    """Write data with ``atomic``, and update its checksum file if there is one.

    Yields:
        The temporary path to write to, from :func:`~dfplan.files.atomic_path` for a file or
        :func:`~dfplan.files.atomic_folder` for a folder.
    """
    file = checksum_file(path)
    with atomic(path) as temporary:
        yield temporary
        had_checksum = os.path.isfile(file)
        if had_checksum:
            file.unlink()
    if had_checksum:
        write_checksum(path, sha256_of(path))


def sha256_of(path: Path) -> dict[Path, str]:
    """The SHA-256 of the file at ``path``, or of all files in the folder there.

    Raises :class:`DataError` if a file cannot be read, or changes meanwhile.
    """
    files = sorted(filter(Path.is_file, path.rglob("*"))) if path.is_dir() else [path]
    return {file: sha256(file) for file in files}


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits; once while the file does not change.

    Raises :class:`DataError` if the file cannot be read, or changes meanwhile.
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


def checksum_file(path: Path) -> Path:
    """Return where the checksum of ``path`` is kept."""
    return path.with_name(path.name + _ENDING)


def _line(digest: str, name: str) -> str:
    escaped = re.sub(r"[\\\n\r]", lambda match: _ESCAPES[match[0]], name)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def _entries(file: Path) -> dict[Path, str]:
    """Read the checksums in a file of ``sha256sum``, by the path of each file."""
    unescaped = {escape: character for character, escape in _ESCAPES.items()}
    entries = {}
    try:
        text = file.read_text("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error}). {_how_to_renew(file)}") from error
    for line in text.split("\n"):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip("\r"))
        if match is None:
            raise DataError(
                f"{file} must have lines of sha256sum (64 digits, two blanks, a name); "
                f"got {line[:100]!r}. {_how_to_renew(file)}"
            )
        name = match[3]
        if match[1]:
            name = re.sub(r"\\[\\nr]", lambda escape: unescaped[escape[0]], name)
        entries[Path(os.path.abspath(file.parent / name))] = match[2].lower()
    return entries


def _how_to_renew(file: Path) -> str:
    data = file.with_suffix("")
    return f"`dfplan data checksum {data}` writes the checksum again."
