"""The peer book of the blocking client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from librats.blocking.bridge import Bridge
from librats.peers.book import KnownPeer, PeerEver
from librats.peers.book import PeerBook as AsyncBook
from librats.types import Address

__all__ = ["PeerBook"]


class PeerBook(Mapping[str, KnownPeer]):
    """The peers that a client knows, by id; see :class:`librats.PeerBook`. Comes from the client."""

    def __init__(self, book: AsyncBook, bridge: Bridge) -> None:
        self._book = book
        self._bridge = bridge

    def __repr__(self) -> str:
        """Tell how many peers are in it."""
        return repr(self._book)

    def __getitem__(self, peer_id: str) -> KnownPeer:
        """Return what is known of a peer."""
        return self._bridge.call(self._book.__getitem__, peer_id)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids, the peer least recently seen first."""
        return self._bridge.call(lambda: iter(list(self._book)))

    def __len__(self) -> int:
        """How many peers are in the book."""
        return self._bridge.call(self._book.__len__)

    @property
    def ever(self) -> Mapping[str, PeerEver]:
        """Everybody who was ever met: a copy."""
        return self._bridge.call(lambda: dict(self._book.ever))

    def addresses_of(self, peer_id: str) -> list[Address]:
        """Return where a peer may be dialled: first where that worked last, then where the peer says it listens."""
        return self._bridge.call(self._book.addresses_of, peer_id)

    def add(self, peer_id: str, addresses: Iterable[str | Address], *, favourite: bool = False) -> None:
        """Enter a peer, or further addresses of one, without having met it; see :meth:`librats.PeerBook.add`."""
        self._bridge.call(self._book.add, peer_id, addresses, favourite=favourite)

    def set_favourite(self, peer_id: str, favourite: bool = True) -> None:
        """Say whether to stay connected to a peer; see :meth:`librats.PeerBook.set_favourite`."""
        self._bridge.call(self._book.set_favourite, peer_id, favourite)

    def forget(self, peer_id: str) -> bool:
        """Remove a peer from the book and from :attr:`ever`; False where it is in neither."""
        return self._bridge.call(self._book.forget, peer_id)
