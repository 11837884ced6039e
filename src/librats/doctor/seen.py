"""What was seen of a network: the facts, without what they mean."""

from __future__ import annotations

from dataclasses import dataclass

from librats.doctor.interface_kinds import InterfaceKind
from librats.types import Address, NatTypeInfo, PortMapping

__all__ = ["InterfaceSeen", "NetworkSeen", "ProxySeen", "TcpSeen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceSeen:
    """An interface of this host."""

    name: str
    """As the system calls it."""

    kind: InterfaceKind
    """What it is for, by its name and addresses."""

    addresses: tuple[str, ...]
    """Its IP addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSeen:
    """A try to reach a server over TCP."""

    server: Address
    """Which one."""

    seconds: float | None
    """How long connecting took; None where it did not come about."""

    error: str = ""
    """Why not."""

    refused: bool = False
    """Whether it was the server that did not want it: then TCP gets there all the same."""

    @property
    def gets_through(self) -> bool:
        """Whether TCP gets to the server."""
        return self.refused or self.seconds is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySeen:
    """The proxy that is configured, here or in this host's settings, and a try to get through it."""

    proxy: str
    """Its URI, without credentials."""

    target: Address | None = None
    """The server that it was asked for; None where no introducer or TURN server is spoken to through a proxy: then it
    was only seen whether it is there."""

    seconds: float | None = None
    """How long that took; None where it did not work."""

    error: str = ""
    """Why not."""

    @property
    def gets_through(self) -> bool:
        """Whether a server was reached through it."""
        return self.target is not None and self.seconds is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSeen:
    """Everything that was seen."""

    ipv4: NatTypeInfo
    """What stands in front of this host over IPv4."""

    ipv6: NatTypeInfo
    """The same over IPv6."""

    interfaces: tuple[InterfaceSeen, ...] = ()
    """This host's interfaces."""

    gateways: tuple[str, ...] = ()
    """IP addresses of the routers of its default routes."""

    mapping: PortMapping | None = None
    """A port that a gateway has let others in at, which was closed again; None where none does."""

    mapping_code: str = ""
    """Why not: the code of :class:`~librats.PortMappingError`; empty where that was not tried, too."""

    mapping_reason: str = ""
    """The same in words."""

    tcp: tuple[TcpSeen, ...] = ()
    """Tries to reach the servers over TCP."""

    proxy: ProxySeen | None = None
    """The proxy; None where there is none."""

    mtu: int | None = None
    """Bytes of the longest IP packet that the way to a STUN server carries whole, up to 1,500; None where that was not
    found out."""

    clock_offset: float | None = None
    """Seconds by which a time server's clock is ahead of this host's; None where none was asked, or has answered."""

    duration: float = 0.0
    """Seconds that it took."""
