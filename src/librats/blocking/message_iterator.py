"""Messages of one type as an iterator that blocks."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

from librats.blocking.bridge import Bridge
from librats.peers.handling.message_iterator import MessageIterator as AsyncMessageIterator

if TYPE_CHECKING:
    from librats.blocking.peer import Peer, Peers

__all__ = ["MessageIterator"]


T = TypeVar("T")


class MessageIterator(Generic[T]):
    """Iterates over ``(peer, data)``; ends when the client stops or :meth:`close` is called.

    Messages are taken from the moment it is made. Where it is not read, its senders are held back. Several threads may
    read it; each message goes to one of them.
    """

    def __init__(self, iterator: AsyncMessageIterator[T], bridge: Bridge, peers: Peers) -> None:
        self._iterator = iterator
        self._bridge = bridge
        self._peers = peers
        # The async one belongs to the loop thread, where its last reference must go.
        weakref.finalize(self, bridge.post, iterator.close).atexit = False

    def __iter__(self) -> MessageIterator[T]:
        """Return itself."""
        return self

    def __next__(self) -> tuple[Peer, T]:
        """Wait for the next message."""
        try:
            peer, data = self._bridge.wait(self._iterator.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None
        return self._peers.of(peer), data

    def close(self) -> None:
        """Stop listening. What has arrived can still be read."""
        self._bridge.call(self._iterator.close)
