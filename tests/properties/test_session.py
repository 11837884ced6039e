"""Two machines under random use, and one machine under random frames that were sealed with the right key."""

from __future__ import annotations

import random
import struct
import time
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import framing as oracle
from tests.unit.session.joined import KEYS, Pair, Side, errors_of, random_pieces, read_all

from librats.config import MIN_MESSAGE_WINDOW, SessionConfig
from librats.errors import ClosedError, RemoteError
from librats.session.events import (
    Message,
    ReplyReceived,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    StreamOpened,
)
from librats.session.frames import Kind, Reason
from librats.session.streams import StreamState

CONFIG = SessionConfig(
    message_window=MIN_MESSAGE_WINDOW,
    stream_window=16 * 1024,
    max_stream_window=64 * 1024,
    max_buffered=128 * 1024,
    max_requests=8,
    max_incoming_streams=5,
    rekey_messages=7,
    max_message_size=300_000,
    max_json_size=1000,
)

SIZES = (0, 1, 10, 1000, 2047, 2048, 16_384, 40_000, 65_513, 65_514, 140_000)


@dataclass
class Direction:
    """What went into one direction of a stream, and what came out."""

    written: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    complete: bool = False
    cut_short: bool = False


class Use:
    """One side that is used at random, and what it has to show for it."""

    def __init__(self, side: Side, source: random.Random) -> None:
        self.side = side
        self.source = source
        self.streams: dict[int, StreamState] = {}
        self.sent: list[int] = []
        self.received: list[int] = []
        self.unhandled: deque[Message] = deque()
        self.asked: dict[int, int] = {}
        self.outcomes: dict[int, str] = {}

    def take(self, now: float) -> None:
        """Sort the machine's news."""
        self.side.collect()
        news, self.side.events = self.side.events, []
        for event in news:
            if isinstance(event, Message):
                self.unhandled.append(event)
            elif isinstance(event, StreamOpened):
                self.streams[event.stream.number] = event.stream
                event.stream.accept(now)
            elif isinstance(event, ReplyReceived):
                self._settled(event.request_id, "reply")
                assert len(event.payload) == self.asked[event.request_id]
            elif isinstance(event, RequestFailed):
                self._settled(event.request_id, event.code)
            elif isinstance(event, RequestExpired):
                self._settled(event.request_id, "expired")
            elif isinstance(event, RequestCancelled):
                assert not self.side.session.requests.is_wanted(event.request_id)

    def _settled(self, number: int, how: str) -> None:
        assert number not in self.outcomes
        self.outcomes[number] = how

    def handle_one(self) -> None:
        """Do what a handler does: answer a request with its own length, and give the window back."""
        if not self.unhandled:
            return
        message = self.unhandled.popleft()
        if message.request_id:
            self.side.session.send_reply(message.request_id, (Kind.BYTES, message.payload))
        else:
            (index,) = struct.unpack_from(">I", message.payload)
            self.received.append(index)
        self.side.session.consumed(message.cost)

    def send(self) -> None:
        size = self.source.choice(SIZES)
        self.side.session.send_message(Kind.BYTES, b"m", struct.pack(">I", len(self.sent)) + bytes(size))
        self.sent.append(len(self.sent))

    def ask(self, now: float) -> None:
        if self.side.session.requests.count >= CONFIG.max_requests:
            return
        size = self.source.choice(SIZES)
        timeout = self.source.choice((None, 1.0, 30.0))
        number = self.side.session.send_request((Kind.BYTES, bytes(size)), b"ask", timeout=timeout, now=now)
        self.asked[number] = size
        if self.source.random() < 0.2:
            self.side.session.requests.cancel(number)
            self.outcomes[number] = "cancelled"


