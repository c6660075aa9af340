"""Standard streams, warnings and signals of the command line."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO


def complain(line: str) -> None:
    with suppress(OSError):
        print(" ".join(line.split()), file=sys.stderr, flush=True)
    unwritten(sys.stderr)


def unwritten(stream: TextIO) -> OSError | None:
    """Why what was printed cannot be written, or None if it is."""
    try:
        stream.flush()
    except OSError as error:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def lacks_reader(*streams: TextIO) -> bool:
    """Whether one of them is a pipe that nobody reads any more."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    for stream in streams:
        with suppress(OSError):  # not a file
            poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def open_closed_streams() -> None:
    """Make the standard streams such that no print and no other file fails by what they are."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # such as of ASCII alone


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as an interrupt does, so that nothing half-written is left."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """What is wrong with data in one line, without the line of code that noticed it."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            from dfplan.data.segments import DataWarning

            if issubclass(category, DataWarning):
                print(f"dfplan: warning: {message}", file=sys.stderr)
            else:
                others(message, category, *where, **more)

        warnings.showwarning = show
        yield
