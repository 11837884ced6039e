"""The session machine in extended framing: sealed blocks in and out, events for the driver."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from librats._core.turns import MAX_CONTROL
from librats.errors import DecodeError, PeerNotConnected, RemoteProtocolError, UsageError
from librats.session.events import (
    DatagramReceived,
    Event,
    FollowsReceived,
    GoAwayReceived,
    HelloReceived,
    IntroductionReceived,
    PathBroken,
    PongReceived,
    SessionFailed,
    SuccessionReceived,
)
from librats.session.exchange import decode_exchange
from librats.session.frames import FRAME_COST, FrameType, Kind, Reason, reason_body
from librats.session.moving import MovingSession
from librats.session.order import decode_follows, encode_follows
from librats.session.shared_limits import limit_words
from librats.session.stream_table import StreamTable

__all__ = ["ROUND_SIZE", "UNCROWDED_ROUND", "Session"]

ROUND_SIZE = 256 * 1024
"""Bytes that :meth:`Session.data_to_send` returns at the most."""

UNCROWDED_ROUND = 124 * 1024
"""The same where only one of replies, messages and streams waits. From 128 KiB on an allocator asks the system for
memory, which costs more than sealing."""

MAX_OVERHEAD = 2048
"""Last words, a change of key, and the frames around them."""

CROWDED_SHARE = 96 * 1024
"""Most bytes that replies, and messages, take of a round where others wait too. It holds the longest frame."""

STREAM_FRAMES: dict[int, Callable[..., None]] = {
    FrameType.STREAM_DATA: StreamTable.data_received,
    FrameType.STREAM_OPEN: StreamTable.open_received,
    FrameType.STREAM_RESET: StreamTable.reset_received,
    FrameType.STREAM_STOP: StreamTable.stop_received,
}
"""What the table of streams does with frames that name a stream."""

KIND_BITS = 0x03
KINDS = frozenset(Kind)

MAX_HELLO = 4096
MAX_SUCCESSIONS = 16
"""Successions of a peer that are heard in one session; what it tells beyond is not worth the work of checking it."""
MAX_DATAGRAM = 65515
MAX_INTRODUCTIONS_QUEUED = 256 * 1024
"""Bytes of control frames that wait for the peer, from which on it gets no letters of strangers."""
MAX_CREDIT = 1 << 40
UINT32_MAX = 0xFFFFFFFF


class Session(MovingSession):
    """One secure link between two of our nodes, without any input or output of its own.

    Args:
        opened: What the handshake left behind.
        greeting: The peer's greeting.
        initiator: True on the side that dialled.
        config: Limits and timing.
        entropy: Where ping tokens come from.
        now: Monotonic seconds.
        shared: What it shares with the client's other sessions; where it is None there are no others.
        window: The message window that our greeting told; all of it where it is None.
    """

    __slots__ = ()

    # Bytes in

    def receive_data(self, data: bytes, *, now: float) -> None:
        """Take bytes from the network."""
        self.buffer_updated(len(data), now=now, frames=self._reader.feed(data))

    def receive_eof(self) -> None:
        """Take the end of the peer's bytes: the link is gone."""
        self._lost(Reason.LOST, "the connection was lost")

    def _broken(self, words: str) -> None:
        """Give a peer up that breaks the protocol."""
        self.fail(Reason.PROTOCOL_ERROR, words)

    def _unreadable(self, words: str) -> None:
        """Give a path up with which anybody can have meddled, and the peer where this session stays on it."""
        if self.retained is None or not self._reader.is_forged:
            self._broken(words)
        elif not self._is_path_broken:
            self._is_path_broken = True
            self._events.append(PathBroken(words))

    def _check_work(self, work: int, now: float) -> None:
        """Give a peer up that asks too much; ``work`` is how many frames made work."""
        self._skipped = self._reader.skipped
        if self._pace.wait(work, now=now) is None:
            what = f"more than {self._config.max_control_rate:g} control frames a second"
            self._refuse("max_control_rate", limit_words(what, self._config, "max_control_rate"))

    def _give_up_on_queues(self) -> None:
        if len(self._control) > MAX_CONTROL:
            self.fail(Reason.LIMIT, "the peer asks without reading the answers")
        else:
            self.fail(Reason.LIMIT, "the peer sends more than can be taken in")

    def _check_window(self) -> None:
        """Give a peer up that has sent more than it may; account for what goes beyond its window."""
        reader = self._reader
        if reader.window_used > self._window_granted:
            self.fail(Reason.PROTOCOL_ERROR, "more messages than the window allows")
        elif reader.assembling:
            if self._has_memory():  # of parts of a message nobody can be done with one
                self._grant_messages()
        elif self._beyond_window or self._window_granted - reader.window_used + self._unhandled > self._window:
            self._has_memory()

    def _refuse(self, limit: str, words: str) -> None:
        self._shared.refuse(limit)
        self.fail(Reason.LIMIT, words)

    def _has_memory(self) -> bool:
        """Account for what goes beyond the window: a message longer than that. Where there is no memory, give up."""
        reader = self._reader
        held = self._window_granted - reader.window_used + self._unhandled + reader.assembling
        beyond = max(0, held - self._window)
        if beyond > self._beyond_window:
            if not self._share.take(beyond - self._beyond_window):
                self._refuse("max_memory", self._shared.memory_words())
                return False
        elif beyond < self._beyond_window:
            self._share.give(self._beyond_window - beyond)
        self._beyond_window = beyond
        return True

    def _take_frame(self, frame: tuple[Any, ...], now: float) -> None:
        kind = frame[0]
        take = STREAM_FRAMES.get(kind)
        if take is not None:
            take(self.streams, *frame[1:])
        elif kind == FrameType.ERROR:
            self.messages_received += 1
            self.requests.refused(*frame[2:])
        elif kind == FrameType.CANCEL:
            self.requests.cancelled(frame[2])
        elif kind == FrameType.STREAM_WINDOW:
            self._take_window(frame[2], frame[3])
        elif kind == FrameType.PING:
            self._control.add(FrameType.PONG, 0, frame[2])
        elif kind == FrameType.PONG:
            self._take_pong(frame[2], now)
        else:
            self._take_rare(kind, frame)

    def _take_rare(self, kind: int, frame: tuple[Any, ...]) -> None:
        if kind == FrameType.DATAGRAM:
            if frame[1] & KIND_BITS in KINDS:
                self._events.append(DatagramReceived(Kind(frame[1] & KIND_BITS), frame[2]))
        elif kind == FrameType.FOLLOWS:
            self._unhandled += frame[3]
            self._events.append(FollowsReceived(decode_follows(frame[2]), frame[3]))
        elif kind == FrameType.PEERS:
            self._take_exchange(frame[2])
        elif kind == FrameType.HELLO:
            self._take_hello(frame[2])
        elif kind == FrameType.SUCCESSION:
            self._take_succession(frame[2])
        elif kind == FrameType.INTRODUCE:
            self._events.append(IntroductionReceived(frame[2]))
        elif kind == FrameType.GO_AWAY and not self._peer_going:
            self._peer_going = True
            self._events.append(GoAwayReceived(frame[2], frame[3]))
        # What is left is a change of key, which the reader has already made, and another go-away.

    def _take_hello(self, payload: bytes) -> None:
        if len(payload) > MAX_HELLO:
            raise RemoteProtocolError("a hello that is too long")
        if not self._peer_said_hello:
            self._peer_said_hello = True
            self._events.append(HelloReceived(payload))

    def _take_exchange(self, payload: bytes) -> None:
        try:
            self._events.append(decode_exchange(payload))
        except DecodeError:
            self._malformed += 1

    def _take_succession(self, payload: bytes) -> None:
        self._successions_heard += 1
        if self._successions_heard <= MAX_SUCCESSIONS:
            self._events.append(SuccessionReceived(payload))

    def _take_window(self, number: int, credit: int) -> None:
        if number:
            self.streams.window_received(number, credit)
        elif self._send_credit + credit > MAX_CREDIT:
            raise RemoteProtocolError("credit beyond reason")
        else:
            self._send_credit += credit

    def _take_pong(self, token: bytes, now: float) -> None:
        rtt = self.round_trip.pong(token, now)
        if rtt is not None:
            self.streams.rtt = self.round_trip.smoothed
            self.streams.least_rtt = min(self.streams.least_rtt, rtt)
            self._events.append(PongReceived(token, rtt))

    # Events out

    def next_event(self) -> Event | None:
        """Return the oldest event not yet taken, or None."""
        return self._events.popleft() if self._events else None

    def take_events(self) -> deque[Event]:
        """Return the queue of events, :attr:`events`, with what streams have to tell; the caller empties it."""
        if self.streams.changed:
            self.streams.flush_changes()
        return self._events

    # Verbs

    def _check_open(self) -> None:
        if self.failed is not None or self._going:
            raise PeerNotConnected(self.failed.message if self.failed else "the session is closed")

    def takes(self, size: int) -> bool:
        """Whether a payload of that many bytes is within what both sides take."""
        return size <= self._max_payload

    def check_size(self, size: int) -> None:
        """Check a payload against what both sides take.

        Raises:
            UsageError: It is too long.
        """
        if size > self._max_payload:
            raise UsageError(
                f"{size} bytes are over max_message_size ({self._max_payload}); use a stream, or raise the limit on "
                "both sides"
            )

    def send_message(self, kind: Kind, name: bytes, payload: bytes | bytearray | memoryview) -> None:
        """Queue a message.

        Args:
            kind: What the payload is.
            name: Its type, UTF-8.
            payload: Its content.

        Raises:
            PeerNotConnected: The session is closed.
            UsageError: It is too long for one side.
        """
        if self._going or self.failed is not None:
            self._check_open()
        if len(payload) > self._max_payload:
            self.check_size(len(payload))
        self._sent += 1
        self._messages.add_message(kind, name, payload)

    def send_follows(self, links: Sequence[tuple[bytes, int]]) -> None:
        """Tell the peer that messages and requests from here on come after those on other links.

        Args:
            links: Ids of those links, and how many messages and requests were queued on each.
        """
        if self.failed is None and not self._going:
            self._messages.add(FrameType.FOLLOWS, 0, encode_follows(links))

    def send_error(self, number: int, code: str, message: str) -> None:
        """Queue the refusal of a request; nothing happens where the peer has cancelled it."""
        if self.failed is None and self.requests.answer(number):
            self._replies.add_id(FrameType.ERROR, 0, number, reason_body(code, message))
            self._sent += 1
            self._answers_sent += 1

    def send_datagram(self, kind: Kind, payload: bytes | bytearray | memoryview) -> None:
        """Queue an unreliable message, ahead of everything reliable.

        Raises:
            PeerNotConnected: The session is closed.
            UsageError: It is longer than a frame.
        """
        self._check_open()
        if len(payload) > MAX_DATAGRAM:
            raise UsageError(f"a datagram has at most {MAX_DATAGRAM} bytes, not {len(payload)}")
        self._control.add(FrameType.DATAGRAM, kind, payload)

    def send_hello(self, payload: bytes) -> None:
        """Accept the session and tell the peer about ourselves."""
        self._control.add(FrameType.HELLO, 0, payload)

    def send_exchange(self, payload: bytes) -> None:
        """Queue a message of peer exchange."""
        if self.failed is None and not self._going:
            self._control.add(FrameType.PEERS, 0, payload)

    def send_succession(self, payload: bytes) -> None:
        """Tell the peer that this side has, or had, another identity; nothing where the session is over."""
        if self.failed is None and not self._going:
            self._control.add(FrameType.SUCCESSION, 0, payload)

    def send_introduction(self, body: bytes) -> bool:
        """Queue what belongs to an introduction; False where the session is over, or the peer does not read."""
        if self.failed is not None or self._going or len(self._control) > MAX_INTRODUCTIONS_QUEUED:
            return False
        self._control.add(FrameType.INTRODUCE, 0, body)
        return True

    def _grant_messages(self) -> None:
        # Answers that the peer does not read count too: else its requests would pile them up without end.
        free = self._window - self._unhandled - len(self._replies)
        credit = self._reader.window_used + free - self._window_granted
        if free > 0 and credit >= self._window // 4 and self.failed is None:
            credit = min(credit + self._resize_window(credit), UINT32_MAX)
            if credit > 0:
                self._window_granted += credit
                self._control.add_id(FrameType.STREAM_WINDOW, 0, 0, credit.to_bytes(4))

    def _resize_window(self, credit: int) -> int:
        """Grow the window of a peer that makes use of it, or shrink it where memory is short; returns by how much."""
        wanted = self._config.message_window - self._window
        if self._share.is_short:
            # What the peer has been promised stays promised.
            target = max(self._share.least, self._window // 2, self._window - credit)
            change = min(0, target - self._window)
            self._share.give(-change)
        elif wanted > 0:
            change = self._share.take_some(min(self._window, wanted))
        else:
            return 0
        self._window += change
        return change

    def ping(self, *, now: float) -> bytes:
        """Queue a ping and return its token."""
        token = self.round_trip.start(now)
        self._control.add(FrameType.PING, 0, token)
        return token

    def go_away(self, code: str, message: str = "") -> None:
        """End the session: behind what is queued the peer is told, and nothing more can be sent."""
        if not self._going and self.failed is None:
            self._going = True
            self.shortcut.close()
            self._last_words = reason_body(code, message)

    def fail(self, code: str, message: str) -> None:
        """Give the session up at once; the peer is told where the link still carries it."""
        if self.failed is None:
            self._lost(code, message)
            self._control.add(FrameType.GO_AWAY, 0, reason_body(code, message))

    def _lost(self, code: str, message: str) -> None:
        if self.failed is not None:
            return
        self.failed = SessionFailed(code, message)
        self.shortcut.close()
        for queue in (self._control, self._replies, self._messages):
            queue.clear()
        self.streams.fail_all(code, message)
        self._shared.end_session(self._share)
        self._events.append(self.failed)

    # Bytes out

    def big_round(self, now: float) -> bytes:
        """Return the next blocks for the network where :meth:`data_to_send` has more to look at than a few frames."""
        control, replies, messages = self._control, self._replies, self._messages
        if self.retained is not None:
            instead = self._instead_of_round(self.retained, UNCROWDED_ROUND, now)
            if instead is not None:
                return instead
        streams = self.streams.ready
        sends_messages = bool(messages) and self._send_credit > FRAME_COST
        if not (control or replies or sends_messages or streams) and (self._last_words is None or messages):
            return b""
        self.acknowledge(along=True)
        is_crowded = bool(replies) + sends_messages + bool(streams) > 1
        writer = self._writer
        size = ROUND_SIZE if is_crowded else UNCROWDED_ROUND
        if not streams:  # room for what waits, so that a small message does not cost a big buffer
            waiting = len(control) + len(replies) + len(messages)
            size = min(size, waiting + waiting // 1024 + MAX_OVERHEAD)
        writer.begin(size)
        # First of all, because a round that is full has no room for it.
        sealed = writer.sealed - self._rekeyed_count
        is_due = sealed >= self._config.rekey_messages or now - self._rekeyed_at >= self._config.rekey_interval
        changes_key = sealed > 0 and is_due and writer.put_rekey()
        if changes_key:
            self._rekeyed_at = now
            self._rekeyed_count = writer.sealed
        if control:
            writer.put_queue(control)
        if replies:
            writer.put_queue(replies, CROWDED_SHARE if is_crowded else -1)
            if self._reader.window_used + self._window - self._window_granted >= self._window // 4:
                self._grant_messages()
        if sends_messages:
            credit = min(self._send_credit, CROWDED_SHARE) if is_crowded else self._send_credit
            self._send_credit -= writer.put_queue(messages, credit)
            if self.requests.early:
                self.requests.tell_cancelled()
        if streams:
            self.streams.put(writer)
        if self._last_words is not None:
            self._put_last_words()
        return self.finish_round(begins_with_rekey=changes_key, now=now)

    def _put_last_words(self) -> None:
        """Say goodbye where nothing is left to be said before."""
        if not (self._messages or self._replies or self._control or self.streams.ready):
            self._control.add(FrameType.GO_AWAY, 0, self._last_words or b"")
            self._last_words = None
            self._writer.put_queue(self._control)

    # Time

    def next_timer(self) -> float:
        """When :meth:`handle_timer` wants to be called, in monotonic seconds."""
        return min(
            self._next_ping,
            self._last_received + self._config.idle_timeout,
            self.requests.next_deadline(),
            self.paths_timer(),
        )

    def handle_timer(self, *, now: float) -> None:
        """Do what is due: pings, expired requests, a peer that fell silent."""
        if self.failed is not None:
            return
        if now >= self._last_received + self._config.idle_timeout:
            self._lost(Reason.TIMEOUT, f"nothing was heard for {self._config.idle_timeout:g} s")
            return
        self.requests.expire(now)
        self._handle_paths_timer(now)
        if now >= self._next_ping:
            self._next_ping = now + self._config.ping_interval
            self._trim()
            self.ping(now=now)

    def _trim(self) -> None:
        """Give memory back that the traffic of late did not need."""
        self._reader.trim()
        self._trim_retained()
        for queue in (self._control, self._replies, self._messages):
            queue.trim()