class Model:
    """Two sides in random use."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)  # noqa: S311 - nothing here is a secret
        self.pair = Pair(CONFIG, cut=random_pieces(seed))
        self.sides = (Use(self.pair.a, self.source), Use(self.pair.b, self.source))
        self.directions: dict[tuple[int, int], Direction] = {}

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
            for use in self.sides:
                use.take(self.pair.now)
        self.finish()

    def step(self) -> None:
        which = self.source.randrange(2)
        use = self.sides[which]
        action = self.source.randrange(12)
        if action < 3:
            self.pair.move(forward=which == 0, rounds=self.source.randrange(1, 4))
        elif action == 3:
            use.send()
        elif action == 4:
            use.ask(self.pair.now)
        elif action in (5, 6):
            use.handle_one()
        elif action == 7:
            stream = use.side.session.streams.open(b"s")
            use.streams[stream.number] = stream
        elif action == 8:
            self.pair.now += self.source.choice((0.01, 0.5, 2.0))
            use.side.session.handle_timer(now=self.pair.now)
        elif use.streams:
            self.use_stream(which, self.source.choice(list(use.streams.values())), action)

    def direction(self, number: int, which: int) -> Direction:
        return self.directions.setdefault((number, which), Direction())

    def use_stream(self, which: int, stream: StreamState, action: int) -> None:
        writing, reading = self.direction(stream.number, which), self.direction(stream.number, 1 - which)
        if action == 9:
            data = self.source.randbytes(self.source.choice(SIZES))
            try:
                stream.write(data)
            except (ClosedError, RemoteError):
                return
            writing.written += data
        elif action == 10:
            reading.received += stream.read(self.source.choice((1, 100, 5000, 100_000)), now=self.pair.now)
        else:
            self.end_stream(stream, writing, reading)

    def end_stream(self, stream: StreamState, writing: Direction, reading: Direction) -> None:
        how = self.source.randrange(15)
        if how == 0:
            stream.abort(Reason.RESET, "reset")
            writing.cut_short = reading.cut_short = True
        elif how == 1:
            stream.stop_reading()
            reading.cut_short = True
        else:
            stream.write_eof()
            writing.complete = True

    def finish(self) -> None:
        """Let both sides read, handle and end everything, and check what came of it."""
        for _ in range(1000):
            self.pair.settle()
            moved = False
            for which, use in enumerate(self.sides):
                use.take(self.pair.now)
                while use.unhandled:
                    use.handle_one()
                    moved = True
                for stream in use.streams.values():
                    stream.write_eof()
                    data = read_all(stream, now=self.pair.now)
                    self.direction(stream.number, 1 - which).received += data
                    moved = moved or bool(data)
            if not moved and not any(use.side.session.wants_to_send for use in self.sides):
                break
        else:
            pytest.fail("the two sides do not come to rest")
        self.check()

    def check(self) -> None:
        assert errors_of(*(use.side for use in self.sides)) == []
        for use, other in (self.sides, self.sides[::-1]):
            assert other.received == use.sent
            assert use.side.session.queued == use.side.session.control_queued == 0
            assert use.side.session.streams.count == 0
            assert use.side.session._unhandled == 0
            assert set(use.outcomes) == set(use.asked)
        for (number, which), direction in self.directions.items():
            ends = [use.streams.get(number) for use in self.sides]
            failed = any(end is None or (end.read_error or _broken(end)) for end in ends)
            assert direction.written.startswith(direction.received), number
            if not direction.cut_short and not failed:
                assert direction.received == direction.written, (number, which)


def _broken(stream: StreamState) -> bool:
    """Tell whether a stream's sending ended otherwise than by its own end."""
    error = stream.write_error
    return error is not None and not (error.local and error.code == Reason.CLOSED)


def check_model(seed: int, steps: int) -> Model:
    model = Model(seed)
    model.run(steps)
    return model


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_said_arrives_whole_and_in_order(seed: int) -> None:
    model = check_model(seed, 500)
    assert sum(len(use.received) for use in model.sides) > 0


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 120))
def test_any_conversation_comes_to_rest(seed: int, steps: int) -> None:
    check_model(seed, steps)


