"""Which links belong to one session with a peer, as both sides see it."""

from __future__ import annotations

from msgspec import Struct

from librats.peers.peer import Peer
from librats.services.session import Link

__all__ = ["SessionNumbers"]


class _Session(Struct):
    ours: int
    theirs: int


class SessionNumbers:
    """Numbers that both sides tell in their hellos: greater for each later session, the same on the links of one.

    Where one side has given a session up and the other has not noticed yet, the next link is not one more of the old
    session: what was under way in that is lost, and both sides are told.
    """

    def __init__(self) -> None:
        self._last = 0
        self._next: dict[str, int] = {}
        self._told: dict[Link, tuple[str, int]] = {}
        self._sessions: dict[str, _Session] = {}

    def tell(self, link: Link, peer: Peer | None, *, peer_id: str = "") -> int:
        """Return the number for the hello on a link.

        Args:
            link: A link that is about to be let in.
            peer: The peer, where there is a session with it.
            peer_id: Whose link it is going to be, where its handshake is not done yet.
        """
        peer_id = peer_id or link.peer_id
        number = self._next.get(peer_id)
        session = self._sessions.get(peer_id)
        is_ending = peer is not None and not any(other.is_usable for other in peer.links)
        if number is None or (is_ending and session is not None and session.ours == number):
            self._last += 1
            number = self._next[peer_id] = self._last
        self._told[link] = (peer_id, number)
        return number

    def why_over(self, link: Link, peer: Peer, theirs: int) -> str:
        """Return why the session with a peer is over that it has made another link for; nothing where it may go on.

        Args:
            link: A link that both sides have let in.
            peer: The peer, as it is known.
            theirs: The number that the peer has told on the link; 0 for none.
        """
        if _incarnation(peer.link) != _incarnation(link):
            return "the peer was restarted"
        session = self._sessions.get(peer.id)
        return "the peer has begun anew" if session is not None and 0 < session.theirs < theirs else ""

    def is_late(self, link: Link, theirs: int) -> bool:
        """Tell whether a link is of a session before the one that is there."""
        session = self._sessions.get(link.peer_id)
        return session is not None and 0 < theirs < session.theirs

    def begin(self, link: Link, theirs: int) -> None:
        """Take note of the first link of a session."""
        self._sessions[link.peer_id] = _Session(self._told.pop(link, ("", 0))[1], theirs)

    def joined(self, link: Link) -> None:
        """Take note that a link is used beside others."""
        self._told.pop(link, None)

    def forget(self, peer_id: str) -> None:
        """Take note that the peer has ended a session, and that a link which was let in begins the next one."""
        self._sessions.pop(peer_id, None)

    def end(self, peer_id: str) -> list[Link]:
        """Take note that this side has ended a session; return the links that were let in as more of it since."""
        session = self._sessions.pop(peer_id, None)
        if session is None:
            return []
        if self._next.get(peer_id) == session.ours:
            del self._next[peer_id]
        return [link for link, told in self._told.items() if told == (peer_id, session.ours)]

    def closed(self, link: Link) -> None:
        """Forget a link that has come to nothing."""
        peer_id, _ = self._told.pop(link, ("", 0))
        if peer_id and peer_id not in self._sessions and not any(told[0] == peer_id for told in self._told.values()):
            self._next.pop(peer_id, None)


def _incarnation(link: Link) -> bytes:
    opened = link.opened
    return opened.greeting.incarnation if opened is not None and opened.greeting is not None else b""
