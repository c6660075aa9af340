"""The ASGI application of the web app."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from h11 import LocalProtocolError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from dfplan.view.access import refusal_reason
from dfplan.view.answer import answer
from dfplan.view.document import document
from dfplan.view.execution import Event
from dfplan.view.planners import ServedPlanner
from dfplan.view.requests import PlanRequest, RequestError, read_request

MAX_BODY_BYTES = 64 * 1024
"""Maximum size of a request."""

MAX_CONCURRENT_PLANS = 2
"""Most plans that are made at the same time; other requests wait."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_log = logging.getLogger(__name__)


class _DisconnectedError(Exception):
    """The client has closed its connection."""


class Application:
    """The ASGI application of the web app. It keeps no state between requests.

    ``GET /`` returns the HTML document. ``GET /planners.json`` returns the descriptions of the
    planners. ``POST /plan`` takes a :class:`~dfplan.view.requests.PlanRequest` as JSON and streams
    the events of :func:`~dfplan.view.answer.answer`, one per line. ``{"kind": "waiting"}`` precedes
    them if other plans must finish first. Other requests are refused with ``{"error", "field"}``
    and the status 400 (invalid request), 403 (from another site or for another host), 404, 405, 413
    or 415.

    Args:
        served: planners by name.
        host: host that the server listens on. Requests for another host are refused. This stops
            other sites that make a name of their own point to this machine (DNS rebinding). If the
            server listens on addresses beyond this machine, any numeric address is accepted.
    """

    def __init__(self, served: Mapping[str, ServedPlanner], host: str = "127.0.0.1") -> None:
        self._served, self._host = served, host
        self._document = document()
        self._descriptions = {"planners": [one.description for one in served.values()]}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_PLANS)
        self._app = Starlette(
            routes=[
                Route("/", self._show, methods=["GET"]),
                Route("/planners.json", self._describe, methods=["GET"]),
                Route("/plan", self._plan, methods=["POST"]),
            ],
            exception_handlers={HTTPException: _refuse_address, 500: _report_failure},
        )
        # The document uses relative addresses, so it does not work at another address.
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request if it may be answered."""
        reason = ""
        if scope["type"] == "http":
            pairs = (
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            )
            reason = refusal_reason(dict(pairs), self._host)

        async def send_once(message: Message) -> None:
            # Uvicorn may have refused the rest of the request, and accepts no second answer.
            with suppress(LocalProtocolError):
                await send(message)

        await (_refusal(403, reason) if reason else self._app)(scope, receive, send_once)

    async def _show(self, _: Request) -> Response:
        policy = {"Content-Security-Policy": self._document.policy}
        return HTMLResponse(self._document.html, headers={**_HEADERS, **policy})

    async def _describe(self, _: Request) -> Response:
        return JSONResponse(self._descriptions, headers=_HEADERS)

    async def _plan(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return _refusal(415, f"Expected the content type application/json; got {kind!r}.")
        try:
            body = await _read_body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return _refusal(413, f"Expected a request of at most {MAX_BODY_BYTES} bytes; got more.")
        try:
            plan_request = read_request(body, self._served)
        except RequestError as error:
            return _refusal(400, str(error), error.field)
        events = _stream(plan_request, self._served[plan_request.planner], self._slots)
        return StreamingResponse(events, media_type="application/x-ndjson", headers=_HEADERS)


def _refusal(status: int, message: str, field: str = "") -> JSONResponse:
    return JSONResponse({"error": message, "field": field}, status, _HEADERS)


async def _refuse_address(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    known = "GET /, GET /planners.json or POST /plan"
    return _refusal(status, f"Unknown address or method. Use {known}.")


async def _report_failure(_: Request, error: Exception) -> Response:
    return _refusal(500, f"The server failed ({type(error).__name__}). See its terminal.")


async def _read_body(request: Request) -> bytes | None:
    """Read the body of a request; None if it is too long."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


async def _stream(
    request: PlanRequest, served: ServedPlanner, slots: asyncio.Semaphore
) -> AsyncIterator[bytes]:
    """Yield the lines of an answer, which is made in another thread."""
    if slots.locked():
        yield _line({"kind": "waiting"})
    await slots.acquire()
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    disconnected = threading.Event()

    def emit(event: Event) -> None:
        if disconnected.is_set():
            raise _DisconnectedError
        loop.call_soon_threadsafe(lines.put_nowait, _line(event))

    def work() -> None:
        # RuntimeError: the event loop is closed because the server has stopped.
        with suppress(_DisconnectedError, RuntimeError):
            try:
                answer(request, served, emit)
            except _DisconnectedError:
                raise
            except Exception as error:
                _log.exception("A plan failed: %s", request)
                message = f"The planner failed ({type(error).__name__}). See the terminal."
                emit({"kind": "error", "field": "", "message": message})
        with suppress(RuntimeError):
            # The slot is free when the work is finished, not when the client disconnects.
            loop.call_soon_threadsafe(slots.release)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=work, name="dfplan view").start()
    try:
        while (line := await lines.get()) is not None:
            yield line
    finally:
        disconnected.set()


def _line(event: Event) -> bytes:
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n"
