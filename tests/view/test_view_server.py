"""The server: what it answers, what it refuses, and how it stops."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import pytest
from conftest import RunningServer

from dfplan.errors import ConfigError, MissingPackageError
from dfplan.view.answer import answer
from dfplan.view.planners import ServedPlanner
from dfplan.view.requests import PlanRequest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from dfplan.view.access import refusal_reason
from dfplan.view.application import MAX_BODY_BYTES, MAX_CONCURRENT_PLANS
from dfplan.view.server import bind_server

JSON = {"Content-Type": "application/json"}
MINIMAL = {"planner": "maze2d-umaze", "start": [2.8, 0.8], "goal": [0.8, 0.8], "candidates": 2}


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def test_the_document_loads_nothing_from_elsewhere(server: RunningServer) -> None:
    response = server.request("GET", "/")
    page, policy = response.read().decode(), response.getheader("Content-Security-Policy") or ""
    assert response.status == 200 and page.startswith("<!doctype html>")
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert " src=" not in page and "@import" not in page and "modules */" not in page


def test_the_planners_are_described(
    server: RunningServer, served: dict[str, ServedPlanner]
) -> None:
    planners = json.loads(server.request("GET", "/planners.json").read())
    assert planners == {"planners": [one.description for one in served.values()]}


def test_a_plan_is_streamed(server: RunningServer, served: dict[str, ServedPlanner]) -> None:
    response = server.request("POST", "/plan", json.dumps(MINIMAL), JSON)
    assert response.status == 200 and response.getheader("Content-Length") is None
    received = lines(response.read())
    expected: list[dict[str, Any]] = []
    request = PlanRequest(planner="maze2d-umaze", start=(2.8, 0.8), goal=(0.8, 0.8), candidates=2)
    answer(request, served["maze2d-umaze"], expected.append)
    for events in (received, expected):
        events[-1].pop("seconds")
    assert received == expected


def test_an_error_while_planning_is_an_event(server: RunningServer) -> None:
    response = server.request("POST", "/plan", json.dumps(MINIMAL | {"start": [0, 0]}), JSON)
    (event,) = lines(response.read())
    assert (event["kind"], event["field"]) == ("error", "start")


REFUSED: list[tuple[int, str, str, Any, dict[str, str]]] = [
    (404, "GET", "/favicon.ico", None, {}),
    (404, "GET", "/page.js", None, {}),
    (404, "GET", "/../setup.cfg", None, {}),
    (404, "GET", "/%2e%2e/%2e%2e/etc/passwd", None, {}),
    (404, "GET", "//etc/passwd", None, {}),
    (404, "POST", "/plan/", "{}", JSON),
    (405, "POST", "/", "{}", JSON),
    (405, "GET", "/plan", None, {}),
    (405, "DELETE", "/planners.json", None, {}),
    (405, "OPTIONS", "/plan", None, {}),
    (415, "POST", "/plan", "{}", {}),
    (415, "POST", "/plan", "{}", {"Content-Type": "text/plain"}),
    (413, "POST", "/plan", b" " * (MAX_BODY_BYTES + 1), JSON),
    (400, "POST", "/plan", b"{", JSON),
    (400, "POST", "/plan", json.dumps(MINIMAL | {"steps": -1}), JSON),
    (403, "GET", "/", None, {"Host": "dfplan.example"}),
    (403, "GET", "/", None, {"Host": "127.0.0.1.example:80"}),
    (403, "GET", "/", None, {"Host": ""}),
    (403, "GET", "/", None, {"Host": "192.168.0.1"}),
    (403, "GET", "/", None, {"Host": "[::"}),
    (403, "POST", "/plan", json.dumps(MINIMAL), JSON | {"Origin": "http://dfplan.example"}),
    (403, "POST", "/plan", json.dumps(MINIMAL), JSON | {"Origin": "null"}),
    (403, "POST", "/plan", json.dumps(MINIMAL), JSON | {"Sec-Fetch-Site": "cross-site"}),
    (403, "GET", "/planners.json", None, {"Sec-Fetch-Site": "same-site"}),
]


@pytest.mark.parametrize(("status", "method", "path", "body", "headers"), REFUSED)
def test_other_requests_are_refused_with_a_reason(
    server: RunningServer, status: int, method: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    response = server.request(method, path, body, headers)
    refusal = json.loads(response.read())
    assert response.status == status
    assert {*refusal} == {"error", "field"} and len(refusal["error"]) > 20
    assert refusal["field"] == ("steps" if body and b"steps" in str(body).encode() else "")


@pytest.mark.parametrize(
    ("host", "name", "accepted"),
    [
        ("127.0.0.1", "127.0.0.1:8123", True),
        ("127.0.0.1", "localhost:8123", True),
        ("127.0.0.1", "[::1]:8123", True),
        ("127.0.0.1", "10.0.0.7:8123", False),
        ("0.0.0.0", "10.0.0.7:8123", True),
        ("0.0.0.0", "dfplan.example:8123", False),
        ("dfplan.example", "dfplan.example:8123", True),
        ("dfplan.example", "else.example:8123", False),
    ],
)
def test_only_requests_for_its_own_host_are_accepted(host: str, name: str, accepted: bool) -> None:
    assert (refusal_reason({"host": name}, host) == "") == accepted
    assert refusal_reason({"host": name, "origin": f"http://{name}"}, host) == refusal_reason(
        {"host": name}, host
    )


def test_ten_clients_get_their_own_plans(server: RunningServer) -> None:
    requests = [MINIMAL | {"seed": seed % 5, "steps": 2} for seed in range(10)]

    def client(request: dict[str, Any]) -> list[dict[str, Any]]:
        return lines(server.request("POST", "/plan", json.dumps(request), JSON).read())

    with ThreadPoolExecutor(10) as pool:
        answers = [*pool.map(client, requests)]
    plans = []
    for events in answers:
        received = [event for event in events if event["kind"] != "waiting"]
        assert [event["kind"] for event in received] == ["row", "row", "plan"]
        plans.append(received[-1]["points"])
    assert any(events[0]["kind"] == "waiting" for events in answers)
    assert plans[:5] == plans[5:]
    assert all(one != other for one in plans[:5] for other in plans[:5] if one is not other)


def test_disconnected_clients_free_their_slots(server: RunningServer) -> None:
    long = json.dumps(MINIMAL | {"matrix": "autoregressive", "steps": 50, "candidates": 32})
    for _ in range(MAX_CONCURRENT_PLANS + 1):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/plan", long, JSON)
        connection.getresponse().readline()
        connection.close()
    began = time.monotonic()
    received = lines(server.request("POST", "/plan", json.dumps(MINIMAL), JSON).read())
    assert received[-1]["kind"] == "plan" and time.monotonic() - began < 30


def test_a_port_in_use_is_refused(served: dict[str, ServedPlanner]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*--port"):
            bind_server(served, "127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"203\.0\.113\.1"):
        bind_server(served, "203.0.113.1", 0)
    with pytest.raises(ConfigError, match="port"):
        bind_server(served, "127.0.0.1", 65536)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_missing_packages_are_named(
    served: dict[str, ServedPlanner], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith(("starlette.", "uvicorn."))]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("application", "connections"):
        monkeypatch.delitem(sys.modules, f"dfplan.view.{name}", raising=False)
    with pytest.raises(MissingPackageError, match=rf"{package}.*pip install 'dfplan\[view\]'"):
        bind_server(served, "127.0.0.1", 0)


def test_the_command_prints_its_address_and_stops_quietly() -> None:
    command = [sys.executable, "-m", "dfplan", "view", "--mazes", "maze2d-umaze", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stderr is not None
        try:
            line = server.stdout.readline().decode()
            port = int(line.split("127.0.0.1:")[1].split("/")[0])
            page = HTTPConnection("127.0.0.1", port, timeout=60)
            page.request("GET", "/")
            assert page.getresponse().read().startswith(b"<!doctype html>")
            long = MINIMAL | {"matrix": "autoregressive", "steps": 50, "candidates": 32}
            page.request("POST", "/plan", json.dumps(long), JSON)
            assert b'"row":1' in page.getresponse().readline()
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0
        finally:
            server.kill()
        assert server.stdout.read() == b"" and server.stderr.read() == b""
