from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from dfplan.view.planning import Served, serve_planners


@dataclass(frozen=True)
class Here:
    """A server that runs."""

    port: int
    open_connections: Callable[[], int] = lambda: 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        return connection.getresponse()


@pytest.fixture(scope="session")
def served() -> dict[str, Served]:
    return serve_planners(["maze2d-umaze", "ogbench-medium"])


@contextmanager
def running(served: dict[str, Served], **limits: Any) -> Iterator[Here]:
    """A server in a thread; ``limits`` as :func:`dfplan.view.server.listening` has them."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from dfplan.view.server import listening

    server, listener = listening(served, "127.0.0.1", 0, **limits)
    # So that little is under way to a client that does not read.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield Here(listener.getsockname()[1], lambda: len(server.server_state.connections))
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture(scope="session")
def here(served: dict[str, Served]) -> Iterator[Here]:
    with running(served) as server:
        yield server


@pytest.fixture(scope="session")
def hasty(served: dict[str, Served]) -> Iterator[Here]:
    """A server that waits half a second for its clients, and has eight of them at most."""
    with running(served, patience=0.5, connections=8) as server:
        yield server
