"""The paths of sessions: who else leads to a peer, and when a session goes over to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from librats.errors import HandshakeError, PeerNotConnected, RatsError
from librats.peers.peer import Peer
from librats.runtime.tasks import TaskSet
from librats.services.joining import Joining, Leaving
from librats.services.session import Link
from librats.session.path_keys import Join
from librats.types import Address, ConnectionMethod

__all__ = ["Dial", "PathKeeper"]

logger = logging.getLogger("librats.peers")

Dial = Callable[[Callable[[], asyncio.BaseProtocol], Address, ConnectionMethod], Awaitable[None]]
"""Connects to an address, in that way, and gives the connection to a protocol."""

Way = tuple[Address, ConnectionMethod]

DIAL_TIMEOUT = 3.0
RETRY_DELAY = 0.5
MAX_RETRY_DELAY = 8.0
MAX_CANDIDATES = 8
STAGGER = 0.1
"""Seconds between the starts of two tries."""
UNSPECIFIED = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - nothing listens there


class PathKeeper:
    """Moves the sessions of one client to other paths.

    Args:
        peers: The connected peers by id.
        tasks: Owner of the tasks in which it dials.
    """

    def __init__(self, peers: Mapping[str, Peer], tasks: TaskSet) -> None:
        self._peers = peers
        self._tasks = tasks
        self._links: dict[bytes, Link] = {}
        self._rescues: set[Link] = set()
        self.dial: Dial | None = None
        """How connections are made; None where this side only waits for those of the peer."""
        self.methods: tuple[ConnectionMethod, ...] = (ConnectionMethod.TCP,)
        """How connections can be made."""
        self.moved = 0
        """How often a session has moved."""

    # What the manager tells

    def ready(self, link: Link) -> None:
        """Take note of a session that may move."""
        if link.path_token:
            self._links[link.path_token] = link

    def closed(self, link: Link) -> None:
        """Forget a session."""
        if self._links.get(link.path_token) is link:
            del self._links[link.path_token]

    def joined(self, transport: asyncio.Transport, join: Join, leftover: bytes) -> None:
        """Give a connection to the session that it names; where there is none, it is closed."""
        link = self._links.get(join.token)
        try:
            if link is None:
                raise HandshakeError("no such session")
            link.answer_path(join, transport, leftover)
        except HandshakeError as error:
            logger.debug("a path that leads nowhere: %s", error)
            transport.set_protocol(Leaving())
            transport.abort()

    def lost(self, link: Link, error: Exception | None) -> bool:
        """Tell whether a session outlives its connection, and look for another one.

        Where the peer's system has closed it, the peer is gone; where the network failed, it may be reached otherwise.
        """
        if link.has_joinings:
            return True
        if error is None or isinstance(error, ConnectionError):
            return False
        self.rescue(link)
        return True

    # Moving

    def rescue(self, link: Link) -> None:
        """Look for another path to a peer whose path is dead, or may be."""
        if link not in self._rescues and self.dial is not None and link.can_move:
            self._rescues.add(link)
            self._tasks.create(self._rescue(link), name="librats path rescue")

    async def _rescue(self, link: Link) -> None:
        delay = RETRY_DELAY
        try:
            while link.needs_path and not await self._move_anywhere(link):
                await asyncio.sleep(delay)
                delay = min(2 * delay, MAX_RETRY_DELAY)
        finally:
            self._rescues.discard(link)

    async def _move_anywhere(self, link: Link) -> bool:
        """Try every way at about the same time; tell whether one of them worked."""
        running: set[asyncio.Task[bool]] = set()
        ways = self._candidates(link)
        try:
            while (ways or running) and link.needs_path:
                if ways:
                    way = ways.pop(0)
                    task = asyncio.get_running_loop().create_task(self._tries(link, way), name=f"librats path {way[0]}")
                    running.add(task)
                elif not running:
                    break
                done, running = await asyncio.wait(
                    running, timeout=STAGGER if ways else None, return_when=asyncio.FIRST_COMPLETED
                )
                if any(task.result() for task in done):
                    return True
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
        return False

    async def _tries(self, link: Link, way: Way) -> bool:
        try:
            await self.move(link, *way)
        except (RatsError, OSError):
            return False
        return True

    async def move(self, link: Link, address: Address, method: ConnectionMethod = ConnectionMethod.TCP) -> None:
        """Open a path to an address and go over to it.

        Args:
            link: The session's link.
            address: Where the peer is.
            method: How to get there.

        Raises:
            HandshakeError: The peer is not there, or does not want to.
            OSError: No connection came about.
            PeerNotConnected: The session has ended, or stays on its path.
        """
        if self.dial is None or not link.can_move:
            raise PeerNotConnected("the session has ended, or stays on its path")
        joining: Joining = link.call_path()
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await self.dial(lambda: joining, address, method)
                await joining.done
        except TimeoutError:
            joining.fail(f"no connection within {DIAL_TIMEOUT:g} s")
            raise HandshakeError(f"no path to {address} within {DIAL_TIMEOUT:g} s") from None
        except BaseException as error:
            joining.fail(str(error) or type(error).__name__)
            raise
        self.moved += 1

    def _candidates(self, link: Link) -> list[Way]:
        """How the peer may be reached, the way at hand last where it has stalled."""
        found = [] if link.dialed is None else [link.dialed]
        peer = self._peers.get(link.peer_id)
        if peer is not None and peer.hello is not None:
            for text in peer.hello.listen:
                with contextlib.suppress(RatsError):
                    address = Address.parse(text)
                    found.append(Address(link.address.host, address.port) if address.host in UNSPECIFIED else address)
        addresses = list(dict.fromkeys(found))[:MAX_CANDIDATES]
        methods = sorted(self.methods, key=lambda method: method is link.method)
        return [(address, method) for address in addresses for method in methods]
