from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from dfplan.view.planning import Served, serve_planners


@dataclass(frozen=True)
class Here:
    """A server that runs."""

    port: int

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


@pytest.fixture(scope="session")
def here(served: dict[str, Served]) -> Iterator[Here]:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from dfplan.view.server import listening

    server, listener = listening(served, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield Here(listener.getsockname()[1])
    server.should_exit = True
    thread.join(10)
    listener.close()
