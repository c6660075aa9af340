"""Checksums of data files, kept beside them in the format of ``sha256sum``.

The checksum of ``walk.npz`` lies in ``walk.npz.sha256``, those of a Minari data set's files in
``folder.sha256`` beside the folder. ``sha256sum -c`` takes both. Where there is such a file,
readers compare the data with it.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dfplan.errors import DataError
from dfplan.files import atomic_path, expanded
from dfplan.types import FileStamp

MINARI_FILE = "main_data.hdf5"
"""The file of a Minari data set that holds its episodes."""

_ENDING = ".sha256"
_BLOCK = 1 << 20
_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}  # of sha256sum, in names of files

_SETTLED = 2_000_000_000
"""Age in nanoseconds of a file's last change from which on the next one surely has another time."""

_digests: dict[FileStamp, str] = {}


def stamp(path: str | Path) -> FileStamp:
    """What the file at ``path`` looks like now.

    Raises:
        OSError: there is none.
    """
    found = os.stat(path)
    absolute = Path(os.path.abspath(path))
    return FileStamp(absolute, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def settled(looked: FileStamp) -> bool:
    """Whether any later change of the file shows in its stamp.

    A change within the resolution of the file system's clock may not.
    """
    return time.time_ns() - max(looked.mtime_ns, looked.ctime_ns) > _SETTLED


def checksum(source: str | Path) -> Path:
    """Write the checksum of a data file, or of all files of a Minari data set, beside it.

    From then on the data is compared with it whenever it is read, and :func:`dfplan.data.write`
    renews it.

    Args:
        source: a file, or a Minari data set's folder.

    Returns:
        The path that was written: that of ``source`` with ``.sha256`` after it.

    Raises:
        ConfigError: ``source`` is no path.
        DataError: there is no such file or data set, or it cannot be read.
        OSError: the checksum cannot be written.
    """
    path = Path(os.path.abspath(expanded(source)))
    if os.path.isdir(path):
        if not any((data / MINARI_FILE).is_file() for data in (path, path / "data")):
            raise DataError(
                f"{path} is a folder without {MINARI_FILE}, so it is no Minari data set. Name one, "
                "or a single file."
            )
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif os.path.isfile(path):
        files = [path]
    else:
        raise DataError(f"There is no file or Minari data set at {path}. Check the path.")
    lines = [_line(_digest(file), file.relative_to(path.parent).as_posix()) for file in files]
    with atomic_path(_sidecar(path)) as temporary:
        temporary.write_text("".join(lines), "utf-8", "surrogateescape")
    return _sidecar(path)


def verify(path: Path, folder: Path | None = None) -> None:
    """Compare a file with its checksum, where that lies beside it or beside ``folder``.

    Args:
        path: the file.
        folder: a folder that holds it; all files that its checksum names are compared.

    Raises:
        DataError: a file is not what its checksum says, or the checksum does not name it.
    """
    path = Path(os.path.abspath(path))
    sidecar = _sidecar(Path(os.path.abspath(folder or path)))
    if not os.path.isfile(sidecar):
        return
    expected = _entries(sidecar)
    if folder is None:
        # The file may have been named from another folder.
        named = [digest for file, digest in expected.items() if file.name == path.name]
        expected = dict.fromkeys([path] * len(named), expected.get(path, named[0] if named else ""))
    if path not in expected:
        raise DataError(f"{sidecar} has no line for {path.name}. {_renew(sidecar)}")
    for file, digest in expected.items():
        if not os.path.isfile(file):
            raise DataError(f"{sidecar} names {file}, which is not there. {_renew(sidecar)}")
        if _digest(file) != digest:
            raise DataError(
                f"{file} is not what its checksum in {sidecar} says: it was damaged or replaced. "
                f"If it was downloaded, fetch it again. If it was changed on purpose: "
                f"{_renew(sidecar)}"
            )


@contextmanager
def replacing(
    path: Path,
    atomic: Callable[[Path], AbstractContextManager[Path]] = atomic_path,
) -> Iterator[Path]:
    """Write data by ``atomic``; if there was a checksum of the old data, it is renewed."""
    sidecar = _sidecar(path)
    with atomic(path) as temporary:
        yield temporary
        had = os.path.isfile(sidecar)
        if had:
            sidecar.unlink()
    if had:
        checksum(path)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + _ENDING)


def _line(digest: str, name: str) -> str:
    escaped = re.sub(r"[\\\n\r]", lambda found: _ESCAPES[found[0]], name)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def _entries(sidecar: Path) -> dict[Path, str]:
    """The checksums in a file of ``sha256sum``, by the files that it names."""
    plain = {escaped: character for character, escaped in _ESCAPES.items()}
    entries = {}
    try:
        text = sidecar.read_text("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{sidecar} cannot be read ({error}). {_renew(sidecar)}") from error
    for line in text.split("\n"):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.rstrip("\r"))
        if found is None:
            raise DataError(
                f"{sidecar} must have lines of sha256sum (64 digits, two blanks, a name); got "
                f"{line[:100]!r}. {_renew(sidecar)}"
            )
        name = found[3]
        if found[1]:
            name = re.sub(r"\\[\\nr]", lambda escape: plain[escape[0]], name)
        entries[Path(os.path.abspath(sidecar.parent / name))] = found[2].lower()
    return entries


def _renew(sidecar: Path) -> str:
    return f"`dfplan data checksum {sidecar.with_suffix('')}` writes the checksum again."


def _digest(path: Path) -> str:
    """The file's sha256; computed once while the file stays as it is."""
    try:
        looked = stamp(path)
        if looked in _digests:
            return _digests[looked]
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        changed = stamp(path) != looked
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}).") from error
    if changed:
        raise DataError(f"{path} was changed while it was read. Try again when it is whole.")
    if settled(looked):
        _digests[looked] = digest.hexdigest()
    return digest.hexdigest()
