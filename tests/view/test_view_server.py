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
from conftest import Here

from dfplan.errors import ConfigError, MissingPackageError
from dfplan.view.planning import Served, answer
from dfplan.view.requests import PlanRequest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from dfplan.view.server import AT_ONCE, LARGEST_BODY, forbidden, listening

JSON = {"Content-Type": "application/json"}
LEAST = {"planner": "maze2d-umaze", "start": [2.8, 0.8], "goal": [0.8, 0.8], "candidates": 2}


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def test_the_page_loads_nothing_from_elsewhere(here: Here) -> None:
    answered = here.ask("GET", "/")
    page, policy = answered.read().decode(), answered.getheader("Content-Security-Policy") or ""
    assert answered.status == 200 and page.startswith("<!doctype html>")
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert " src=" not in page and "@import" not in page and "page.js */" not in page


def test_what_can_be_asked_is_told(here: Here, served: dict[str, Served]) -> None:
    told = json.loads(here.ask("GET", "/mazes.json").read())
    assert told == {"planners": [one.described for one in served.values()]}


def test_a_plan_is_streamed_as_it_is_made(here: Here, served: dict[str, Served]) -> None:
    answered = here.ask("POST", "/plan", json.dumps(LEAST), JSON)
    assert answered.status == 200 and answered.getheader("Content-Length") is None
    got = lines(answered.read())
    expected: list[dict[str, Any]] = []
    places = {name: tuple(LEAST[name]) for name in ("start", "goal")}  # type: ignore[arg-type]
    request = PlanRequest("maze2d-umaze", candidates=2, **places)
    answer(request, served["maze2d-umaze"], expected.append)
    for events in (got, expected):
        events[-1].pop("seconds")
    assert got == expected


def test_an_error_while_planning_is_an_event(here: Here) -> None:
    answered = here.ask("POST", "/plan", json.dumps(LEAST | {"start": [0, 0]}), JSON)
    (event,) = lines(answered.read())
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
    (405, "DELETE", "/mazes.json", None, {}),
    (405, "OPTIONS", "/plan", None, {}),
    (415, "POST", "/plan", "{}", {}),
    (415, "POST", "/plan", "{}", {"Content-Type": "text/plain"}),
    (413, "POST", "/plan", b" " * (LARGEST_BODY + 1), JSON),
    (400, "POST", "/plan", b"{", JSON),
    (400, "POST", "/plan", json.dumps(LEAST | {"steps": -1}), JSON),
    (403, "GET", "/", None, {"Host": "dfplan.example"}),
    (403, "GET", "/", None, {"Host": "127.0.0.1.example:80"}),
    (403, "GET", "/", None, {"Host": ""}),
    (403, "GET", "/", None, {"Host": "192.168.0.1"}),
    (403, "GET", "/", None, {"Host": "[::"}),
    (403, "POST", "/plan", json.dumps(LEAST), JSON | {"Origin": "http://dfplan.example"}),
    (403, "POST", "/plan", json.dumps(LEAST), JSON | {"Origin": "null"}),
    (403, "POST", "/plan", json.dumps(LEAST), JSON | {"Sec-Fetch-Site": "cross-site"}),
    (403, "GET", "/mazes.json", None, {"Sec-Fetch-Site": "same-site"}),
]


@pytest.mark.parametrize(("status", "method", "path", "body", "headers"), REFUSED)
def test_all_else_is_refused_in_words(
    here: Here, status: int, method: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    answered = here.ask(method, path, body, headers)
    said = json.loads(answered.read())
    assert answered.status == status
    assert {*said} == {"error", "field"} and len(said["error"]) > 20
    assert said["field"] == ("steps" if body and b"steps" in str(body).encode() else "")


@pytest.mark.parametrize(
    ("host", "name", "fine"),
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
def test_only_its_own_host_is_answered(host: str, name: str, fine: bool) -> None:
    assert (forbidden({"host": name}, host) == "") == fine
    assert forbidden({"host": name, "origin": f"http://{name}"}, host) == forbidden(
        {"host": name}, host
    )


def test_ten_viewers_keep_their_own_plans(here: Here) -> None:
    asked = [LEAST | {"seed": seed % 5, "steps": 2} for seed in range(10)]

    def viewer(request: dict[str, Any]) -> list[dict[str, Any]]:
        return lines(here.ask("POST", "/plan", json.dumps(request), JSON).read())

    with ThreadPoolExecutor(10) as pool:
        answers = [*pool.map(viewer, asked)]
    plans = []
    for events in answers:
        kept = [event for event in events if event["kind"] != "waiting"]
        assert [event["kind"] for event in kept] == ["row", "row", "plan"]
        plans.append(kept[-1]["points"])
    assert any(events[0]["kind"] == "waiting" for events in answers)
    assert plans[:5] == plans[5:]
    assert all(one != other for one in plans[:5] for other in plans[:5] if one is not other)


def test_those_that_went_away_leave_their_places(here: Here) -> None:
    long = json.dumps(LEAST | {"matrix": "autoregressive", "steps": 50, "candidates": 64})
    for _ in range(AT_ONCE + 1):
        connection = HTTPConnection("127.0.0.1", here.port, timeout=60)
        connection.request("POST", "/plan", long, JSON)
        connection.getresponse().readline()
        connection.close()
    began = time.monotonic()
    got = lines(here.ask("POST", "/plan", json.dumps(LEAST), JSON).read())
    assert got[-1]["kind"] == "plan" and time.monotonic() - began < 30


def test_a_port_that_is_taken_is_named(served: dict[str, Served]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*--port"):
            listening(served, "127.0.0.1", port)
    with pytest.raises(ConfigError, match="Cannot listen on 203"):
        listening(served, "203.0.113.1", 0)
    with pytest.raises(ConfigError, match="port must be a whole number"):
        listening(served, "127.0.0.1", 65536)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named(
    served: dict[str, Served], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in (package, "starlette.applications"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=rf"{package}.*pip install 'dfplan\[view\]'"):
        listening(served, "127.0.0.1", 0)


def test_the_command_says_where_and_ends_quietly() -> None:
    command = [sys.executable, "-m", "dfplan", "view", "--mazes", "maze2d-umaze", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stderr is not None
        try:
            line = server.stdout.readline().decode()
            port = int(line.split("127.0.0.1:")[1].split("/")[0])
            page = HTTPConnection("127.0.0.1", port, timeout=60)
            page.request("GET", "/")
            assert page.getresponse().read().startswith(b"<!doctype html>")
            long = LEAST | {"matrix": "autoregressive", "steps": 50, "candidates": 64}
            page.request("POST", "/plan", json.dumps(long), JSON)
            assert b'"row":1' in page.getresponse().readline()
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0
        finally:
            server.kill()
        assert server.stdout.read() == b"" and server.stderr.read() == b""
