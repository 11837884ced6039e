"""The ports that gateways map for a client, as long as it runs, on whatever network it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from librats.errors import ClosedError, ConfigError, PortMappingError, UsageError
from librats.portmap.events import PortMapped, PortMappingFailed
from librats.portmap.reach import is_public_host
from librats.runtime.gateways import Gateway
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.services.port_mapping.gateway_mappings import Failure, GatewayMappings, MappedPort
from librats.types import Address, PortMapping

__all__ = ["PortMappings"]

logger = logging.getLogger("librats.portmap")

LOOK_INTERVAL = 60.0
"""Seconds between looks at which gateways there are."""

MAX_GATEWAYS = 4
EVERY_HOST = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - compared with, not bound to

Which = tuple[Gateway, MappedPort]


class PortMappings:
    """Keeps the ports that a client listens on mapped at every gateway of its host.

    Args:
        network: Where they are.
        tasks: The client's tasks.
        tell: Called with :class:`~librats.PortMapped` and :class:`~librats.PortMappingFailed`.
        changed: Called when the external addresses have changed.
    """

    def __init__(
        self,
        network: Network,
        tasks: TaskSet,
        tell: Callable[[PortMapped | PortMappingFailed], object],
        changed: Callable[[], object],
    ) -> None:
        self._network = network
        self._tasks = tasks
        self._tell = tell
        self._tell_changed = changed
        self._ports: list[MappedPort] = []
        self._listening: frozenset[str] = frozenset()
        self._places: dict[Gateway, GatewayMappings] = {}
        self._told: dict[Which, PortMapping] = {}
        self._complained: dict[Which, str] = {}
        self._looking: asyncio.Task[None] | None = None
        self._has_looked = False
        self._moved: asyncio.Future[None] | None = None
        self._is_closed = False

    @property
    def mappings(self) -> list[PortMapping]:
        """The mappings that there are."""
        return list(self._told.values())

    @property
    def addresses(self) -> list[Address]:
        """Where others on the internet reach this client through them, each once."""
        found = dict.fromkeys(mapping.external for mapping in self._told.values() if mapping.is_public)
        own = {mapping.internal for mapping in self._told.values()}
        return [address for address in found if address not in own]

    def start(self, ports: Iterable[MappedPort], listening: Iterable[str]) -> None:
        """Begin to look for gateways, and to ask them; returns at once.

        Args:
            ports: What to map.
            listening: The IP addresses that are listened on; ``0.0.0.0`` and ``::`` for all of their family.
        """
        self._ports, self._listening = list(ports), frozenset(listening)
        if self._ports:
            self._begin_to_look()

    def _begin_to_look(self) -> None:
        if self._looking is None:
            self._looking = self._tasks.create(self._keep_looking(), name="librats port mapping")

    async def map(self, port: MappedPort, timeout: float) -> PortMapping:
        """Map one more port, and keep it mapped.

        Args:
            port: Which one.
            timeout: Seconds to wait for the first gateway that does.

        Raises:
            PortMappingError: No gateway does; none is asked any more.
            UsageError: It is mapped already.
            ClosedError: The client was stopped meanwhile.
        """
        if port in self._ports:
            raise UsageError(f"{port[0]} port {port[1]} is mapped already, or being mapped")
        self._ports.append(port)
        self._begin_to_look()
        for place in self._places.values():
            place.add(port)
        try:
            async with asyncio.timeout(timeout):
                while (found := self._outcome(port)) is None:
                    self._moved = self._moved or asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._moved)
        except TimeoutError:
            self.unmap(port)
            raise PortMappingError("no_answer", f"no gateway has mapped the port within {timeout:g} s") from None
        except BaseException:
            self.unmap(port)
            raise
        return found

    def _outcome(self, port: MappedPort) -> PortMapping | None:
        """Return the mapping of a port; None while it may still come."""
        if self._is_closed:
            raise ClosedError("the client was stopped meanwhile")
        for (_, each), mapping in self._told.items():
            if each == port:
                return mapping
        failures = [place.failure(port) for place in self._places.values()]
        if self._has_looked and None not in failures:
            told = next(filter(None, failures), None)
            if told is None:
                raise PortMappingError("no_gateway", "this host has no gateway that could let others in")
            raise PortMappingError(told.code, told.reason)
        return None

    def unmap(self, port: MappedPort) -> bool:
        """Remove the mapping of a port; False where it was not wanted."""
        if port not in self._ports:
            return False
        before = self.addresses
        self._ports.remove(port)
        for gateway, place in self._places.items():
            place.remove(port)
            self._told.pop((gateway, port), None)
            self._complained.pop((gateway, port), None)
        if self.addresses != before:
            self._tell_changed()
        return True

    def _wake(self) -> None:
        """Let those look again who wait for a mapping."""
        moved, self._moved = self._moved, None
        if moved is not None and not moved.done():
            moved.set_result(None)

    async def _keep_looking(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(LOOK_INTERVAL)

    async def _look(self) -> None:
        """Ask the gateways that have come, and forget those that have gone."""
        found = [gateway for gateway in await self._network.gateways() if self._is_worth_asking(gateway)]
        wanted = dict.fromkeys(found[:MAX_GATEWAYS])
        for gateway in [gateway for gateway in self._places if gateway not in wanted]:
            logger.debug("the gateway %s is gone", gateway.host)
            gone = self._places.pop(gateway)
            await gone.abandon()
            self._review(gone, is_gone=True)
        for gateway in wanted:
            if gateway not in self._places:
                place = self._places[gateway] = self._new_place(gateway)
                try:
                    await place.start()
                except ConfigError as error:  # it has just gone, or there is no socket to be had: the next look tells
                    logger.debug("cannot ask %s from %s: %s", gateway.host, gateway.local, error)
                    del self._places[gateway]
        self._has_looked = True
        self._wake()

    def _new_place(self, gateway: Gateway) -> GatewayMappings:
        place = GatewayMappings(gateway, self._ports, self._network, lambda: self._review(place))
        return place

    def _is_worth_asking(self, gateway: Gateway) -> bool:
        """Tell whether a mapping there would let anybody in who is not let in anyway."""
        version = 6 if ":" in gateway.local else 4
        is_listened_on = gateway.local in self._listening or EVERY_HOST[version] in self._listening
        # A public IPv4 address needs no mapping; one of IPv6 needs a hole in the firewall, and another one has no use.
        return is_listened_on and is_public_host(gateway.local) == (version == 6)  # noqa: PLR2004 - IPv6

    # What comes of it

    def _review(self, place: GatewayMappings, *, is_gone: bool = False) -> None:
        """Tell what has changed at a gateway."""
        if self._is_closed:
            return
        before = self.addresses
        events = [self._reviewed(place, port, is_gone=is_gone) for port in place.ports]
        self._wake()
        if self.addresses != before:
            self._tell_changed()
        for event in events:
            if event is not None:
                self._log(event)
                self._tell(event)

    def _reviewed(
        self, place: GatewayMappings, port: MappedPort, *, is_gone: bool
    ) -> PortMapped | PortMappingFailed | None:
        which = place.gateway, port
        known, mapping = self._told.get(which), None if is_gone else place.mapping(port)
        if mapping is not None:
            self._told[which] = mapping
            self._complained.pop(which, None)
            same = known is not None and (known.external, known.protocol) == (mapping.external, mapping.protocol)
            return None if same else PortMapped(mapping, known)
        failure = place.failure(port)
        if known is not None:
            del self._told[which]
            reason = "the gateway is gone" if is_gone else "the mapping was not renewed in time"
            failure = failure or Failure(code="lost", reason=reason, retry_in=LOOK_INTERVAL if is_gone else 0.0)
        if failure is None or (known is None and self._complained.get(which) == failure.code):
            return None
        self._complained[which] = failure.code
        return PortMappingFailed(
            transport=port[0],
            internal=place.internal(port),
            gateway=place.gateway.host,
            code=failure.code,
            reason=failure.reason,
            retry_in=failure.retry_in,
            lost=known,
        )

    @staticmethod
    def _log(event: PortMapped | PortMappingFailed) -> None:
        if isinstance(event, PortMapped):
            mapping = event.mapping
            logger.debug(
                "%s port %s is %s by %s", mapping.transport, mapping.internal, mapping.external, mapping.protocol
            )
        else:
            logger.debug("%s port %s is not mapped: %s", event.transport, event.internal, event.reason)

    async def close(self) -> None:
        """Remove the mappings, and ask no more. Takes half a second at the most. Idempotent."""
        self._is_closed = True
        self._wake()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        places = list(self._places.values())
        self._places.clear()
        self._told.clear()
        async with asyncio.TaskGroup() as group:
            for place in places:
                group.create_task(place.close(), name=f"librats leaves {place.gateway.host}")
