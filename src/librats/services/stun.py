"""Drivers of the STUN machines: they resolve the servers' names and move datagrams between machine and network."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from librats.errors import ConfigError
from librats.runtime.datagrams import Origin
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet, end_all
from librats.runtime.udp import DatagramEndpoint
from librats.stun.behaviour import BehaviourDiscovery, pace_within
from librats.stun.client import Answered, Refused, StunClient, StunEvent, TimedOut
from librats.stun.lifetime import DEFAULT_WAITS, LifetimeDiscovery
from librats.types import Address, NatType, NatTypeInfo

__all__ = [
    "IPV4",
    "IPV6",
    "AddressDiscovery",
    "Progress",
    "StunDriver",
    "family_of",
    "measure_behaviour",
    "measure_lifetime",
    "with_lifetime",
]

logger = logging.getLogger("librats.stun")

IPV4, IPV6 = 4, 6
EVERYWHERE = {IPV4: "0.0.0.0", IPV6: "::"}  # noqa: S104 - a socket that only answers come to
PROGRESS_INTERVAL = 1.0
NAMES_TO_COME = 0.1
"""Seconds that names may still take to resolve when there are two servers to ask."""


Progress = Callable[[float, float], object]


class Machine(Protocol):
    """What the drivers ask of a machine."""

    def receive_datagram(self, data: bytes, addr: Address, *, now: float, socket: int) -> None:
        """Take what came to a socket."""

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""

    def next_timer(self) -> float | None:
        """Return when there is something to do."""

    def datagrams_to_send(self) -> list[tuple[int, bytes, Address]]:
        """Take what is to be sent."""


class StunDriver:
    """Moves datagrams between one machine and its sockets.

    Args:
        changed: Called after whatever may have changed the machine.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = changed
        self._machine: Machine | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.endpoints: list[DatagramEndpoint] = []

    async def open(self, network: Network, count: int, host: str) -> None:
        """Open that many sockets.

        Raises:
            ConfigError: This machine has no such addresses.
        """
        for number in range(count):
            self.endpoints.append(await network.open_datagram(host, 0, receive=partial(self._receive, number)))

    def start(self, machine: Machine) -> None:
        """Begin to move."""
        self._machine = machine
        self.step()

    def _receive(self, socket: int, batch: list[tuple[bytes, Origin]]) -> None:
        machine = self._machine
        if machine is None:
            return
        now = self._loop.time()
        for data, origin in batch:
            machine.receive_datagram(data, origin, now=now, socket=socket)
        self.step()

    def step(self) -> None:
        """Send what the machine has to send, and set the clock."""
        machine = self._machine
        if machine is None:
            return
        self._changed()
        for socket, data, address in machine.datagrams_to_send():
            # What finds no room is sent again like what gets lost.
            self.endpoints[socket].send(data, address)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = machine.next_timer()
        if due is not None and self._machine is not None:
            self._timer = self._loop.call_at(due, self._time_has_come)

    def _time_has_come(self) -> None:
        self._timer = None
        if self._machine is not None:
            # The loop may call a little early, by the resolution of its clock.
            due = self._machine.next_timer()
            self._machine.handle_timer(now=max(self._loop.time(), due or 0.0))
            self.step()

    def close(self) -> None:
        """Let the sockets go. Idempotent."""
        self._machine = None
        if self._timer is not None:
            self._timer.cancel()
        for endpoint in self.endpoints:
            endpoint.close()


async def _resolve(network: Network, server: Address) -> tuple[list[Address], str]:
    try:
        return await network.resolve(server), ""
    except OSError as error:
        return [], f"{server.host} has no address: {error.strerror or error}"
    except ValueError:  # also a UnicodeError
        return [], f"{server.host!r} is not a host name"


def family_of(address: Address) -> int:
    """Return 4 or 6."""
    return IPV6 if ":" in address.host else IPV4


def one_of_each_family(addresses: Iterable[Address]) -> list[Address]:
    """Return the first address of each family."""
    found: dict[int, Address] = {}
    for address in addresses:
        found.setdefault(family_of(address), address)
    return list(found.values())


