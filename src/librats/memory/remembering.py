"""What a running client remembers of its peers: the book kept up to date, and lost peers dialled again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from librats.config import ReconnectConfig
from librats.errors import ConnectError
from librats.peers.book import PeerBook
from librats.peers.identities.rotation import Rotations
from librats.peers.keeping.book_files import BookFiles
from librats.peers.reconnect import Reconnector
from librats.runtime.tasks import TaskSet
from librats.session.frames import Reason
from librats.types import Address, Entropy

if TYPE_CHECKING:
    from librats.connector import Target
    from librats.peers.manager import PeerManager
    from librats.peers.peer import Peer

__all__ = ["Remembering"]

LOST = (Reason.LOST, Reason.TIMEOUT)
"""Why a session may end such that the peer is dialled again: nobody wanted it to end."""


class _Dialler(Protocol):
    @property
    def peer_id(self) -> str:
        """Who we are."""

    async def connect(self, target: str) -> Peer:
        """Connect to a peer."""


class Remembering:
    """Watches who comes and goes, for one client, from its start to its stop.

    Args:
        client: Dials.
        manager: Knows who is connected.
        book: Where peers are noted.
        files: Where the book is kept; None where it is not.
        config: When to dial again.
        entropy: For the delays.
        tasks: Owner of the tasks.
    """

    def __init__(
        self,
        client: _Dialler,
        manager: PeerManager,
        book: PeerBook,
        files: BookFiles | None,
        *,
        config: ReconnectConfig,
        entropy: Entropy,
        tasks: TaskSet,
    ) -> None:
        self._client = client
        self._manager = manager
        self._book = book
        self._files = files
        self._config = config
        self._dialled: set[str] = set()
        self._rotations = Rotations(book, manager.dispatcher, tasks, self._followed)
        self._reconnector = Reconnector(
            config, dial=client.connect, entropy=entropy, tasks=tasks, announce=manager.dispatcher.announce
        )

    def start(self, *, dial_saved: bool) -> None:
        """Begin to watch, and to dial saved peers where that is wanted."""
        self._manager.observer = self
        if self._files is not None:
            self._files.start()
        if dial_saved:
            for peer_id in self._book.recent(max_age=self._config.saved_max_age, limit=self._config.max_saved):
                if peer_id != self._client.peer_id:
                    self._reconnector.begin(peer_id)

    async def stop_dialling(self) -> None:
        """Dial nobody any more."""
        await self._reconnector.close()

    async def close(self) -> None:
        """Write what is left to write. Idempotent."""
        await self._reconnector.close()
        if self._files is not None:
            await self._files.close()

    @property
    def reconnecting(self) -> list[str]:
        """Ids of the peers that are being dialled again."""
        return self._reconnector.waiting

    # What the manager tells

    def connected(self, peer: Peer) -> None:
        """A session has begun."""
        self._book.connected(
            peer.id,
            peer.address,
            outgoing=peer.outgoing,
            listen=_listening(peer),
            agent=peer.agent,
            verify_key=peer.hello.verify_key if peer.hello is not None else None,
        )
        self._reconnector.connected(peer.id)

    def parted(self, peer: Peer, code: str) -> None:
        """A session has ended."""
        self._book.parted(peer.id, listen=_listening(peer))
        if code in LOST:
            known = self._book.get(peer.id)
            wanted = peer.id in self._dialled or (known is not None and known.favourite)
            heir = self._book.heir_of(peer.id)
            if wanted and self._config.enabled and not self._manager.closing and heir not in self._manager.peers:
                self._reconnector.begin(heir, uptime=peer.stats.connected_seconds)
        else:
            self.leave(peer.id)

    def succession_received(self, peer: Peer, payload: bytes) -> None:
        """A peer tells that it has, or had, another identity."""
        self._rotations.received(peer, payload)

    def _followed(self, old_id: str, new_id: str) -> None:
        if old_id in self._dialled:
            self._dialled.add(new_id)
        if self._reconnector.cancel(old_id) and new_id not in self._manager.peers:
            self._reconnector.begin(new_id)

    # What the client tells

    def reached(self, target: Target, peer: Peer) -> None:
        """The application has dialled a peer with success."""
        self._dialled.add(peer.id)
        for address in target.addresses:
            if not address.is_literal:
                self._book.reached(peer.id, address)

    def failed(self, peer_id: str | None, error: ConnectError) -> None:
        """A peer could not be reached."""
        if peer_id is not None and not error.reason:
            self._book.failed(peer_id, [attempt.address for attempt in error.attempts])

    def hasten(self, peer_id: str) -> None:
        """Dial a lost peer now, for something waits for it."""
        self._reconnector.hasten(peer_id)

    def leave(self, peer_id: str) -> bool:
        """Dial a peer no more by itself; False where it was not being dialled again."""
        self._dialled.discard(peer_id)
        return self._reconnector.cancel(peer_id)

    def addresses_of(self, peer_id: str) -> list[Address]:
        """Return where a peer may be dialled."""
        return self._book.addresses_of(peer_id)


def _listening(peer: Peer) -> Sequence[str]:
    return peer.hello.listen_for(peer.address.host) if peer.hello is not None else ()
