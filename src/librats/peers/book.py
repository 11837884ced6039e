"""The peer book: who was met, when, and where they can be dialled; and, in fewer words, everybody who ever was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from librats.errors import UsageError
from librats.peer_ids import check_peer_id
from librats.peers.hello import Hello
from librats.types import Address

__all__ = ["KnownAddress", "KnownPeer", "PeerBook", "PeerEver"]

MAX_PEERS = 4096
MAX_EVER = 16384
MAX_ADDRESSES = 32
MAX_TEXT = 300
"""Longest text of an address: a host name has at most 253 characters."""


class KnownAddress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one address of a peer. Times are seconds since 1970."""

    last_success: float | None = None
    """When a session with the peer last came about there by dialling; None where none has."""

    last_failure: float | None = None
    """When dialling it last failed."""

    failures: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How often dialling it has failed since it last worked."""

    unknown: dict[str, Any] | None = None
    """Members that another version has saved; they are written back."""


class KnownPeer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one peer. Times are seconds since 1970."""

    first_seen: float
    """When a session with it first came about."""

    last_seen: float
    """When a session with it last began or ended."""

    met: str = ""
    """How it was first met: ``"dialled"``, ``"accepted"``, or ``"added"`` by the application."""

    sessions: int = 0
    """How many sessions there were."""

    addresses: dict[str, KnownAddress] = {}
    """Where it was dialled, as ``host:port``."""

    listen: tuple[str, ...] = ()
    """Where it says it listens. Nothing of it is proven."""

    agent: str = ""
    """Name and version of its software, as it says."""

    favourite: bool = False
    """True where the application wants to stay connected; see :meth:`PeerBook.set_favourite`."""

    verify_key: str = ""
    """The Ed25519 key with which it signs, as it said at first, in hex."""

    successor: str = ""
    """Id of the identity that follows this one; the first that was shown, signed by both."""

    followed: bool | None = None
    """Whether the application agreed to that; None where nobody was asked."""

    predecessor: str = ""
    """Id of the identity that this one follows."""

    unknown: dict[str, Any] | None = None
    """Members that another version has saved; they are written back."""