class AddressDiscovery:
    """Asks several servers at once where they see one socket of ours.

    A name is resolved off the loop, and its server asked as soon as it is; no server and no name waits for another one.

    Args:
        servers: Host names or IP addresses, and ports.
        network: Where to ask them.
        first_answer: Seconds after which :meth:`first` makes do with the answers that are there.
        timeout: Seconds after which a server that has not answered is given up.
        on_answer: Called with every answer, also with those that come later.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        *,
        network: Network,
        first_answer: float,
        timeout: float,
        on_answer: Callable[[Answered], object] | None = None,
    ) -> None:
        self._servers = tuple(dict.fromkeys(servers))
        self._network = network
        self._first_answer = first_answer
        self._timeout = timeout
        self._on_answer = on_answer
        self._client = StunClient(network.entropy, pace=pace_within(timeout))
        self._driver = StunDriver(self._heed)
        self._tasks = TaskSet()
        self._something = asyncio.Event()
        self._resolving = len(self._servers)
        self._wanted: set[int] = set()
        self._asked: set[Address] = set()
        self._began = asyncio.get_running_loop().time()
        self.answers: list[Answered] = []
        """What has been answered, in the order in which it came."""
        self.problems: list[str] = []
        """What went wrong, in words."""

    async def start(self) -> None:
        """Open the socket and begin to ask.

        Raises:
            ConfigError: This machine lets us open no socket.
        """
        self._began = asyncio.get_running_loop().time()
        await self._driver.open(self._network, 1, "")
        self._driver.start(_OneSocket(self._client))
        for server in self._servers:
            self._tasks.create(self._ask(server), name=f"librats asks {server}")

    async def _ask(self, server: Address) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                addresses, problem = await _resolve(self._network, server)
        except TimeoutError:
            addresses, problem = [], f"{server.host} was not resolved within {self._timeout:g} s"
        self._resolving -= 1
        if problem:
            self.problems.append(problem)
        own = {family_of(address) for address in self._driver.endpoints[0].local_addresses}
        for address in one_of_each_family(addresses):
            if family_of(address) in own and address not in self._asked:
                self._wanted.add(family_of(address))
                self._asked.add(address)
                self._client.ask(address, now=asyncio.get_running_loop().time())
        self._driver.step()

    def _heed(self) -> None:
        while (event := self._client.next_event()) is not None:
            self._hear(event)
        self._something.set()

    def _hear(self, event: StunEvent) -> None:
        if isinstance(event, Answered):
            self.answers.append(event)
            if self._on_answer is not None:
                self._on_answer(event)
        elif isinstance(event, Refused):
            self.problems.append(f"{event.server} answered {event.code} {event.reason}")
        elif isinstance(event, TimedOut):
            self.problems.append(f"{event.server} did not answer within {self._timeout:g} s")

    @property
    def is_over(self) -> bool:
        """True when every server has answered or was given up."""
        return not self._resolving and not len(self._client)

    async def first(self) -> list[Answered]:
        """Return the answers that are there, at the latest ``first_answer`` seconds after the start if there are any.

        Where an answer has come over each address family that has a server, that is at once. While there is none at
        all, it waits for the first one until all servers were given up.
        """
        while not self._is_enough():
            self._something.clear()
            left = self._began + self._first_answer - asyncio.get_running_loop().time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left if left > 0 and self.answers else None):
                    await self._something.wait()
        return list(self.answers)

    def _is_enough(self) -> bool:
        if self.is_over:
            return True
        if not self.answers:
            return False
        answered = {family_of(answer.server) for answer in self.answers}
        is_late = asyncio.get_running_loop().time() >= self._began + self._first_answer
        return is_late or (answered >= self._wanted and not self._resolving)

    async def finish(self) -> list[Answered]:
        """Return the answers when every server has answered or was given up."""
        while not self.is_over:
            self._something.clear()
            await self._something.wait()
        return list(self.answers)

    def abandon(self) -> None:
        """Ask no more, and let the socket go, without waiting. Idempotent."""
        self._driver.close()
        self._tasks.cancel()

    async def close(self) -> None:
        """Ask no more, and let the socket go. Idempotent."""
        self._driver.close()
        await self._tasks.close()


class _OneSocket:
    """A client that is asked from one socket, as a machine."""

    def __init__(self, client: StunClient) -> None:
        self.receive_datagram = client.receive_datagram
        self.handle_timer = client.handle_timer
        self.next_timer = client.next_timer
        self.datagrams_to_send = client.datagrams_to_send


async def measure_behaviour(
    servers: Sequence[Address],
    *,
    network: Network,
    first_answer: float,
    timeout: float,
    prefer_ipv6: bool = False,
    family: int | None = None,
    early: Callable[[NatTypeInfo], object] | None = None,
) -> NatTypeInfo:
    """Find out what NAT or firewall stands in front of this host.

    Where servers have both, IPv4 and IPv6 are measured at once, and the second is told only where the first is blocked.

    Args:
        servers: Host names or IP addresses, and ports.
        network: Where to ask them.
        first_answer: Seconds after which the servers that have answered are made do with.
        timeout: Seconds after which a server that has not answered is given up.
        prefer_ipv6: Whether IPv6 is the first.
        family: 4 or 6: the one to measure alone; None for both.
        early: Called with what is known once that is mapping and ports, of the family that is told first.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    by_family, problem = await _resolved_in_time(network, servers, first_answer, timeout)
    order = (IPV6, IPV4) if prefer_ipv6 else (IPV4, IPV6)
    families = [each for each in order if by_family.get(each) and family in (None, each)]
    if not families:
        nobody = "no STUN server is configured" if family is None else f"no STUN server has an IPv{family} address"
        reason = problem or nobody
        return NatTypeInfo(duration=loop.time() - began, problem=reason)
    local_hosts = await network.interface_addresses()
    tasks = [
        loop.create_task(
            _measure_family(
                by_family[f], f, local_hosts, network, first_answer, timeout, early=early if f == families[0] else None
            )
        )
        for f in families
    ]
    try:
        told = await tasks[0]
        if told.type is NatType.BLOCKED and len(tasks) > 1:
            second = await tasks[1]
            told = told if second.type is NatType.BLOCKED else second
    finally:
        await end_all(tasks)
    return replace(told, duration=loop.time() - began)


