"""Clients that are too slow, or too many: they are let go, and nobody else is."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection

import pytest
from conftest import Here

from dfplan.errors import ConfigError
from dfplan.view.planning import Served

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from dfplan.view.server import listening, serve

JSON = {"Content-Type": "application/json"}
LEAST = {"planner": "maze2d-umaze", "start": [2.8, 0.8], "goal": [0.8, 0.8], "candidates": 2}
LONG = LEAST | {"matrix": "autoregressive", "steps": 50, "candidates": 64}

POST = b"POST /plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
HALF = {
    "nothing": b"",
    "half a line": b"POST /plan HTT",
    "half a head": POST,
    "no body": POST + b"Content-Length: 100\r\n\r\n",
    "half a body": POST + b"Content-Length: 100\r\n\r\n{",
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{",
    "a body that nobody reads": GET + b"Content-Length: 100\r\n\r\nx",
    "another host's": b"POST /plan HTTP/1.1\r\nHost: else.example\r\nContent-Length: 9\r\n\r\n",
    "too large a body": POST + b"Content-Length: 99999999\r\n\r\n" + bytes(70_000),
    "the next one": GET + b"\r\n" + GET,
    "no request": b"\x16\x03\x01\x02\x00\x01",
    "an endless head": GET + b"X: " + b"y" * 70_000,
    "awaiting word": POST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "an upgrade": GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n",
}


@contextmanager
def connected(here: Here, sent: bytes = b"", receive: int = 0) -> Iterator[socket.socket]:
    with closing(socket.socket()) as client:
        if receive:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        client.settimeout(60)
        client.connect(("127.0.0.1", here.port))
        client.sendall(sent)
        yield client


def is_ended(client: socket.socket) -> bool:
    """Read what comes until the server closes, or fail after a minute."""
    try:
        while client.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


def plan(here: Here, request: dict[str, object]) -> list[str]:
    """The kinds of the events of an answer."""
    body = here.ask("POST", "/plan", json.dumps(request), JSON).read()
    return [json.loads(line)["kind"] for line in body.splitlines()]


@pytest.mark.parametrize("kind", HALF)
def test_half_sent_requests_are_ended(hasty: Here, kind: str) -> None:
    with connected(hasty, HALF[kind]) as client:
        assert is_ended(client)
    assert hasty.ask("GET", "/").status == 200


@pytest.mark.parametrize("kind", ["half a line", "half a head", "no body", "the next one"])
def test_requests_that_drip_are_ended(hasty: Here, kind: str) -> None:
    with connected(hasty, HALF[kind]) as client:
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
        raise AssertionError("it went on")


def test_who_does_not_read_is_ended(hasty: Here) -> None:
    body = json.dumps(LONG).encode()
    with connected(hasty, POST + f"Content-Length: {len(body)}\r\n\r\n".encode() + body, 4096):
        until_alone(hasty)
        assert plan(hasty, LEAST)[-1] == "plan"


def until_alone(here: Here) -> None:
    for _ in range(600):
        if not here.open_connections():
            return
        time.sleep(0.1)
    raise AssertionError("a connection stays")


def test_long_plans_and_those_who_wait_for_theirs_are_not_cut(hasty: Here) -> None:
    """Each of these takes longer than a client may; two are made at a time, others wait."""
    asked = LEAST | {"matrix": "autoregressive", "steps": 3}
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda _: plan(hasty, asked), range(4))]
    for kinds in answers:
        assert kinds[-1] == "plan" and kinds.count("row") > 10
    assert any(kinds[0] == "waiting" for kinds in answers)


def test_one_connection_may_ask_for_long(hasty: Here) -> None:
    connection = HTTPConnection("127.0.0.1", hasty.port, timeout=60)
    connection.connect()
    first = connection.sock
    for _ in range(30):
        connection.request("GET", "/mazes.json")
        assert connection.getresponse().read()
        time.sleep(0.05)
    assert connection.sock is first
    connection.close()


def test_however_many_connect_others_are_answered(hasty: Here) -> None:
    with ExitStack() as stack:
        for number in range(60):
            kind = [*HALF][number % 5]
            stack.enter_context(connected(hasty, HALF[kind]))
            if number % 10 == 9:
                assert hasty.ask("GET", "/").read().startswith(b"<!doctype html>")
        assert plan(hasty, LEAST)[-1] == "plan"
        assert hasty.open_connections() <= 8
    until_alone(hasty)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "", "0.0.0.0", "::", "0"])
def test_who_else_can_use_it_is_told(
    served: dict[str, Served], capsys: pytest.CaptureFixture[str], host: str
) -> None:
    def stop(_: str) -> None:
        raise KeyboardInterrupt

    try:
        serve(served, host, 0, stop)
    except ConfigError:
        pytest.skip("this machine has no such address")
    said = capsys.readouterr().err
    if host in ("0.0.0.0", "::", "0"):
        assert said.startswith("dfplan: warning: ") and said.count("\n") == 1
        assert "network" in said
    else:
        assert said == ""


@pytest.mark.parametrize("host", ["a" * 300, "é" * 70, "no\0host", "300.1.1.1", "a b", "[::1"])
def test_hosts_that_are_none_are_one_error(served: dict[str, Served], host: str) -> None:
    with pytest.raises(ConfigError, match="Cannot listen on"):
        listening(served, host, 0)
