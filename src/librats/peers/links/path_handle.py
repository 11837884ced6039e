"""The handle ``client.paths``: how sessions get to their peers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from librats.config import NatTraversalConfig
from librats.errors import ClosedError, ConfigError, RatsError, UsageError
from librats.peers.links.paths import Dial
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.peers.self_description import TRANSPORT_UDP
from librats.runtime.network import current_network
from librats.runtime.tasks import TaskSet
from librats.services.relays import Relays
from librats.session.frames import Reason
from librats.stun.mapping_habits import MappingHabits
from librats.types import Address, ConnectionMethod, PathPolicy

__all__ = ["PathsHandle"]

logger = logging.getLogger("librats.paths")

RELAY_RETRIES = (5.0, 15.0, 60.0)
"""Seconds between tries to get a relayed address to be dialled at; the last goes for all that follow."""


class PathsHandle:
    """How the sessions of a client get to their peers. Comes from a client: :attr:`~librats.RatsClient.paths`.

    Sessions choose their ways by themselves; see ``path_policy`` and ``turn_servers`` of
    :class:`~librats.NatTraversalConfig`. A session moves to another way without losing anything, and
    :class:`~librats.PathChanged` tells of it.

    Example:
        .. code-block:: python

            await client.paths.set_policy("direct_only")
            await client.paths.move(peer, "192.0.2.7:8081", method="udp")
    """

    def __init__(
        self,
        settings: Callable[[], NatTraversalConfig],
        find: Callable[[Peer | str], Peer],
        tasks: TaskSet,
        habits: MappingHabits,
    ) -> None:
        self._settings = settings
        self._find = find
        self._tasks = tasks
        self._chosen: PathPolicy | None = None
        self._manager: PeerManager | None = None
        self.tell_addresses: Callable[[], None] = lambda: None
        """Lets the peers know where this client can be dialled now."""
        self.hide: Callable[[], Awaitable[object]] | None = None
        """Stops whatever else tells others this host's address."""
        self.relays = Relays(settings, tasks, habits)
        """The client's allocations, for those who dial."""

    def __repr__(self) -> str:
        """Show the policy."""
        return f"<PathsHandle {self.policy}>"

    # Wiring

    def start(
        self,
        manager: PeerManager,
        dial: Dial,
        direct_methods: Sequence[ConnectionMethod],
        addresses: Callable[[], list[Address]],
    ) -> None:
        """Serve a client that has started.

        Args:
            manager: Its peers.
            dial: Makes connections.
            direct_methods: How direct ones are made.
            addresses: Where the client can be dialled.
        """
        self._manager = manager
        paths = manager.paths
        paths.dial = dial
        paths.direct_methods = tuple(direct_methods)
        paths.has_relays = bool(self.relays.servers)
        paths.policy = self.policy
        paths.relay_stalled = self.relays.suspect

        def tell_addresses() -> None:
            if not manager.closing:
                manager.own.listening = addresses()

        self.tell_addresses = tell_addresses
        self.relays.start(manager.incoming_link, current_network().entropy, tell_addresses)
        if self.hides_us:
            manager.own.transports = TRANSPORT_UDP
            self._tasks.create(self._keep_relayed(), name="librats relayed address")

    async def close(self) -> None:
        """Give the allocations back."""
        self._manager = None
        await self.relays.close()

    async def _keep_relayed(self) -> None:
        """Get a relayed address to be dialled at, however long that takes."""
        tries = 0
        while self.hides_us:
            try:
                await self.relays.open()
            except RatsError as error:
                await asyncio.sleep(RELAY_RETRIES[min(tries, len(RELAY_RETRIES) - 1)])
                logger.warning("no relayed address yet, asking again: %s", error)
                tries += 1
            else:
                return

    # The policy

    @property
    def policy(self) -> PathPolicy:
        """Which ways sessions may go: that of the configuration, unless :meth:`set_policy` has changed it."""
        return self._chosen if self._chosen is not None else self._settings().path_policy

    @property
    def hides_us(self) -> bool:
        """True where nobody may see this host's own address."""
        return self.policy is PathPolicy.RELAY_ONLY

    @property
    def relayed_addresses(self) -> list[Address]:
        """Where this client can be dialled on TURN servers now: by those that :meth:`permit` names, and by those who
        have a relayed address on the same server, where that lets whole hosts in."""
        return self.relays.addresses

    async def set_policy(self, policy: PathPolicy | str) -> None:
        """Choose which ways sessions may go from now on.

        Sessions on a way that is no longer allowed are moved; one that cannot be is ended. With ``"relay_only"`` the
        client leaves the DHT, and announces itself on the local network no more; one that has started with it listens
        nowhere else until it is started again.

        Args:
            policy: ``"auto"``, ``"direct_only"`` or ``"relay_only"``.

        Raises:
            ConfigError: There is no such policy, or there is no TURN server for ``"relay_only"``.
            TurnError: No relayed address is to be had for ``"relay_only"``, and nothing has changed; likewise
                :class:`~librats.ConnectError` and :class:`~librats.OperationTimeout`.
        """
        if policy not in list(PathPolicy):
            raise ConfigError("path_policy", f"must be one of {', '.join(PathPolicy)}, not {policy!r}")
        wanted = PathPolicy(policy)
        if wanted is PathPolicy.RELAY_ONLY and not self.relays.servers:
            raise ConfigError("path_policy", "relay_only needs turn_servers")
        manager = self._manager
        if wanted is PathPolicy.RELAY_ONLY and manager is not None:
            await self.relays.open()
        self._chosen = wanted
        if self.hides_us and self.hide is not None:
            await self.hide()
        if manager is None:
            return
        self.tell_addresses()
        for link in await manager.paths.obey(wanted):
            await link.close(Reason.CLOSED, "the path policy does not allow this path")

    # By hand

    async def move(
        self,
        peer: Peer | str,
        address: Address | str | None = None,
        *,
        method: ConnectionMethod | str | None = None,
    ) -> None:
        """Move the session with a peer to another way, where it stays for half a minute unless it stalls.

        Args:
            peer: The peer or its id.
            address: IP address and port of the peer; where it is None, every one that is known is tried.
            method: ``"tcp"``, ``"udp"`` or ``"relay"``; where it is None, every one that the policy allows is tried.

        Raises:
            HandshakeError: That does not lead to the peer; the session stays where it is.
            PeerNotConnected: There is no session with it, or one that cannot move: with a librats 2 node, for example.
            ClosedError: The client is stopped.
            UsageError: That is no address or no method, or the policy does not allow it.
        """
        link = self._find(peer).link
        if self._manager is None:
            raise ClosedError("the client is stopped")
        paths = self._manager.paths
        methods = paths.methods
        if method is not None:
            if method not in list(ConnectionMethod):
                raise UsageError(f"no method {method!r}; there is {', '.join(ConnectionMethod)}")
            if method not in methods:
                raise UsageError(f"path_policy, transports and turn_servers leave no way over {method}")
            methods = (ConnectionMethod(method),)
        ways = [way for way in paths.ways(link) if way[1] in methods]
        if address is not None:
            where = Address.parse(address) if isinstance(address, str) else Address(*address)
            if not where.is_literal or not where.port:
                raise UsageError(f"not an IP address and a port: {where}")
            ways = [(where, each) for each in methods]
        await paths.move_by_hand(link, ways)

    async def permit(self, peer: Address | str) -> None:
        """Let somebody dial this client at its relayed addresses.

        Args:
            peer: IP address of the peer as the TURN server sees it, without or with the port. With the port it may be
                the peer's relayed address on the same server.

        Raises:
            TurnError: The server forbids it.
            ClosedError: There is no relayed address.
            UsageError: That is no IP address.
        """
        has_port = not isinstance(peer, str) or (peer.count(":") == 1 or peer.startswith("["))
        address = Address.parse(str(peer)) if has_port else Address(str(peer), 0)
        await self.relays.permit(address)
