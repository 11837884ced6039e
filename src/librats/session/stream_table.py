"""All streams of a session: numbers, limits, fair turns at sending, and windows that grow where they should."""

from __future__ import annotations

import math
from collections import deque

from librats._core.framing import BlockWriter, FrameQueue
from librats.config import SessionConfig
from librats.errors import RemoteProtocolError, UsageError
from librats.session.events import Event, StreamChanged, StreamOpened
from librats.session.frames import FrameType, Reason, StreamFlag, reason_body
from librats.session.memory import MemoryShare
from librats.session.pace import Pace
from librats.session.shared_limits import SharedLimits, limit_words
from librats.session.streams import StreamError, StreamState

__all__ = ["StreamTable"]

QUANTUM = 65511  # what a full frame carries; a crumb more would begin another one
"""Bytes that a stream may send before it is the next one's turn."""

BIG_WINDOW = 8 * 1024 * 1024
LAST_NUMBER = 0xFFFFFFFE
MAX_CREDIT = 1 << 40
END = int(StreamFlag.END)  # an enum makes an object of each result


class StreamTable:
    """The streams of both sides.

    Args:
        control: Where frames about streams are queued.
        events: Where openings and changes are told.
        initiator: True on the side that dialled: its streams have odd numbers.
        config: The limits.
        shared: The limits that all sessions of the client keep together.
        share: Where windows take their memory from.
    """

    __slots__ = (
        "_config",
        "_control",
        "_events",
        "_last_theirs",
        "_next_number",
        "_open",
        "_pace",
        "_share",
        "_shared",
        "_streams",
        "_window_total",
        "changed",
        "least_rtt",
        "now",
        "ready",
        "rtt",
    )

    def __init__(
        self,
        control: FrameQueue,
        events: deque[Event],
        *,
        initiator: bool,
        config: SessionConfig,
        shared: SharedLimits,
        share: MemoryShare,
    ) -> None:
        self._control = control
        self._events = events
        self._config = config
        self._shared = shared
        self._share = share
        self._pace: Pace | None = None
        self._next_number = 1 if initiator else 2
        self._last_theirs = 0
        self._streams: dict[int, StreamState] = {}
        self.ready: dict[int, StreamState] = {}
        """Streams that could send now, in the order of their turns."""
        self.changed: dict[int, StreamState] = {}
        """Streams of which :meth:`flush_changes` has not told yet."""
        self._open = [0, 0]
        self._window_total = 0
        self.now = 0.0
        """Monotonic seconds at which the frames at hand have come."""
        self.rtt: float | None = None
        """Smoothed round-trip time of the session, in seconds."""
        self.least_rtt = math.inf
        """The shortest one on this path."""

    @property
    def count(self) -> int:
        """Streams that are not dead."""
        return len(self._streams)

    @property
    def incoming(self) -> int:
        """Streams that the peer has opened."""
        return self._open[True]

    @property
    def outgoing(self) -> int:
        """Streams that we have opened."""
        return self._open[False]

    @property
    def windows(self) -> int:
        """Bytes that the peer may send on all streams before we have read any."""
        return self._window_total

    # Verbs

    def open(self, name: bytes) -> StreamState:
        """Open a stream of ours.

        Raises:
            UsageError: A limit is reached, or all numbers of this session are used up.
        """
        if self._next_number > LAST_NUMBER:
            raise UsageError("this session has used up its stream numbers; connect anew")
        refused = self._refusal(incoming=False)
        if refused is not None:
            raise UsageError(refused)
        number = self._next_number
        self._next_number += 2
        window = self._config.stream_window
        stream = StreamState(self, number, name.decode(), window=window, incoming=False)
        self._add(stream)
        body = window.to_bytes(4) + bytes([len(name)]) + name
        self._control.add_id(FrameType.STREAM_OPEN, 0, number, body)
        return stream

    def _refusal(self, *, incoming: bool) -> str | None:
        """Return, in words, why there can be no further stream, or None; the limit's refusals are counted."""
        config, shared = self._config, self._shared
        direction = "incoming" if incoming else "outgoing"
        one, all_ = f"max_{direction}_streams", f"max_total_{direction}_streams"
        if self._open[incoming] >= getattr(config, one):
            limit, words = one, limit_words(f"{self._open[incoming]} streams are open", config, one)
        elif shared.streams[incoming] >= getattr(shared.config, all_):
            what = f"{shared.streams[incoming]} streams are open with all peers"
            limit, words = all_, limit_words(what, shared.config, all_)
        elif incoming and not self._in_time():
            what = f"more than {config.max_stream_rate:g} streams a second"
            limit, words = "max_stream_rate", limit_words(what, config, "max_stream_rate")
        elif not self._share.take(config.stream_window):
            limit, words = "max_memory", shared.memory_words()
        else:
            return None
        shared.refuse(limit)
        return words

    def _in_time(self) -> bool:
        """Whether the peer keeps to the rate at which it may open streams."""
        if self._pace is None:
            self._pace = Pace(self._config.max_stream_rate, self._config.max_stream_rate)
        return self._pace.wait(now=self.now) is not None

    def fail_all(self, code: str, message: str) -> None:
        """End every stream: the session is gone."""
        for stream in list(self._streams.values()):
            stream.fail(StreamError(code, message))

    def put(self, writer: BlockWriter) -> None:
        """Let the streams send in turns, as far as the writer has room."""
        while self.ready:
            number, stream = next(iter(self.ready.items()))
            del self.ready[number]
            turn = QUANTUM
            while turn > 0 and stream.wants_to_send:
                chunks, offset, size, end = stream.peek()
                flags = StreamFlag.END if end else 0
                taken = writer.put_chunks(number, flags, chunks, offset, size)
                if taken < 0:
                    behind = dict(self.ready)
                    self.ready.clear()
                    self.ready[number] = stream
                    self.ready.update(behind)
                    return
                stream.sent(taken, end=end and taken == size)
                self.changed[number] = stream
                turn -= max(taken, 1)
            if stream.wants_to_send:
                self.ready[number] = stream

    def flush_changes(self) -> None:
        """Tell, once for each, which streams have changed."""
        if self.changed:
            self._events.extend(StreamChanged(stream) for stream in self.changed.values())
            self.changed.clear()

    # What a stream asks of its host

    def stream_has_data(self, stream: StreamState) -> None:
        """Put the stream in the round of those that want to send."""
        if stream.wants_to_send:
            self.ready.setdefault(stream.number, stream)

    def grant(self, stream: StreamState, credit: int) -> None:
        """Let the peer send that many more bytes."""
        self._control.add_id(FrameType.STREAM_WINDOW, 0, stream.number, credit.to_bytes(4))

    def stop(self, stream: StreamState, code: str, message: str) -> None:
        """Tell the peer that nobody reads what it sends."""
        self._control.add_id(FrameType.STREAM_STOP, 0, stream.number, reason_body(code, message))

    def reset(self, stream: StreamState, code: str, message: str) -> None:
        """Tell the peer that the stream is dead both ways."""
        self._control.add_id(FrameType.STREAM_RESET, 0, stream.number, reason_body(code, message))

    def next_window(self, stream: StreamState, now: float) -> int:
        """Double the window of a stream whose reader is quicker than the round trip, within the limits."""
        window = stream.window
        grown = min(window * 2, self._config.max_stream_window)
        if self.rtt is None or now - stream.granted_at > 4 * self.rtt or grown <= window:
            return window
        # Behind a big window the round trip itself gets longer: what lies in it must not make it grow.
        if grown > BIG_WINDOW and now - stream.granted_at > 1.5 * self.least_rtt:
            return window
        if self._window_total + grown - window > self._config.max_buffered:
            return window
        if self._share.is_short or not self._share.take(grown - window):
            return window
        self._window_total += grown - window
        return grown

    def forget(self, stream: StreamState) -> None:
        """Drop a stream whose directions have both ended."""
        if self._streams.pop(stream.number, None) is not None:
            self.ready.pop(stream.number, None)
            self.changed[stream.number] = stream
            self._window_total -= stream.window
            self._open[stream.incoming] -= 1
            self._shared.streams[stream.incoming] -= 1
            self._share.give(stream.window - stream.buffered)

    def release(self, size: int) -> None:
        """Take note that bytes of a stream that was dropped have been read."""
        self._share.give(size)

    # Frames in

    def open_received(self, _flags: int, number: int, window: int, name: str) -> None:
        """Take a stream that the peer opens, or refuse it."""
        ours = number % 2 == self._next_number % 2
        if number == 0 or ours or number <= self._last_theirs:
            raise RemoteProtocolError(f"a new stream with the number {number}")
        self._last_theirs = number
        stream = StreamState(self, number, name, window=self._config.stream_window, incoming=True)
        stream.credit = window
        refused = self._refusal(incoming=True)
        if refused is not None:
            self.reset(stream, Reason.LIMIT, refused)
            return
        self._add(stream)
        self._events.append(StreamOpened(stream))

    def data_received(self, flags: int, number: int, data: bytes) -> None:
        """Take data of a stream; that of one that is gone was on its way already, and is dropped."""
        stream = self._streams.get(number)
        if stream is None:
            self._check_was_open(number)
            return
        stream.receive(data, end=bool(flags & END))
        self.changed[number] = stream

    def window_received(self, number: int, credit: int) -> None:
        """Take more credit for a stream."""
        stream = self._streams.get(number)
        if stream is None:
            self._check_was_open(number)
            return
        if stream.credit + credit > MAX_CREDIT:
            raise RemoteProtocolError(f"stream {number}: credit beyond reason")
        stream.add_credit(credit)
        self.changed[number] = stream

    def reset_received(self, _flags: int, number: int, code: str, message: str) -> None:
        """Take the violent end of a stream."""
        stream = self._streams.get(number)
        if stream is None:
            self._check_was_open(number)
            return
        stream.fail(StreamError(code, message))
        self.changed[number] = stream

    def stop_received(self, _flags: int, number: int, code: str, message: str) -> None:
        """Take the peer's word that it does not read a stream any more."""
        stream = self._streams.get(number)
        if stream is None:
            self._check_was_open(number)
            return
        stream.stopped(code, message)
        self.changed[number] = stream

    def _check_was_open(self, number: int) -> None:
        ours = number % 2 == self._next_number % 2
        if number == 0 or (number >= self._next_number if ours else number > self._last_theirs):
            raise RemoteProtocolError(f"a frame of stream {number}, which was never opened")

    def _add(self, stream: StreamState) -> None:
        self._streams[stream.number] = stream
        self._window_total += stream.window
        self._open[stream.incoming] += 1
        self._shared.streams[stream.incoming] += 1
