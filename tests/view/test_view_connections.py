"""Connections of clients that are slow, or too many, are closed; others are not."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection

import pytest
from conftest import RunningServer

from dfplan.errors import ConfigError
from dfplan.view.planners import ServedPlanner

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from h11 import LocalProtocolError
from starlette.types import Message

from dfplan.view.application import Application
from dfplan.view.server import bind_server, serve

JSON = {"Content-Type": "application/json"}
MINIMAL = {"planner": "maze2d-umaze", "start": [2.8, 0.8], "goal": [0.8, 0.8], "candidates": 2}
LONG = MINIMAL | {"matrix": "autoregressive", "steps": 50, "candidates": 64}

POST = b"POST /plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
INCOMPLETE = {
    "nothing": b"",
    "half a line": b"POST /plan HTT",
    "half a head": POST,
    "no body": POST + b"Content-Length: 100\r\n\r\n",
    "half a body": POST + b"Content-Length: 100\r\n\r\n{",
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{",
    "an unread body": GET + b"Content-Length: 100\r\n\r\nx",
    "another host": b"POST /plan HTTP/1.1\r\nHost: else.example\r\nContent-Length: 9\r\n\r\n",
    "too large a body": POST + b"Content-Length: 99999999\r\n\r\n" + bytes(70_000),
    "a second request": GET + b"\r\n" + GET,
    "not HTTP": b"\x16\x03\x01\x02\x00\x01",
    "an endless head": GET + b"X: " + b"y" * 70_000,
    "expect continue": POST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "an upgrade": GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n",
}


@contextmanager
def connected(
    server: RunningServer, sent: bytes = b"", receive: int = 0
) -> Iterator[socket.socket]:
    with closing(socket.socket()) as client:
        if receive:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        client.settimeout(60)
        client.connect(("127.0.0.1", server.port))
        client.sendall(sent)
        yield client


def is_closed(client: socket.socket) -> bool:
    """Read until the server closes the connection, or fail after a minute."""
    try:
        while client.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


def plan(server: RunningServer, request: dict[str, object]) -> list[str]:
    """The kinds of the events of an answer."""
    body = server.request("POST", "/plan", json.dumps(request), JSON).read()
    return [json.loads(line)["kind"] for line in body.splitlines()]


@pytest.mark.parametrize("kind", INCOMPLETE)
def test_incomplete_requests_are_closed(impatient_server: RunningServer, kind: str) -> None:
    with connected(impatient_server, INCOMPLETE[kind]) as client:
        assert is_closed(client)
    assert impatient_server.request("GET", "/").status == 200


@pytest.mark.parametrize("kind", ["half a line", "half a head", "no body", "a second request"])
def test_slow_requests_are_closed(impatient_server: RunningServer, kind: str) -> None:
    with connected(impatient_server, INCOMPLETE[kind]) as client:
        client.settimeout(0.1)
        for _ in range(600):
            try:
                client.sendall(b"x")
                if not client.recv(1 << 16):
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
        raise AssertionError("the connection stays open")


def test_clients_that_do_not_read_are_closed(impatient_server: RunningServer) -> None:
    body = json.dumps(LONG).encode()
    with connected(
        impatient_server, POST + f"Content-Length: {len(body)}\r\n\r\n".encode() + body, 4096
    ):
        wait_until_closed(impatient_server)
        assert plan(impatient_server, MINIMAL)[-1] == "plan"


def test_an_answer_to_a_refused_request_is_dropped(served: dict[str, ServedPlanner]) -> None:
    """Uvicorn refuses a malformed body itself, and raises an error at a second answer."""
    headers = [(b"host", b"127.0.0.1"), (b"transfer-encoding", b"chunked")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/plan",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
    }
    asked: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        asked.append(message)
        raise LocalProtocolError("the connection is closing")

    asyncio.run(Application(served)(scope, receive, send))
    assert asked


def wait_until_closed(server: RunningServer) -> None:
    for _ in range(600):
        if not server.open_connections():
            return
        time.sleep(0.1)
    raise AssertionError("a connection stays open")


def test_long_plans_and_waiting_requests_are_not_closed(impatient_server: RunningServer) -> None:
    """Each plan takes longer than the timeout; two are made at the same time, others wait."""
    request = MINIMAL | {"matrix": "autoregressive", "steps": 3}
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda _: plan(impatient_server, request), range(4))]
    for kinds in answers:
        assert kinds[-1] == "plan" and kinds.count("row") > 10
    assert any(kinds[0] == "waiting" for kinds in answers)


def test_a_connection_can_be_used_for_long(impatient_server: RunningServer) -> None:
    connection = HTTPConnection("127.0.0.1", impatient_server.port, timeout=60)
    connection.connect()
    first = connection.sock
    for _ in range(30):
        connection.request("GET", "/planners.json")
        assert connection.getresponse().read()
        time.sleep(0.05)
    assert connection.sock is first
    connection.close()


def test_other_requests_are_answered_with_many_connections(impatient_server: RunningServer) -> None:
    with ExitStack() as stack:
        for number in range(60):
            kind = [*INCOMPLETE][number % 5]
            stack.enter_context(connected(impatient_server, INCOMPLETE[kind]))
            if number % 10 == 9:
                assert impatient_server.request("GET", "/").read().startswith(b"<!doctype html>")
        assert plan(impatient_server, MINIMAL)[-1] == "plan"
        assert impatient_server.open_connections() <= 8
    wait_until_closed(impatient_server)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "", "0.0.0.0", "::", "0"])
def test_a_warning_says_that_others_can_use_the_server(
    served: dict[str, ServedPlanner], capsys: pytest.CaptureFixture[str], host: str
) -> None:
    def stop(_: str) -> None:
        raise KeyboardInterrupt

    try:
        serve(served, host, 0, stop)
    except ConfigError:
        pytest.skip("this machine has no such address")
    text = capsys.readouterr().err
    if host in ("0.0.0.0", "::", "0"):
        assert text.startswith("dfplan: warning: ") and text.count("\n") == 1
        assert "network" in text
    else:
        assert text == ""


@pytest.mark.parametrize("host", ["a" * 300, "é" * 70, "no\0host", "300.1.1.1", "a b", "[::1"])
def test_invalid_hosts_are_refused(served: dict[str, ServedPlanner], host: str) -> None:
    with pytest.raises(ConfigError, match="Cannot listen on"):
        bind_server(served, host, 0)
