"""Finds out what network this host is on: the driver of :mod:`librats.doctor`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from librats.config import NatTraversalConfig
from librats.doctor.clock import TIME_PORT, ClockCheck
from librats.doctor.interface_kinds import kind_of
from librats.doctor.path_mtu import PathMtu
from librats.doctor.report import NetworkReport
from librats.doctor.seen import InterfaceSeen, NetworkSeen, TcpSeen
from librats.errors import ConfigError, PortMappingError, RatsError, UsageError
from librats.runtime.network import Network, current_network
from librats.runtime.tasks import TaskSet
from librats.servers import introducer_place
from librats.services.doctor_proxy import examine_proxy
from librats.services.portmap import PortMappings
from librats.services.stun import IPV4, IPV6, StunDriver, family_of, measure_behaviour, with_lifetime
from librats.stun.lifetime import DEFAULT_WAITS
from librats.types import Address, MappedTransport, NatTypeInfo, PortMapping
from librats.web_uris import WebUri

__all__ = ["diagnose"]

logger = logging.getLogger("librats.doctor")

T = TypeVar("T")

TCP_TIMEOUT = 4.0
MAPPING_TIMEOUT = 4.0
MAX_TCP_SERVERS = 6
EVERY_HOST = ("0.0.0.0", "::")  # noqa: S104 - what the mapped socket listens on
STEPS = ("interfaces", "IPv4", "IPv6", "TCP", "proxy", "port mapping", "clock", "MTU")

Progress = Callable[[str, int, int], object]


async def diagnose(
    nat: NatTraversalConfig | None = None,
    *,
    time_server: str | None = None,
    lifetime: bool = False,
    lifetime_waits: Sequence[float] = DEFAULT_WAITS,
    progress: Progress | None = None,
) -> NetworkReport:
    """Find out what network this host is on, with whom it can go direct, and what could be done about it.

    Everything is asked at once, which takes about three seconds, and up to eight where nobody answers. The STUN and
    TURN servers of the configuration are contacted, the routers of this host are asked to let one port in for that
    time, and nobody else hears of it.

    Args:
        nat: Which servers to ask, and for how long to wait for them; the defaults where it is left out.
        time_server: ``"host"`` or ``"host:port"`` of a time server (SNTP); nobody is asked for the time where it is
            left out.
        lifetime: Whether to find out how long the NAT keeps a silent socket's public address, too: minutes.
        lifetime_waits: Seconds of silence to try for that, growing.
        progress: Called with each step that is done, how many are, and of how many.

    Returns:
        The report; :meth:`~librats.NetworkReport.to_json` has all of it.

    Raises:
        ConfigError: ``time_server`` is no address.
        UsageError: ``lifetime_waits`` do not grow.

    Example:
        >>> import asyncio
        >>> from librats import NatTraversalConfig, diagnose
        >>> report = asyncio.run(diagnose(NatTraversalConfig.offline()))
        >>> report.findings[0].code
        'no-servers'
    """
    settings = NatTraversalConfig() if nat is None else nat
    clock = None if time_server is None else _time_address(time_server)
    return await _Doctor(settings, current_network(), progress).examine(clock, lifetime_waits if lifetime else ())


def _time_address(text: str) -> Address:
    try:
        return Address.parse(text if text.rpartition(":")[2].isdigit() and "::" not in text else f"{text}:{TIME_PORT}")
    except UsageError as error:
        raise ConfigError("time_server", str(error)) from None


class _Doctor:
    """One examination."""

    def __init__(self, settings: NatTraversalConfig, network: Network, progress: Progress | None) -> None:
        self._settings = settings
        self._network = network
        self._progress = progress
        self._done = 0
        self._loop = asyncio.get_running_loop()

    async def examine(self, clock: Address | None, waits: Sequence[float]) -> NetworkReport:
        began = self._loop.time()
        async with asyncio.TaskGroup() as group:

            def begin(name: str, work: Awaitable[T]) -> asyncio.Task[T]:
                return group.create_task(self._step(name, work), name=f"librats examines {name}")

            interfaces = begin("interfaces", self._interfaces())
            ipv4 = begin("IPv4", self._behaviour(IPV4, waits))
            ipv6 = begin("IPv6", self._behaviour(IPV6, ()))
            tcp = begin("TCP", self._tcp())
            proxy = begin("proxy", examine_proxy(self._network, self._settings))
            mapping = begin("port mapping", self._mapping())
            offset = begin("clock", self._clock(clock))
            mtu = begin("MTU", self._mtu(ipv4, ipv6))
        seen_interfaces, gateways = interfaces.result()
        mapped = mapping.result()
        failure = mapped if isinstance(mapped, PortMappingError) else None
        return NetworkReport.on(
            NetworkSeen(
                ipv4=ipv4.result(),
                ipv6=ipv6.result(),
                interfaces=seen_interfaces,
                gateways=gateways,
                mapping=mapped if isinstance(mapped, PortMapping) else None,
                mapping_code=failure.code if failure is not None else "",
                mapping_reason=failure.reason if failure is not None else "",
                tcp=tcp.result(),
                proxy=proxy.result(),
                mtu=mtu.result(),
                clock_offset=offset.result(),
                duration=self._loop.time() - began,
            )
        )

    async def _step(self, name: str, work: Awaitable[T]) -> T:
        result = await work
        self._done += 1
        if self._progress is not None:
            self._progress(name, self._done, len(STEPS))
        return result

    async def _interfaces(self) -> tuple[tuple[InterfaceSeen, ...], tuple[str, ...]]:
        found = tuple(
            InterfaceSeen(name=each.name, kind=kind_of(each.name, each.addresses), addresses=each.addresses)
            for each in await self._network.list_interfaces()
        )
        return found, tuple(dict.fromkeys(gateway.host for gateway in await self._network.gateways()))

    async def _behaviour(self, family: int, waits: Sequence[float]) -> NatTypeInfo:
        settings = self._settings
        if not settings.stun_servers:
            return NatTypeInfo(problem="no STUN server is configured")
        info = await measure_behaviour(
            settings.stun_addresses,
            network=self._network,
            first_answer=settings.stun_first_answer,
            timeout=settings.stun_timeout,
            family=family,
        )
        return await with_lifetime(info, network=self._network, waits=waits)

    async def _tcp(self) -> tuple[TcpSeen, ...]:
        turn = (server.address for server in self._settings.turn_servers)
        introducers = (introducer_place(text)[1] for text in self._settings.introducers)
        addresses = (place.address if isinstance(place, WebUri) else place for place in introducers)
        servers = [*self._settings.stun_addresses, *turn, *addresses]
        chosen = list(dict.fromkeys(servers))[:MAX_TCP_SERVERS]
        return tuple(await asyncio.gather(*map(self._dial, chosen)))

    async def _dial(self, server: Address) -> TcpSeen:
        began = self._loop.time()
        try:
            async with asyncio.timeout(TCP_TIMEOUT):
                addresses = await self._network.resolve(server)
                await self._network.dial_tcp(_HangUp, addresses[0])
        except TimeoutError:
            return TcpSeen(server=server, seconds=None, error=f"no answer within {TCP_TIMEOUT:g} s")
        except ConnectionRefusedError:
            return TcpSeen(server=server, seconds=None, error="refused", refused=True)
        except (OSError, ValueError, RatsError) as error:
            return TcpSeen(server=server, seconds=None, error=str(error) or type(error).__name__)
        return TcpSeen(server=server, seconds=self._loop.time() - began)

    async def _mapping(self) -> PortMapping | PortMappingError | None:
        if not self._settings.enable_port_mapping:
            return None
        try:
            endpoint = await self._network.open_datagram(receive=lambda batch: None)
        except ConfigError as error:
            return PortMappingError("no_socket", str(error))
        tasks = TaskSet()
        mappings = PortMappings(self._network, tasks, lambda event: None, lambda: None)
        mappings.start((), EVERY_HOST)
        try:
            return await mappings.map((MappedTransport.UDP, endpoint.local_address.port), MAPPING_TIMEOUT)
        except PortMappingError as error:
            return error
        finally:
            await mappings.close()
            await tasks.close()
            endpoint.close()

    async def _clock(self, server: Address | None) -> float | None:
        if server is None:
            return None
        try:
            async with asyncio.timeout(self._settings.stun_timeout):
                addresses = await self._network.resolve(server)
        except (OSError, ValueError, TimeoutError) as error:
            logger.debug("no time from %s: %s", server, error or "its name was not resolved in time")
            return None
        now = self._loop.time()
        check = ClockCheck(addresses[0], entropy=self._network.entropy, now=now, wall=time.time() - now)
        await self._run(check, addresses[0])
        return check.offset

    async def _mtu(self, *measured: asyncio.Task[NatTypeInfo]) -> int | None:
        for task in measured:
            info = await asyncio.shield(task)
            if info.server is not None and info.public_address is not None:
                probe = PathMtu(info.server, entropy=self._network.entropy, now=self._loop.time())
                await self._run(probe, info.server, whole=True)
                return probe.largest
        return None

    async def _run(self, machine: Any, server: Address, *, whole: bool = False) -> None:
        """Let a machine ask one server from one socket until it is done."""
        over = asyncio.Event()
        driver = StunDriver(lambda: over.set() if machine.is_over else None)
        try:
            await driver.open(self._network, 1, EVERY_HOST[family_of(server) == IPV6])
            if whole and not driver.endpoints[0].set_dont_fragment(True):
                return
            driver.start(machine)
            await over.wait()
        except ConfigError as error:
            logger.debug("cannot ask %s: %s", server, error)
        finally:
            driver.close()


class _HangUp(asyncio.Protocol):
    """A connection that is closed as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()
