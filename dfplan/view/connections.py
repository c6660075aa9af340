"""Connections that do not wait for ever: uvicorn limits neither how long nor how many."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LOOKS = 10  # in the time that a client has
_STRIDE = 32 * 1024  # bytes of an answer that a client reads in that time at least


class Connection(H11Protocol):
    """Ends where its client is too slow, or to make room for others.

    Args:
        patience: seconds that a client has for a request's head, then for its body, and for each
            32 KiB of the answer. What the server takes for an answer does not count.
        most: how many may be open at a time. Of more, the one is closed whose client has been
            waited for longest.
        given: of uvicorn.
    """

    def __init__(self, *, patience: float, most: int, **given: Any) -> None:
        super().__init__(**given)
        self._patience = patience
        self._most = most

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._ended = False
        self._since = self.loop.time()
        self._awaited: object = None
        self._look()
        others = (cast(Connection, each) for each in self.connections)
        present = [each for each in others if not each._ended]
        if len(present) > self._most:  # this one waits for its request, so there is one to choose
            slow = [each for each in present if each._awaits() is not None]
            min(slow, key=lambda each: each._since)._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        super().connection_lost(exc)
        self._next_look.cancel()

    def _look(self) -> None:
        """End the connection if what it waits for has been the same for too long."""
        awaited, now = self._awaits(), self.loop.time()
        if awaited != self._awaited:
            self._awaited, self._since = awaited, now
        elif awaited is not None and now - self._since > self._patience:
            self._end()
        self._next_look = self.loop.call_later(self._patience / _LOOKS, self._look)

    def _end(self) -> None:
        self._ended = True
        self.transport.abort()

    def _awaits(self) -> object:
        """What the client is to do; None where it waits for the server."""
        if self.flow.write_paused or self.transport.is_closing():
            return self.transport.get_write_buffer_size() // _STRIDE
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            return self.conn.their_state, self.cycle
        return None
