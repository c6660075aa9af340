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


def print_error(message: str) -> None:
    """Print a message to stderr as one line, if stderr can be written."""
    with suppress(OSError):
        print(" ".join(message.split()), file=sys.stderr, flush=True)
    flush(sys.stderr)


def flush(stream: TextIO) -> OSError | None:
    """Write what a stream still holds.

    If that is not possible, connect the stream to the null device and return the error.
    """
    try:
        stream.flush()
    except OSError as error:
        # Python flushes again at exit, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def any_closed_pipe(*streams: TextIO) -> bool:
    """Whether one of the streams is a pipe whose reader has closed it."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    for stream in streams:
        with suppress(OSError):  # the stream has no file descriptor
            poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def repair_streams() -> None:
    """Connect closed standard streams to the null device, and let every character be printed.

    If descriptor 1 is closed, the next file that is opened gets it, and prints go into that file.
    """
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
            stream.reconfigure(errors="backslashreplace")  # the encoding may be ASCII


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block by an exception, so that temporary files are removed."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
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
def short_warnings() -> Iterator[None]:
    """Print warnings about data in one line each, without the line of code that raised them."""
    with warnings.catch_warnings():
        default = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            from dfplan.data.segments import DataWarning

            if issubclass(category, DataWarning):
                print(f"dfplan: warning: {message}", file=sys.stderr)
            else:
                default(message, category, *where, **more)

        warnings.showwarning = show
        yield
