"""Who is waited for: sessions that somebody else begins, with a peer whose coming is known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from librats.peers.peer import Peer

__all__ = ["Arrivals"]


class Arrivals:
    """The arrivals of one client's peers."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[Peer]]] = {}

    def tell(self, peer: Peer) -> None:
        """Take that a link with a peer has come into use."""
        for waiting in self._waiting.pop(peer.id, ()):
            if not waiting.done():
                waiting.set_result(peer)

    async def wait(self, peer_id: str) -> Peer:
        """Wait until the next link with a peer comes into use, and return the peer."""
        waiting: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(peer_id, []).append(waiting)
        try:
            return await waiting
        finally:
            left = [each for each in self._waiting.get(peer_id, ()) if each is not waiting]
            if left:
                self._waiting[peer_id] = left
            else:
                self._waiting.pop(peer_id, None)
