"""Peers that tell each other of peers (BEP 11), and bring two of them together (BEP 55)."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import TYPE_CHECKING, Final

from librats.bittorrent.events import HolepunchAsked, PeersTold
from librats.bittorrent.extensions import (
    HolepunchError,
    HolepunchKind,
    HolepunchMessage,
    PeerFlags,
    PexMessage,
    compact_peer,
)
from librats.bittorrent.messages import Port
from librats.dht.addresses import may_be_told
from librats.types import Address

if TYPE_CHECKING:
    from librats.bittorrent.peer import PeerLink

__all__ = ["PEX_INTERVAL", "PeerTelling", "listens_at", "tell_dht_port", "wants_nothing"]

PEX_INTERVAL: Final = 60.0
"""Seconds between two messages to one peer."""

MEETS = PeerFlags.HOLEPUNCH | PeerFlags.REACHABLE
MAX_TOLD = 50
PATIENCE = 0.75  # of the interval: clocks and ways differ


def listens_at(link: PeerLink) -> Address | None:
    """Return where others reach a peer; None where that is not known."""
    if not link.address.is_literal:
        return None
    if link.is_outgoing or link.is_utp:  # what it dials from is what it listens on, in uTP
        return link.address
    return Address(link.address.host, link.remote.port) if link.remote.port else None


def wants_nothing(link: PeerLink) -> bool:
    """Whether a peer has everything, or all that it wants (BEP 21)."""
    return link.is_seed or link.remote.upload_only


def tell_dht_port(link: PeerLink, port: int) -> None:
    """Tell a peer that has a node of the DHT where ours is; 0 for nowhere (BEP 5)."""
    if link.handshake.has_dht and port:
        link.send(Port(port))


class PeerTelling:
    """What peers are told of each other, and when."""

    def __init__(self) -> None:
        self._sent: dict[Hashable, float] = {}
        self._received: dict[Hashable, float] = {}

    def receive(self, link: PeerLink, message: PexMessage, now: float) -> PeersTold | None:
        """Return the peers that may be dialled of those that a peer tells of; None where it tells too often."""
        if now - self._received.get(link.key, -PEX_INTERVAL) < PEX_INTERVAL * PATIENCE:
            return None
        self._received[link.key] = now
        if not link.address.is_literal:
            return None
        by = compact_peer(link.address)
        told = message.added[: 2 * MAX_TOLD]
        found = {address: flags for address, flags in told if may_be_told(compact_peer(address), by)}
        return PeersTold(
            link,
            tuple(found),
            encrypted=frozenset(address for address, flags in found.items() if flags & PeerFlags.ENCRYPTION),
            unreached=frozenset(address for address, flags in found.items() if flags & MEETS == PeerFlags.HOLEPUNCH),
            seeds=frozenset(address for address, flags in found.items() if flags & PeerFlags.SEED),
        )

    def tell(self, links: Collection[PeerLink], now: float) -> None:
        """Tell each peer of those that have come and gone since the last time, and that it can reach.

        Nobody on the internet is told who is in our own network, nor another machine who is on this one.
        """
        known = {link.key for link in links}
        for gone in self._sent.keys() - known:
            del self._sent[gone]
        for gone in self._received.keys() - known:
            del self._received[gone]
        reachable = {address: _flags(link) for link in links if (address := listens_at(link)) is not None}
        compact = {address: compact_peer(address) for address in reachable}
        for link in links:
            if not link.remote.extensions.get("ut_pex") or now - self._sent.get(link.key, 0.0) < PEX_INTERVAL:
                if link.key not in self._sent:
                    self._sent[link.key] = now - PEX_INTERVAL + 1.0  # soon after the beginning
                continue
            self._sent[link.key] = now
            own = listens_at(link)
            new = [address for address in reachable if address not in link.pex_told and address != own]
            if link.address.is_literal:
                by = compact_peer(link.address)
                new = [address for address in new if may_be_told(compact[address], by)]
            added = new[:MAX_TOLD]
            dropped = [address for address in link.pex_told if address not in reachable][:MAX_TOLD]
            if added or dropped:
                link.pex_told.update(added)
                link.pex_told.difference_update(dropped)
                pairs = tuple((address, reachable[address]) for address in added)
                link.send_extended("ut_pex", PexMessage(added=pairs, dropped=tuple(dropped)).encode())

    def take_holepunch(
        self, link: PeerLink, message: HolepunchMessage, links: Collection[PeerLink]
    ) -> HolepunchAsked | None:
        """Pass a rendezvous on, or return whom to dial as somebody wants to meet us; None for nobody."""
        if message.kind is HolepunchKind.CONNECT and self.may_meet(link, message.address, links):
            return HolepunchAsked(message.address)
        if message.kind is HolepunchKind.RENDEZVOUS:
            self.introduce(link, message.address, links)
        return None

    @staticmethod
    def may_meet(link: PeerLink, target: Address, links: Iterable[PeerLink]) -> bool:
        """Whether to dial whom a peer wants us to meet: nobody of our own network for a stranger, nobody twice."""
        if not link.address.is_literal or not may_be_told(compact_peer(target), compact_peer(link.address)):
            return False
        return all(target != other.address for other in links)

    def introduce(self, link: PeerLink, target: Address, links: Iterable[PeerLink]) -> None:
        """Tell two peers to connect to each other, or the one that asks why not."""
        error = HolepunchError.NOT_CONNECTED
        for other in links:
            if target not in {other.address, listens_at(other)}:
                continue
            if other is link:
                error = HolepunchError.NO_SELF
            elif not other.remote.extensions.get("ut_holepunch"):
                error = HolepunchError.NO_SUPPORT
            else:
                for one, there in ((other, listens_at(link) or link.address), (link, target)):
                    message = HolepunchMessage(kind=HolepunchKind.CONNECT, address=there)
                    one.send_extended("ut_holepunch", message.encode())
                return
        message = HolepunchMessage(kind=HolepunchKind.ERROR, address=target, error=error)
        link.send_extended("ut_holepunch", message.encode())


def _flags(link: PeerLink) -> PeerFlags:
    flags = PeerFlags.SEED if wants_nothing(link) else PeerFlags(0)
    if link.is_outgoing:
        flags |= PeerFlags.REACHABLE
    if link.is_utp:
        flags |= PeerFlags.UTP
    if link.remote.wants_encryption:
        flags |= PeerFlags.ENCRYPTION
    return flags | PeerFlags.HOLEPUNCH if link.remote.extensions.get("ut_holepunch") else flags
