"""Datagrams as they come and go: where one came from, who takes it, and what an endpoint sends and receives with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from librats.types import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from librats._core.datagram import BatchSocket

__all__ = ["Batches", "DatagramCounters", "Origin", "Receive", "Streams"]


class Origin(Address):
    """Where a datagram came from: an address, equal to any other of its host and port, and how the datagram got here.

    Sent to with the endpoint that made it, what is sent leaves from the address that the datagram came to. Origins of
    the same kind are one object, so keep none of them for what a single datagram says.
    """

    local: Address | None = None
    """The address of this host that it came to; None where the system does not tell."""

    ecn: int = 0
    """The ECN field of its IP header (RFC 3168), where the endpoint asks for it."""

    flow: bytes = b""
    """Both ends, as the endpoint keeps them."""


Receive = Callable[[list[tuple[bytes, Origin]]], object]


class Batches(Protocol):
    """What an endpoint sends and receives with: compiled, portable, or simulated."""

    @property
    def drained(self) -> bool:
        """Whether nothing is left of what the last call looked for."""

    @property
    def received(self) -> int:
        """Counted as :class:`DatagramCounters` has it, as are those that follow."""

    @property
    def sent(self) -> int:
        """Likewise."""

    @property
    def refused(self) -> int:
        """Likewise."""

    @property
    def truncated(self) -> int:
        """Likewise."""

    @property
    def no_room(self) -> int:
        """Likewise."""

    @property
    def errors(self) -> int:
        """Likewise."""

    @property
    def reported_drops(self) -> int:
        """Datagrams that found no room in the receive buffer, where the kernel tells with others."""

    def receive(self, family: int) -> list[tuple[bytes, Any]]:
        """Return what has come on the socket of a family, 4 or 6, as pairs of data and origin; never waits."""

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram; False where there is no room."""

    def send_many(self, items: Iterable[tuple[Buffer, Address]]) -> int:
        """Send datagrams, and return how many were dealt with before there was no room."""


class Streams(Protocol):
    """Who shares an endpoint with ``receive``: they take what is theirs, and return the rest."""

    def receive(self, items: list[tuple[bytes, Any]]) -> list[tuple[bytes, Any]]:
        """Take of what has come."""

    def receive_from(self, batches: BatchSocket, family: int) -> list[tuple[bytes, Any]]:
        """Receive from the socket of a family, without an object for what is theirs."""


class DatagramCounters(Struct, frozen=True, kw_only=True):
    """What an endpoint has seen since it was opened, in datagrams."""

    received: int
    """Handed to ``receive``."""

    sent: int
    """Taken by the kernel."""

    dropped_by_kernel: int
    """Come, and dropped because the receive buffer was full; 0 where the system does not tell."""

    refused: int
    """Not sent: the network says that there is no way there, or that they are too long."""

    truncated: int
    """Come, and dropped because they are longer than the endpoint takes."""

    no_room: int
    """Times that the kernel's buffer was full when something was to be sent."""

    errors: int
    """What ICMP told of datagrams sent earlier, where the system tells, and other errors of the socket."""
