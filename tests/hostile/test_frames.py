"""Mutated sessions in extended framing: damaged on the way, and by a peer that holds the keys."""

from __future__ import annotations

import gc
import json
import struct
from collections.abc import Callable

import pytest
from tests.hostile.mutations import FULL, QUICK, Mutator, peak_memory
from tests.reference import framing as oracle
from tests.unit.session.joined import KEYS, Pair, errors_of

from librats._core.messages import Message, MessageRun
from librats.config import MIN_MESSAGE_WINDOW, RatsConfig, SessionConfig
from librats.session.events import Event, SessionFailed, StreamOpened
from librats.session.frames import Kind, Reason
from librats.session.shared_limits import SharedLimits

MIB = 1024 * 1024
COUNTS = [QUICK, pytest.param(FULL, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
CONFIG = SessionConfig(
    message_window=MIN_MESSAGE_WINDOW,
    stream_window=16 * 1024,
    max_stream_window=64 * 1024,
    max_buffered=256 * 1024,
    max_message_size=256 * 1024,
    max_json_size=64 * 1024,
)


def reason(code: bytes, words: bytes) -> bytes:
    return bytes([len(code)]) + code + words


SAMPLES = [
    oracle.frame(oracle.MESSAGE, 0, oracle.message_body(b"chat", b'{"message":"hi"}')),
    oracle.frame(oracle.MESSAGE, 1, oracle.message_body(b"", bytes(200))),
    oracle.frame(oracle.REQUEST, 0, oracle.request_body(1, 10_000, b"ask", b"[1]")),
    oracle.frame(oracle.REPLY, 1, struct.pack(">I", 1) + b"answer"),
    oracle.frame(oracle.ERROR, 0, struct.pack(">I", 2) + reason(b"no_handler", b"words")),
    oracle.frame(oracle.CANCEL, 0, struct.pack(">I", 1)),
    oracle.frame(oracle.FRAGMENT, 0, b"\x01\x01\x01xabc"),
    oracle.frame(oracle.FRAGMENT, 1, b"the rest"),
    oracle.frame(oracle.FRAGMENT, 2, b"\x03\x01\x00\x00\x00\x01ab"),
    oracle.frame(oracle.FRAGMENT, 3, b"c"),
    oracle.frame(oracle.DATAGRAM, 1, b"datagram"),
    oracle.frame(oracle.STREAM_OPEN, 0, struct.pack(">II", 1, 1 << 18) + b"\x08upload/1"),
    oracle.frame(oracle.STREAM_DATA, 0, struct.pack(">I", 1) + b"data"),
    oracle.frame(oracle.STREAM_DATA, 1, struct.pack(">I", 2) + b"end"),
    oracle.frame(oracle.STREAM_WINDOW, 0, struct.pack(">II", 2, 1000)),
    oracle.frame(oracle.STREAM_WINDOW, 0, struct.pack(">II", 0, 1 << 20)),
    oracle.frame(oracle.STREAM_RESET, 0, struct.pack(">I", 1) + reason(b"reset", b"")),
    oracle.frame(oracle.STREAM_STOP, 0, struct.pack(">I", 2) + reason(b"closed", b"")),
    oracle.frame(oracle.PING, 0, b"12345678"),
    oracle.frame(oracle.PONG, 0, b"12345678"),
    oracle.frame(oracle.HELLO, 0, b'{"listen":["192.0.2.7:1"]}'),
    oracle.frame(oracle.GO_AWAY, 0, reason(b"closed", b"bye")),
    oracle.frame(0x77, 0, b"from a later version"),
    oracle.frame(0, 0, bytes(50)),
]


class Victim:
    """A session machine in use, whose peer holds the keys and is hostile."""

    def __init__(self, shared: SharedLimits, mutator: Mutator) -> None:
        self.pair = Pair(CONFIG)
        self.session = self.pair.b.session
        self.session._shared = shared
        self.sealer = oracle.Sealer(KEYS[0])
        self.mutator = mutator
        # Something of ours is under way, so that answers to it are looked at.
        self.session.streams.open(b"ours")
        self.session.send_request((Kind.JSON, b"1"), b"ask", timeout=5.0, now=self.pair.now)
        self.session.send_message(Kind.BYTES, b"big", bytes(100_000))
        self.unhandled: list[Event] = []

    def hear(self, packed: bytes) -> None:
        """Take frames that were sealed with the right key, and go on as a driver and an application do."""
        chance, session = self.mutator.chance, self.session
        for piece in self.mutator.pieces(self.sealer.block(packed[: oracle.MAX_PLAINTEXT])):
            session.receive_data(piece, now=self.pair.now)
        for event in list(self.pair.b.collect()):
            if isinstance(event, StreamOpened) and chance.random() < 0.8:
                event.stream.accept(self.pair.now)
            elif isinstance(event, MessageRun | Message):
                self.unhandled.append(event)
        self.pair.b.events.clear()
        while self.unhandled and chance.random() < 0.7:
            event = self.unhandled.pop()
            assert isinstance(event, MessageRun | Message)
            if isinstance(event, Message):
                session.send_reply(event.request_id, (Kind.BYTES, b"answer"))
            session.consumed(event.cost)
        for stream in list(session.streams._streams.values()):
            if chance.random() < 0.5:
                stream.read(1000, now=self.pair.now)
        if chance.random() < 0.5:
            session.data_to_send(now=self.pair.now)
        self.pair.now += chance.choice((0.0, 0.001, 1.0, 20.0))
        session.handle_timer(now=self.pair.now)
        self.check_bounds()

    def check_bounds(self) -> None:
        session = self.session
        if session.failed is not None:
            return
        assert session.unhandled <= CONFIG.message_window + CONFIG.max_message_size + 1024
        assert session.control_queued <= MIB + 70_000
        assert session.streams.windows <= CONFIG.max_buffered + 20 * CONFIG.stream_window
        assert len(session._events) < 10_000
        assert session.receive_buffer <= 256 * 1024
        assert session._shared.memory.taken <= session._shared.memory.limit


DOCUMENTED = {Reason.PROTOCOL_ERROR, Reason.LIMIT, Reason.TIMEOUT}


def run(count: int, seed: int, hostile: Callable[[Mutator], bytes]) -> dict[str, int]:
    """Let victims hear that many hostile blocks; returns how often what came of it."""
    mutator = Mutator(seed)
    shared = SharedLimits(RatsConfig(session=CONFIG))
    outcomes: dict[str, int] = {"taken": 0, **dict.fromkeys(map(str, DOCUMENTED), 0)}
    victim = Victim(shared, mutator)
    gc.collect()
    before = peak_memory()
    for _ in range(count):
        victim.hear(hostile(mutator))
        failed = victim.session.failed
        if failed is None:
            outcomes["taken"] += 1
            continue
        assert failed.code in DOCUMENTED, failed
        assert failed.message
        outcomes[failed.code] += 1
        victim = Victim(shared, mutator)
    assert peak_memory() - before < 64 * MIB
    return outcomes


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_frames_of_a_peer_that_holds_the_keys(count: int) -> None:
    def hostile(mutator: Mutator) -> bytes:
        frames = [mutator.chance.choice(SAMPLES) for _ in range(mutator.chance.choice((1, 1, 2, 8)))]
        at = mutator.chance.randrange(len(frames))
        if mutator.chance.random() < 0.5:  # with a body that is mutated and lengths that are right
            kind, flags, _ = struct.unpack(">BBH", frames[at][:4])
            body = mutator.mutate(frames[at][4:], [sample[4:] for sample in SAMPLES])[: oracle.MAX_BODY]
            frames[at] = oracle.frame(kind, flags ^ mutator.chance.choice((0, 0, 1, 2, 0xFF)), body)
            return b"".join(frames)
        return mutator.mutate(b"".join(frames), SAMPLES)

    outcomes = run(count, 1, hostile)
    assert outcomes["taken"] > count // 20
    assert outcomes[Reason.PROTOCOL_ERROR] > count // 20


@pytest.mark.parametrize("count", COUNTS)
def test_valid_frames_in_any_order_and_number(count: int) -> None:
    def hostile(mutator: Mutator) -> bytes:
        return b"".join(mutator.chance.choice(SAMPLES) for _ in range(mutator.chance.choice((1, 2, 3, 10))))

    assert run(count, 2, hostile)[Reason.PROTOCOL_ERROR] > 0


def conversation() -> list[bytes]:
    """Return the blocks of one direction of a session in which the n-th message is the number n."""
    pair = Pair(CONFIG)
    for number in range(24):
        pair.a.session.send_message(Kind.JSON, b"n", json.dumps(number).encode())
        pair.move(forward=True)
    return pair.carried[True]


@pytest.mark.parametrize("count", COUNTS)
def test_blocks_damaged_cut_replayed_or_out_of_order_are_refused_and_nothing_wrong_is_heard(count: int) -> None:
    mutator = Mutator(3)
    blocks = conversation()
    whole = b"".join(blocks)
    for _ in range(count):
        chance = mutator.chance
        kind = chance.randrange(5)
        at = chance.randrange(len(blocks))
        if kind == 0:
            hostile = [*blocks[: at + 1], blocks[chance.randrange(at + 1)], *blocks[at + 1 :]]
        elif kind == 1:
            hostile = [*blocks[:at], *blocks[at + 1 :]]
        elif kind == 2:
            hostile = list(blocks)
            other = chance.randrange(len(blocks))
            hostile[at], hostile[other] = hostile[other], hostile[at]
        elif kind == 3:
            hostile = [whole[: chance.randrange(len(whole))]]
        else:
            hostile = [mutator.mutate(whole)]
        data = b"".join(hostile)
        pair = Pair(CONFIG)
        for piece in mutator.pieces(data):
            pair.b.session.receive_data(piece, now=pair.now)
        heard = [json.loads(message.payload) for message in pair.b.messages()]
        assert heard == list(range(len(heard))), "a wrong message, or one in the wrong place"
        untouched = 0
        while data.startswith(b"".join(blocks[: untouched + 1])) and untouched < len(blocks):
            untouched += 1
        assert len(heard) == untouched
        errors = errors_of(pair.b)
        if not whole.startswith(data) and len(data) >= len(whole):
            assert errors or len(data) - len(b"".join(blocks[:untouched])) < 4 + 0xFFFF
        assert all("authenticate" in error or "a block of" in error for error in errors)
        assert all(event.code == Reason.PROTOCOL_ERROR for event in pair.b.of(SessionFailed))
