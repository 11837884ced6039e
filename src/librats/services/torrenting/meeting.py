"""Peers that a third one knows, and that are met through it because NATs stand between (BEP 55)."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Hashable
from typing import TYPE_CHECKING, Final

from librats.bittorrent.candidates import MAX_CANDIDATES
from librats.bittorrent.extensions import HolepunchKind, HolepunchMessage
from librats.types import Address

if TYPE_CHECKING:
    from librats.bittorrent.events import PeersTold
    from librats.bittorrent.peer import PeerLink

__all__ = ["Meetings"]

MEETING_TIME: Final = 5.0
"""Seconds that it may take until two have met: a punch gives up then."""


class Meetings:
    """Who has told of whom, and who is waited for."""

    def __init__(self) -> None:
        self._told_by: dict[Address, PeerLink] = {}
        self._unreached: set[Address] = set()
        self._awaited: dict[Address, asyncio.Future[None]] = {}

    def told(self, event: PeersTold) -> None:
        """Take note of peers that a peer tells of."""
        for address in event.addresses:
            if len(self._told_by) < MAX_CANDIDATES and address not in self._told_by:
                self._told_by[address] = event.link
                if address in event.unreached:
                    self._unreached.add(address)

    def met(self, address: Address) -> None:
        """Take note of a peer that is connected now."""
        self._forget(address)
        awaited = self._awaited.get(address)
        if awaited is not None and not awaited.done():
            awaited.set_result(None)

    def _forget(self, address: Address) -> PeerLink | None:
        self._unreached.discard(address)
        return self._told_by.pop(address, None)

    def ask(self, address: Address, connected: Container[Hashable]) -> bool:
        """Ask whoever has told of a peer, once, to bring us together; False where nobody can be asked.

        Args:
            address: Where the peer is.
            connected: Keys of those who are connected.
        """
        link = self._forget(address)
        if link is None or link.key not in connected or not address.is_literal:
            return False
        message = HolepunchMessage(kind=HolepunchKind.RENDEZVOUS, address=address)
        return link.send_extended("ut_holepunch", message.encode())

    def is_unreached(self, address: Address) -> bool:
        """Whether nobody is known to have reached a peer: a dial may make its NAT take us for an attacker."""
        return address in self._unreached

    async def wait(self, address: Address) -> bool:
        """Wait until a peer is met; False where that does not come."""
        awaited = self._awaited[address] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait([awaited], timeout=MEETING_TIME)
            return awaited.done()
        finally:
            del self._awaited[address]