async def _resolved_in_time(
    network: Network, servers: Sequence[Address], first_answer: float, timeout: float
) -> tuple[dict[int, list[Address]], str]:
    """Resolve the servers' names; once there is a server to ask, the others are not waited for long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = [loop.create_task(_resolve(network, server)) for server in dict.fromkeys(servers)]
    by_family: dict[int, list[Address]] = {}
    problems = []
    waiting = set(tasks)

    def patience() -> float:
        most = max(map(len, by_family.values()), default=0)
        return timeout if most == 0 else first_answer if most == 1 else min(NAMES_TO_COME, first_answer)

    try:
        while waiting and (left := began + patience() - loop.time()) > 0:
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in (task for task in tasks if task in done):
                addresses, problem = task.result()
                for address in one_of_each_family(addresses):
                    by_family.setdefault(family_of(address), []).append(address)
                if problem:
                    problems.append(problem)
    finally:
        await end_all(waiting)
    if waiting and not by_family:
        problems.append("the servers' names were not resolved in time")
    return by_family, "; ".join(problems)


async def _measure_family(
    servers: Sequence[Address],
    family: int,
    local_hosts: Collection[str],
    network: Network,
    first_answer: float,
    timeout: float,
    *,
    early: Callable[[NatTypeInfo], object] | None,
) -> NatTypeInfo:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    found: list[BehaviourDiscovery] = []
    untold = early

    def changed() -> None:
        nonlocal untold
        if untold is not None and found and found[0].early is not None:
            tell, untold = untold, None
            tell(found[0].early)
        if found and found[0].result is not None:
            over.set()

    driver = StunDriver(changed)
    try:
        await driver.open(network, BehaviourDiscovery.sockets, EVERYWHERE[family])
        machine = BehaviourDiscovery(
            servers,
            local_ports=[endpoint.local_address.port for endpoint in driver.endpoints],
            local_hosts=local_hosts,
            entropy=network.entropy,
            now=loop.time(),
            first_answer=first_answer,
            timeout=timeout,
        )
        found.append(machine)
        driver.start(machine)
        await over.wait()
    except ConfigError as error:
        return NatTypeInfo(type=NatType.BLOCKED, problem=str(error))
    finally:
        driver.close()
    assert machine.result is not None  # noqa: S101 - that is what was waited for
    logger.debug("over IPv%d: %s", family, machine.result.description)
    return machine.result


async def with_lifetime(
    info: NatTypeInfo, *, network: Network, waits: Sequence[float], progress: Progress | None = None
) -> NatTypeInfo:
    """Add to what was measured how long a mapping lives, where there is somebody to ask; see :func:`measure_lifetime`.

    Args:
        info: What was measured.
        network: Where to ask.
        waits: Seconds of silence to try, growing; nothing is asked where there are none.
        progress: Called every second with seconds gone by and seconds that it takes at the most.
    """
    if not waits or info.server is None or info.type is NatType.BLOCKED:
        return info
    return info.with_lifetime(*await measure_lifetime(info.server, network=network, waits=waits, progress=progress))


async def measure_lifetime(
    server: Address,
    *,
    network: Network,
    waits: Sequence[float] = DEFAULT_WAITS,
    progress: Progress | None = None,
) -> tuple[float | None, float | None]:
    """Find out how long a mapping lives without traffic, which takes minutes.

    Args:
        server: IP address and port of a server that knows RESPONSE-PORT.
        network: Where to ask it.
        waits: Seconds of silence to try, growing.
        progress: Called every second with seconds gone by and seconds that it takes at the most.

    Returns:
        The longest silence that a mapping has outlived, and the shortest after which one was gone; each None where that
        was not seen.

    Raises:
        UsageError: The times do not grow, or there is none.
        ConfigError: This machine lets us open no socket.
    """
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    found: list[LifetimeDiscovery] = []

    def changed() -> None:
        if found and found[0].is_over:
            over.set()

    driver = StunDriver(changed)
    began = loop.time()
    try:
        await driver.open(network, LifetimeDiscovery.sockets_for(waits), EVERYWHERE[family_of(server)])
        machine = LifetimeDiscovery(server, entropy=network.entropy, now=loop.time(), waits=waits)
        found.append(machine)
        driver.start(machine)
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_INTERVAL):
                    await over.wait()
            if progress is not None:
                progress(loop.time() - began, machine.duration)
    finally:
        driver.close()
    return machine.lifetime, machine.expired_after
