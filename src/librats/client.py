"""RatsClient: the parts wired together, and the verbs that applications use."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from librats._core.aead import load_openssl
from librats.attempts.strategies import strategy_of
from librats.config import NatTraversalConfig, RatsConfig
from librats.connector import Connector, Target
from librats.errors import ConfigError, ConnectError, PeerNotConnected, UsageError
from librats.hole_punching.node_punching import NodePunching
from librats.introducers.keeping import check_introducers
from librats.memory.keeping import KeepingVerbs
from librats.memory.nat_memory import NatMemory
from librats.memory.remembering import Remembering
from librats.peer_ids import check_peer_id
from librats.peers.arguments import check_timeout
from librats.peers.entry.access import Access, AccessList
from librats.peers.identities.succession import encode_chain
from librats.peers.identity import Identity
from librats.peers.links.path_handle import PathsHandle
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.peers.self_description import TRANSPORT_TCP, TRANSPORT_UDP
from librats.peers.statistics import client_statistics
from librats.runtime.listening import Listening, listen
from librats.runtime.network import Network, current_network
from librats.runtime.offload import run_in_thread
from librats.runtime.tasks import TaskSet
from librats.services.nat import NatHandle
from librats.tickets import Ticket
from librats.types import Address, ConnectionStrategy, Encryption
from librats.verbs.discovering import DiscoveringVerbs
from librats.verbs.familiar import FamiliarNames
from librats.verbs.filing import FilingVerbs
from librats.verbs.hearing import HearingVerbs
from librats.verbs.introducing import AGENT
from librats.verbs.reaching import ReachingVerbs
from librats.verbs.sending import SendingVerbs

__all__ = ["RatsClient"]

logger = logging.getLogger("librats.client")

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


class RatsClient(HearingVerbs, SendingVerbs, KeepingVerbs, ReachingVerbs, DiscoveringVerbs, FilingVerbs, FamiliarNames):
    """A node: it listens, dials, and exchanges messages, requests, bytes and streams with its peers.

    Args:
        listen_port: TCP port to listen on; 0 picks one.
        max_peers: Peers that may be connected at once; the configuration's value where it is None.
        nat: How to find out about NATs; the configuration's value where it is None.
        config: Everything else that can be set.
        data_dir: Where identity and peer book are kept. Where it is None, the user's own data directory for librats; a
            second client that is started while another one uses that gets an identity that lasts as long as itself.
        identity: Who to be, instead of what a data directory holds; nothing is read or written then.

    Raises:
        ConfigError: A value cannot be used.

    Example:
        .. code-block:: python

            async with RatsClient(8080) as client:

                @client.on("chat")
                async def chat(peer, data):
                    print(peer.id[:8], data["message"])

                await client.connect("192.0.2.7:8081")
                await client.send("chat", {"message": "hi"})
    """

    def __init__(
        self,
        listen_port: int = 0,
        *,
        max_peers: int | None = None,
        nat: NatTraversalConfig | None = None,
        config: RatsConfig | None = None,
        data_dir: str | Path | None = None,
        identity: Identity | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(listen_port, int) or isinstance(listen_port, bool) or not 0 <= listen_port < 1 << 16:
            raise ConfigError("listen_port", f"must be a whole number from 0 to 65535, not {listen_port!r}")
        KeepingVerbs.__init__(self, data_dir, identity)
        ReachingVerbs.__init__(self)
        self._config = config or RatsConfig()
        if max_peers is not None:
            self._config = dataclasses.replace(self._config, max_peers=max_peers)
        if nat is not None:
            self._config = dataclasses.replace(self._config, nat=nat)
        self._wanted_port = listen_port
        self._access = Access.of(self._config)
        self._tasks = TaskSet()
        DiscoveringVerbs.__init__(self)
        FilingVerbs.__init__(self)
        self._nat = NatHandle(lambda: self._config.nat, self._running_network, self._tasks, self._access.learn_own)
        self._nat_memory = NatMemory(self._mappings)
        self._paths = PathsHandle(lambda: self._config.nat, self._find, self._tasks, self._nat_memory.habits)
        self._nat.measured = self._nat_memory.measured
        self._manager: PeerManager | None = None
        self._connector: Connector | None = None
        self._listener: Listening | None = None
        self._remembering: Remembering | None = None
        self._node_punching: NodePunching | None = None
        self._network: Network | None = None
        self._interfaces: list[str] = []
        self._started_at = 0.0
        self._changing = asyncio.Lock()
        self._stopped = asyncio.Event()

    def __repr__(self) -> str:
        """Show the shortened id and the port."""
        who = self._identity.peer_id[:8] if self._identity else "no identity yet"
        return f"<RatsClient {who} port={self._listener.port if self._listener is not None else None}>"

    # Life

    async def start(self) -> None:
        """Load or make the identity and listen. Does nothing where the client is running.

        Raises:
            IdentityError: The data directory cannot be used, or another client uses it.
            ConfigError: The port is taken, or the address is not this machine's; or an introducer is a WebSocket, and
                ``librats[web]`` is not installed.
        """
        async with self._changing:
            if self.is_running:
                return
            try:
                await self._start()
            except BaseException:
                self._release_identity()
                raise

    def _load(self) -> Identity:
        """Load everything that a start waits for; it blocks."""
        load_openssl()
        return self._load_kept()

    async def _start(self) -> None:
        check_introducers(self._config.nat.introducers)
        loading = asyncio.ensure_future(run_in_thread(self._load))
        try:
            identity = await asyncio.shield(loading)
        except asyncio.CancelledError:
            await asyncio.wait([loading])  # the thread cannot be stopped, and what it locks is to be released
            raise
        if self._config.encryption is Encryption.OFF:
            logger.warning("encryption is off: nobody proves who they are, and everybody on the path can read along")
        network = self._network = current_network()
        manager = PeerManager(
            identity,
            self._config,
            self._handlers,
            self._tasks,
            entropy=network.entropy,
            new_key=network.new_key,
            agent=AGENT,
            access=self._access,
        )
        self._interfaces = await network.interface_addresses()
        listener = await listen(
            network,
            manager.incoming_link,
            self._config.listen_host,
            self._wanted_port,
            transports=() if self._paths.hides_us else self._config.transports,
            max_datagram=self._config.max_packet,
            others=self._take_others,
        )
        self._manager, self._listener = manager, listener
        self._connector = Connector(manager, network, self._config, listener.udp, self._paths.relays)
        manager.own.listening = self.addresses
        manager.own.transports = (TRANSPORT_TCP if listener.takes_tcp else 0) | (TRANSPORT_UDP if listener.udp else 0)
        self._start_filing(manager)
        self._start_introducing(manager, network, listener.udp)
        is_secure = self._config.encryption is Encryption.REQUIRED
        punching = self._node_punching = manager.punches = NodePunching(
            manager,
            self._config.nat,
            self._tasks,
            udp=listener.udp,
            takes_part=lambda: self._config.nat.enable_hole_punching and is_secure and not self._paths.hides_us,
            own_hosts=lambda: self._interfaces,
            check_limits=self._connector.check_limits,
            guard=None if self._introduced is None else self._introduced.guard,
        )
        self._paths.start(manager, self._connector.dial, self._connector.direct_methods, lambda: self.addresses)
        loop = asyncio.get_running_loop()
        self._access.changed = lambda: loop.call_soon_threadsafe(manager.enforce_access)
        self._nat.start_mapping(listener, manager.dispatcher.announce, self._paths.tell_addresses)
        if self._config.peer_exchange:
            manager.start_exchange(punching.or_punch(self._connector.dial_known))
        manager.own.successions = encode_chain(self._successions)
        self._remembering = Remembering(
            self,
            manager,
            self.book,
            self._book_files,
            config=self._config.reconnect,
            entropy=network.entropy,
            tasks=self._tasks,
        )
        self._remembering.start(dial_saved=self._dials_saved_peers)
        if self._worked_file is not None:
            self._worked_file.start()
        self._started_at = asyncio.get_running_loop().time()
        self._stopped = asyncio.Event()  # a new one, because an event belongs to the loop that first waited for it
        self._paths.hide = self._stop_discovering
        self._start_discovering()
        logger.debug("started: %r", self)

    async def stop(self) -> None:
        """Say goodbye to every peer and let everything go, within a second. Idempotent."""
        async with self._changing:
            manager = self._manager
            if manager is None:
                self._release_identity()
                return
            manager.closing = True
            self._access.changed = None
            if self._listener is not None:
                self._listener.stop_accepting()
            for iterator in list(self._iterators.values()):
                iterator.close()
            await self._stop_discovering()
            await self._stop_filing()
            remembering, self._remembering = self._remembering, None
            try:
                if remembering is not None:
                    await remembering.stop_dialling()
                if self._connector is not None:
                    await self._connector.close()
                await asyncio.gather(manager.close(), self._nat.stop_mapping())
                await self._paths.close()
            finally:
                listener = self._listener
                self._stop_introducing()
                if self._node_punching is not None:
                    self._node_punching.close()
                    self._node_punching = None
                self._manager = self._connector = self._listener = None
                if listener is not None:
                    listener.close()
                try:
                    await self._tasks.close()
                    if remembering is not None:
                        await remembering.close()
                    if self._worked_file is not None:
                        await self._worked_file.close()
                finally:
                    self._release_identity()
                    self._stopped.set()

    async def close(self) -> None:
        """The same as :meth:`stop`."""
        await self.stop()

    async def wait_closed(self) -> None:
        """Wait until the client is stopped, for programs that do nothing else."""
        if self.is_running:
            await self._stopped.wait()

    async def __aenter__(self) -> RatsClient:
        """Start the client."""
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop the client."""
        await self.stop()

    @property
    def is_running(self) -> bool:
        """True between :meth:`start` and :meth:`stop`."""
        return self._manager is not None

    def _running(self) -> PeerManager:
        if self._manager is None or self._manager.closing:
            raise UsageError("the client is not running: use `async with RatsClient(...)`, or call start()")
        return self._manager

    def _running_network(self) -> Network:
        self._running()
        return self._network or current_network()

    # Where we are

    @property
    def nat(self) -> NatHandle:
        """How others see this client, and what stands in between."""
        return self._nat

    @property
    def paths(self) -> PathsHandle:
        """How sessions get to their peers, directly or through a relay."""
        return self._paths

    @property
    def listen_port(self) -> int:
        """The port that is listened on.

        Raises:
            UsageError: The client is not running.
        """
        self._running()
        return self._listener.port if self._listener is not None else 0

    @property
    def addresses(self) -> list[Address]:
        """Where peers can dial this client: each interface's address, the loopback last, then mapped and relayed ones.

        Raises:
            UsageError: The client is not running.
        """
        self._running()
        found: list[Address] = []
        for bound in self._listener.addresses if self._listener is not None and not self._paths.hides_us else ():
            if bound.host in WILDCARDS:
                is_v6 = ":" in bound.host
                found += [Address(host, bound.port) for host in self._interfaces if (":" in host) == is_v6]
            else:
                found.append(bound)
        order = {host: index for index, host in enumerate(self._interfaces)}
        found.sort(key=lambda address: order.get(address.host, 0))
        return found + self._nat.mapped_addresses + self._paths.relayed_addresses

    @property
    def peers(self) -> Mapping[str, Peer]:
        """The connected peers by id: a view that changes as they come and go."""
        return MappingProxyType(self._manager.peers if self._manager is not None else {})

    @property
    def allow(self) -> AccessList:
        """Peer ids and networks that are talked to.

        Networks in it leave out every address outside of them, peer ids in it every other peer. While there is none,
        everybody is allowed. What is in :attr:`deny` is not talked to all the same. A change works at once, on
        sessions that are there as well: one that is no longer allowed ends with the code ``"refused"``.
        """
        return self._access.allow

    @property
    def deny(self) -> AccessList:
        """Peer ids and networks that are not talked to, neither dialling nor being dialled; see :attr:`allow`."""
        return self._access.deny

    def statistics(self) -> dict[str, Any]:
        """Return counters of the client and all its peers, as values that have a JSON form."""
        manager = self._manager
        if manager is None:
            return {"running": False}
        counted = client_statistics(manager, self._config, asyncio.get_running_loop().time() - self._started_at)
        among_nodes = None if self._node_punching is None else self._node_punching.counters
        return counted | {
            "introductions": self._introduction_counters(),
            "librats2_punching": among_nodes,
            "dht": self._dht_statistics(),
            "topics": self._topic_statistics(),
            "files": self._files_statistics(),
        }

    # Connecting

    async def connect(
        self,
        target: str | Address | tuple[str, int] | Ticket,
        *,
        strategy: ConnectionStrategy | str = ConnectionStrategy.AUTO_ADAPTIVE,
        expect_id: str | None = None,
        timeout: float | None = None,
    ) -> Peer:
        """Connect to a peer.

        Args:
            target: ``"host:port"``, ``"[ipv6]:port"``, ``(host, port)``, ``"peer-id@host:port"``, a
                :class:`~librats.Ticket` or its text, or a peer id that is connected, was found on the local network, is
                in the :attr:`book`, is connected to one of our introducers, or, where the DHT runs, is found there.
            strategy: How to reach it.
            expect_id: The only peer id that is accepted; any other fails before this side shows its own.
            timeout: Seconds for everything, above 0; the configured ``connect_timeout`` where it is None.

        Returns:
            The peer; the one that is there already where it is connected.

        Raises:
            ConnectError: It cannot be reached; ``attempts`` tells everything that was tried.
            PeerLimitReached: ``max_peers`` are connected.
            PeerDenied: :attr:`allow` or :attr:`deny` does not let this client talk to it.
            UsageError: The client is not running, the target or the timeout makes no sense, or a peer id is expected
                where encryption is off.
        """
        manager = self._running()
        check_timeout(timeout)
        strategy = strategy_of(strategy)
        wanted = Target.parse(target, expect_id)
        addresses = list(wanted.addresses)
        if wanted.peer_id is not None:
            peer = manager.peers.get(wanted.peer_id)
            is_there = peer is not None and peer.is_connected
            if self._config.encryption is Encryption.OFF and (addresses or not is_there):
                raise UsageError("with encryption off nobody proves who they are: give an address, and no peer id")
            if peer is not None and is_there:
                return peer
            if not addresses and self._meeting is not None:
                addresses = self._meeting.addresses_of(wanted.peer_id)
            if not wanted.addresses:
                addresses = list(dict.fromkeys([*addresses, *self.book.addresses_of(wanted.peer_id)]))
        if self._connector is None or self._remembering is None:
            raise UsageError("the client is not running")
        try:
            peer = await self._reach_among_nodes(wanted, addresses, strategy, timeout)
        except ConnectError as error:
            if self._remembering is not None:
                self._remembering.failed(wanted.peer_id, error)
            raise
        if self._remembering is not None:
            self._remembering.reached(wanted, peer)
        return peer

    async def _reach_among_nodes(
        self, wanted: Target, addresses: list[Address], strategy: ConnectionStrategy, timeout: float | None
    ) -> Peer:
        """Reach a peer, also by hole punching through librats 2 peers where any way will do."""
        punching, target = self._node_punching, wanted.peer_id
        if punching is None or target is None or strategy is not ConnectionStrategy.AUTO_ADAPTIVE:
            return await self._reach(wanted, addresses, strategy, timeout)
        seconds = self._config.connect_timeout if timeout is None else timeout
        others = partial(self._reach, wanted, addresses, strategy, timeout)
        return await punching.race(others, target, wanted.text, seconds=seconds)

    async def disconnect(self, peer: Peer | str, reason: str = "") -> None:
        """Send what is queued to a peer, tell it why, and end the session. A peer that was lost is dialled no more.

        Args:
            peer: The peer or its id.
            reason: Words for the peer.

        Raises:
            PeerNotConnected: There is no session with it, and it is not being dialled again.
            UsageError: It is another client's peer, or no peer id.
        """
        peer_id = self._own(peer).id if isinstance(peer, Peer) else peer
        was_lost = self._remembering is not None and self._remembering.leave(peer_id)
        if was_lost and peer_id not in self.peers:
            return
        await self._find(peer).close(reason)

    def _own(self, peer: Peer) -> Peer:
        if peer.inbox.handlers is not self._handlers:
            raise UsageError(f"{peer!r} is another client's peer: give its id, or this client's own peer of that id")
        return peer

    def _find(self, peer: Peer | str) -> Peer:
        if isinstance(peer, Peer):
            return self._own(peer)
        found = self._running().peers.get(peer) if isinstance(peer, str) else None
        if found is None:
            check_peer_id(peer)
            raise PeerNotConnected(f"peer {peer[:8]} is not connected")
        return found
