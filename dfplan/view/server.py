"""The server of the web app."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from dfplan.errors import ConfigError, MissingPackageError, require_numbers
from dfplan.view.access import is_loopback
from dfplan.view.answer import answer
from dfplan.view.execution import Event
from dfplan.view.planners import ServedPlanner
from dfplan.view.requests import PlanRequest

if TYPE_CHECKING:
    import uvicorn


class _StoppedError(Exception):
    """The server has stopped."""


def bind_server(
    served: Mapping[str, ServedPlanner],
    host: str,
    port: int,
    timeout: float = 10.0,
    max_connections: int = 100,
) -> tuple[uvicorn.Server, socket.socket]:
    """Make a server, which is not running yet, and its socket, which already listens.

    ``host`` is an address or name of an interface of this machine; ``port`` is 0 for any free one.
    See :class:`dfplan.view.connections.LimitedConnection` for ``timeout`` and ``max_connections``.

    Raises:
        ConfigError: the port is in use, or this machine has no such host.
        MissingPackageError: starlette or uvicorn is not installed.
    """
    try:
        import uvicorn

        from dfplan.view.application import Application
        from dfplan.view.connections import LimitedConnection
    except ImportError as error:
        package = (error.name or "starlette").partition(".")[0]
        raise MissingPackageError("The web app", package, "view") from error
    require_numbers({"port": port}, integer=True, minimum=0, maximum=65535)
    app = Application(served, host)
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
    """Serve the web app until interrupted; arguments and errors are those of :func:`bind_server`.

    Prints a warning to stderr if other machines can use it. ``ready`` is called with the web app's
    address when it can be opened.
    """
    server, listener = bind_server(served, host, port)
    if not is_loopback(listener.getsockname()[0]):
        print(
            f"dfplan: warning: The web app listens on {host}; anyone on the network can use it. "
            "Omit --host to serve only this machine.",
            file=sys.stderr,
        )
    # Plans that are interrupted are not errors.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    stopped = threading.Event()
    warming = threading.Thread(target=_warm_up, args=[served, stopped])
    with listener, suppress(KeyboardInterrupt):
        ready(server_url(listener))
        warming.start()
        try:
            server.run(sockets=[listener])
        finally:
            stopped.set()


def _warm_up(served: Mapping[str, ServedPlanner], stopped: threading.Event) -> None:
    """Make a plan with each planner, because the first plan of a process is slow."""

    def emit(_: Event) -> None:
        if stopped.is_set():
            raise _StoppedError

    with suppress(_StoppedError):
        for name, one in served.items():
            start, goal = one.description["start"], one.description["goal"]
            answer(PlanRequest(planner=name, start=tuple(start), goal=tuple(goal)), one, emit)
