"""Connections with limits on waiting times and on their number, which uvicorn does not have."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_CHECKS_PER_TIMEOUT = 10
_BYTES_PER_TIMEOUT = 32 * 1024


class LimitedConnection(H11Protocol):
    """A connection that is closed if its client is too slow or if there are too many connections.

    Args:
        timeout: seconds that a client may take to send the head of a request, then to send its
            body, and to read each 32 KiB of the answer. The server's own time does not count.
        max_connections: most open connections. If there are more, the one whose client is waited
            for longest is closed.
        arguments: arguments of uvicorn.
    """

    def __init__(self, *, timeout: float, max_connections: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._timeout = timeout
        self._max_connections = max_connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to check the waiting time. Close a connection if there are too many."""
        super().connection_made(transport)
        self._closed = False
        self._since = self.loop.time()
        self._awaited: object = None
        self._check()
        connections = (cast(LimitedConnection, each) for each in self.connections)
        connections_open = [each for each in connections if not each._closed]
        if len(connections_open) > self._max_connections:
            # This connection waits for its request, so at least one client is waited for.
            waiting = [each for each in connections_open if each._awaits() is not None]
            min(waiting, key=lambda each: each._since)._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the checks of the waiting time."""
        super().connection_lost(exc)
        self._next_check.cancel()

    def _check(self) -> None:
        """Close the connection if it has waited for the same thing for too long."""
        awaited, now = self._awaits(), self.loop.time()
        if awaited != self._awaited:
            self._awaited, self._since = awaited, now
        elif awaited is not None and now - self._since > self._timeout:
            self._close()
        self._next_check = self.loop.call_later(self._timeout / _CHECKS_PER_TIMEOUT, self._check)

    def _close(self) -> None:
        self._closed = True
        self.transport.abort()

    def _awaits(self) -> object:
        """What the client must do next; None if the server must."""
        if self.flow.write_paused or self.transport.is_closing():
            return self.transport.get_write_buffer_size() // _BYTES_PER_TIMEOUT
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            return self.conn.their_state, self.cycle
        return None
