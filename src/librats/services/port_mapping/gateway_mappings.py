"""The ports that one gateway maps: asked for by PCP or NAT-PMP and by UPnP, whichever works first."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from librats.errors import PortMappingError
from librats.portmap.mapper import LIFETIME
from librats.portmap.mapper_events import GatewaySilent, MapperEvent, MappingGranted, MappingLost, MappingRefused
from librats.portmap.reach import is_public_host, is_usable_host
from librats.runtime.gateways import Gateway
from librats.runtime.network import Network, SystemNetwork
from librats.runtime.offload import run_in_thread
from librats.runtime.tasks import TaskSet
from librats.services.port_mapping.gateway_link import GatewayLink
from librats.types import Address, MappedTransport, PortMapping, PortMappingProtocol

if TYPE_CHECKING:
    from librats.services.port_mapping.upnp_device import UpnpGateway

__all__ = ["Failure", "GatewayMappings", "MappedPort"]

logger = logging.getLogger("librats.portmap")

UPNP_AFTER = 1.0
"""Seconds that PCP and NAT-PMP, which take one packet each way, are ahead of UPnP, which takes a dozen connections."""

UPNP_TIMEOUT = 10.0
UPNP_RETRIES = (60.0, 300.0, 1800.0)
UPNP_OTHER_PORTS = 4
FIRST_OTHER_PORT, LAST_PORT = 32768, 65535
UPNP_INTERVAL = 1200.0
"""Seconds between renewals: below the half of any lifetime, as what changes meanwhile is noticed only then."""

CLOSE_TIMEOUT = 0.4

MappedPort = tuple[MappedTransport, int]
"""A transport, and a port of this host."""

WITHOUT_UPNP = "UPnP was not tried: install librats[upnp]"


class Failure(Struct, frozen=True, kw_only=True):
    """Why one protocol does not map a port."""

    code: str
    """In a word."""

    reason: str
    """For people."""

    retry_in: float
    """Seconds until it is tried again; ``inf`` for never."""


class _Way:
    """What one protocol has come to."""

    def __init__(self) -> None:
        self.mappings: dict[MappedPort, PortMapping] = {}
        self.failures: dict[MappedPort, Failure] = {}

    def granted(self, mapping: PortMapping) -> None:
        port = mapping.transport, mapping.internal.port
        self.mappings[port] = mapping
        self.failures.pop(port, None)

    def forget(self, port: MappedPort) -> None:
        self.mappings.pop(port, None)
        self.failures.pop(port, None)


class GatewayMappings:
    """Keeps the ports of one address of this host mapped at one gateway.

    Args:
        gateway: The gateway, and the address.
        ports: The ports to map.
        network: Where the gateway is.
        changed: Called whenever a mapping or a failure has come or gone.
    """

    def __init__(
        self,
        gateway: Gateway,
        ports: Iterable[MappedPort],
        network: Network,
        changed: Callable[[], object],
    ) -> None:
        self.gateway = gateway
        """The gateway, and the address of this host."""
        self.ports = list(ports)
        """The ports that are to be mapped."""
        self._network = network
        self._changed = changed
        self._tasks = TaskSet()
        self._link: GatewayLink | None = None
        self._keys: dict[int, MappedPort] = {}
        self._by_packet = _Way()
        self._by_upnp = _Way()
        self._answered = asyncio.Event()
        self._upnp: UpnpGateway | None = None
        self._asked_upnp: dict[MappedPort, int] = {}
        self._more = asyncio.Event()
        self._has_upnp = isinstance(network, SystemNetwork) and ":" not in gateway.local

    async def start(self) -> None:
        """Begin to ask.

        Raises:
            ConfigError: The address is no longer this host's.
        """
        self._link = GatewayLink(self.gateway, self._network, self._heed)
        await self._link.open()
        for port in self.ports:
            self._keys[self._link.add(*port)] = port
        if self._has_upnp:
            self._tasks.create(self._keep_by_upnp(), name=f"librats UPnP at {self.gateway.host}")

    def add(self, port: MappedPort) -> None:
        """Ask for one more port."""
        self.ports.append(port)
        if self._link is not None:
            self._keys[self._link.add(*port)] = port
        self._more.set()

    def remove(self, port: MappedPort) -> None:
        """Remove the mapping of a port, without waiting for the gateway."""
        self.ports.remove(port)
        for key in [key for key, each in self._keys.items() if each == port]:
            del self._keys[key]
            if self._link is not None:
                self._link.remove(key)
        self._by_packet.forget(port)
        self._by_upnp.forget(port)
        outer, upnp = self._asked_upnp.pop(port, None), self._upnp
        if outer is not None and upnp is not None:
            self._tasks.create(self._unmap_one(upnp, port[0], outer), name=f"librats removes {port[0]} {outer}")

    # What there is

    def mapping(self, port: MappedPort) -> PortMapping | None:
        """Return the mapping of a port; None where there is none."""
        return self._by_packet.mappings.get(port) or self._by_upnp.mappings.get(port)

    def failure(self, port: MappedPort) -> Failure | None:
        """Return why a port is not mapped; None where it is, or some way is still being tried."""
        first, second = self._by_packet.failures.get(port), self._by_upnp.failures.get(port)
        if self.mapping(port) is not None or first is None or (second is None and self._has_upnp):
            return None
        if second is None:
            return first
        # Of two reasons the one that is not mere silence says more.
        code = second.code if first.code == "no_answer" and second.code != "unsupported" else first.code
        reason = f"{first.reason}; {second.reason}"
        return Failure(code=code, reason=reason, retry_in=min(first.retry_in, second.retry_in))

    def internal(self, port: MappedPort) -> Address:
        """Return where this host listens."""
        return Address(self.gateway.local, port[1])

    # PCP and NAT-PMP

    def _heed(self, event: MapperEvent) -> None:
        way = self._by_packet
        if isinstance(event, GatewaySilent):
            asked = "PCP" if ":" in self.gateway.local else "PCP or NAT-PMP"
            reason = f"the gateway does not answer to {asked}"
            silence = Failure(code="no_answer", reason=reason, retry_in=event.waited)
            for port in self._keys.values():
                way.failures.setdefault(port, silence)
        elif isinstance(event, MappingGranted):
            port = self._keys[event.key]
            way.granted(self._new_mapping(port, event.external, event.protocol, event.lifetime))
        elif isinstance(event, MappingRefused):
            port = self._keys[event.key]
            way.failures[port] = Failure(code=event.code, reason=event.reason, retry_in=event.retry_in)
        elif isinstance(event, MappingLost):
            way.mappings.pop(self._keys[event.key], None)
        if not isinstance(event, MappingLost):
            self._answered.set()
        self._changed()

    def _new_mapping(
        self, port: MappedPort, external: Address, protocol: PortMappingProtocol, lifetime: float
    ) -> PortMapping:
        return PortMapping(
            transport=port[0],
            internal=self.internal(port),
            external=external,
            protocol=protocol,
            gateway=self.gateway.host,
            lifetime=lifetime,
            is_public=is_public_host(external.host),
        )

    # UPnP

    async def _keep_by_upnp(self) -> None:
        """Map by UPnP what is not mapped otherwise, and renew it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UPNP_AFTER):
                await self._answered.wait()
                # What is granted comes within milliseconds of each other.
                while self._unmapped:
                    self._answered.clear()
                    await self._answered.wait()
        failed = 0
        while True:
            pause = UPNP_INTERVAL
            try:
                if self._unmapped:
                    await self._map_by_upnp()
                else:
                    self._by_upnp.mappings.clear()
                failed = 0
            except ImportError:
                self._not_by_upnp(Failure(code="unsupported", reason=WITHOUT_UPNP, retry_in=math.inf))
                return
            except PortMappingError as error:
                pause = UPNP_RETRIES[min(failed, len(UPNP_RETRIES) - 1)]
                failed += 1
                self._not_by_upnp(Failure(code=error.code, reason=f"by UPnP {error.reason}", retry_in=pause))
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._more.wait()

    @property
    def _unmapped(self) -> list[MappedPort]:
        """The ports that are not mapped by PCP or NAT-PMP."""
        return [port for port in self.ports if port not in self._by_packet.mappings]

    def _not_by_upnp(self, failure: Failure) -> None:
        for port in self._unmapped:
            self._by_upnp.failures[port] = failure
        if failure.retry_in > UPNP_RETRIES[0]:
            self._by_upnp.mappings.clear()
        logger.debug("%s: %s", self.gateway.host, failure.reason)
        self._changed()

    async def _map_by_upnp(self) -> None:
        # Loading it takes a second, in which the loop has other things to do.
        module = await run_in_thread(importlib.import_module, "librats.services.port_mapping.upnp_device")
        if self._upnp is None:
            self._upnp = await module.find_upnp_gateway(self.gateway.host, self.gateway.local, UPNP_TIMEOUT)
        upnp = self._upnp
        assert upnp is not None  # noqa: S101 - else it would have raised
        try:
            host = await upnp.external_host()
            if not _is_address(host):
                raise PortMappingError("network_failure", "the gateway has no public address")
            for port in self._unmapped:
                await self._map_one_by_upnp(upnp, port, host)
        except PortMappingError:
            self._upnp = None
            await upnp.close()
            raise

    async def _map_one_by_upnp(self, upnp: UpnpGateway, port: MappedPort, host: str) -> None:
        known = self._by_upnp.mappings.get(port)
        outer = port[1] if known is None else known.external.port
        for tries_left in range(UPNP_OTHER_PORTS, -1, -1):
            self._asked_upnp[port] = outer
            try:
                lifetime = await upnp.map(*port, outer, LIFETIME)
                break
            except PortMappingError as error:
                if error.code != "conflict" or not tries_left:
                    raise
                outer = FIRST_OTHER_PORT + self._network.entropy.randbelow(LAST_PORT - FIRST_OTHER_PORT)
        if port not in self.ports:  # it is not wanted any more
            await self._unmap_one(upnp, port[0], outer)
            return
        self._by_upnp.granted(self._new_mapping(port, Address(host, outer), PortMappingProtocol.UPNP, lifetime))
        self._changed()

    # The end

    async def close(self) -> None:
        """Remove the mappings, and ask no more. Takes half a second at the most. Idempotent."""
        await self._tasks.close()
        upnp, self._upnp = self._upnp, None
        async with asyncio.TaskGroup() as group:
            if self._link is not None:
                group.create_task(self._link.close(CLOSE_TIMEOUT), name="librats removes mappings")
            if upnp is not None:
                group.create_task(self._unmap_by_upnp(upnp), name="librats removes mappings by UPnP")

    async def _unmap_by_upnp(self, upnp: UpnpGateway) -> None:
        try:
            # Also what was asked for and not answered yet.
            async with asyncio.timeout(CLOSE_TIMEOUT), asyncio.TaskGroup() as group:
                for (transport, _), outer in self._asked_upnp.items():
                    group.create_task(upnp.unmap(transport, outer), name=f"librats removes {transport} {outer}")
        except (ExceptionGroup, TimeoutError) as error:
            logger.debug("%s: a mapping stays until it ends by itself: %s", self.gateway.host, error)
        await upnp.close()

    async def _unmap_one(self, upnp: UpnpGateway, transport: MappedTransport, outer: int) -> None:
        try:
            await upnp.unmap(transport, outer)
        except PortMappingError as error:
            logger.debug("%s: a mapping stays until it ends by itself: %s", self.gateway.host, error)

    async def abandon(self) -> None:
        """Ask no more, and leave the mappings to end by themselves, as the gateway is no longer there. Idempotent."""
        await self._tasks.close()
        if self._link is not None:
            self._link.abandon()
        upnp, self._upnp = self._upnp, None
        if upnp is not None:
            await upnp.close()


def _is_address(text: str) -> bool:
    try:
        return is_usable_host(text)
    except ValueError:
        return False
