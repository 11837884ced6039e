"""Which of a peer's links is in use: of two that one lives on, as the other side decides it, too, and one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from librats.peers.events import PathChanged
from librats.services.session import Link
from librats.types import ConnectionMethod

if TYPE_CHECKING:
    from librats.peers.handling.dispatch import Dispatcher
    from librats.peers.peer import Peer

__all__ = ["LinkChoice"]


class LinkChoice:
    """Chooses for one client.

    Args:
        dispatcher: Tells of peers that are on another link now.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def choose(self, peer: Peer, link: Link) -> None:
        """Decide which of two links to a peer lives on, as the peer does (LIBRATS2 wire, section 5)."""
        old = peer.link
        peer.use(link)
        if old.own_id != link.own_id:
            # The peer takes them for links to two peers and leaves the choice to us: that of who we are now.
            winner, loser = link, old
        elif link.speaks_librats2 and old.initiator == link.initiator and old.method is not link.method:
            winner, loser = (link, old) if link.method is ConnectionMethod.UDP else (old, link)
        elif old.initiator == link.initiator:
            # The newest wins. Both sides may not see them in the same order, so only the one that dialled retires the
            # other; where the connection died behind our back, its silence ends it.
            winner, loser = (old, link) if link.is_spare else (link, old)
        else:
            # Opposite directions: the link that the smaller peer id dialled.
            ours_wins = link.own_id < peer.id
            winner, loser = (link, old) if link.initiator == ours_wins else (old, link)
        peer.use(winner)
        if link.initiator or old.initiator or old.own_id != link.own_id:
            self._retire(peer, loser)
        if winner is not old:
            self._follow(peer, old)

    def spare(self, peer: Peer | None, link: Link) -> bool:
        """Drain a link that another one was quicker than; False where there is no other, or nothing on it yet."""
        if peer is None or not (link.admitted and link.is_open):
            return False
        if not any(other is not link and other.is_usable for other in peer.links):
            return False
        link.is_spare = True
        if link.ready:
            if peer.link is link:
                self.move(peer)
            self._retire(peer, link)
        return True

    def move(self, peer: Peer) -> bool:
        """Move a peer to another of its links; False where it has none."""
        old = peer.link
        others = [link for link in peer.links if link is not old and link.is_usable]
        if not others:
            return False
        link = sorted(others, key=lambda other: not other.retired)[-1]
        link.reinstate()
        peer.use(link)
        self._follow(peer, old)
        return True

    def _follow(self, peer: Peer, old: Link) -> None:
        """Keep what is sent from now on behind what was sent on other links, and tell of the move."""
        link = peer.link
        link.follow(peer.sent_elsewhere(link))
        self._dispatcher.announce(PathChanged(peer, old.address, link.address, link.method))

    @staticmethod
    def _retire(peer: Peer, loser: Link) -> None:
        """Retire a link when the other side, too, has the better one in use: else it would take us for gone."""

        def retire() -> None:
            if peer.link is not loser:
                loser.retire()

        peer.link.once_taken(retire)
