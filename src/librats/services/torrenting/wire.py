"""A connection with a peer of BitTorrent: bytes between a channel, over TCP or uTP, and the machine of a swarm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from librats.bittorrent.messages import Handshake
from librats.bittorrent.metainfo import MAX_PIECES
from librats.bittorrent.reader import MAX_MESSAGE, MessageReader
from librats.bittorrent.stream_encryption import CryptoMethod
from librats.errors import RemoteProtocolError
from librats.runtime.tcp import address_of
from librats.services.torrenting.encryption import Cover
from librats.types import Address

if TYPE_CHECKING:
    from librats.bittorrent.peer import PeerLink
    from librats.services.torrenting.download import Download
    from librats.services.torrenting.encryption import EncryptionRules

__all__ = ["RECEIVE_BUFFER", "Channel", "PeerWire", "StreamChannel", "WireHost"]

logger = logging.getLogger("librats.torrent")

RECEIVE_BUFFER: Final = 512 * 1024
"""Bytes of the buffer that all connections of one client receive into, one after the other."""

LONGEST = max(MAX_MESSAGE, MAX_PIECES // 8 + 1)
HIGH_WATER = 1 << 20
HANDSHAKE_TIME = 15.0

Buffer = bytes | bytearray | memoryview


class Channel(Protocol):
    """What carries the bytes of one connection."""

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Take bytes to be sent. :meth:`PeerWire.pause_writing` is called where they are too many."""

    def close(self) -> None:
        """End the connection. :meth:`PeerWire.ended` is called once it has."""


class WireHost(Protocol):
    """Who knows which torrents there are."""

    receive_buffer: memoryview
    encryption: EncryptionRules

    def find_obfuscated(self, wanted: bytes) -> bytes | None:
        """Return the info-hash that an encrypted connection is for; None where it is not served."""

    def find(self, info_hash: bytes) -> Download | None:
        """Return the torrent that a peer asks for; None where it is not served."""

    def meet(self, wire: PeerWire) -> None:
        """Take note of a connection whose torrent is not known yet."""

    def forget(self, wire: PeerWire) -> None:
        """Take note that a connection without a torrent is gone."""


