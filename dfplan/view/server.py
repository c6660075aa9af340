"""The server of the web app. It has three addresses and keeps no state between requests."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dfplan.errors import ConfigError, MissingPackageError, require_numbers
from dfplan.view.answer import answer
from dfplan.view.document import document
from dfplan.view.execution import Event
from dfplan.view.planners import ServedPlanner
from dfplan.view.requests import PlanRequest, RequestError, read_request

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

MAX_BODY_BYTES = 64 * 1024
"""Maximum size of a request."""

MAX_CONCURRENT_PLANS = 2
"""Most plans that are made at the same time; other requests wait."""

MAX_CONNECTIONS = 100
"""Most open connections; see :class:`dfplan.view.connections.LimitedConnection`."""

CLIENT_TIMEOUT = 10.0
"""Seconds that a client may take; see :class:`dfplan.view.connections.LimitedConnection`."""

_log = logging.getLogger(__name__)


class _DisconnectedError(Exception):
    """The client has closed its connection."""


def application(served: Mapping[str, ServedPlanner], host: str = "127.0.0.1") -> ASGIApp:
    """Make the ASGI application.

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

    Raises:
        MissingPackageError: starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.requests import ClientDisconnect, Request
        from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
        from starlette.routing import Route
        from starlette.types import Receive, Scope, Send
    except ImportError as error:
        raise MissingPackageError("The web app", "starlette", "view") from error

    app_document = document()
    descriptions = {"planners": [one.description for one in served.values()]}
    slots = asyncio.Semaphore(MAX_CONCURRENT_PLANS)
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }

    def refusal(status: int, message: str, field: str = "") -> JSONResponse:
        return JSONResponse({"error": message, "field": field}, status, headers)

    async def show(_: Request) -> Response:
        policy = {"Content-Security-Policy": app_document.policy}
        return HTMLResponse(app_document.html, headers={**headers, **policy})

    async def describe(_: Request) -> Response:
        return JSONResponse(descriptions, headers=headers)

    async def plan(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return refusal(415, f"Expected the content type application/json; got {kind!r}.")
        too_long = f"Expected a request of at most {MAX_BODY_BYTES} bytes; got more."
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
            return refusal(413, too_long)
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    return refusal(413, too_long)
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            plan_request = read_request(bytes(body), served)
        except RequestError as error:
            return refusal(400, str(error), error.field)
        events = _stream(plan_request, served[plan_request.planner], slots)
        return StreamingResponse(events, media_type="application/x-ndjson", headers=headers)

    async def refused(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        known = "GET /, GET /planners.json or POST /plan"
        return refusal(status, f"Unknown address or method. Use {known}.")

    async def failed(_: Request, error: Exception) -> Response:
        return refusal(500, f"The server failed ({type(error).__name__}). See its terminal.")

    app = Starlette(
        routes=[
            Route("/", show, methods=["GET"]),
            Route("/planners.json", describe, methods=["GET"]),
            Route("/plan", plan, methods=["POST"]),
        ],
        exception_handlers={HTTPException: refused, 500: failed},
    )

    # The document uses relative addresses, so it does not work at another address.
    app.router.redirect_slashes = False

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        reason = ""
        if scope["type"] == "http":
            pairs = (
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            )
            reason = refusal_reason(dict(pairs), host)
        await (refusal(403, reason) if reason else app)(scope, receive, send)

    return guarded


def refusal_reason(headers: Mapping[str, str], host: str) -> str:
    """Return why a request is refused, or an empty string if it is accepted.

    Args:
        headers: of the request, with names in lower case.
        host: host that the server listens on.
    """
    requested = headers.get("host", "")
    try:
        name = urlsplit(f"//{requested}").hostname or ""
    except ValueError:
        name = ""
    if not (name == "localhost" or name == host.lower().strip("[]") or _is_own_address(name, host)):
        return f"Expected this server's own address; got the host {requested[:80]!r}."
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{requested}":
        return f"Expected a request from this server's web app; got the origin {origin[:80]!r}."
    cross_site = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    # Following a link from another site is allowed.
    if cross_site and headers.get("sec-fetch-mode") != "navigate":
        return "Expected a request from this server's web app; got one from another site."
    return ""


def _is_own_address(name: str, host: str) -> bool:
    """Whether ``name`` is a numeric address that the server on ``host`` may have."""
    address = _parse_address(name)
    if address is None:
        return False
    return address.is_loopback or not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    address = _parse_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _parse_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


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


def bind_server(
    served: Mapping[str, ServedPlanner],
    host: str,
    port: int,
    timeout: float = CLIENT_TIMEOUT,
    max_connections: int = MAX_CONNECTIONS,
) -> tuple[uvicorn.Server, socket.socket]:
    """Make a server, which is not running yet, and its socket, which already listens.

    Args:
        served: planners by name.
        host: address or name of an interface of this machine.
        port: 0 for any free port.
        timeout: seconds that a client may take; see :data:`CLIENT_TIMEOUT`.
        max_connections: see :data:`MAX_CONNECTIONS`.

    Raises:
        ConfigError: the port is in use, or this machine has no such host.
        MissingPackageError: starlette or uvicorn is not installed.
    """
    try:
        import uvicorn

        from dfplan.view.connections import LimitedConnection
    except ImportError as error:
        raise MissingPackageError("The web app", "uvicorn", "view") from error
    require_numbers({"port": port}, integer=True, minimum=0, maximum=65535)
    app = application(served, host)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        try:
            if os.name == "posix":  # on Windows it would let two servers share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
    except (OSError, ValueError) as error:  # ValueError: the host is not a valid name
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"Cannot listen on {host}, port {port}: {why}. Choose another host or port: "
            f"dfplan view --port {port % 65535 + 1}"
        ) from error
    config = uvicorn.Config(
        app,
        http=partial(  # type: ignore[arg-type]
            LimitedConnection, timeout=timeout, max_connections=max_connections
        ),
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config), listener


def server_url(listener: socket.socket) -> str:
    """The address of the web app, for browsers."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(
    served: Mapping[str, ServedPlanner],
    host: str = "127.0.0.1",
    port: int = 8123,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the web app until interrupted.

    Prints a warning to stderr if other machines can use it.

    Args:
        served: planners by name.
        host: host to listen on.
        port: 0 for any free port.
        ready: called with the web app's address when it can be opened.

    Raises:
        ConfigError: the port is in use, or this machine has no such host.
        MissingPackageError: starlette or uvicorn is not installed.
    """
    server, listener = bind_server(served, host, port)
    if not _is_loopback(listener.getsockname()[0]):
        print(
            f"dfplan: warning: The web app listens on {host}; anyone on the network can use it. "
            "Omit --host to serve only this machine.",
            file=sys.stderr,
        )
    # Plans that are interrupted are not errors.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    ended = threading.Event()
    warming = threading.Thread(target=_warm_up, args=[served, ended])
    with listener, suppress(KeyboardInterrupt):
        ready(server_url(listener))
        warming.start()
        try:
            server.run(sockets=[listener])
        finally:
            ended.set()


def _warm_up(served: Mapping[str, ServedPlanner], ended: threading.Event) -> None:
    """Make a plan with each planner, because the first plan of a process is slow."""

    def emit(_: Event) -> None:
        if ended.is_set():
            raise _DisconnectedError

    with suppress(_DisconnectedError):
        for name, one in served.items():
            start, goal = one.description["start"], one.description["goal"]
            answer(PlanRequest(planner=name, start=tuple(start), goal=tuple(goal)), one, emit)
