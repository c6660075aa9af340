"""Child processes that leave nothing running behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

_INTERVAL = 1.0  # seconds between two checks of the parent


@contextmanager
def child_process(
    command: Sequence[str],
    *,
    output: int | IO[Any] = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process; after the block, kill it and all processes that it has started.

    Args:
        command: the command to run; its standard input is empty.
        output: where its output goes.
        environment: its environment variables; by default those of this process.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def exit_with_parent(parent: int) -> None:
    """End this process, and what it has started, within seconds of the end of its parent.

    Linux's ``PR_SET_PDEATHSIG`` would not do: it sends its signal when the *thread* that started
    this process ends.

    Args:
        parent: id of the process that started this one.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_INTERVAL)
    if os.getsid(0) == os.getpid():  # leads its session: see child_process
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
