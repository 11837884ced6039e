"""TCP and TLS connections of a relay: those of its clients, and those of their peers (RFC 6062)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from librats._core.relay import pack_address
from librats._core.stun import frame_size
from librats.errors import StunError
from librats.runtime.tcp import address_of
from librats.turn.serving.allocation import Client
from librats.types import Address

__all__ = ["ClientConnection", "Hub", "PeerConnection"]

_MOST_UNSENT = 256 * 1024
"""Bytes that wait for a client before more datagrams for it are dropped."""

_SESSION = b"\0\0"
"""The first octets of a session, its first block's length; no STUN message begins with them."""

_FIRST_CHANNEL, _LAST_CHANNEL = 0x40, 0x7F
"""The first octet of a channel number."""

_HTTP = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""The first octet of a request in HTTP, its method's; nobody has a channel who has said nothing yet."""


class Hub(Protocol):
    """What connections tell."""

    def admit(self, connection: ClientConnection) -> bool:
        """Take a new connection in; False where there are too many."""

    def take(self, connection: ClientConnection, frame: bytes) -> None:
        """Take a STUN message or ChannelData of a client."""

    def relays_for(self, connection: ClientConnection) -> bool:
        """Tell whether a client has an allocation."""

    def take_session(self, connection: ClientConnection, data: bytes) -> bool:
        """Give a connection that begins as a session does to whoever introduces; False where nobody does."""

    def take_web(self, connection: ClientConnection, data: bytes) -> None:
        """Answer a connection that begins as HTTP does."""

    def lost(self, connection: ClientConnection) -> None:
        """Hear that a client's connection is gone."""


class _Joinable(asyncio.Protocol):
    """A connection that can be joined with another, such that what comes in here goes out there."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.partner: _Joinable | None = None

    def join(self, partner: _Joinable) -> None:
        """Join the two for the rest of their lives."""
        self.partner, partner.partner = partner, self

    def pass_on(self, data: bytes | bytearray) -> None:
        """Write to the partner."""
        partner = self.partner
        if partner is not None and partner.transport is not None:
            partner.transport.write(data)

    def pause_writing(self) -> None:
        """Stop reading from the partner: this side does not take more."""
        if self.partner is not None and self.partner.transport is not None:
            self.partner.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the partner again."""
        if self.partner is not None and self.partner.transport is not None:
            self.partner.transport.resume_reading()

    def eof_received(self) -> bool:
        """End the other direction's writing where two are joined; else close."""
        partner = self.partner
        if partner is None or partner.transport is None or not partner.transport.can_write_eof():
            return False
        partner.transport.write_eof()
        return self.transport is not None and self.transport.can_write_eof()  # TLS ends both directions at once

    def close(self) -> None:
        """Close once what is written has left."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    def _unjoin(self) -> None:
        self.transport = None
        partner, self.partner = self.partner, None
        if partner is not None:
            partner.partner = None
            partner.close()


class ClientConnection(_Joinable):
    """A client's connection: STUN messages and ChannelData, until it is joined with a peer's.

    Args:
        hub: Is told what comes.
        serial: A number of its own, from 1.
        now: Monotonic seconds.
        is_inside: Whether it is one inside a WebSocket, and so no other one is in it.
    """

    def __init__(self, hub: Hub, serial: int, *, now: Callable[[], float], is_inside: bool = False) -> None:
        super().__init__()
        self.client = Client(-serial, b"", b"")
        self.heard = now()
        """When it last sent something, in monotonic seconds."""
        self._hub = hub
        self._now = now
        self._buffer = bytearray()
        self._spoke_stun = False
        self._is_inside = is_inside

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        transport = cast("asyncio.Transport", transport)
        try:
            client, local = (pack_address(*address_of(transport.get_extra_info(n))) for n in ("peername", "sockname"))
        except (TypeError, ValueError):  # the client is gone already
            transport.abort()
            return
        self.client = Client(self.client.listener, client, local)
        self.transport = transport
        if not self._hub.admit(self):
            transport.abort()

    @property
    def is_encrypted(self) -> bool:
        """True where it is one of TLS."""
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is not None

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        if self.partner is not None:
            self.pass_on(data)
            return
        self.heard = self._now()
        self._buffer += data
        if not (self._spoke_stun or self._is_inside) and self._buffer[0] in _HTTP:
            self._hub.take_web(self, bytes(self._buffer))
            return
        if not self._spoke_stun and len(self._buffer) >= len(_SESSION):
            if self._buffer.startswith(_SESSION) and self._hub.take_session(self, bytes(self._buffer)):
                self._buffer.clear()
                return
            self._spoke_stun = True
        while self._take_frame():
            pass

    def _take_frame(self) -> bool:
        """Take the first frame out of the buffer; False where none is whole."""
        buffer = self._buffer
        if self.partner is not None:
            self.pass_on(buffer)
            buffer.clear()
        if len(buffer) < 4 or self.transport is None:  # noqa: PLR2004 - where the length of a frame stands
            return False
        try:
            size = _frame_size(bytes(buffer[:4]))
        except StunError:
            size = 0
        if not size or (buffer[0] >= _FIRST_CHANNEL and not self._hub.relays_for(self)):
            self.transport.abort()  # it speaks something else, HTTP for example, whose letters look like channels
            return False
        if len(buffer) < size:
            return False
        frame = bytes(buffer[:size])
        del buffer[:size]
        self._hub.take(self, frame)
        return True

    def write(self, data: bytes) -> bool:
        """Write a frame; False where the client does not keep up, and it is dropped."""
        transport = self.transport
        if transport is None or transport.get_write_buffer_size() > _MOST_UNSENT:
            return False
        transport.write(data)
        return True

    def connection_lost(self, _: Exception | None) -> None:
        """End."""
        self._unjoin()
        self._hub.lost(self)


class PeerConnection(_Joinable):
    """A peer's connection. Nothing is read from it before it is joined with a client's.

    Args:
        opened: Called once it is connected, with the peer's address.
        lost: Called once it is gone.
    """

    def __init__(
        self, opened: Callable[[PeerConnection, Address], None], lost: Callable[[PeerConnection], None]
    ) -> None:
        super().__init__()
        self._opened = opened
        self._lost = lost
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport = cast("asyncio.Transport", transport)
        transport.pause_reading()
        try:
            peer = address_of(transport.get_extra_info("peername"))
        except TypeError:  # the peer is gone already
            transport.abort()
            return
        self._opened(self, peer)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; some loops read once though reading is paused from the start."""
        if self.partner is not None:
            self.pass_on(data)
            return
        self._early += data
        if self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Keep an end that came early for when reading begins: it is read again then."""
        return self.partner is None or super().eof_received()

    def flow(self) -> None:
        """Read from now on, and pass on what came early; it is joined."""
        if self.transport is not None:
            self.transport.resume_reading()
        if self._early:
            self.pass_on(self._early)  # after reading was resumed: the client may be too slow for it, and pause that
            self._early = b""

    def connection_lost(self, _: Exception | None) -> None:
        """End."""
        self._unjoin()
        self._lost(self)


def _frame_size(head: bytes) -> int:
    """Return the size of the frame that begins with these four bytes; channels go as far as RFC 5766 lets them.

    Raises:
        StunError: It is neither a STUN message nor ChannelData.
    """
    if _FIRST_CHANNEL <= head[0] <= _LAST_CHANNEL:
        return 4 + (int.from_bytes(head[2:], "big") + 3) // 4 * 4
    return frame_size(head)
