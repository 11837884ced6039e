"""Allocations, and the tables that hold them (RFC 8656, 3.2)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from librats.stun.constants import ErrorCode
from librats.turn.serving.answers import refuse_unless
from librats.turn.serving.authentication import Login

__all__ = ["IPV4", "IPV6", "TCP", "UDP", "Allocation", "Client", "Moving", "Observer", "Relay", "RelayPorts"]

IPV4, IPV6 = 1, 2
"""Address families as STUN numbers them."""

UDP, TCP = 17, 6
"""Transports as REQUESTED-TRANSPORT numbers them."""


class Client(NamedTuple):
    """The 5-tuple that a client is known by."""

    listener: int
    """The number of the listening socket, or a negative number of its own for each connection."""

    address: bytes
    """Where it sends from, packed."""
    local: bytes
    """Where it sends to, packed; empty where it is connected."""

    @property
    def is_stream(self) -> bool:
        """True where it is connected by TCP or TLS."""
        return self.listener < 0


class Relay(NamedTuple):
    """A socket that relays."""

    fd: int
    host: str
    """The relayed address as it is told: the socket's own, or what stands for it outside."""
    port: int
    family: int
    bound_host: str
    """The host that the socket is bound to."""


class RelayPorts(Protocol):
    """Opens sockets that relay."""

    def open(self, family: int, *, near: bytes, even: bool = False, transport: int = UDP) -> Relay | None:
        """Open one; None where there is no port left, or no address of that family.

        Args:
            family: Of the relayed address.
            near: The packed address that the client sent to; empty where it is not known.
            even: Whether the port must be even.
            transport: UDP, or TCP for a listening socket.
        """

    def open_pair(self, family: int, *, near: bytes) -> tuple[Relay, Relay] | None:
        """Open two with consecutive ports, an even one first; None where there are none."""

    def has(self, family: int) -> bool:
        """Tell whether there is an address of a family."""

    def close(self, relay: Relay) -> None:
        """Close one."""


class Allocation(NamedTuple):
    """What the server held for a client at the time that it was asked; what changes, changes in the tables."""

    number: int
    """Of the worker that has it."""
    client: Client
    username: str
    owner: str
    """Whose quota it is counted in."""
    relays: tuple[Relay, ...]
    transport: int
    lifetime: int
    """Seconds, as the client was told."""
    expires: float
    """Monotonic seconds."""
    ticket: int
    """How many mobility tickets were issued: all but the last are void (RFC 8016)."""

    @property
    def families(self) -> list[int]:
        """The families of the relayed addresses."""
        return [relay.family for relay in self.relays]

    def check_owner(self, login: Login | None) -> None:
        """Refuse a request of another user than the one who made the allocation (RFC 8656, 5).

        Raises:
            Refused: 441.
        """
        username = "" if login is None else login.account.username
        refuse_unless(username == self.username, ErrorCode.WRONG_CREDENTIALS)


class Moving(NamedTuple):
    """An allocation on its way to another worker, or to another address of its client."""

    allocation: Allocation
    permissions: dict[bytes, float]
    """Expiry by packed host, or by packed address where one is for a port."""
    channels: dict[int, tuple[bytes, float]]
    """Packed peer and expiry by channel number."""


class Observer(Protocol):
    """Is told of allocations."""

    def allocated(self, allocation: Allocation) -> None:
        """Hear of a new one."""

    def released(self, allocation: Allocation, reason: str, traffic: tuple[int, int, int, int]) -> None:
        """Hear of one that is gone.

        Args:
            allocation: Which.
            reason: ``"expired"``, ``"deleted"``, ``"disconnected"`` or ``"closed"``.
            traffic: Packets and bytes to its peers, then packets and bytes to its client.
        """
