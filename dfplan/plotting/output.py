"""Writes pictures and videos to a path or into an open file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from dfplan.errors import ConfigError, unknown_name
from dfplan.files import atomic_path, expand_path
from dfplan.plotting.settings import default_settings

_TEXT: Any = {"pdf.fonttype": 42, "svg.fonttype": "none"}
"""Text in files can be searched and edited, as journals ask."""


class PaperFigure(Figure):
    """A figure that :meth:`savefig` writes with text as text, whatever the user's settings are.

    Other ways of writing it, such as ``PdfPages``, use the user's settings of matplotlib.
    """

    def savefig(self, *args: Any, **options: Any) -> None:
        """As :meth:`matplotlib.figure.Figure.savefig`, with matplotlib's default settings."""
        with default_settings(), rc_context(_TEXT):
            super().savefig(*args, **options)


Output = str | os.PathLike[str] | IO[bytes]
"""A path, or a file that is open for writing bytes, such as :class:`io.BytesIO`."""


def check_output(
    output: Output, kind: str, endings: Sequence[str], format: str | None = None
) -> tuple[Path | Any, str]:
    """Return where to write, and the ending that determines the format.

    ``~`` is the home folder. ``kind`` is what is written, for error messages. The first of the
    known endings is used for open files whose name has none of them. ``format`` is an ending to use
    instead of the name's.

    Raises:
        ConfigError: ``output`` is not a path or a file, or the ending is unknown.
    """
    target: Path | Any
    if isinstance(output, str | os.PathLike):
        target = expand_path(os.fspath(output))
        name, ending = target.name, target.suffix
    elif hasattr(output, "write"):
        target, name = output, str(getattr(output, "name", ""))
        ending = Path(name).suffix if Path(name).suffix.lower() in endings else endings[0]
    else:
        raise ConfigError(
            f"Expected a path or a file that is open for writing bytes, to write a {kind} to; got "
            f"{output!r}."
        )
    if format is not None:
        name = ending = f".{str(format).removeprefix('.')}"
    if ending.lower() not in endings:
        raise unknown_name(f"ending of a {kind}", ending or name, endings)
    return target, ending.lower()


@contextmanager
def atomic_output(target: Path | IO[bytes], ending: str) -> Iterator[Path]:
    """Yield the path of an empty file; after the block its content is copied to ``target``.

    Nothing is written to ``target`` if the block raises.

    Raises:
        ConfigError: ``target`` is a file that does not accept bytes.
    """
    if isinstance(target, Path):
        with atomic_path(target) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, f"file{ending}")
        temporary.touch()
        yield temporary
        try:
            target.write(temporary.read_bytes())
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"The file must be open for writing bytes (mode 'wb', or io.BytesIO): {error}."
            ) from error
