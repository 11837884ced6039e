"""The handle ``client.nat`` of the blocking client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from librats.blocking.bridge import Bridge
from librats.services.nat import NatHandle as AsyncHandle
from librats.stun.lifetime import DEFAULT_WAITS
from librats.types import Address, MappedTransport, NatType, NatTypeInfo, PortMapping

__all__ = ["NatHandle"]


class NatHandle:
    """How others see a client, and what stands in between; see :class:`librats.NatHandle`. Comes from the client."""

    def __init__(self, handle: AsyncHandle, bridge: Bridge) -> None:
        self._handle = handle
        self._bridge = bridge

    def __repr__(self) -> str:
        """Show what was found last."""
        return repr(self._handle)

    @property
    def last(self) -> NatTypeInfo | None:
        """What :meth:`detect` has found last; None where it was not called yet."""
        return self._handle.last

    @property
    def type(self) -> NatType:
        """What stands in front of the client, as far as :meth:`detect`, or the client in the background, has found."""
        return self._handle.type

    @property
    def public_hosts(self) -> list[str]:
        """The IP addresses that servers have seen this client at, the latest last."""
        return self._bridge.call(lambda: self._handle.public_hosts)

    def port_mappings(self) -> list[PortMapping]:
        """Return the ports that gateways let others in at, for this client."""
        return self._bridge.call(self._handle.port_mappings)

    def map_port(
        self, port: int, transport: MappedTransport | str = MappedTransport.TCP, *, timeout: float = 15.0
    ) -> PortMapping:
        """Have gateways let others in at one more port; see :meth:`librats.NatHandle.map_port`."""
        return self._bridge.wait(self._handle.map_port, port, transport, timeout=timeout)

    def unmap_port(self, port: int, transport: MappedTransport | str = MappedTransport.TCP) -> bool:
        """Remove the mapping of a port; see :meth:`librats.NatHandle.unmap_port`."""
        return self._bridge.call(lambda: self._handle.unmap_port(port, transport))

    @property
    def mapped_addresses(self) -> list[Address]:
        """Where others on the internet reach this client through :meth:`port_mappings`."""
        return self._bridge.call(lambda: self._handle.mapped_addresses)

    def public_addresses(self, *, servers: Sequence[str | Address] | None = None) -> list[Address]:
        """Ask STUN servers where they see a UDP socket of this client, all of them at once.

        See :meth:`librats.NatHandle.public_addresses`.
        """
        return self._bridge.wait(self._handle.public_addresses, servers=servers)

    def detect(
        self,
        *,
        lifetime: bool = False,
        lifetime_waits: Sequence[float] = DEFAULT_WAITS,
        progress: Callable[[float, float], Any] | None = None,
    ) -> NatTypeInfo:
        """Find out what NAT or firewall stands in front of this client; see :meth:`librats.NatHandle.detect`.

        The progress is told on the client's own thread, so the function must not call the client.
        """
        return self._bridge.wait(
            self._handle.detect, lifetime=lifetime, lifetime_waits=lifetime_waits, progress=progress
        )
