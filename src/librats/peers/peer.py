"""A connected peer, as the application sees it."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from librats.config import RatsConfig
from librats.errors import ClosedError, PeerNotConnected, RemoteError, RequestTimeout, UsageError
from librats.peers.arguments import DEFAULT, Default, check_timeout, encode_text
from librats.peers.handling.dispatch import Inbox
from librats.peers.report import ConnectionReport
from librats.session.frames import Kind, Reason
from librats.session.models import model_of
from librats.session.opening import PlainOpened
from librats.session.payloads import as_buffer, decode_payload, encode_json, encode_name, encode_value
from librats.types import Address, ConnectionAttempt, ConnectionMethod, NatType, PeerStats

if TYPE_CHECKING:
    from librats.peers.handling.dispatch import Dispatcher
    from librats.peers.hello import Hello
    from librats.services.session import Link
    from librats.services.stream import Stream

__all__ = ["Peer"]


MAX_DATAGRAM = 65000
MAX_PAST = 16

T = TypeVar("T")


class Peer:
    """A peer with whom there is, or was, a session. Comes from the client; handlers get it as their first argument."""

    __slots__ = (
        "__dict__",  # for what applications keep with it
        "__weakref__",
        "_config",
        "_connected_at",
        "_gone_counters",
        "_link",
        "_links",
        "_past",
        "attempts",
        "disconnected",
        "hello",
        "inbox",
        "nat_type",
        "shortcut",
    )

    def __init__(self, link: Link, config: RatsConfig, dispatcher: Dispatcher) -> None:
        self._config = config
        self._links: list[Link] = [link]
        self._link = link
        self.shortcut = link.session.shortcut
        """The short way of JSON messages, for those who send; open only now and then."""
        self.inbox = Inbox(self, dispatcher)
        self.hello: Hello | None = None
        """What the peer told about itself."""
        self.attempts: Sequence[ConnectionAttempt] = ()
        """How the connection was tried, where this side dialled."""
        self.nat_type = NatType.UNKNOWN
        """What stands in front of the peer, as it has told where it was introduced."""
        self._connected_at = self._link.now()
        self._gone_counters = [0, 0, 0, 0, 0]
        self._past: tuple[tuple[bytes, int], ...] = ()
        self.disconnected = False
        """True once the session has ended."""

    def __repr__(self) -> str:
        """Show the shortened id and the address."""
        state = "" if self.is_connected else " disconnected"
        return f"<Peer {self.id[:8]} at {self.address}{state}>"

    # Who and where

    @property
    def id(self) -> str:
        """Peer id: 64 lower-case hex digits, the SHA-256 of the peer's X25519 key."""
        return self._link.peer_id

    @property
    def address(self) -> Address:
        """Where the peer is, as the connection in use sees it."""
        return self._link.address

    @property
    def method(self) -> ConnectionMethod:
        """How the peer is reached."""
        return self._link.method

    @property
    def is_connected(self) -> bool:
        """True where messages can be sent."""
        return not self.disconnected and self._link.ready and self._link.is_open

    @property
    def outgoing(self) -> bool:
        """True where this side dialled the connection in use."""
        return self._link.initiator

    @property
    def is_encrypted(self) -> bool:
        """True where the session is encrypted and the peer has proved its id; False where encryption is off."""
        return not isinstance(self._link.opened, PlainOpened)

    @property
    def agent(self) -> str:
        """Name and version of the peer's software, as it says; ``"librats 2"`` for nodes of the C++ library."""
        if self._link.speaks_librats2:
            return "librats 2"
        opened = self._link.opened
        return opened.greeting.agent if opened is not None and opened.greeting is not None else ""

    @property
    def rtt(self) -> float | None:
        """Smoothed round-trip time in seconds; None until the first ping has come back."""
        return self._link.session.round_trip.smoothed

    @property
    def max_datagram(self) -> int:
        """Bytes of the longest :meth:`send_datagram` that travels by itself on the path at hand; it grows and shrinks.

        0 where none does: over TCP.
        """
        return self._link.max_datagram

    @property
    def stats(self) -> PeerStats:
        """Counters since the peer connected."""
        sums = list(self._gone_counters)
        for link in self._links:
            sums = [a + b for a, b in zip(sums, _counters(link), strict=True)]
        return PeerStats(
            bytes_sent=sums[0],
            bytes_received=sums[1],
            messages_sent=sums[2],
            messages_received=sums[3],
            frames_skipped=sums[4],
            bytes_queued=sum(link.session.queued for link in self._links),
            open_streams=sum(link.session.streams.count for link in self._links),
            connected_seconds=self._link.now() - self._connected_at,
            rtt=self.rtt,
        )

    def report(self) -> ConnectionReport:
        """Return how the peer is connected, and every attempt that was made before."""
        link = self._link
        return ConnectionReport(
            peer_id=self.id,
            connected=self.is_connected,
            method=self.method,
            address=self.address,
            local_address=link.local_address,
            outgoing=self.outgoing,
            encrypted=self.is_encrypted,
            rtt=self.rtt,
            agent=self.agent,
            nat_type=self.nat_type,
            ended=f"{link.reason[1]} [{link.reason[0]}]" if self.disconnected else "",
            older=max(0, len(self._links) - 1),
            attempts=tuple(self.attempts),
        )

    def explain(self) -> str:
        """Tell in words how the peer is connected, and what was tried before: :meth:`report` as text."""
        return str(self.report())

    # Verbs

    def _open_link(self) -> Link:
        if not self.is_connected:
            raise PeerNotConnected(f"peer {self.id[:8]} is not connected: {self._link.reason[1]}")
        return self._link

    async def send(self, type: str, data: Any = None) -> None:
        """Send a JSON message.

        Args:
            type: Type of the message, which chooses the handlers at the other side; at most 255 bytes of UTF-8.
            data: Anything with a JSON form.

        Raises:
            PeerNotConnected: The session has ended.
            UsageError: The data has no JSON form, or is over a limit.
        """
        if not self.shortcut.take(type, data):
            await self.send_the_long_way(type, data)

    async def send_the_long_way(self, type: str, data: Any) -> None:
        """Send what the shortcut does not take, or raise what speaks against it."""
        name = encode_name(type)
        payload = encode_json(data, self._config.session)
        if self.disconnected or not self._link.post(Kind.JSON, name, payload):
            await self._send(Kind.JSON, name, payload)

    async def send_bytes(self, data: Any, *, channel: str = "") -> None:
        """Send bytes as one message.

        Args:
            data: Any contiguous buffer, a numpy array for example.
            channel: Chooses the handlers at the other side.

        Raises:
            PeerNotConnected: The session has ended.
            UsageError: It is no contiguous buffer, or longer than ``max_message_size``.
        """
        await self._send(Kind.BYTES, encode_name(channel), as_buffer(data))

    async def send_text(self, text: str, *, channel: str = "") -> None:
        """Send text as one message.

        Args:
            text: The text.
            channel: Chooses the handlers at the other side.

        Raises:
            PeerNotConnected: The session has ended.
            UsageError: It is longer than ``max_message_size``, or no text.
        """
        await self._send(Kind.TEXT, encode_name(channel), encode_text(text))

    async def _send(self, kind: Kind, name: bytes, payload: bytes | bytearray | memoryview) -> None:
        link = self._open_link()
        link.session.check_size(len(payload))
        while not link.post(kind, name, payload):
            await link.wait_for_room()
            link = self._open_link()

    def try_send(self, type: str, data: Any = None) -> bool:
        """Send a JSON message if there is room for it, without waiting.

        Args:
            type: Type of the message.
            data: Anything with a JSON form.

        Returns:
            False where the peer is not connected, or its queue is at the high-water mark; nothing was sent then.

        Raises:
            UsageError: The data has no JSON form, or is over a limit.
        """
        encoded = encode_json(data, self._config.session)
        if self.is_connected:
            self._link.session.check_size(len(encoded))
        return self.try_send_encoded(Kind.JSON, encode_name(type), encoded)

    def try_send_encoded(self, kind: Kind, name: bytes, payload: bytes | bytearray | memoryview) -> bool:
        """Send what is encoded already, without waiting; False where the peer has no room, or takes none so long."""
        link = self._link
        return self.is_connected and link.session.takes(len(payload)) and link.post(kind, name, payload)

    @overload
    async def request(
        self, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: None = None
    ) -> Any: ...
    @overload
    async def request(
        self, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: builtins.type[T]
    ) -> T: ...
    @overload
    async def request(
        self, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: Any
    ) -> Any: ...
    async def request(
        self, type: str, data: Any = None, *, timeout: float | Default | None = DEFAULT, model: Any = None
    ) -> Any:
        """Send a request and wait for what the peer's handler returns.

        Args:
            type: Type of the request, which chooses the handlers at the other side.
            data: Anything with a JSON form, or a buffer, which arrives as bytes.
            timeout: Seconds to wait, above 0; None for ever; the configured ``request_timeout`` where it is left out.
            model: What the reply is decoded into, and validated by: a msgspec Struct, a dataclass, or any other type
                that msgspec takes. None for whatever comes.

        Returns:
            The handler's return value: a value of the model; without one decoded JSON, or bytes where it returned a
            buffer.

        Raises:
            RequestTimeout: No reply came in time; the peer is told to stop working on it.
            RemoteError: The peer has no handler for the type, or the handler raised.
            PeerNotConnected: The session has ended, or ended before the reply came.
            PeerLacks: The peer is a node of the C++ library, which has no requests.
            ValidationError: The reply is not of the model.
            DecodeError: The reply is no JSON, or over a limit of this side.
            UsageError: The data cannot be sent, no JSON can be a value of the model, the timeout makes no sense, or too
                many requests are under way.
        """
        expected = None if model is None else model_of(model)
        seconds: float | None
        if isinstance(timeout, Default):
            seconds = self._config.request_timeout
        else:
            seconds = timeout
            check_timeout(seconds)
        left = seconds
        name = encode_name(type)
        payload = encode_value(data, self._config.session)
        link = self._link
        if self.disconnected or not link.takes_requests:
            link = self._open_link()
            if not link.has_room:
                link, left = await self._room_for_request(link, type, seconds)
        number, answer = link.request(payload, name, left)
        try:
            reply = await answer
        except (RequestTimeout, RemoteError) as error:
            if seconds is None or (isinstance(error, RemoteError) and error.code != Reason.TIMEOUT):
                raise
            raise RequestTimeout(f"no reply to {type!r} from peer {self.id[:8]} within {seconds:g} s") from None
        except BaseException:
            link.give_up(number)
            raise
        if expected is not None:
            return expected.decode(reply.kind, reply.payload, self._config.session)
        return decode_payload(reply.kind, reply.payload, self._config.session)

    async def _room_for_request(self, link: Link, type: str, seconds: float | None) -> tuple[Link, float | None]:
        """Wait for room; return the link that has it, and how many seconds are left."""
        deadline = None if seconds is None else link.now() + seconds
        while not link.has_room:
            try:
                async with asyncio.timeout_at(deadline):
                    await link.wait_for_room()
            except TimeoutError:
                raise RequestTimeout(f"no room to send {type!r} within {seconds:g} s") from None
            link = self._open_link()
        return link, None if deadline is None else max(0.0, deadline - link.now())

    def send_datagram(self, data: Any) -> None:
        """Send bytes that may get lost or arrive out of order; none arrives twice.

        That is what happens over UDP, to those of at most :attr:`max_datagram` bytes. Longer ones, and all of them over
        TCP, travel with everything else, reliably and ahead of what waits. Where none could leave soon it is dropped.

        Args:
            data: Any contiguous buffer of at most 65,000 bytes.

        Raises:
            PeerNotConnected: The session has ended.
            UsageError: It is no contiguous buffer, or too long.
        """
        payload = as_buffer(data)
        if len(payload) > MAX_DATAGRAM:
            raise UsageError(f"a datagram has at most {MAX_DATAGRAM} bytes, not {len(payload)}")
        self._open_link().send_datagram(payload)

    async def open_stream(self, protocol: str) -> Stream:
        """Open a stream and wait until the peer has agreed to it.

        Args:
            protocol: Chooses the handler at the other side; at most 255 bytes of UTF-8.

        Raises:
            RemoteError: The peer has no handler for the protocol, or no room for another stream.
            PeerNotConnected: The session has ended.
        """
        name = encode_name(protocol)
        try:
            stream = await self._open_link().open_stream(name)
        except ClosedError:
            raise PeerNotConnected(f"peer {self.id[:8]} is not connected: {self._link.reason[1]}") from None
        stream.peer = self
        return stream

    async def ping(self, *, timeout: float | None = 10.0) -> float:
        """Measure one round trip.

        Args:
            timeout: Seconds to wait, above 0; None for ever.

        Returns:
            Seconds.

        Raises:
            RequestTimeout: No answer came in time.
            PeerNotConnected: The session has ended.
            UsageError: The timeout makes no sense.
        """
        check_timeout(timeout)
        try:
            async with asyncio.timeout(timeout):
                return await self._open_link().ping()
        except TimeoutError:
            raise RequestTimeout(f"no answer to a ping within {timeout:g} s") from None

    async def close(self, reason: str = "") -> None:
        """Send what is queued, tell the peer why, and end the session. Idempotent.

        Args:
            reason: Words for the peer.
        """
        if len(self._links) == 1:
            await self._links[0].close(Reason.CLOSED, reason)  # which needs no task
        else:
            await asyncio.gather(*(link.close(Reason.CLOSED, reason) for link in self._links))

    # The links behind it, for the manager

    @property
    def link(self) -> Link:
        """The link in use."""
        return self._link

    @property
    def links(self) -> Sequence[Link]:
        """Every link that is not gone, the one in use included."""
        return self._links

    def use(self, link: Link) -> None:
        """Send over that link from now on."""
        if link not in self._links:
            self._links.append(link)
        self._link = link
        self.shortcut = link.session.shortcut

    def sent_elsewhere(self, link: Link) -> list[tuple[bytes, int]]:
        """Tell how much was sent on every other link; what one has sent that is gone may still be on its way."""
        others = [(other.order_id, other.messages_in_order) for other in self._links if other is not link]
        return [*self._past, *((name, count) for name, count in others if count)]

    def drop(self, link: Link) -> None:
        """Forget a link that is gone, but not its counters, nor the last one's address."""
        if link in self._links:
            self._links.remove(link)
            if link.messages_in_order:
                self._past = (*self._past[1 - MAX_PAST :], (link.order_id, link.messages_in_order))
            self._gone_counters = [a + b for a, b in zip(self._gone_counters, _counters(link), strict=True)]


def _counters(link: Link) -> list[int]:
    session = link.session
    return [
        session.bytes_sent,
        session.bytes_received,
        session.messages_sent,
        session.messages_received,
        session.frames_skipped,
    ]


def _worked(attempt: ConnectionAttempt) -> str:
    return f"worked, by punching a hole ({attempt.technique})" if attempt.technique else "worked"
