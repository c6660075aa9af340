"""The server of the page: its own three addresses, each request by itself, nothing kept."""

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
from dfplan.view.document import document
from dfplan.view.planning import Event, Served, answer
from dfplan.view.requests import PlanRequest, RequestError, read_request

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

LARGEST_BODY = 64 * 1024
"""Bytes of a request, at most."""

AT_ONCE = 2
"""Plans that are made at a time; others wait, and are told so."""

CONNECTIONS = 100
"""That are open at a time; of more, the one is closed whose client has been waited for longest."""

PATIENCE = 10.0
"""Seconds for a request's head, for its body, and for a client to read on."""

_log = logging.getLogger(__name__)


class _GoneError(Exception):
    """Whoever asked has gone away."""


def application(served: Mapping[str, Served], host: str = "127.0.0.1") -> ASGIApp:
    """The page and its planners as an ASGI application.

    ``GET /`` is the page, ``GET /mazes.json`` what can be asked, ``POST /plan`` takes a
    :class:`~dfplan.view.requests.PlanRequest` as JSON and streams the events of
    :func:`~dfplan.view.planning.answer`, one a line; before them ``{"kind": "waiting"}`` where
    others are planning. All else is refused with ``{"error", "field"}`` and a status of 400 (not
    such a request), 403 (from another page, or for another host), 404, 405, 413 or 415.

    Args:
        served: planners by name.
        host: where it will listen. Requests that name another host are refused, so that a page
            from elsewhere cannot ask by a name that it has turned to this machine; where it
            listens beyond this machine, any address in numbers will do.

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
        raise MissingPackageError("The page", "starlette", "view") from error

    page = document()
    mazes = {"planners": [one.described for one in served.values()]}
    slots = asyncio.Semaphore(AT_ONCE)
    common = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }

    def refusal(status: int, message: str, field: str = "") -> JSONResponse:
        return JSONResponse({"error": message, "field": field}, status, common)

    async def show(_: Request) -> Response:
        return HTMLResponse(page.html, headers={**common, "Content-Security-Policy": page.policy})

    async def describe(_: Request) -> Response:
        return JSONResponse(mazes, headers=common)

    async def plan(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return refusal(415, f"Expected the content type application/json; got {kind!r}.")
        long = f"A request has at most {LARGEST_BODY} bytes; got more."
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > LARGEST_BODY:
            return refusal(413, long)
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                if len(body) > LARGEST_BODY:
                    return refusal(413, long)
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            asked = read_request(bytes(body), served)
        except RequestError as error:
            return refusal(400, str(error), error.field)
        events = _events(asked, served[asked.planner], slots)
        return StreamingResponse(events, media_type="application/x-ndjson", headers=common)

    async def refused(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        known = "GET /, GET /mazes.json and POST /plan"
        return refusal(status, f"There is nothing of that kind here; there is {known}.")

    async def failed(_: Request, error: Exception) -> Response:
        return refusal(500, f"The server failed ({type(error).__name__}); its terminal says more.")

    app = Starlette(
        routes=[
            Route("/", show, methods=["GET"]),
            Route("/mazes.json", describe, methods=["GET"]),
            Route("/plan", plan, methods=["POST"]),
        ],
        exception_handlers={HTTPException: refused, 500: failed},
    )

    # A page that is relative to "/" does not work at another address.
    app.router.redirect_slashes = False

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        fault = ""
        if scope["type"] == "http":
            pairs = (
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            )
            fault = forbidden(dict(pairs), host)
        await (refusal(403, fault) if fault else app)(scope, receive, send)

    return guarded


def forbidden(headers: Mapping[str, str], host: str) -> str:
    """Why a request with such headers (names in lower case) is refused; empty if it is not."""
    asked = headers.get("host", "")
    try:
        name = urlsplit(f"//{asked}").hostname or ""
    except ValueError:
        name = ""
    if not (name == "localhost" or name == host.lower().strip("[]") or _fits(name, host)):
        return f"This server answers to its own address; got the host {asked[:80]!r}."
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{asked}":
        return f"This server answers to its own page; got the origin {origin[:80]!r}."
    from_elsewhere = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    # A link from another page may be followed to the page itself.
    if from_elsewhere and headers.get("sec-fetch-mode") != "navigate":
        return "This server answers to its own page; got a request from another one."
    return ""


def _fits(name: str, host: str) -> bool:
    """Whether ``name`` is an address, and of this machine unless the server is beyond it."""
    address = _address(name)
    if address is None:
        return False
    return address.is_loopback or not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


async def _events(
    asked: PlanRequest, served: Served, slots: asyncio.Semaphore
) -> AsyncIterator[bytes]:
    """The lines of the answer, made in a thread of their own."""
    if slots.locked():
        yield _line({"kind": "waiting"})
    await slots.acquire()
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    gone = threading.Event()

    def emit(event: Event) -> None:
        if gone.is_set():
            raise _GoneError
        loop.call_soon_threadsafe(lines.put_nowait, _line(event))

    def work() -> None:
        # A loop that is closed takes nothing any more: the server has ended.
        with suppress(_GoneError, RuntimeError):
            try:
                answer(asked, served, emit)
            except _GoneError:
                raise
            except Exception as error:
                _log.exception("A plan failed: %s", asked)
                message = f"The planner failed ({type(error).__name__}); the terminal says more."
                emit({"kind": "error", "field": "", "message": message})
        with suppress(RuntimeError):
            # The place is free when the work is over, not when nobody looks at it any more.
            loop.call_soon_threadsafe(slots.release)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=work, name="dfplan view").start()
    try:
        while (line := await lines.get()) is not None:
            yield line
    finally:
        gone.set()


def _line(event: Event) -> bytes:
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def listening(
    served: Mapping[str, Served],
    host: str,
    port: int,
    patience: float = PATIENCE,
    connections: int = CONNECTIONS,
) -> tuple[uvicorn.Server, socket.socket]:
    """A server that is not running yet, and its socket, which listens already.

    Args:
        served: planners by name.
        host: address or name of an interface of this machine.
        port: 0 for any that is free.
        patience: how long clients may take, in seconds; see :data:`PATIENCE`.
        connections: see :data:`CONNECTIONS`.

    Raises:
        ConfigError: the port is taken, or there is no such host here.
        MissingPackageError: starlette or uvicorn is not installed.
    """
    try:
        import uvicorn

        from dfplan.view.connections import Connection
    except ImportError as error:
        raise MissingPackageError("The page", "uvicorn", "view") from error
    require_numbers({"port": port}, whole=True, least=0, most=65535)
    app = application(served, host)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        try:
            if os.name == "posix":  # elsewhere it would let two servers have one port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
    except (OSError, ValueError) as error:  # ValueError: a host that cannot be a name
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"Cannot listen on {host}, port {port}: {why}. Choose another host or port: "
            f"dfplan view --port {port % 65535 + 1}"
        ) from error
    config = uvicorn.Config(
        app,
        http=partial(Connection, patience=patience, most=connections),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config), listener


def address_of(listener: socket.socket) -> str:
    """Where a browser finds the page."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(
    served: Mapping[str, Served],
    host: str = "127.0.0.1",
    port: int = 8123,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the page until interrupted; warn on stderr where others than this machine can use it.

    Args:
        served: planners by name.
        host: where to listen.
        port: 0 for any that is free.
        ready: called with the page's address once it can be opened.

    Raises:
        ConfigError: the port is taken, or there is no such host here.
        MissingPackageError: starlette or uvicorn is not installed.
    """
    server, listener = listening(served, host, port)
    if not _is_loopback(listener.getsockname()[0]):
        print(
            f"dfplan: warning: Anyone on the network can use this page, which listens on {host}. "
            "Leave out --host to serve this machine alone.",
            file=sys.stderr,
        )
    # Plans that are cut off by an interrupt are no error.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    ended = threading.Event()
    warming = threading.Thread(target=_warm_up, args=[served, ended])
    with listener, suppress(KeyboardInterrupt):
        ready(address_of(listener))
        warming.start()
        try:
            server.run(sockets=[listener])
        finally:
            ended.set()


def _warm_up(served: Mapping[str, Served], ended: threading.Event) -> None:
    """Plan once with each, as the first plan of a process takes longer than the next."""

    def emit(_: Event) -> None:
        if ended.is_set():
            raise _GoneError

    with suppress(_GoneError):
        for name, one in served.items():
            start, goal = one.described["start"], one.described["goal"]
            answer(PlanRequest(name, tuple(start), tuple(goal)), one, emit)
