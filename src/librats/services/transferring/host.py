"""What the transfer of files needs of the client it belongs to."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from librats.errors import TransferError
from librats.runtime.heap import keep_freed_memory
from librats.transfer.manifest import ManifestLimits
from librats.transfer.pacing import RateLimit

if TYPE_CHECKING:
    from librats.files_config import FilesConfig
    from librats.runtime.tasks import TaskSet
    from librats.services.introduction.code_meetings import CodeMeetings
    from librats.services.stream import Stream
    from librats.tickets import Ticket

__all__ = ["FilesHost", "TransferPlace"]

DIAL_EVERY = 5.0
"""Seconds between two tries to reach a lost peer that a transfer waits for."""


class FilesHost(Protocol):
    """The client."""

    @property
    def config(self) -> FilesConfig:
        """Limits and timing."""

    @property
    def tasks(self) -> TaskSet:
        """Owner of what runs."""

    def check_running(self) -> None:
        """Raise a UsageError where the client is not running."""

    def entropy(self, size: int) -> bytes:
        """Return random bytes."""

    def is_connected(self, peer_id: str) -> bool:
        """Tell whether there is a session with a peer."""

    def speaks_librats2(self, peer_id: str) -> bool:
        """Tell whether a connected peer is a librats 2 node, which has no streams."""

    def send_file_chunk(self, peer_id: str, payload: bytes, *, ahead: bool = False) -> bool:
        """Send a word about files to a librats 2 node; False where it cannot leave."""

    async def wait_for_room(self, peer_id: str) -> None:
        """Wait until not much waits to be sent to a peer.

        Raises:
            PeerNotConnected: The session with it has ended.
        """

    async def open_stream(self, peer_id: str, protocol: str) -> Stream:
        """Open a stream to a peer."""

    def ticket(self) -> Ticket:
        """Return the client's ticket."""

    def codes(self) -> CodeMeetings:
        """Return what gives and takes codes."""

    def hasten(self, peer_id: str) -> None:
        """Have a lost peer dialled now, where the client dials lost peers."""

    async def connect(self, ticket: Ticket) -> str:
        """Connect to a peer, and return its id.

        Raises:
            ConnectError: It cannot be reached.
        """


class TransferPlace:
    """What all transfers of a client share.

    Args:
        host: The client.
    """

    def __init__(self, host: FilesHost) -> None:
        self.host = host
        self.config = host.config
        self.sending = RateLimit(self.config.max_rate)
        """Limit of what is given."""
        self.receiving = RateLimit(self.config.max_rate)
        """Limit of what is taken."""
        self.turns = asyncio.Semaphore(self.config.parallel)
        """Held by what is being received."""
        self.counters: Counter[str] = Counter()
        """What has happened."""
        self.limits = ManifestLimits(
            files=self.config.max_files, folders=self.config.max_files, size=self.config.max_bytes
        )
        """What an offer may hold."""
        self._back: dict[str, set[asyncio.Future[None]]] = {}
        keep_freed_memory()  # chunks come and go: a third of the pages would be asked for anew each time

    def check_name(self, name: str) -> None:
        """See that what is offered by a name may be taken.

        Raises:
            TransferError: Not without leave (``"bad_name"``).
        """
        if name.startswith(".") and not self.config.hidden:
            raise TransferError("bad_name", "its name begins with a dot, which is taken with leave alone (hidden)")

    def connected(self, peer_id: str) -> None:
        """Take note that a peer is there again."""
        for waiter in self._back.pop(peer_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait_connected(self, peer_id: str) -> None:
        """Wait until a peer is connected."""
        if not self.host.is_connected(peer_id):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._back.setdefault(peer_id, set()).add(waiter)
            try:
                while not (await asyncio.wait([waiter], timeout=DIAL_EVERY))[0]:
                    self.host.hasten(peer_id)  # whom a transfer waits for is not dialled ever more seldom
            finally:
                waiters = self._back.get(peer_id, set())
                waiters.discard(waiter)
                if not waiters:
                    self._back.pop(peer_id, None)
