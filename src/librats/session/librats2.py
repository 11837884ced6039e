"""The session machine in librats 2 framing, for peers that are not ours (LIBRATS2 wire, sections 2 to 6 and 8.1).

It has the verbs of :class:`librats.session.machine.Session`. What librats 2 has no message for raises
:class:`~librats.PeerLacks`: requests, streams and datagrams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NoReturn

from librats._core.messages import make_run
from librats.config import SessionConfig
from librats.errors import DecodeError, PeerLacks, PeerNotConnected, RemoteProtocolError, UsageError
from librats.session.events import Event, HelloReceived, IdentifyReceived, PongReceived, SessionFailed
from librats.session.frames import FRAME_COST, Kind, Reason
from librats.session.librats2_wire import INNER_HEADER, MAX_BLOCK, Identify, InnerType, channel_id
from librats.session.opening import Opened
from librats.session.payloads import Payload
from librats.session.round_trip import RoundTrip
from librats.types import Entropy

__all__ = ["Librats2Session", "NoRequests", "NoStreams"]

LENGTH_PREFIX = 4
TAG_SIZE = 16
SCRATCH_SIZE = 64 * 1024
ROUND_SIZE = 256 * 1024
PING_SIZE = 9
PING, PONG = 0, 1
NEVER = float("inf")


class NoStreams:
    """Stands for the streams of a peer that has none."""

    count = incoming = outgoing = windows = 0
    sending = False

    def open(self, name: bytes) -> NoReturn:
        """Refuse.

        Raises:
            PeerLacks: Always.
        """
        raise PeerLacks("streams")

    def flush_changes(self) -> None:
        """Do nothing: no stream changes."""


class NoRequests:
    """Stands for the requests of a peer that has none."""

    count = most = 0

    def cancel(self, number: int) -> None:
        """Do nothing: no request is under way."""

    def is_wanted(self, number: int) -> bool:
        """Say no: the peer makes no requests."""
        return False


class Librats2Session:
    """One secure link to a librats 2 node, without any input or output of its own.

    Args:
        opened: What the handshake left behind.
        config: Limits and timing.
        entropy: Where ping tokens come from.
        channel: Returns kind and name of the channel with a number that has a handler here, or None.
        now: Monotonic seconds.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        config: SessionConfig,
        entropy: Entropy,
        channel: Callable[[int], tuple[Kind, str] | None],
        now: float,
    ) -> None:
        self._sending = opened.sending
        self._receiving = opened.receiving
        self._config = config
        self._channel = channel
        self._scratch = bytearray(SCRATCH_SIZE)
        self._incoming = bytearray()
        self._outgoing: deque[bytes] = deque()
        self._queued = 0
        self._urgent: deque[bytes] = deque()
        self._events: deque[Event] = deque()
        self._unhandled = 0
        self._answers_pings = False
        self._last_received = now
        self._next_ping = now
        self._going = False
        # The longest inner message that we take; its name may have 65,535 bytes.
        self._max_block = min(MAX_BLOCK, config.max_message_size + INNER_HEADER + 2 + 65535 + TAG_SIZE)
        self.streams = NoStreams()
        """No streams."""
        self.requests = NoRequests()
        """No requests."""
        self.round_trip = RoundTrip(entropy)
        """Pings and what they tell."""
        self.failed: SessionFailed | None = None
        """Why this side gave the session up, or None."""
        self.frames_skipped = 0
        """Messages that nobody here hears of: of another type, on another channel, or malformed."""
        self.messages_sent = 0
        self.messages_received = 0
        self.bytes_sent = 0
        self.bytes_received = 0

    # What the driver asks

    @property
    def queued(self) -> int:
        """Bytes of messages that wait for room at the network."""
        return self._queued

    @property
    def replies_queued(self) -> int:
        """None: there are no replies."""
        return 0

    @property
    def control_queued(self) -> int:
        """Bytes of pings and of identify that wait for the network."""
        return sum(map(len, self._urgent))

    @property
    def unhandled(self) -> int:
        """Bytes of messages that handlers have not finished, and of a part of one."""
        return self._unhandled + len(self._incoming)

    @property
    def receive_buffer(self) -> int:
        """Bytes that the buffer for the network takes."""
        return len(self._scratch)

    @property
    def is_idle(self) -> bool:
        """True where nothing is under way in either direction."""
        return not (self._outgoing or self._urgent or self._unhandled)

    @property
    def wants_pause(self) -> bool:
        """True where nothing should be taken from the network: librats 2 has no other way to hold a peer back."""
        return self._unhandled >= self._config.message_window

    # Bytes in

    def get_buffer(self) -> memoryview:
        """Where the driver writes the next bytes from the network."""
        return memoryview(self._scratch)

    def buffer_updated(self, count: int, *, now: float) -> None:
        """Take the bytes that were written to :meth:`get_buffer`."""
        self.receive_data(memoryview(self._scratch)[:count], now=now)

    def receive_data(self, data: bytes | memoryview, *, now: float) -> None:
        """Take bytes from the network."""
        if self.failed is not None:
            return
        self.bytes_received += len(data)
        self._last_received = now
        self._incoming += data
        try:
            self._read_blocks(now)
        except RemoteProtocolError as error:
            self.fail(Reason.PROTOCOL_ERROR, str(error))

    def _read_blocks(self, now: float) -> None:
        incoming = self._incoming
        at, held = 0, len(incoming)
        while held - at >= LENGTH_PREFIX:
            size = int.from_bytes(incoming[at : at + LENGTH_PREFIX])
            if not TAG_SIZE + INNER_HEADER <= size <= self._max_block:
                raise RemoteProtocolError(f"a block of {size} bytes, of which {self._max_block} are taken")
            if held - at < LENGTH_PREFIX + size:
                break
            block = bytes(incoming[at + LENGTH_PREFIX : at + LENGTH_PREFIX + size])
            at += LENGTH_PREFIX + size
            self._take(self._receiving.open(block), now)
        if at:
            del incoming[:at]

    def _take(self, inner: bytes, now: float) -> None:
        kind = inner[0]
        if kind == InnerType.TYPED:
            self._take_typed(inner)
        elif kind == InnerType.APP:
            found = self._channel(int.from_bytes(inner[2:INNER_HEADER]))
            if found is None:
                self.frames_skipped += 1
            else:
                self._deliver(*found, inner[INNER_HEADER:])
        elif kind == InnerType.PING and len(inner) == INNER_HEADER + PING_SIZE:
            self._take_ping(inner[INNER_HEADER], inner[INNER_HEADER + 1 :], now)
        elif kind == InnerType.CONTROL:
            try:
                self._events.append(IdentifyReceived(Identify.decode(inner[INNER_HEADER:])))
            except DecodeError:
                self.frames_skipped += 1
        else:
            self.frames_skipped += 1

    def _take_typed(self, inner: bytes) -> None:
        start = INNER_HEADER + 2
        size = int.from_bytes(inner[INNER_HEADER:start])
        try:
            name = inner[start : start + size].decode()
        except UnicodeDecodeError:
            self.frames_skipped += 1
            return
        if len(inner) < start + size:
            self.frames_skipped += 1
        else:
            self._deliver(Kind.JSON, name, inner[start + size :])

    def _deliver(self, kind: Kind, name: str, payload: bytes) -> None:
        if len(payload) > self._config.max_message_size:
            raise RemoteProtocolError(f"a message longer than {self._config.max_message_size} bytes")
        self._unhandled += FRAME_COST + len(payload)
        self.messages_received += 1
        self._events.append(make_run(kind, name, (payload,), FRAME_COST))

    def _take_ping(self, tag: int, token: bytes, now: float) -> None:
        if tag == PING:
            self._urgent.append(_inner(InnerType.PING, bytes([PONG]) + token))
        elif tag == PONG:
            rtt = self.round_trip.pong(token, now)
            if rtt is not None:
                self._answers_pings = True
                self._events.append(PongReceived(token, rtt))

    def receive_eof(self) -> None:
        """Take the end of the peer's bytes: the link is gone."""
        self.fail(Reason.LOST, "the connection was lost")

    # Events out

    def next_event(self) -> Event | None:
        """Return the oldest event not yet taken, or None."""
        return self._events.popleft() if self._events else None

    def take_events(self) -> deque[Event]:
        """Return the queue of events; the caller empties it."""
        return self._events

    # Verbs

    def takes(self, size: int) -> bool:
        """Whether a payload of that many bytes is within what both sides take."""
        return size <= self._config.max_message_size and size <= MAX_BLOCK - 1024

    def check_size(self, size: int) -> None:
        """Check a payload against what both sides take.

        Raises:
            UsageError: It is too long.
        """
        if not self.takes(size):
            raise UsageError(f"{size} bytes are over max_message_size, or over what fits one librats 2 block")

    def send_message(self, kind: Kind, name: bytes, payload: bytes | bytearray | memoryview) -> int:
        """Queue a message: JSON as Typed, bytes and text as App on the channel of that name.

        Returns:
            What :attr:`queued` is now.

        Raises:
            PeerNotConnected: The session is closed.
            UsageError: It is too long.
        """
        self.check_size(len(payload))
        if self.failed is not None or self._going:
            raise PeerNotConnected(self.failed.message if self.failed else "the session is closed")
        if kind == Kind.JSON:
            inner = _inner(InnerType.TYPED, len(name).to_bytes(2) + name + bytes(payload))
        else:
            inner = _inner(InnerType.APP, bytes(payload), channel=channel_id(name.decode()))
        self._outgoing.append(inner)
        self._queued += len(inner)
        self.messages_sent += 1
        return self._queued

    def send_request(self, payload: Payload, name: bytes, *, timeout: float | None, now: float) -> NoReturn:
        """Refuse.

        Raises:
            PeerLacks: Always.
        """
        raise PeerLacks("requests")

    def send_reply(self, number: int, payload: Payload) -> NoReturn:
        """Refuse: nobody asked.

        Raises:
            PeerLacks: Always.
        """
        raise PeerLacks("requests")

    def send_error(self, number: int, code: str, message: str) -> NoReturn:
        """Refuse: nobody asked.

        Raises:
            PeerLacks: Always.
        """
        raise PeerLacks("requests")

    def send_datagram(self, kind: Kind, payload: bytes | bytearray | memoryview) -> NoReturn:
        """Refuse.

        Raises:
            PeerLacks: Always.
        """
        raise PeerLacks("datagrams")

    def send_hello(self, payload: bytes) -> None:
        """Tell the peer about ourselves with an identify message, and take it as admitted: it says nothing to that."""
        self._urgent.append(_inner(InnerType.CONTROL, payload))
        self._events.appendleft(HelloReceived(b"{}"))

    def consumed(self, cost: int) -> None:
        """Take note that a message has been handled."""
        self._unhandled -= cost

    def ping(self, *, now: float) -> bytes:
        """Queue a ping and return its token. A node without the ping service does not answer."""
        token = self.round_trip.start(now)
        self._urgent.append(_inner(InnerType.PING, bytes([PING]) + token))
        return token

    def go_away(self, code: str, message: str = "") -> None:
        """End the session: nothing more can be sent. librats 2 has no word for it, so the connection is just closed."""
        self._going = True

    def fail(self, code: str, message: str) -> None:
        """Give the session up at once."""
        if self.failed is None:
            self.failed = SessionFailed(code, message)
            self._outgoing.clear()
            self._urgent.clear()
            self._queued = 0
            self._events.append(self.failed)

    # Bytes out

    @property
    def wants_to_send(self) -> bool:
        """True where :meth:`data_to_send` has something."""
        return self.failed is None and bool(self._urgent or self._outgoing)

    def data_to_send(self, *, now: float) -> bytes:
        """Return the next blocks for the network, about a quarter of a MiB of them, or b"" where there are none."""
        if self.failed is not None:
            return b""
        batch: list[bytes] = []
        size = 0
        while self._urgent:
            batch.append(self._urgent.popleft())
        while self._outgoing and size < ROUND_SIZE:
            inner = self._outgoing.popleft()
            size += len(inner)
            batch.append(inner)
        self._queued -= size
        if not batch:
            return b""
        sealed = self._sending.seal_many(batch)
        data = b"".join([part for block in sealed for part in (len(block).to_bytes(LENGTH_PREFIX), block)])
        self.bytes_sent += len(data)
        return data

    # Time

    def next_timer(self) -> float:
        """When :meth:`handle_timer` wants to be called, in monotonic seconds."""
        return min(self._next_ping, self._dies_at())

    def _dies_at(self) -> float:
        # A node without the ping service may be silent for ever, and is alive.
        return self._last_received + self._config.idle_timeout if self._answers_pings else NEVER

    def handle_timer(self, *, now: float) -> None:
        """Do what is due: pings, and a peer that fell silent though it used to answer them."""
        if self.failed is not None:
            return
        if now >= self._dies_at():
            self.fail(Reason.TIMEOUT, f"nothing was heard for {self._config.idle_timeout:g} s")
        elif now >= self._next_ping:
            self._next_ping = now + self._config.ping_interval
            self.ping(now=now)


def _inner(kind: InnerType, payload: bytes, *, channel: int = 0) -> bytes:
    return bytes([kind, 0]) + channel.to_bytes(2) + payload
