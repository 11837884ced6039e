"""TCP allocations: connections between clients and peers (RFC 6062)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from librats._core.relay import pack_address
from librats._core.stun import serialise
from librats.relay.connections import ClientConnection, PeerConnection
from librats.runtime.relay_tcp import accept_on, connect_from
from librats.runtime.tasks import TaskSet
from librats.stun.constants import Attribute, ErrorCode, MessageClass, Method
from librats.turn.serving.allocation import Allocation, Client
from librats.turn.serving.answers import Refused, refuse_unless
from librats.turn.serving.machine import Machine
from librats.turn.serving.request import Request
from librats.turn.serving.tables import host_of
from librats.types import Address, Entropy

__all__ = ["TcpAllocations"]

_CONNECT_TIMEOUT = 30.0
_BIND_TIMEOUT = 30.0
_MOST_CONNECTIONS = 256
"""Peers of one allocation."""


@dataclass(slots=True)
class _Peers:
    """The connections of one allocation."""

    servers: list[asyncio.Server] = field(default_factory=list)
    addresses: set[Address] = field(default_factory=set)
    """Peers that are connected, or being connected to."""
    connections: dict[PeerConnection, Address] = field(default_factory=dict)
    closed: bool = False


@dataclass(slots=True)
class _Waiting:
    """A peer's connection for which the client's has not come yet."""

    connection: PeerConnection
    allocation: Allocation
    timer: asyncio.TimerHandle


class TcpAllocations:
    """Makes the connections of TCP allocations.

    Args:
        entropy: Where connection ids come from.
    """

    def __init__(self, *, entropy: Entropy) -> None:
        self.machine: Machine | None = None
        """Answers requests; set once it is made."""
        self.clients: dict[int, ClientConnection] = {}
        """Clients' connections, by the listener number that they are known by."""
        self._entropy = entropy
        self._peers: dict[int, _Peers] = {}  # by the number of the allocation
        self._waiting: dict[int, _Waiting] = {}
        self._tasks = TaskSet()

    def opened(self, allocation: Allocation) -> None:
        """Accept peers of a new allocation."""
        peers = self._peers[allocation.number] = _Peers()
        for relay in allocation.relays:
            self._tasks.create(self._accept(allocation, peers, relay.fd), name="accept peers")

    def released(self, allocation: Allocation) -> None:
        """Close everything of an allocation that is gone."""
        peers = self._peers.pop(allocation.number, None)
        if peers is not None:
            self._close(peers)

    @staticmethod
    def _close(peers: _Peers) -> None:
        peers.closed = True
        for server in peers.servers:
            server.close()
        for connection in list(peers.connections):
            connection.close()

    def connect(self, request: Request, allocation: Allocation, peer: tuple[str, int]) -> None:
        """Connect to a peer, and answer the client's request then.

        Raises:
            Refused: 446 where there is a connection with that peer; 508 where there are too many.
        """
        peers, address = self._peers[allocation.number], Address(*peer)
        refuse_unless(address not in peers.addresses, ErrorCode.CONNECTION_ALREADY_EXISTS)
        refuse_unless(len(peers.addresses) < _MOST_CONNECTIONS, ErrorCode.INSUFFICIENT_CAPACITY)
        peers.addresses.add(address)
        self._tasks.create(self._connect(request, allocation, peers, address), name="connect to a peer")

    def bind(self, request: Request) -> None:
        """Join the client's connection, on which the request came, with the one of a peer.

        Raises:
            Refused: 400 where nothing waits under that connection id, or another user's.
        """
        number = request.message.get(Attribute.CONNECTION_ID)
        waiting = self._waiting.get(number) if number is not None else None
        client = self.clients.get(request.client.listener)
        if waiting is None or client is None or self.machine is None:
            raise Refused(ErrorCode.BAD_REQUEST)
        waiting.allocation.check_owner(request.login)
        del self._waiting[number]
        waiting.timer.cancel()
        client.write(self.machine.succeed(request, [(Attribute.CONNECTION_ID, number)]).data)
        client.join(waiting.connection)
        waiting.connection.flow()

    def is_connected(self, client: Client) -> bool:
        """Tell whether a client's connection is there."""
        return client.listener in self.clients

    def is_encrypted(self, client: Client) -> bool:
        """Tell whether a client is connected by TLS."""
        connection = self.clients.get(client.listener)
        return connection is not None and connection.is_encrypted

    async def close(self) -> None:
        """Close everything."""
        while self._peers:
            self._close(self._peers.popitem()[1])
        await self._tasks.close()

    async def _accept(self, allocation: Allocation, peers: _Peers, fd: int) -> None:
        def opened(connection: PeerConnection, peer: Address) -> None:
            permitted = self._permitted(allocation, peer)
            client = self.clients.get(allocation.client.listener)
            full = len(peers.addresses) >= _MOST_CONNECTIONS
            if not permitted or client is None or peers.closed or peer in peers.addresses or full:
                connection.close()
                return
            number = self._keep(allocation, peers, connection, peer)
            client.write(
                serialise(
                    Method.CONNECTION_ATTEMPT,
                    MessageClass.INDICATION,
                    self._entropy.token_bytes(12),
                    [(Attribute.CONNECTION_ID, number), (Attribute.XOR_PEER_ADDRESS, tuple(peer))],
                )
            )

        if (
            self._peers.get(allocation.number) is not peers
        ):  # it has ended before this began, and the descriptor may be another allocation's by now
            return
        server = await accept_on(lambda: PeerConnection(opened, self._forgetter(peers)), fd)
        if peers.closed:
            server.close()
        peers.servers.append(server)

    def _permitted(self, allocation: Allocation, peer: Address) -> bool:
        """Tell whether a peer may connect to an allocation, which may be gone."""
        if self.machine is None or allocation.number not in self._peers:
            return False
        permissions = self.machine.tables.plane.permissions(allocation.number)
        return permissions.get(host_of(pack_address(*peer)), 0.0) > asyncio.get_running_loop().time()

    async def _connect(self, request: Request, allocation: Allocation, peers: _Peers, peer: Address) -> None:
        made: list[PeerConnection] = []
        relay = next(each for each in allocation.relays if (":" in each.host) == (":" in peer.host))
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await connect_from(
                    lambda: PeerConnection(lambda connection, _: made.append(connection), self._forgetter(peers)),
                    Address(relay.bound_host, relay.port),
                    peer,
                )
        except (OSError, TimeoutError):
            pass
        client = self.clients.get(request.client.listener)
        if self.machine is None or client is None or peers.closed or not made or made[0].transport is None:
            peers.addresses.discard(peer)
            for connection in made:
                connection.close()
            if self.machine is not None and client is not None:
                client.write(self.machine.fail(request, ErrorCode.CONNECTION_TIMEOUT_OR_FAILURE).data)
            return
        number = self._keep(allocation, peers, made[0], peer)
        client.write(self.machine.succeed(request, [(Attribute.CONNECTION_ID, number)]).data)

    def _keep(self, allocation: Allocation, peers: _Peers, connection: PeerConnection, peer: Address) -> int:
        """Let a peer's connection wait for the client's, and return the id under which it does."""
        number = int.from_bytes(self._entropy.token_bytes(4), "big")
        while number in self._waiting:
            number = int.from_bytes(self._entropy.token_bytes(4), "big")
        peers.addresses.add(peer)
        peers.connections[connection] = peer
        timer = asyncio.get_running_loop().call_later(_BIND_TIMEOUT, self._give_up, number)
        self._waiting[number] = _Waiting(connection, allocation, timer)
        return number

    def _give_up(self, number: int) -> None:
        self._waiting.pop(number).connection.close()

    def _forgetter(self, peers: _Peers) -> Callable[[PeerConnection], None]:
        def forget(connection: PeerConnection) -> None:
            peer = peers.connections.pop(connection, None)
            if peer is not None:
                peers.addresses.discard(peer)
            for number, waiting in list(self._waiting.items()):
                if waiting.connection is connection:
                    waiting.timer.cancel()
                    del self._waiting[number]

        return forget
