"""Two session machines and the wire between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from tests.reference.runs import each

from librats._core.aead import Cipher
from librats.config import SessionConfig
from librats.session.events import Event, Message, StreamChanged, StreamOpened
from librats.session.greeting import Greeting
from librats.session.machine import Session
from librats.session.opening import Opened
from librats.session.streams import StreamState

KEYS = (bytes(range(32)), bytes(range(32, 64)))

T = TypeVar("T")
Cut = Callable[[bytes], Iterator[bytes]]


class CountingEntropy:
    """Entropy that is the same in every run."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - nothing here is a secret

    def token_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def randbelow(self, limit: int) -> int:
        return self._random.randrange(limit)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for index in range(len(data)):
        yield data[index : index + 1]


def random_pieces(seed: int) -> Cut:
    source = random.Random(seed)  # noqa: S311 - nothing here is a secret

    def cut(data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = source.choice((1, 3, 4, 5, 19, 20, 21, 1000, 4095, 4096, 4097, 65539, 100_000))
            yield data[at : at + size]
            at += size

    return cut


def opened(*, initiator: bool) -> Opened:
    """Return what the handshake would leave behind on that side."""
    sending, receiving = KEYS if initiator else KEYS[::-1]
    return Opened(
        sending=Cipher(sending),
        receiving=Cipher(receiving),
        public_key=bytes(32),
        peer_id="0" * 64,
        handshake_hash=bytes(32),
        greeting=None,
    )


def greeting_of(config: SessionConfig) -> Greeting:
    return Greeting(
        incarnation=bytes(8), message_window=config.message_window, max_message=config.max_message_size, agent="test"
    )


class Side:
    """One machine with what it has told so far."""

    def __init__(self, *, initiator: bool, config: SessionConfig, peer_config: SessionConfig, now: float) -> None:
        self.session = Session(
            opened(initiator=initiator),
            greeting_of(peer_config),
            initiator=initiator,
            config=config,
            entropy=CountingEntropy(),
            now=now,
        )
        self.events: list[Event] = []

    def collect(self) -> list[Event]:
        """Take the machine's news; returns what is new."""
        waiting = self.session.take_events()
        new = list(each(waiting))
        waiting.clear()
        self.events += new
        return new

    def of(self, kind: type[T]) -> list[T]:
        self.collect()
        return [event for event in self.events if isinstance(event, kind)]

    def messages(self) -> list[Message]:
        return self.of(Message)

    def changed(self) -> list[int]:
        return [event.stream.number for event in self.of(StreamChanged)]

    def accepted(self, now: float = 0.0) -> StreamState:
        """Accept the newest stream that the peer opened."""
        stream = self.of(StreamOpened)[-1].stream
        stream.accept(now)
        return stream


class Pair:
    """Two machines, the first of which dialled.

    Args:
        config: Of both sides, or of the dialling one.
        other: Of the other side.
        cut: How the wire cuts what goes over it.
    """

    def __init__(
        self, config: SessionConfig | None = None, other: SessionConfig | None = None, *, cut: Cut = whole
    ) -> None:
        mine = config or SessionConfig()
        theirs = other or mine
        self.now = 1000.0
        self.cut = cut
        self.a = Side(initiator=True, config=mine, peer_config=theirs, now=self.now)
        self.b = Side(initiator=False, config=theirs, peer_config=mine, now=self.now)
        self.carried: dict[bool, list[bytes]] = {True: [], False: []}

    def move(self, *, forward: bool, rounds: int = 1_000_000) -> int:
        """Carry what one side has to send; returns how many bytes that was."""
        source, target = (self.a, self.b) if forward else (self.b, self.a)
        total = 0
        for _ in range(rounds):
            data = source.session.data_to_send(now=self.now)
            if not data:
                break
            total += len(data)
            self.carried[forward].append(data)
            for piece in self.cut(data):
                target.session.receive_data(piece, now=self.now)
        return total

    def settle(self) -> None:
        """Carry both ways until both sides are silent."""
        while self.move(forward=True) + self.move(forward=False):
            continue
        self.a.collect()
        self.b.collect()

    def open_stream(self, name: bytes = b"test/1") -> tuple[StreamState, StreamState]:
        """Open a stream from the first side, agreed to by the second."""
        ours = self.a.session.streams.open(name)
        self.settle()
        theirs = self.b.accepted(self.now)
        self.settle()
        assert ours.accepted
        return ours, theirs

    def pump(self, source: StreamState, target: StreamState) -> bytes:
        """Carry until the source has nothing left, while the target reads; returns what it read."""
        received = bytearray()
        while True:
            self.settle()
            data = read_all(target, now=self.now)
            if not data and not source.queued:
                return bytes(received)
            received += data


def read_all(stream: StreamState, *, now: float) -> bytes:
    """Take everything that a stream has buffered."""
    received = bytearray()
    while data := stream.read(stream.buffered, now=now):
        received += data
    return bytes(received)


def errors_of(*sides: Side) -> list[str]:
    """Tell why sides have given up; empty where none has."""
    return [side.session.failed.message for side in sides if side.session.failed is not None]
