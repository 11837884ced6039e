"""The ports that peers reach a client at: those it listens on, or those that gateways have made of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from librats.portmap.events import PortMapped, PortMappingFailed
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.services.portmap import PortMappings
from librats.types import Address, MappedTransport, PortMapping

__all__ = ["OuterPorts", "ReachedAt", "reached_at"]


class ReachedAt(NamedTuple):
    """The port that peers are told, for each address family: only one of them may be behind a NAT."""

    ipv4: int
    """Where peers of IPv4 reach us."""

    ipv6: int
    """Where peers of IPv6 reach us."""


def reached_at(listen_port: int, mappings: Iterable[PortMapping]) -> ReachedAt:
    """Return the ports to tell peers.

    One number stands for TCP and uTP alike, so where gateways have made two of it that of TCP is told. A mapping that
    ends at yet another NAT is told where there is no better one: what that NAT hands on comes to it.

    Args:
        listen_port: The port that is listened on.
        mappings: What there is.

    Example:
        >>> from librats.services.torrenting.outside import reached_at
        >>> reached_at(6881, [])
        ReachedAt(ipv4=6881, ipv6=6881)
    """
    best = sorted(mappings, key=lambda one: (not one.is_public, one.transport is not MappedTransport.TCP))
    ports = {":" in one.external.host: one.external.port for one in reversed(best)}
    return ReachedAt(ports.get(False, listen_port), ports.get(True, listen_port))


class OuterPorts:
    """Keeps the port of a client mapped, and knows which ones peers are to be told.

    Args:
        network: Where the gateways are.
        changed: Called when other ports are to be told than before.
    """

    def __init__(self, network: Network, changed: Callable[[], object]) -> None:
        self._tasks = TaskSet()
        self._mappings = PortMappings(network, self._tasks, self._review, lambda: None)
        self._changed = changed
        self._listen_port = 0
        self.told = ReachedAt(0, 0)
        """The ports to tell; 0 where nothing is listened on."""

    def start(self, addresses: Collection[Address], transports: Collection[MappedTransport], *, maps: bool) -> None:
        """Begin; returns at once, and gateways are asked meanwhile.

        Args:
            addresses: Where the client listens, all on one port.
            transports: What it listens for there.
            maps: Whether to ask gateways at all.
        """
        self._listen_port = next((address.port for address in addresses), 0)
        self.told = reached_at(self._listen_port, [])
        if maps and self._listen_port:
            ports = [(transport, self._listen_port) for transport in transports]
            self._mappings.start(ports, [address.host for address in addresses])

    @property
    def mappings(self) -> list[PortMapping]:
        """The mappings that there are."""
        return self._mappings.mappings

    def _review(self, event: PortMapped | PortMappingFailed) -> None:
        del event
        before, self.told = self.told, reached_at(self._listen_port, self._mappings.mappings)
        if self.told != before:
            self._changed()

    async def close(self) -> None:
        """Remove the mappings. Takes half a second at the most. Idempotent."""
        await self._mappings.close()
        await self._tasks.close()
