"""What an ICE agent sends and receives with: sockets of its own, a relayed address, or a socket that others share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from librats.runtime.network import Network
from librats.runtime.udp import DatagramEndpoint
from librats.runtime.udp_sockets import EVERY_HOST
from librats.services.turn.allocation import TurnAllocation
from librats.stun.mapping_habits import MappingHabits
from librats.types import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["IcePort", "LendsRelays", "LentRelayPort", "OwnPort", "RelayPort", "SharedPort", "SharedSocket", "Take"]

Batch = list[tuple[bytes, Address]]
Take = Callable[[int, bytes, Address], bool]
"""Called with the number of a base, a datagram and where it came from; says whether it was taken."""


class IcePort(Protocol):
    """A base, as its agent uses it."""

    @property
    def addresses(self) -> Sequence[Address]:
        """Addresses that it has: its candidates."""

    def open(self, number: int, take: Take) -> None:
        """Hand on what comes, from now on.

        Args:
            number: The base's.
            take: Whom to.
        """

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram; False where it was dropped."""

    async def close(self) -> None:
        """Hand on nothing any more, and let go what is the agent's own. Idempotent."""


class _Inlet:
    """Hands on what comes, once there is somebody to take it."""

    def __init__(self) -> None:
        self._number = 0
        self._take: Take | None = None

    def open(self, number: int, take: Take) -> None:
        """Hand on what comes, from now on."""
        self._number, self._take = number, take

    def _came(self, batch: Sequence[tuple[bytes, Address]]) -> None:
        for data, address in batch:
            if self._take is not None:
                self._take(self._number, data, address)


class OwnPort(_Inlet):
    """A socket of the agent's on one interface."""

    _endpoint: DatagramEndpoint

    @classmethod
    async def bind(cls, network: Network, host: str) -> Self:
        """Open a socket.

        Raises:
            ConfigError: This machine has no such address.
        """
        port = cls()
        port._endpoint = await network.open_datagram(host, 0, receive=port._came)
        return port

    @property
    def addresses(self) -> Sequence[Address]:
        """Where it listens."""
        return self._endpoint.local_addresses

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram."""
        return self._endpoint.send(data, address)

    async def close(self) -> None:
        """Let the socket go."""
        self._take = None
        self._endpoint.close()


class RelayPort(_Inlet):
    """A relayed address on a TURN server."""

    allocation: TurnAllocation

    @property
    def addresses(self) -> Sequence[Address]:
        """The relayed addresses."""
        return self.allocation.relayed_addresses

    def received(self, batch: Batch) -> None:
        """Take what has come from peers."""
        self._came(batch)

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram; the first one to a peer asks the server to let it answer."""
        return self.allocation.send(data, address)

    async def close(self) -> None:
        """Give the relayed address back."""
        self._take = None
        await self.allocation.close()


class LentRelayPort(RelayPort):
    """A relayed address that stays its owner's, who uses it for streams.

    Args:
        allocation: The address.
        give_back: Called with the port when its agent is done.
    """

    def __init__(self, allocation: TurnAllocation, give_back: Callable[[LentRelayPort], object]) -> None:
        super().__init__()
        self.allocation = allocation
        self._give_back = give_back

    def take(self, data: bytes, address: Address) -> bool:
        """Hand on a datagram; False where it is not the agent's."""
        return self._take is not None and self._take(self._number, data, address)

    async def close(self) -> None:
        """Leave the address to its owner."""
        self._take = None
        self._give_back(self)


class LendsRelays(Protocol):
    """Who has relayed addresses that agents may use."""

    @property
    def habits(self) -> MappingHabits:
        """What is known of how long this side's NATs keep mappings."""

    async def lend(self) -> LentRelayPort:
        """Return a port on one of them.

        Raises:
            RatsError: There is none to be had.
        """


class SharedSocket:
    """A socket that agents share with whatever else a program uses it for; its owner gives it what comes.

    Args:
        endpoint: The socket, which stays its owner's.
    """

    def __init__(self, endpoint: DatagramEndpoint) -> None:
        self._endpoint = endpoint
        self._ports: list[SharedPort] = []

    def receive(self, batch: Sequence[tuple[bytes, Address]]) -> list[tuple[bytes, Address]]:
        """Take of what has come what belongs to agents, and return the rest."""
        return [(data, address) for data, address in batch if not self._taken(data, address)]

    def _taken(self, data: bytes, address: Address) -> bool:
        family = ":" in address.host
        return any(port.is_ipv6 == family and port.take(data, address) for port in list(self._ports))

    def ports(self, hosts: Sequence[str]) -> list[SharedPort]:
        """Return a port for each address family that the socket has.

        Args:
            hosts: This host's own addresses, the best first, for a socket on every interface.
        """
        found = []
        for bound in self._endpoint.local_addresses:
            is_ipv6 = ":" in bound.host
            at = [host for host in hosts if (":" in host) == is_ipv6] if bound.host in EVERY_HOST else [bound.host]
            if at:
                found.append(SharedPort(self, [Address(host, bound.port) for host in at], is_ipv6=is_ipv6))
        return found

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram."""
        return self._endpoint.send(data, address)

    def attach(self, port: SharedPort) -> None:
        """Ask a port about what comes."""
        self._ports.append(port)

    def detach(self, port: SharedPort) -> None:
        """Ask it no more."""
        if port in self._ports:
            self._ports.remove(port)


class SharedPort:
    """What one agent sees of a shared socket, over one address family."""

    def __init__(self, shared: SharedSocket, addresses: Sequence[Address], *, is_ipv6: bool) -> None:
        self._shared = shared
        self.addresses = addresses
        """Addresses of every interface that it is on."""
        self.is_ipv6 = is_ipv6
        """Its address family."""
        self._number = 0
        self._take: Take | None = None

    def open(self, number: int, take: Take) -> None:
        """Hand on what is the agent's, from now on."""
        self._number, self._take = number, take
        self._shared.attach(self)

    def take(self, data: bytes, address: Address) -> bool:
        """Hand on a datagram; False where it is not the agent's."""
        return self._take is not None and self._take(self._number, data, address)

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram."""
        return self._shared.send(data, address)

    async def close(self) -> None:
        """Leave the socket to its owner."""
        self._take = None
        self._shared.detach(self)
