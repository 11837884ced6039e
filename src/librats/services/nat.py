"""The handle ``client.nat``: how others see this client, and what stands in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from librats.config import NatTraversalConfig
from librats.errors import ClosedError, RatsError, UsageError
from librats.portmap.events import PortMapped, PortMappingFailed
from librats.runtime.listening import Listening
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.services.portmap import PortMappings
from librats.services.stun import AddressDiscovery, measure_behaviour, with_lifetime
from librats.stun.client import Answered
from librats.stun.lifetime import DEFAULT_WAITS, check_waits
from librats.types import Address, MappedTransport, NatType, NatTypeInfo, PortMapping

__all__ = ["NatHandle"]

T = TypeVar("T")

MAX_HOSTS = 64


class NatHandle:
    """How others see a client, and what stands in between. Comes from a client: :attr:`~librats.RatsClient.nat`.

    The servers that are asked are those of :class:`~librats.NatTraversalConfig`, and only while one of these verbs
    waits, and for some seconds after :meth:`public_addresses`. Where there are none, nobody is asked. Gateways are
    asked to map ports as long as the client runs, where that is switched on.

    Example:
        .. code-block:: python

            print(await client.nat.public_addresses())
            info = await client.nat.detect()
            print(info.description)
    """

    def __init__(
        self,
        settings: Callable[[], NatTraversalConfig],
        network: Callable[[], Network],
        tasks: TaskSet,
        learned: Callable[[str], object],
    ) -> None:
        self._settings = settings
        self._network = network
        self._tasks = tasks
        self._learned = learned
        self._last: NatTypeInfo | None = None
        self.watched: Callable[[], NatTypeInfo | None] = lambda: None
        """Returns what the client has found out by itself."""
        self.measured: Callable[[NatTypeInfo], object] = lambda _: None
        """Called with what :meth:`detect` has found."""
        self._hosts: dict[str, None] = {}
        self._mappings: PortMappings | None = None

    def __repr__(self) -> str:
        """Show what was found last."""
        return f"<NatHandle {self._last.type if self._last is not None else 'nothing detected yet'}>"

    @property
    def last(self) -> NatTypeInfo | None:
        """What :meth:`detect` has found last; None where it was not called yet."""
        return self._last

    @property
    def type(self) -> NatType:
        """What stands in front of this client, as far as :meth:`detect`, or the client in the background, has found."""
        info = self._last or self.watched()
        return NatType.UNKNOWN if info is None else info.type

    @property
    def public_hosts(self) -> list[str]:
        """The IP addresses that servers have seen this client at, the latest last."""
        return list(self._hosts)

    # Port mapping

    def port_mappings(self) -> list[PortMapping]:
        """Return the ports that gateways let others in at, for this client.

        They are asked for when the client starts, unless ``enable_port_mapping`` says otherwise;
        :class:`~librats.PortMapped` tells when one has come.
        """
        return self._mappings.mappings if self._mappings is not None else []

    @property
    def mapped_addresses(self) -> list[Address]:
        """Where others on the internet reach this client through :meth:`port_mappings`; they are in
        :attr:`librats.RatsClient.addresses`, too."""
        return self._mappings.addresses if self._mappings is not None else []

    async def map_port(
        self, port: int, transport: MappedTransport | str = MappedTransport.TCP, *, timeout: float = 15.0
    ) -> PortMapping:
        """Have gateways let others in at one more port, that of a server of yours beside the client for example.

        The server has to listen on the addresses that the client listens on. The mapping is renewed until
        :meth:`unmap_port` is called or the client stops; events tell of it as of the client's own.

        Args:
            port: The port that the server listens on.
            transport: ``"tcp"`` or ``"udp"``.
            timeout: Seconds to wait for the first gateway that does, above 0.

        Returns:
            The mapping; its external port may be another one.

        Raises:
            PortMappingError: No gateway does; ``code`` says why. None is asked any more then.
            UsageError: The client is not running, port mapping is switched off, or the port is none or mapped already.
            ClosedError: The client was stopped meanwhile.
        """
        self._network()
        return await self._mapping().map(_mapped_port(port, transport), timeout)

    def unmap_port(self, port: int, transport: MappedTransport | str = MappedTransport.TCP) -> bool:
        """Remove the mapping of a port, without waiting for the gateway.

        Args:
            port: The port that was mapped.
            transport: ``"tcp"`` or ``"udp"``.

        Returns:
            False where it was not mapped.

        Raises:
            UsageError: The client is not running, or port mapping is switched off.
        """
        self._network()
        return self._mapping().unmap(_mapped_port(port, transport))

    def _mapping(self) -> PortMappings:
        if self._mappings is None:
            raise UsageError("port mapping is switched off: see NatTraversalConfig.enable_port_mapping")
        return self._mappings

    def start_mapping(
        self,
        listening: Listening,
        tell: Callable[[PortMapped | PortMappingFailed], object],
        changed: Callable[[], object],
    ) -> None:
        """Begin to have ports mapped, where that is switched on; for the client itself.

        Args:
            listening: What is to be reached.
            tell: Called with every event.
            changed: Called when the external addresses have changed.
        """
        if self._settings().enable_port_mapping:
            self._mappings = PortMappings(self._network(), self._tasks, tell, changed)
            self._mappings.start(listening.ports.items(), [address.host for address in listening.addresses])

    async def stop_mapping(self) -> None:
        """Remove the mappings; for the client itself. Takes half a second at the most. Idempotent."""
        mappings, self._mappings = self._mappings, None
        if mappings is not None:
            await mappings.close()

    # What others see

    async def public_addresses(self, *, servers: Sequence[str | Address] | None = None) -> list[Address]:
        """Ask STUN servers where they see a UDP socket of this client, all of them at once.

        It returns as soon as there is an answer over IPv4 and over IPv6, where servers have both, and after half a
        second (``stun_first_answer``) with the answers that are there. While there is none at all it waits for the
        first one, up to ``stun_timeout``. Silent servers are waited for in the background: what they answer later is in
        :attr:`public_hosts`.

        Args:
            servers: Whom to ask, instead of the configured ones: ``"host:port"`` each.

        Returns:
            Each address once, in the order in which they were told, the preferred family first; empty where no server
            has answered or none is configured. The port is that of a socket which is gone by then.

        Raises:
            UsageError: The client is not running.
            ClosedError: It was stopped meanwhile.
            ConfigError: One of ``servers`` is no address, or this machine lets us open no socket.
        """
        settings, network = self._settings(), self._network()
        asked = settings.stun_addresses if servers is None else _addresses(servers)
        if not asked:
            return []
        answers = await self._owned(self._first_answers(asked, settings, network))
        found = dict.fromkeys(answer.mapped for answer in answers)
        return sorted(found, key=lambda address: (":" in address.host) != settings.prefer_ipv6)

    async def _first_answers(
        self, asked: Sequence[Address], settings: NatTraversalConfig, network: Network
    ) -> list[Answered]:
        discovery = AddressDiscovery(
            asked,
            network=network,
            first_answer=settings.stun_first_answer,
            timeout=settings.stun_timeout,
            on_answer=self._heard,
        )
        try:
            await discovery.start()
            answers = await discovery.first()
        except BaseException:
            await discovery.close()
            raise
        if discovery.is_over:
            await discovery.close()
        else:
            waiting = self._tasks.create(discovery.finish(), name="librats waits for slow STUN servers")
            # Not within the task: one that is cancelled before it has begun does nothing at all.
            waiting.add_done_callback(lambda _: discovery.abandon())
        return answers

    async def detect(
        self,
        *,
        lifetime: bool = False,
        lifetime_waits: Sequence[float] = DEFAULT_WAITS,
        progress: Callable[[float, float], Any] | None = None,
    ) -> NatTypeInfo:
        """Find out what NAT or firewall stands in front of this client (RFC 5780), which takes two or three seconds.

        Mapping, filtering and hairpinning take a server that has a second address. Where none of the configured ones
        has, mapping is told by comparing what two servers see, and filtering stays unknown.

        Args:
            lifetime: Whether to find out how long the NAT keeps a silent socket's public address, too. That takes as
                long as the longest of ``lifetime_waits``, five minutes where they are left out, or until two in a row
                have expired.
            lifetime_waits: Seconds of silence to try, growing.
            progress: Called every second of that with seconds gone by and seconds that it takes at the most.

        Returns:
            What was found; ``problem`` says why something was not. It is in :attr:`last` as well.

        Raises:
            UsageError: The client is not running, or the times do not grow.
            ClosedError: It was stopped meanwhile.
        """
        settings, network = self._settings(), self._network()
        if lifetime:
            check_waits(lifetime_waits)
        if not settings.stun_servers:
            return NatTypeInfo(problem="no STUN server is configured")
        waits = lifetime_waits if lifetime else ()
        info = self._last = await self._owned(self._measure(settings, network, waits, progress))
        self.measured(info)
        return info

    async def _measure(
        self,
        settings: NatTraversalConfig,
        network: Network,
        waits: Sequence[float],
        progress: Callable[[float, float], Any] | None,
    ) -> NatTypeInfo:
        info = await measure_behaviour(
            settings.stun_addresses,
            network=network,
            first_answer=settings.stun_first_answer,
            timeout=settings.stun_timeout,
            prefer_ipv6=settings.prefer_ipv6,
        )
        if info.public_address is not None:
            self._note(info.public_address.host)
        return await with_lifetime(info, network=network, waits=waits, progress=progress)

    async def _owned(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await something that ends when the client is stopped."""

        async def outcome() -> T | RatsError:
            try:
                return await coroutine
            except RatsError as error:  # told to who waits, and to nobody else
                return error

        task = self._tasks.create(outcome(), name="librats asks STUN servers")
        try:
            result: T | RatsError = await task
        except asyncio.CancelledError:
            coroutine.close()
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                raise ClosedError("the client was stopped meanwhile") from None
            raise
        if isinstance(result, RatsError):
            raise result
        return result

    def _heard(self, answer: Answered) -> None:
        self._note(answer.mapped.host)

    def _note(self, host: str) -> None:
        self._hosts.pop(host, None)
        self._hosts[host] = None
        if len(self._hosts) > MAX_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        self._learned(host)


def _addresses(servers: Sequence[str | Address]) -> tuple[Address, ...]:
    if isinstance(servers, str):
        raise UsageError("a list of servers is wanted, not one text")
    return NatTraversalConfig(stun_servers=tuple(str(server) for server in servers)).stun_addresses


def _mapped_port(port: int, transport: MappedTransport | str) -> tuple[MappedTransport, int]:
    try:
        chosen = MappedTransport(transport)
    except ValueError:
        raise UsageError(f"a port is of tcp or udp, not of {transport!r}") from None
    if not isinstance(port, int) or not 0 < port < 1 << 16:
        raise UsageError(f"a port is 1 to 65535, not {port!r}")
    return chosen, port