class PeerEver(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line about a peer that was met at some time. Times are seconds since 1970."""

    first_seen: float
    """When it was first met."""

    last_seen: float
    """When it was last met."""

    address: str = ""
    """Where it was last seen, as ``host:port``."""

    unknown: dict[str, Any] | None = None
    """Members that another version has saved; they are written back."""


class PeerBook(Mapping[str, KnownPeer]):
    """The peers that a client knows, by id: a mapping, the one least recently seen first.

    It keeps at most 4096 peers with 32 addresses each; for one more, the peer least recently seen that is no favourite
    is dropped, or the address that failed most. It lasts as long as the client where no data directory is used.

    Args:
        clock: Returns seconds since 1970.
        changed: Called after each change.
        max_peers: How many peers are kept.
        max_ever: How many are kept in :attr:`ever`.

    Example:
        >>> book = PeerBook()
        >>> book.add("ab" * 32, ["192.0.2.7:8081"], favourite=True)
        >>> book.addresses_of("ab" * 32)
        [Address(host='192.0.2.7', port=8081)]
        >>> book.forget("ab" * 32)
        True
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        changed: Callable[[], None] = lambda: None,
        max_peers: int = MAX_PEERS,
        max_ever: int = MAX_EVER,
    ) -> None:
        self._clock = clock
        self.changed = changed
        self._max_peers = max_peers
        self._max_ever = max_ever
        self._peers: dict[str, KnownPeer] = {}
        self._ever: dict[str, PeerEver] = {}

    # What the application reads

    def __getitem__(self, peer_id: str) -> KnownPeer:
        """Return what is known of a peer."""
        return self._peers[peer_id]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids, the peer least recently seen first."""
        return iter(list(self._peers))

    def __len__(self) -> int:
        """How many peers are in the book."""
        return len(self._peers)

    def __repr__(self) -> str:
        """Tell how many peers are in it."""
        return f"<PeerBook of {len(self)} peers>"

    @property
    def ever(self) -> Mapping[str, PeerEver]:
        """Everybody who was ever met, at most 16384, also those that are no longer in the book."""
        return MappingProxyType(self._ever)

    def addresses_of(self, peer_id: str) -> list[Address]:
        """Return where a peer may be dialled: first where that worked last, then where the peer says it listens."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return []
        texts = sorted(peer.addresses, key=lambda text: _rank(peer.addresses[text]))
        told = Hello(listen=list(peer.listen)).addresses
        return list(dict.fromkeys([*(Address.parse(text) for text in texts), *told]))

    def recent(self, *, max_age: float, limit: int) -> list[str]:
        """Return ids of peers to dial again: favourites, and those that were dialled with success; the latest first.

        Args:
            max_age: Seconds since a peer was last seen; for favourites it does not count.
            limit: How many at the most.
        """
        oldest = self._clock() - max_age
        found = [
            peer_id
            for peer_id, peer in reversed(self._peers.items())
            if peer.favourite
            or (
                not peer.followed
                and peer.last_seen >= oldest
                and any(a.last_success is not None for a in peer.addresses.values())
            )
        ]
        return sorted(found, key=lambda peer_id: not self._peers[peer_id].favourite)[:limit]

    # What the application changes

    def add(self, peer_id: str, addresses: Iterable[str | Address], *, favourite: bool = False) -> None:
        """Enter a peer, or further addresses of one, without having met it.

        Args:
            peer_id: Who it is.
            addresses: Where it may be dialled, as ``host:port``.
            favourite: Whether to stay connected; where it is False, a favourite stays one.

        Raises:
            UsageError: That is no peer id, or no address with a port.
        """
        check_peer_id(peer_id)
        parsed = [Address.parse(str(address)) for address in addresses]
        if any(address.port == 0 for address in parsed):
            raise UsageError("an address to dial has a port of 1 to 65535")
        now = self._clock()
        peer = self._peers.get(peer_id) or KnownPeer(first_seen=now, last_seen=now, met="added")
        known = dict(peer.addresses)
        for address in parsed:
            known.setdefault(str(address), KnownAddress())
        self._put(peer_id, _with(peer, addresses=_bounded(known), favourite=peer.favourite or favourite))

    def set_favourite(self, peer_id: str, favourite: bool = True) -> None:
        """Say whether to stay connected to a peer: a favourite is dialled at the start, and again when it is lost.

        Raises:
            UsageError: It is not in the book; see :meth:`add`.
        """
        peer = self._peers.get(peer_id)
        if peer is None:
            raise UsageError(f"peer {str(peer_id)[:8]} is not in the book")
        self._put(peer_id, _with(peer, favourite=favourite))

    def forget(self, peer_id: str) -> bool:
        """Remove a peer from the book and from :attr:`ever`; False where it is in neither."""
        known = self._peers.pop(peer_id, None), self._ever.pop(peer_id, None)
        if known == (None, None):
            return False
        self.changed()
        return True

    # What the client notes

    def connected(
        self,
        peer_id: str,
        address: Address,
        *,
        outgoing: bool,
        listen: Sequence[str] = (),
        agent: str = "",
        verify_key: bytes | None = None,
    ) -> None:
        """Take note that a session has begun.

        Args:
            peer_id: With whom.
            address: Where the peer is, as the connection sees it.
            outgoing: True where this side dialled.
            listen: Where the peer says it listens, as it wrote it.
            agent: What it calls its software.
            verify_key: The key with which it signs, as it says; the first one stays.
        """
        now = self._clock()
        how = "dialled" if outgoing else "accepted"
        peer = self._peers.get(peer_id) or KnownPeer(first_seen=now, last_seen=now, met=how)
        known = dict(peer.addresses)
        if outgoing and address.port:
            _succeeded(known, str(address), now)
        self._put(
            peer_id,
            _with(
                peer,
                last_seen=now,
                sessions=peer.sessions + 1,
                addresses=_bounded(known),
                listen=tuple(listen[:MAX_ADDRESSES]) or peer.listen,
                agent=agent or peer.agent,
                verify_key=peer.verify_key or (verify_key or b"").hex(),
            ),
        )
        self._note_ever(peer_id, address, now)

    def parted(self, peer_id: str, *, listen: Sequence[str] = ()) -> None:
        """Take note that a session has ended."""
        peer = self._peers.get(peer_id)
        if peer is not None:  # the application may have had it forgotten
            told = tuple(listen[:MAX_ADDRESSES]) or peer.listen
            self._put(peer_id, _with(peer, last_seen=self._clock(), listen=told))

    def reached(self, peer_id: str, address: Address) -> None:
        """Take note that dialling a host name led to a peer that is connected."""
        peer = self._peers.get(peer_id)
        if peer is not None and len(str(address)) <= MAX_TEXT:
            known = dict(peer.addresses)
            _succeeded(known, str(address), self._clock())
            self._put(peer_id, _with(peer, addresses=_bounded(known)))

    def failed(self, peer_id: str, addresses: Iterable[Address]) -> None:
        """Take note that a peer could not be reached at addresses; those that are not in the book do not count."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return
        now = self._clock()
        known = dict(peer.addresses)
        for text in {str(address) for address in addresses} & known.keys():
            known[text] = _with(known[text], last_failure=now, failures=known[text].failures + 1)
        # Not seen, so it keeps its place in the order.
        self._peers[peer_id] = _with(peer, addresses=known)
        self.changed()

    def succeeded(self, old_id: str, new_id: str, verify_key: bytes, *, followed: bool | None) -> None:
        """Take note that an identity follows another; where that is agreed to, it takes over what is known.

        Args:
            old_id: The identity before, which is in the book.
            new_id: The identity that follows.
            verify_key: The key with which the new one signs.
            followed: What the application says; None where nobody was asked yet.
        """
        old = self._peers.get(old_id)
        if old is None:  # the application has had it forgotten meanwhile
            return
        if followed:
            now = self._clock()
            new = self._peers.get(new_id) or KnownPeer(first_seen=old.first_seen, last_seen=now, met=old.met)
            heir = _with(
                new,
                addresses=_bounded(old.addresses | new.addresses),
                listen=new.listen or old.listen,
                favourite=new.favourite or old.favourite,
                verify_key=new.verify_key or verify_key.hex(),
                predecessor=old_id,
            )
            old = _with(old, favourite=False)
            self._put(new_id, heir)
        self._peers[old_id] = _with(old, successor=new_id, followed=followed)
        self._drop_surplus()
        self.changed()

    def heir_of(self, peer_id: str) -> str:
        """Return the id of the identity that took over from one, with the application's consent; else its own."""
        seen = {peer_id}
        while (peer := self._peers.get(peer_id)) is not None and peer.followed and peer.successor not in seen:
            peer_id = peer.successor
            seen.add(peer_id)
        return peer_id

    def restore(self, peers: Mapping[str, KnownPeer], ever: Mapping[str, PeerEver]) -> None:
        """Take what was saved in place of what is there."""
        self._peers = dict(sorted(peers.items(), key=lambda item: item[1].last_seen))
        # Whoever is killed between the two files has the first one's news only.
        both = {
            peer_id: PeerEver(first_seen=peer.first_seen, last_seen=peer.last_seen)
            for peer_id, peer in peers.items()
            if peer.sessions
        } | dict(ever)
        self._ever = dict(sorted(both.items(), key=lambda item: item[1].last_seen))
        self._drop_surplus()

    def snapshot(self) -> tuple[dict[str, KnownPeer], dict[str, PeerEver]]:
        """Return copies of both lists, whose values never change."""
        return dict(self._peers), dict(self._ever)

    def _put(self, peer_id: str, peer: KnownPeer) -> None:
        self._peers.pop(peer_id, None)
        self._peers[peer_id] = peer
        self._drop_surplus()
        self.changed()

    def _note_ever(self, peer_id: str, address: Address, now: float) -> None:
        before = self._ever.pop(peer_id, None) or PeerEver(first_seen=now, last_seen=now)
        self._ever[peer_id] = _with(before, last_seen=now, address=str(address))
        self._drop_surplus()

    def _drop_surplus(self) -> None:
        while len(self._peers) > self._max_peers:
            strangers = (peer_id for peer_id, peer in self._peers.items() if not peer.favourite)
            del self._peers[next(strangers, next(iter(self._peers)))]
        while len(self._ever) > self._max_ever:
            del self._ever[next(iter(self._ever))]


_with = msgspec.structs.replace


def _rank(address: KnownAddress) -> tuple[int, float]:
    """Return by what addresses are sorted, best first: few failures, then the latest success."""
    return address.failures, -(address.last_success or 0.0)


def _succeeded(known: dict[str, KnownAddress], text: str, now: float) -> None:
    before = known.get(text) or KnownAddress()
    known[text] = _with(before, last_success=now, failures=0)


def _bounded(known: dict[str, KnownAddress]) -> dict[str, KnownAddress]:
    if len(known) <= MAX_ADDRESSES:
        return known
    best = sorted(known, key=lambda text: _rank(known[text]))[:MAX_ADDRESSES]
    return {text: known[text] for text in known if text in set(best)}
