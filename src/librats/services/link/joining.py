"""The driver of a path's opening: a new connection that a session is about to go over to."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from librats.errors import HandshakeError, RemoteProtocolError
from librats.session.path_opening import PathCall, PathOpened, PathOpening

if TYPE_CHECKING:
    from librats.services.session import Link

__all__ = ["Joining", "Leaving"]

logger = logging.getLogger("librats.session")

BUFFER = 2048


class Leaving(asyncio.Protocol):
    """What an older path is left to: nobody listens to it any more."""


class Joining(asyncio.BufferedProtocol):
    """A connection that becomes a session's path, or comes to nothing.

    Args:
        link: The session's link.
        opening: The machine.
        timeout: Seconds that the opening may take.
    """

    def __init__(self, link: Link, opening: PathOpening, *, timeout: float) -> None:
        self._link = link
        self._opening = opening
        self._buffer = bytearray(BUFFER)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(timeout, self.fail, f"the peer did not answer within {timeout:g} s")
        self.has_switched = False
        """True from the moment on when the link takes nothing more from its older path."""
        self.done: asyncio.Future[None] = self._loop.create_future()
        """Done when the session has moved; a HandshakeError where it has not."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what the machine begins with."""
        self._transport = cast("asyncio.Transport", transport)
        if self.done.done():
            self._transport.abort()
            return
        self._send()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes from the network."""
        self.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take bytes of the opening, and go over to the path when there is one."""
        if self.done.done():
            return
        try:
            self._opening.receive_data(data)
            if self._opening.is_proven and not self.has_switched:
                if not self._link.makes_way_for(self):
                    self.fail("this side opens a path of its own")
                    return
                self._opening.switch(self._link.freeze())
            self._send()
            if self._opening.path is not None and self._transport is not None:
                self._move(self._opening.path, self._transport)
        except (HandshakeError, RemoteProtocolError) as error:
            self.fail(str(error))

    def _move(self, path: PathOpened, transport: asyncio.Transport) -> None:
        self._timer.cancel()
        self._link.tag_packets(transport, self._opening.epoch)
        self._link.take_path(self, transport, path, self._opening.leftover)
        self.done.set_result(None)
        self._link.joining_over(self)

    def _send(self) -> None:
        data = self._opening.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def eof_received(self) -> bool:
        """Take the end of the peer's bytes."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone before the session was on it."""
        if self.done.done():
            return
        try:
            self._opening.receive_eof()
        except HandshakeError as error:
            self.fail(str(error if exc is None else exc))

    def fail(self, reason: str) -> None:
        """Give the path up; the session goes on where it was."""
        if self.done.done():
            return
        self._timer.cancel()
        logger.debug("%r: no other path: %s", self._link, reason)
        self.done.set_exception(HandshakeError(reason))
        self.done.exception()  # whoever waits for it is told; where nobody does, nobody need be
        if self._transport is not None:
            self._transport.abort()
        self._link.joining_over(self)

    @property
    def is_call(self) -> bool:
        """True where this side opens the path."""
        return isinstance(self._opening, PathCall)
