"""What a link tells the one it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from librats.services.session import Link
    from librats.services.stream import Stream
    from librats.session.events import DatagramReceived, FileChunkReceived, PeersOffered, PeersWanted
    from librats.session.frames import Kind
    from librats.session.librats2_punch import Envelope
    from librats.session.librats2_wire import Identify
    from librats.session.order import InOrder
    from librats.session.path_keys import Join
    from librats.types import Address

__all__ = ["LinkOwner"]


class LinkOwner(Protocol):
    """Who a link reports to."""

    scratch: bytearray | None
    """A buffer that all links receive into, where a loop asks for one only once there is something to receive."""

    def handshake_begins(self, link: Link) -> float | None:
        """The first bytes of somebody who dialled have come: tell in how many seconds they may be looked at, or None.

        None ends the connection.
        """

    def handshake_waits(self, link: Link) -> float:
        """That time is over: tell in how many seconds they may be looked at, if others came before."""

    def link_opened(self, link: Link) -> None:
        """The handshake is done and the peer's id is known: admit the link, or close it."""

    def link_ready(self, link: Link, hello: bytes) -> None:
        """The peer has admitted the link too, and tells about itself."""

    def messages_received(self, link: Link, item: InOrder) -> None:
        """Messages of one type, or a request, have arrived, or which others they follow."""

    def request_cancelled(self, link: Link, number: int) -> None:
        """The peer gave a request up."""

    def stream_opened(self, link: Link, stream: Stream) -> None:
        """The peer opened a stream: accept or refuse it."""

    def datagram_received(self, link: Link, event: DatagramReceived) -> None:
        """An unreliable message has arrived."""

    def identified(self, link: Link, identify: Identify) -> None:
        """A librats 2 node tells where it listens."""

    def peer_exchange(self, link: Link, event: PeersWanted | PeersOffered) -> None:
        """The peer asks for other peers, or tells of them."""

    def punch_received(self, link: Link, envelope: Envelope) -> None:
        """A librats 2 node passes on a word about hole punching, or wants one passed on."""

    def file_chunk_received(self, link: Link, event: FileChunkReceived) -> None:
        """A librats 2 node says something about files; the link is to be told when it is handled."""

    def succession_received(self, link: Link, payload: bytes) -> None:
        """The peer tells that it has, or had, another identity."""

    def introduction_received(self, link: Link, body: bytes) -> None:
        """The peer introduces, wants to be introduced, or answers."""

    def channel(self, number: int) -> tuple[Kind, str] | None:
        """Return kind and name of the channel with that librats 2 number, where somebody here listens to it."""

    def path_joined(self, link: Link, join: Join, leftover: bytes) -> None:
        """Somebody who dialled has done so for a session that is there already: find it, or close the connection."""

    def path_stalled(self, link: Link) -> None:
        """The link's connection may be dead."""

    def path_lost(self, link: Link, error: Exception | None) -> bool:
        """The link's connection is gone: tell whether another one may come."""

    def path_changed(self, link: Link, old: Address) -> None:
        """The link goes over another connection now."""

    def link_going(self, link: Link, code: str, message: str) -> None:
        """The peer ends the session: it will send and take nothing more."""

    def link_closed(self, link: Link) -> None:
        """The connection is gone; :attr:`Link.reason` tells why."""
