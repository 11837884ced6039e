"""A relay on a simulated host: librats' own machine of STUN and TURN, over simulated sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from typing import Self

from librats.peers.identity import Identity
from librats.relay.config import RelayConfig
from librats.relay.connections import ClientConnection
from librats.relay.datagram_sessions import Heard
from librats.relay.introducing import Grants, RelayIntroducer
from librats.relay.statistics import RelayStatistics, sum_statistics
from librats.relay.web import WebDoor
from librats.runtime.tcp import TcpListener, cannot_listen
from librats.testing.datagrams import SimDatagramSocket
from librats.testing.here import current_host
from librats.testing.hosts import SimHost
from librats.testing.ports import version_of
from librats.testing.relay_plane import SimPlane
from librats.turn.serving.allocation import IPV4, IPV6, UDP, Client, Relay
from librats.turn.serving.authentication import Authenticator
from librats.turn.serving.binding import Corner
from librats.turn.serving.credentials import Credentials, GrantedNames
from librats.turn.serving.machine import Machine
from librats.turn.serving.mobility import Mobility
from librats.turn.serving.nonces import Nonces
from librats.turn.serving.peer_policy import PeerPolicy
from librats.turn.serving.quotas import Quotas
from librats.turn.serving.tables import Shared, Tables
from librats.types import Address

__all__ = ["SimRelay"]

TICK = 1.0
TRIES = 64
SIMULATED_INTERNET = (ipaddress.ip_network("10.0.0.0/16"), ipaddress.ip_network("fd00::/48"))
"""Where hosts are that name no address: they stand for public ones."""


class RelayPorts:
    """Opens the sockets of allocations.

    Args:
        host: Where.
        hosts: The IP addresses to relay from.
        ports: The first and the last port.
    """

    def __init__(self, host: SimHost, hosts: Sequence[str], ports: tuple[int, int]) -> None:
        self.sockets: dict[int, SimDatagramSocket] = {}
        """The open ones, by their numbers."""
        self._host = host
        self._hosts = {
            family: [each for each in hosts if version_of(each) == version]
            for family, version in ((IPV4, 4), (IPV6, 6))
        }
        self._ports = ports

    def open(self, family: int, *, near: bytes, even: bool = False, transport: int = UDP) -> Relay | None:
        """Open one; None where there is none left, or one for TCP is wanted, which the simulation has not."""
        first, last = self._ports
        for _ in range(TRIES if transport == UDP else 0):
            port = first + self._host.entropy.randbelow(last - first + 1)
            relay = self._bind(family, port - (port & 1) if even else port)
            if relay is not None:
                return relay
        return None

    def _bind(self, family: int, port: int) -> Relay | None:
        first, last = self._ports
        if not self._hosts[family] or not first <= port <= last:
            return None
        host = self._hosts[family][0]
        sock: SimDatagramSocket = self._host.stack.datagram_socket(_socket_family(host))
        try:
            sock.bind((host, port))
        except OSError:
            sock.close()
            return None
        self.sockets[sock.fileno()] = sock
        return Relay(sock.fileno(), host, port, family, host)

    def open_pair(self, family: int, *, near: bytes) -> tuple[Relay, Relay] | None:
        """Open two with consecutive ports, an even one first; None where there are none."""
        for _ in range(TRIES):
            first = self.open(family, near=near, even=True)
            if first is None:
                return None
            second = self._bind(family, first.port + 1)
            if second is not None:
                return first, second
            self.close(first)
        return None

    def has(self, family: int) -> bool:
        """Tell whether there is an address of a family."""
        return bool(self._hosts[family])

    def close(self, relay: Relay) -> None:
        """Close one."""
        self.sockets.pop(relay.fd).close()


class SimRelay:
    """A STUN and TURN server on a simulated host: the one that ``librats relay`` runs, over simulated sockets.

    It answers requests with the same code, over UDP, TCP and WebSockets, by the same configuration, of which
    ``tls_listen``, ``certificate``, ``external_hosts``, ``threads``, ``coalescing`` and ``metrics`` mean nothing here.
    TCP allocations (RFC 6062) are refused. Hosts of the simulated internet count as public, also those that name no
    address of their own. Time-limited credentials count the seconds since the simulation began.

    Args:
        config: What it is told.
        identity: Who it is, where it is to introduce.

    Example:
        .. code-block:: python

            with net.host("relay", addresses=["203.0.113.10"]):
                relay = SimRelay(RelayConfig(users={"ann": "secret"}))
                await relay.start()
    """

    def __init__(self, config: RelayConfig, identity: Identity | None = None) -> None:
        self._identity = identity
        self.introducer: RelayIntroducer | None = None
        """Introduces those who are connected, where it does."""
        self.config = config
        """What it was told."""
        self.addresses: list[Address] = []
        """Where it listens."""
        self._timer: asyncio.TimerHandle | None = None
        self._listeners: list[TcpListener] = []
        self._connections: dict[int, ClientConnection] = {}
        self._serial = 0

    async def __aenter__(self) -> Self:
        """Start on the current host."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.close()

    async def start(self) -> None:
        """Begin, on the current host.

        Raises:
            ConfigError: An address is taken, or not the host's.
            UsageError: This runs on no host.
        """
        host, config = current_host(), self.config
        self._loop = asyncio.get_running_loop()
        self._web = WebDoor(opens=config.web, trusted=config.trusted_proxies)
        own = list(config.relay_hosts) or list(host.addresses)
        self._ports = RelayPorts(host, own, config.relay_ports)
        allowed = (*config.allow_peers, *SIMULATED_INTERNET)
        policy = PeerPolicy(allow=allowed, deny=config.deny_peers, own=own)
        self._quotas = Quotas(config.quotas, contextlib.nullcontext())
        self._shared = Shared(settings=config.settings, policy=policy, quotas=self._quotas, ports=self._ports)
        self._plane = SimPlane(self._requested, self._write, self._ports.sockets)
        if config.quotas.total_bandwidth:
            self._plane.limit_total(config.quotas.total_bandwidth)
        authenticator = None
        names = GrantedNames(config.realm, host.new_key(32).hex())
        if not config.no_auth:
            granted = names if config.relay_for_introduced else None
            credentials = Credentials(realm=config.realm, users=config.users, secrets=config.secrets, granted=granted)
            authenticator = Authenticator(credentials, Nonces(entropy=host.entropy, lifetime=config.nonce_lifetime))
        try:
            numbers = self._listen(host)
            self._machine = Machine(
                Tables(self._plane, self._shared, capacity=config.max_allocations),
                authenticator,
                Mobility(host.new_key(32), 0),
                entropy=host.entropy,
                corners=self._corners(numbers),
            )
            if self._identity is not None and config.introduce:
                grants = Grants(lifetime=config.introduced_lifetime, wall=self._loop.time, names=names)
                self.introducer = RelayIntroducer(
                    self._identity,
                    entropy=host.entropy,
                    new_key=host.new_key,
                    port=self.addresses[0].port,
                    most=config.max_connections,
                    grants=grants if config.relay_for_introduced else None,
                    carry=config.carry_limits if config.carry else None,
                )
                over_udp = self.introducer.take_datagrams(self.addresses)
                self._plane.sessions = lambda *packet: over_udp.came([packet], self._answer)
            for address in self.addresses if config.tcp else ():
                self._listeners.append(await host.listen_tcp(self._new_connection, address.host, address.port))
        except BaseException:
            self._plane.close()
            for listener in self._listeners:
                listener.close()
            raise
        self._tick()

    def _answer(self, packets: Sequence[Heard]) -> None:
        for packet in packets:
            self._plane.send(*packet)

    def _listen(self, host: SimHost) -> list[int]:
        config, numbers = self.config, []
        wanted = list(config.listen)
        if config.alternate is not None:
            first, other = config.listen[0], config.alternate
            wanted += [Address(first.host, other.port), Address(other.host, first.port), other]
        for address in wanted:
            sock: SimDatagramSocket = host.stack.datagram_socket(_socket_family(address.host))
            try:
                sock.bind(tuple(address))
            except OSError as error:
                sock.close()
                raise cannot_listen("listen", address, error) from error
            numbers.append(self._plane.listen(sock))
            assert sock.local is not None  # noqa: S101 - it is bound
            self.addresses.append(sock.local)
        return numbers

    def _corners(self, listeners: list[int]) -> dict[int, Corner]:
        if self.config.alternate is None:
            return {}
        a, b, c, d = listeners[0], *listeners[-3:]
        first, port, host, both = (self.addresses[number] for number in (a, b, c, d))
        return {
            a: Corner(first, both, (a, b, c, d)),
            b: Corner(port, host, (b, a, d, c)),
            c: Corner(host, port, (c, d, a, b)),
            d: Corner(both, first, (d, c, b, a)),
        }

    async def close(self) -> None:
        """End all allocations, and close the sockets. Idempotent."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        for listener in self._listeners:
            listener.close()
        if self.introducer is not None:
            await self.introducer.close()
        self._machine.tables.close()
        self._shared.close_reserved()
        self._web.close()
        for connection in list(self._connections.values()):
            connection.close()
        self._plane.close()

    def statistics(self) -> RelayStatistics:
        """Return what it did."""
        return sum_statistics(
            [self._machine],
            [self._plane.statistics()],
            users=self._quotas.by_owner(),
            connections=len(self._connections),
            failures=0,
            draining=self._shared.draining,
            carried=None if self.introducer is None else self.introducer.carried,
        )

    def _tick(self) -> None:
        self._machine.handle_timer(now=self._loop.time())
        self._timer = self._loop.call_later(TICK, self._tick)

    # Datagrams

    def _requested(self, client: Client, data: bytes) -> None:
        answer = self._machine.receive(client, data, now=self._loop.time())
        if answer is not None:
            self._plane.send(*answer)

    # Connections (relay.connections.Hub)

    def _new_connection(self, *, is_inside: bool = False) -> ClientConnection:
        self._serial += 1
        return ClientConnection(self, self._serial, now=self._loop.time, is_inside=is_inside)

    def take_web(self, connection: ClientConnection, data: bytes) -> None:
        """Answer a connection that begins as HTTP does; a WebSocket has another one inside.

        Args:
            connection: The connection.
            data: What has come on it.
        """
        transport = connection.transport
        if transport is not None:
            self.lost(connection)
            self._web.take(transport, data, lambda: self._new_connection(is_inside=True))

    def admit(self, connection: ClientConnection) -> bool:
        """Take a new connection in; False where there are too many."""
        if self._timer is None or len(self._connections) + self._web.waiting >= self.config.max_connections:
            return False
        self._connections[connection.client.listener] = connection
        return True

    def take(self, connection: ClientConnection, frame: bytes) -> None:
        """Take a STUN message or ChannelData of a client."""
        if frame[0] >= 0x40 or frame[:2] == b"\0\x16":  # noqa: PLR2004 - the first of the channel numbers
            allocation = self._machine.tables.find(connection.client)
            if allocation is not None:
                self._plane.forward(allocation.number, frame)
            return
        answer = self._machine.receive(connection.client, frame, now=self._loop.time())
        if answer is not None:
            connection.write(answer.data)

    def relays_for(self, connection: ClientConnection) -> bool:
        """Tell whether a client has an allocation."""
        return connection.client in self._machine.tables

    def take_session(self, connection: ClientConnection, data: bytes) -> bool:
        """Give a connection that begins as a session does to the introducer; False where there is none."""
        introducer, transport = self.introducer, connection.transport
        if introducer is None or transport is None:
            return False
        self._connections.pop(connection.client.listener, None)
        self._machine.disconnect(connection.client)
        introducer.take(transport, data)
        return True

    def lost(self, connection: ClientConnection) -> None:
        """Hear that a client's connection is gone."""
        self._connections.pop(connection.client.listener, None)
        self._machine.disconnect(connection.client)

    def _write(self, number: int, data: bytes) -> None:
        allocation = self._machine.tables.get(number)
        connection = None if allocation is None else self._connections.get(allocation.client.listener)
        if connection is not None:
            connection.write(data)


def _socket_family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