class PeerWire:
    """One connection, from its first byte to its last.

    Args:
        host: Who knows the torrents.
        address: Where the peer is.
        download: For which torrent it was dialled; None where the peer dials us.
        is_utp: Whether it goes over uTP.
    """

    def __init__(
        self, host: WireHost, address: Address, download: Download | None = None, *, is_utp: bool = False
    ) -> None:
        self._host = host
        self.address = address
        """Where the peer is."""
        self.download = download
        """The torrent that it is about, once that is known."""
        self.link: PeerLink | None = None
        """Its machine, once its handshake has come."""
        self.is_full = False
        """Whether the channel takes nothing for now."""
        self.waits = False
        """Whether what the peer asks for is being read."""
        self.is_outgoing = download is not None
        """Whether we have dialled it."""
        self.is_utp = is_utp
        """Whether it goes over uTP."""
        self.is_covered = False
        """Whether it was dialled with encryption."""
        self.method: CryptoMethod | None = None
        """What follows an encrypted start; None where there was none."""
        self._reader = MessageReader(max_message=LONGEST)
        self._channel: Channel | None = None
        self._is_over = False
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._is_over

    @property
    def is_unheard(self) -> bool:
        """Whether the peer has not said who it is."""
        return self._reader.handshake is None

    # From the channel

    def begin(self, channel: Channel) -> None:
        """Take note that there is a connection."""
        self._channel = channel
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HANDSHAKE_TIME, self.close, "no handshake in time")
        if self.download is not None:
            channel.write([self.download.door.own_handshake(None).encode()])

    def data_received(self, data: Buffer) -> None:
        """Take bytes that have come."""
        buffer = self._host.receive_buffer
        view = memoryview(data)
        while view and not self._is_over:
            size = self._reader.lead(buffer)
            taken = min(len(view), len(buffer) - size)
            buffer[size : size + taken] = view[:taken]
            self.take(buffer[: size + taken])
            view = view[taken:]

    def lead(self, buffer: memoryview) -> int:
        """Put at the begin of a buffer what waits for more to come; return how many bytes that are."""
        return self._reader.lead(buffer)

    def take(self, view: memoryview) -> None:
        """Take a buffer with what :meth:`lead` has put there and what has come behind it."""
        if self._is_over:
            return
        try:
            messages = self._reader.read(view)
            handshake = self._reader.handshake
            if self.link is None and (handshake is None or not self._meet(handshake)):
                return
            link, download = self.link, self.download
            if link is not None and download is not None:
                link.receive(messages, download.now())
        except RemoteProtocolError as error:
            self.close(str(error), is_lying=True)
            return
        if download is not None:
            if link is not None and link.queue:
                download.serve(self)
            download.settle()

    def _meet(self, handshake: Handshake) -> bool:
        """Take the peer's handshake, and answer it where it dials; return whether to go on."""
        dialled = self.download
        download = dialled or self._host.find(handshake.info_hash)
        if download is None:
            self.close("a torrent that is not here")
            return False
        if dialled is not None and not dialled.door.knows(handshake.info_hash):
            self.close("another torrent than was asked for")
            return False
        refusal = download.door.refusal(self, handshake)
        if refusal:
            self.close(refusal)
            return False
        if self._deadline is not None:
            self._deadline.cancel()
        self.download = download
        if not self.is_outgoing and self._channel is not None:
            self._channel.write([download.door.own_handshake(handshake).encode()])
            self._host.forget(self)
        self.link = download.enter(self, handshake)
        return True

    def pause_writing(self) -> None:
        """Take note that the channel has too much to send."""
        self.is_full = True

    def resume_writing(self) -> None:
        """Take note that the channel takes more."""
        self.is_full = False
        if self.download is not None and self.link is not None:
            self.flush()
            self.download.serve(self)

    def ended(self, error: Exception | None) -> None:
        """Take note that the connection is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        was_over, self._is_over = self._is_over, True
        if not was_over:
            logger.debug("%s has gone: %s", self.address, error or "it has closed")
        if self.download is not None:
            self.download.leave(self)
        if self.link is None:
            self._host.forget(self)

    # To the channel

    def flush(self) -> None:
        """Hand over what the machine has to send, unless the channel is full."""
        if self.link is not None and self._channel is not None and not self.is_full and self.download is not None:
            buffers = self.link.data_to_send(self.download.now())
            if buffers:
                self._channel.write(buffers)

    def close(self, reason: str = "", *, is_lying: bool = False) -> None:
        """End the connection. Idempotent.

        Args:
            reason: Why; it is logged.
            is_lying: Whether its address is not to be used again.
        """
        if self._is_over:
            return
        self._is_over = True
        logger.debug("%s is let go: %s", self.address, reason)
        if self.download is not None and is_lying:
            self.download.candidates.ban(self.address)
        if self._channel is not None:
            self._channel.close()


class StreamChannel(asyncio.BufferedProtocol):
    """A connection over a transport of asyncio: TCP, or uTP.

    Args:
        host: Who knows the torrents.
        download: For which torrent it was dialled; None where the peer dials us.
        address: Where it was dialled; None where the peer dials us.
        is_covered: Whether it was dialled with encryption.
    """

    def __init__(
        self,
        host: WireHost,
        download: Download | None = None,
        address: Address | None = None,
        *,
        is_covered: bool = False,
    ) -> None:
        self._host = host
        self._download = download
        self._address = address
        self._is_covered = is_covered
        self._cover: Cover | None = None
        self._led = 0
        self._transport: asyncio.Transport | None = None
        self.wire: PeerWire | None = None
        """The connection, once there is one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        address = self._address or address_of(transport.get_extra_info("peername"))
        is_utp = transport.get_extra_info("rudp") is not None
        self.wire = PeerWire(self._host, address, self._download, is_utp=is_utp)
        self.wire.is_covered = self._is_covered
        rules = self._host.encryption
        if self._is_covered or (self._download is None and rules.is_on):
            info_hash = None if self._download is None else self._download.magnet.info_hash
            self._cover = Cover(rules, self._host.find_obfuscated, self._transport.write, info_hash)
        self.wire.begin(self)
        if self._download is None:
            self._host.meet(self.wire)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that it is gone."""
        if self.wire is not None:
            self.wire.ended(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: behind those that wait for them."""
        del sizehint
        buffer = self._host.receive_buffer
        self._led = self.wire.lead(buffer) if self.wire is not None else 0
        return buffer[self._led :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes that have come."""
        wire, buffer, end = self.wire, self._host.receive_buffer, self._led + nbytes
        if wire is None:
            return
        if self._cover is not None:
            self._uncover(self._cover, wire, buffer[self._led : end], buffer[:end])
        else:
            wire.take(buffer[:end])

    def _uncover(self, cover: Cover, wire: PeerWire, new: memoryview, whole: memoryview) -> None:
        try:
            payload = cover.receive(new)
        except RemoteProtocolError as error:
            wire.close(str(error))
            return
        wire.method = cover.method
        if cover.is_needless:
            self._cover = None
        if payload is None:
            wire.take(whole)
        elif payload:
            wire.data_received(payload)

    def eof_received(self) -> bool:
        """End with the peer."""
        return False

    def pause_writing(self) -> None:
        """Tell that there is too much to send."""
        if self.wire is not None:
            self.wire.pause_writing()

    def resume_writing(self) -> None:
        """Tell that there is room."""
        if self.wire is not None:
            self.wire.resume_writing()

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Send bytes."""
        if self._transport is not None:
            data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
            if self._cover is None:
                self._transport.write(data)
            else:
                self._cover.write(data)

    def close(self) -> None:
        """End the connection at once: a peer that reads nothing would hold it open."""
        if self._transport is not None:
            self._transport.abort()
