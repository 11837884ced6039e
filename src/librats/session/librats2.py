"""The session machine in librats 2 framing, for peers that are not ours (LIBRATS2 wire, sections 2 to 6 and 8.1).

It has the verbs of :class:`librats.session.machine.Session`. What librats 2 has no message for raises
:class:`~librats.PeerLacks`: requests, streams and datagrams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from librats._core.inner import InnerQueue, InnerReader, InnerWriter
from librats._core.messages import MessageRun
from librats.config import RatsConfig, SessionConfig
from librats.errors import DecodeError, PeerLacks, PeerNotConnected, UsageError
from librats.session.events import (
    Event,
    FileChunkReceived,
    HelloReceived,
    IdentifyReceived,
    PongReceived,
    PunchReceived,
    SessionFailed,
)
from librats.session.exchange import decode_exchange
from librats.session.frames import FRAME_COST, Kind, Reason
from librats.session.librats2_punch import Envelope
from librats.session.librats2_wire import MAX_BLOCK, Identify, InnerType
from librats.session.opening import Opened, PlainOpened
from librats.session.payloads import Payload, json_shortcut
from librats.session.round_trip import RoundTrip
from librats.session.shared_limits import SharedLimits
from librats.types import Entropy

__all__ = ["Librats2Session", "NoRequests", "NoStreams"]

ROUND_SIZE = 256 * 1024
MAX_URGENT = 1024 * 1024
"""Bytes of pings and the like that may wait for a peer that does not read; one that makes us hold more is given up."""

MAX_PASSED = 64 * 1024
"""Bytes of pings and the like that may wait for a peer which words of others are still passed on to."""

MAX_EVENTS = 4096
"""Events other than messages that may wait for a driver that does not take them."""

PING, PONG = b"\0", b"\1"
NEVER = float("inf")


class NoStreams:
    """Stands for the streams of a peer that has none."""

    count = incoming = outgoing = windows = changed = 0
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
    theirs: Mapping[int, None] = {}
    """None of the peer's."""

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
        shared: What it shares with the client's other sessions; where it is None there are no others.
    """

    def __init__(
        self,
        opened: Opened | PlainOpened,
        *,
        config: SessionConfig,
        entropy: Entropy,
        channel: Callable[[int], tuple[Kind, str] | None],
        now: float,
        shared: SharedLimits | None = None,
    ) -> None:
        self._config = config
        self._shared = shared or SharedLimits(RatsConfig(session=config))
        self._share = self._shared.begin_session(self._shared.first_window)
        self._writer = InnerWriter(opened.sending)
        # Room for the header, a name and the tag.
        self._max_payload = min(config.max_message_size, MAX_BLOCK - 1024)
        self._reader = InnerReader(opened.receiving, config.max_message_size, channel)
        self._urgent = InnerQueue()
        self._messages = InnerQueue()
        self.shortcut = json_shortcut(self._messages, None, config, self._max_payload)
        """The short way of JSON messages into their queue, for the driver to open."""
        self._events: deque[Event] = deque()
        self.events = self._events
        """What has not been told yet."""
        self._max_events = MAX_EVENTS + config.message_window // FRAME_COST
        self._others = 0
        self._consumed = 0
        self._malformed = 0
        self._answers_pings = False
        self._last_received = now
        self._next_ping = now
        self._going = False
        self.streams = NoStreams()
        """No streams."""
        self.requests = NoRequests()
        """No requests."""
        self.round_trip = RoundTrip(entropy)
        """Pings and what they tell."""
        self.failed: SessionFailed | None = None
        """Why this side gave the session up, or None."""
        self._sent = 0
        self.bytes_sent = 0
        self.bytes_received = 0

    # What the driver asks

    @property
    def messages_sent(self) -> int:
        """Messages that were queued."""
        return self._sent + self.shortcut.taken

    @property
    def queued(self) -> int:
        """Bytes of messages that wait for room at the network."""
        return len(self._messages)

    @property
    def replies_queued(self) -> int:
        """None: there are no replies."""
        return 0

    @property
    def control_queued(self) -> int:
        """Bytes of pings and of identify that wait for the network."""
        return len(self._urgent)

    @property
    def unhandled(self) -> int:
        """Bytes of messages that handlers have not finished."""
        return self._unhandled

    @property
    def receive_buffer(self) -> int:
        """Bytes that the buffer for the network takes, in which blocks are put together."""
        return self._reader.buffer_size

    @property
    def is_idle(self) -> bool:
        """True where nothing is under way in either direction."""
        return not (len(self._messages) or len(self._urgent) or self._unhandled)

    @property
    def wants_pause(self) -> bool:
        """True where nothing should be taken from the network: librats 2 has no other way to hold a peer back."""
        unhandled = self._unhandled
        return unhandled >= self._config.message_window or (unhandled > 0 and self._shared.memory.is_overdrawn)

    def _account(self) -> None:
        """Take memory for what has come; where there is none, reading pauses, or a growing block is given up."""
        grown = max(self._share.least, self._unhandled + self._reader.buffer_size) - self._share.held
        if grown <= 0:
            self._share.give(-grown)
        elif not self._share.take(grown):
            self._share.take_anyway(grown)
            if not self._unhandled:
                self._shared.refuse("max_memory")
                self.fail(Reason.LIMIT, self._shared.memory_words())

    @property
    def _unhandled(self) -> int:
        return self._reader.window_used - self._consumed

    @property
    def messages_received(self) -> int:
        """Messages that arrived for a handler."""
        return self._reader.messages

    @property
    def frames_skipped(self) -> int:
        """Messages that nobody here hears of: of another type, on another channel, or malformed."""
        return self._reader.skipped + self._malformed

    # Bytes in

    def get_buffer(self, scratch: bytearray | None = None) -> bytearray | memoryview:
        """Where the driver writes the next bytes from the network; see the other session machine."""
        return self._reader.get_buffer(scratch)

    def buffer_updated(self, count: int, *, now: float) -> None:
        """Take the bytes that were written to :meth:`get_buffer`."""
        self.bytes_received += count
        self._take(self._reader.received(count), now)

    def receive_data(self, data: bytes | memoryview, *, now: float) -> None:
        """Take bytes from the network."""
        if self.failed is None:
            self.bytes_received += len(data)
            self._take(self._reader.feed(data), now)

    def _take(self, news: list[Any], now: float) -> None:
        if self.failed is not None:
            return
        self._last_received = now
        if self._reader.others == self._others:
            self._events += news
        else:
            self._others = self._reader.others
            for item in news:
                if type(item) is MessageRun:
                    self._events.append(item)
                else:
                    self._take_other(item[0], item[1], now)
        if self._reader.error is not None:
            self.fail(Reason.PROTOCOL_ERROR, self._reader.error)
        elif len(self._urgent) > MAX_URGENT:
            self.fail(Reason.LIMIT, "the peer asks without reading the answers")
        elif len(self._events) > self._max_events:
            self.fail(Reason.LIMIT, "the peer sends more than can be taken in")
        else:
            self._account()

    def _take_other(self, kind: int, payload: bytes, now: float) -> None:
        if kind == InnerType.PING:
            self._take_ping(payload[:1], payload[1:], now)
        else:
            try:
                self._events.append(_read(kind, payload))
            except DecodeError:
                self._malformed += 1

    def _take_ping(self, tag: bytes, token: bytes, now: float) -> None:
        if tag == PING:
            self._urgent.add(InnerType.PING, PONG + token)
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
        return size <= self._max_payload

    def check_size(self, size: int) -> None:
        """Check a payload against what both sides take.

        Raises:
            UsageError: It is too long.
        """
        if not self.takes(size):
            raise UsageError(f"{size} bytes are over max_message_size, or over what fits one librats 2 block")

    def send_message(self, kind: Kind, name: bytes, payload: bytes | bytearray | memoryview) -> None:
        """Queue a message: JSON as Typed, bytes and text as App on the channel of that name.

        Raises:
            PeerNotConnected: The session is closed.
            UsageError: It is too long.
        """
        if len(payload) > self._max_payload:
            self.check_size(len(payload))
        if self.failed is not None or self._going:
            raise PeerNotConnected(self.failed.message if self.failed else "the session is closed")
        self._sent += 1
        if kind == Kind.JSON:
            self._messages.add_typed(name, payload)
        else:
            self._messages.add_app(name, payload)

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
        self._urgent.add(InnerType.CONTROL, payload)
        self._events.appendleft(HelloReceived(b"{}"))

    def send_exchange(self, payload: bytes) -> None:
        """Queue a message of peer exchange."""
        if self.failed is None and not self._going:
            self._urgent.add(InnerType.PEX, payload)

    def send_punch(self, envelope: Envelope) -> bool:
        """Queue a word about hole punching; False where that is not done, for too much waits already.

        The peer may be one that does not read, and those who have it passed on may be many.
        """
        if self.failed is not None or self._going or len(self._urgent) > MAX_PASSED:
            return False
        self._urgent.add(InnerType.PUNCH, envelope.encode())
        return True

    def send_file_chunk(self, payload: bytes, *, ahead: bool) -> bool:
        """Queue a word about files; False where the session is closed.

        Args:
            payload: What it says; within what :meth:`takes` says.
            ahead: Whether it goes ahead of messages, as answers do; what is said of one transfer keeps its order else.
        """
        if self.failed is not None or self._going:
            return False
        (self._urgent if ahead else self._messages).add(InnerType.FILE_CHUNK, payload)
        return True

    def consumed(self, cost: int) -> None:
        """Take note that a message, or a word about files, has been handled."""
        self._consumed += cost
        self._account()

    def ping(self, *, now: float) -> bytes:
        """Queue a ping and return its token. A node without the ping service does not answer."""
        token = self.round_trip.start(now)
        self._urgent.add(InnerType.PING, PING + token)
        return token

    def go_away(self, code: str, message: str = "") -> None:
        """End the session: nothing more can be sent. librats 2 has no word for it, so the connection is just closed."""
        self._going = True
        self.shortcut.close()

    def fail(self, code: str, message: str) -> None:
        """Give the session up at once."""
        if self.failed is None:
            self.failed = SessionFailed(code, message)
            self.shortcut.close()
            self._messages.clear()
            self._urgent.clear()
            self._shared.end_session(self._share)
            self._events.append(self.failed)

    # Bytes out

    @property
    def wants_to_send(self) -> bool:
        """True where :meth:`data_to_send` has something."""
        return self.failed is None and bool(len(self._urgent) or len(self._messages))

    def data_to_send(self, *, now: float) -> bytes:
        """Return the next blocks for the network, about a quarter of a MiB of them, or b"" where there are none."""
        if self.failed is not None:
            return b""
        data = self._writer.seal(self._urgent, self._messages, ROUND_SIZE)
        self.bytes_sent += len(data)
        return data

    # Time

    def next_timer(self) -> float:
        """When :meth:`handle_timer` wants to be called, in monotonic seconds."""
        return min(self._next_ping, self._dies_at())

    def paths_timer(self) -> float:
        """Never: it stays on its path."""
        return NEVER

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
            self._reader.trim()
            for queue in (self._urgent, self._messages):
                queue.trim()
            self.ping(now=now)


def _read(kind: int, payload: bytes) -> Event:
    if kind == InnerType.CONTROL:
        return IdentifyReceived(Identify.decode(payload))
    if kind == InnerType.PUNCH:
        return PunchReceived(Envelope.decode(payload))
    if kind == InnerType.FILE_CHUNK:
        return FileChunkReceived(payload)
    return decode_exchange(payload)
