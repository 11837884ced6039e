"""A session in librats 2 framing, and the node at its other end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from tests.reference.runs import each
from tests.unit.session.joined import KEYS, CountingEntropy, opened

from librats._core.aead import Cipher
from librats.config import SessionConfig
from librats.session.events import Event, Message
from librats.session.frames import Kind, Reason
from librats.session.librats2 import Librats2Session
from librats.session.librats2_wire import InnerType, channel_id
from librats.session.opening import Opened, PlainOpened
from librats.session.shared_limits import SharedLimits

START = 1000.0
CHANNELS = {channel_id(name): (kind, name) for name, kind in (("data", Kind.BYTES), ("chat", Kind.TEXT))}

T = TypeVar("T")
Channel = Callable[[int], tuple[Kind, str] | None]


def as_bytes(number: int) -> tuple[Kind, str]:
    """Take every channel, named by its number."""
    return Kind.BYTES, str(number)


def session_of(
    keys: tuple[bytes, bytes] = KEYS,
    *,
    config: SessionConfig | None = None,
    channel: Channel = CHANNELS.get,
    shared: SharedLimits | None = None,
) -> Librats2Session:
    """Return a session that seals with the first key and opens with the second."""
    left = Opened(
        sending=Cipher(keys[0]),
        receiving=Cipher(keys[1]),
        public_key=bytes(32),
        peer_id="0" * 64,
        handshake_hash=bytes(32),
        greeting=None,
    )
    return session_from(left, config=config, channel=channel, shared=shared)


def session_from(
    left: Opened | PlainOpened,
    *,
    config: SessionConfig | None = None,
    channel: Channel = CHANNELS.get,
    shared: SharedLimits | None = None,
) -> Librats2Session:
    """Return the session that follows an opening."""
    return Librats2Session(
        left,
        config=config or (SessionConfig() if shared is None else shared.config.session),
        entropy=CountingEntropy(),
        channel=channel,
        now=START,
        shared=shared,
    )


def block(body: bytes) -> bytes:
    return len(body).to_bytes(4) + body


class Node:
    """The other end of a session: seals any inner message, and reads what the session sends."""

    def __init__(self) -> None:
        end = opened(initiator=False)
        self._sending, self._receiving = end.sending, end.receiving

    def seal(self, *inners: bytes) -> bytes:
        return b"".join(block(self._sending.seal(inner, b"")) for inner in inners)

    def read(self, data: bytes) -> Iterator[bytes]:
        while data:
            end = 4 + int.from_bytes(data[:4])
            yield self._receiving.open(data[4:end], b"")
            data = data[end:]


class Link:
    """A session and the node at its other end."""

    def __init__(
        self,
        config: SessionConfig | None = None,
        *,
        channel: Channel = CHANNELS.get,
        shared: SharedLimits | None = None,
    ) -> None:
        self.session = session_of(config=config, channel=channel, shared=shared)
        self.node = Node()

    def hear(self, *inners: bytes, now: float = START) -> list[Event]:
        """Let the node send inner messages; returns the session's news."""
        self.session.receive_data(self.node.seal(*inners), now=now)
        return news_of(self.session)

    def said(self, now: float = START) -> list[bytes]:
        """Return the inner messages that the session has to send."""
        return list(self.node.read(drain(self.session, now)))


def drain(session: Librats2Session, now: float = START) -> bytes:
    return b"".join(iter(lambda: session.data_to_send(now=now), b""))


def news_of(session: Librats2Session) -> list[Event]:
    return list(iter(session.next_event, None))


def only(kind: type[T], events: list[Event]) -> list[T]:
    return [event for event in each(events) if isinstance(event, kind)]


def told(events: list[Event]) -> list[tuple[int, str, bytes]]:
    """Return kind, name and payload of the messages among the news."""
    return [(event.kind, event.name, event.payload) for event in only(Message, events)]


def app(name: str, payload: bytes, *, flags: int = 0) -> bytes:
    return bytes([InnerType.APP, flags]) + channel_id(name).to_bytes(2) + payload


def inner(kind: int, payload: bytes, *, flags: int = 0, channel: int = 0) -> bytes:
    return bytes([kind, flags]) + channel.to_bytes(2) + payload


def has_failed(session: Librats2Session, code: Reason) -> bool:
    return session.failed is not None and session.failed.code == code


def is_so(state: bool) -> bool:
    """Return a property's value, so that mypy does not take it for constant."""
    return state
