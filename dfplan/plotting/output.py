"""Where pictures and films go: to a path, or into a file that is open."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dfplan.errors import ConfigError, unknown_name
from dfplan.files import atomic_path, expanded

Output = str | os.PathLike[str] | IO[bytes]
"""A path, or a file that is open for bytes, such as :class:`io.BytesIO`."""


def checked_output(
    output: Output, kind: str, endings: Sequence[str], format: str | None = None
) -> tuple[Path | Any, str]:
    """Where to write, and the ending that says what.

    Args:
        output: where to; ``~`` is the home folder.
        kind: what is written, for messages.
        endings: those that are known; the first is that of a file without a name that has one.
        format: an ending that holds instead of the name's.

    Raises:
        ConfigError: neither a path nor a file, or an unknown ending.
    """
    where: Path | Any
    if isinstance(output, str | os.PathLike):
        where = expanded(os.fspath(output))
        name, ending = where.name, where.suffix
    elif hasattr(output, "write"):
        where, name = output, str(getattr(output, "name", ""))
        ending = Path(name).suffix if Path(name).suffix.lower() in endings else endings[0]
    else:
        raise ConfigError(
            f"A {kind} is written to a path or into a file that is open for bytes; got {output!r}."
        )
    if format is not None:
        name = ending = f".{str(format).removeprefix('.')}"
    if ending.lower() not in endings:
        raise unknown_name(f"ending of a {kind}", ending or name, endings)
    return where, ending.lower()


@contextmanager
def written(where: Path | IO[bytes], ending: str) -> Iterator[Path]:
    """Yield the path of an empty file; what the block writes there goes to ``where`` as a whole.

    Raises:
        ConfigError: ``where`` is a file that takes no bytes.
    """
    if isinstance(where, Path):
        with atomic_path(where) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, f"file{ending}")
        temporary.touch()
        yield temporary
        try:
            where.write(temporary.read_bytes())
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"The file must be open for writing bytes (mode 'wb', or io.BytesIO): {error}."
            ) from error
