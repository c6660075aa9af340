from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from dfplan.view.planners import ServedPlanner, load_planners


@dataclass(frozen=True)
class RunningServer:
    """A running server."""

    port: int
    open_connections: Callable[[], int] = lambda: 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        return connection.getresponse()


@pytest.fixture(scope="session")
def served() -> dict[str, ServedPlanner]:
    return load_planners(["maze2d-umaze", "ogbench-medium"])


@contextmanager
def running(served: dict[str, ServedPlanner], **limits: Any) -> Iterator[RunningServer]:
    """A server in a thread; ``limits`` are arguments of :func:`dfplan.view.server.bind_server`."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from dfplan.view.server import bind_server

    server, listener = bind_server(served, "127.0.0.1", 0, **limits)
    # A small buffer, so that the server soon notices a client that does not read.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield RunningServer(listener.getsockname()[1], lambda: len(server.server_state.connections))
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture(scope="session")
def server(served: dict[str, ServedPlanner]) -> Iterator[RunningServer]:
    with running(served) as running_server:
        yield running_server


@pytest.fixture(scope="session")
def impatient_server(served: dict[str, ServedPlanner]) -> Iterator[RunningServer]:
    """A server that waits half a second for clients and has at most eight connections."""
    with running(served, timeout=0.5, max_connections=8) as running_server:
        yield running_server


@pytest.fixture
def open_app(browser: Any, server: RunningServer) -> Iterator[Callable[..., Any]]:
    from web_app import DESKTOP, PHONE, TIMEOUT, App

    contexts, apps = [], []

    def visit(
        size: tuple[int, int] = DESKTOP, url: str = server.url, opening: bool = False, **more: Any
    ) -> Any:
        """Visit the web app; show the finished plan, unless ``opening``."""
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            has_touch=size == PHONE,
            is_mobile=size == PHONE,
            **more,
        )
        context.set_default_timeout(TIMEOUT)
        contexts.append(context)
        apps.append(App(context.new_page()))
        apps[-1].page.goto(url)
        if not opening:
            apps[-1].show_plan()
        return apps[-1]

    yield visit
    for context in contexts:
        context.close()
    for one in apps:
        assert one.errors == []