# Hostile frames

HOSTILE_KINDS = [*range(1, 7), 8, *range(0x10, 0x15), *range(0x20, 0x25), 0x30]


def hostile_frame(source: random.Random) -> bytes:
    kind = source.choice(HOSTILE_KINDS)
    number = struct.pack(">I", source.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 9, 0xFFFFFFFF)))
    amount = struct.pack(">I", source.choice((0, 1, 16_384, 0xFFFFFFFF)))
    tail = source.randbytes(source.choice((0, 1, 5, 1000)))
    body = {
        oracle.MESSAGE: b"\1m" + tail,
        oracle.REQUEST: number + amount + b"\1m" + tail,
        oracle.FRAGMENT: source.choice((b"\1\1\1m", b"\3\0" + number, b"")) + tail,
        oracle.DATAGRAM: tail,
        oracle.REPLY: number + tail,
        oracle.CANCEL: number,
        oracle.STREAM_OPEN: number + amount + b"\1s",
        oracle.STREAM_DATA: number + tail,
        oracle.STREAM_WINDOW: number + amount,
        oracle.PING: number + amount,
        oracle.PONG: number + amount,
        oracle.GO_AWAY: b"\4code" + tail,
        oracle.REKEY: b"",
        oracle.HELLO: tail,
    }.get(kind, number + b"\4code" + tail)
    return oracle.frame(kind, source.choice((0, 0, 0, 1, 2, 3, 0xFF)), body)


def attack(seed: int) -> tuple[str | None, int]:
    """Let a machine that is in use take hostile frames; returns why it gave up, if it did, and its events."""
    source = random.Random(seed)  # noqa: S311 - nothing here is a secret
    pair = Pair(CONFIG)
    side = pair.b
    sealer = oracle.Sealer(KEYS[0])
    for number in (1, 3):
        opening = oracle.frame(oracle.STREAM_OPEN, 0, struct.pack(">II", number, 1000) + b"\1s")
        side.session.receive_data(sealer.block(opening), now=pair.now)
        side.accepted(pair.now).write(bytes(3000))
    side.session.streams.open(b"ours").write(bytes(3000))
    side.session.send_request((Kind.JSON, b"1"), b"ask", timeout=5.0, now=pair.now)
    for _ in range(source.randrange(1, 12)):
        frame = hostile_frame(source)
        side.session.receive_data(sealer.block(frame), now=pair.now)
        if frame[0] == oracle.REKEY:
            sealer.rekey()
        for event in side.collect():
            if isinstance(event, Message):
                side.session.send_reply(event.request_id, (Kind.JSON, b"1"))
                side.session.consumed(event.cost)
            elif isinstance(event, StreamOpened):
                event.stream.accept(pair.now)
        pair.now += source.choice((0.0, 3.0))
        side.session.handle_timer(now=pair.now)
        while side.session.data_to_send(now=pair.now):
            continue
    if side.session.failed is not None:
        assert side.session.failed.code in (Reason.PROTOCOL_ERROR, Reason.LIMIT)
        assert side.session.streams.count == 0
    assert len([event for event in side.events if type(event).__name__ == "SessionFailed"]) <= 1
    return (side.session.failed.message if side.session.failed else None), len(side.events)


def test_hostile_frames_raise_nothing() -> None:
    outcomes = [attack(seed) for seed in range(1500)]
    reasons = {why.split(":")[0] for why, _ in outcomes if why is not None}
    assert len(reasons) > 8
    assert sum(why is None for why, _ in outcomes) > 100
    assert sum(count for _, count in outcomes) > 5000


@pytest.mark.long
@pytest.mark.timeout(900)
def test_conversations_and_attacks_for_minutes() -> None:
    end = time.monotonic() + 180
    seed = 1_000_000
    while time.monotonic() < end:
        check_model(seed, 500)
        for number in range(20):
            attack(seed * 20 + number)
        seed += 1
    assert seed > 1_000_500
