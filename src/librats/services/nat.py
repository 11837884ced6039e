"""The handle ``client.nat``: how others see this client, and what stands in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from librats.config import NatTraversalConfig
from librats.errors import UsageError
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.services.stun import AddressDiscovery, measure_behaviour, measure_lifetime
from librats.stun.client import Answered
from librats.stun.lifetime import DEFAULT_WAITS
from librats.types import Address, NatType, NatTypeInfo

__all__ = ["NatHandle"]

MAX_HOSTS = 64


class NatHandle:
    """How others see a client, and what stands in between. Comes from a client: :attr:`~librats.RatsClient.nat`.

    The servers that are asked are those of :class:`~librats.NatTraversalConfig`, and only while one of these verbs
    waits, and for some seconds after :meth:`public_addresses`. Where there are none, nobody is asked.

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
        self._hosts: dict[str, None] = {}

    def __repr__(self) -> str:
        """Show what was found last."""
        return f"<NatHandle {self._last.type if self._last is not None else 'nothing detected yet'}>"

    @property
    def last(self) -> NatTypeInfo | None:
        """What :meth:`detect` has found last; None where it was not called yet."""
        return self._last

    @property
    def public_hosts(self) -> list[str]:
        """The IP addresses that servers have seen this client at, the latest last."""
        return list(self._hosts)

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
            ConfigError: One of ``servers`` is no address, or this machine lets us open no socket.
        """
        settings, network = self._settings(), self._network()
        asked = settings.stun_addresses if servers is None else _addresses(servers)
        if not asked:
            return []
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
        self._tasks.create(_finish(discovery), name="librats waits for slow STUN servers")
        found = dict.fromkeys(answer.mapped for answer in answers)
        return sorted(found, key=lambda address: (":" in address.host) != settings.prefer_ipv6)

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
        """
        settings, network = self._settings(), self._network()
        if not settings.stun_servers:
            return NatTypeInfo(problem="no STUN server is configured")
        info = await measure_behaviour(
            settings.stun_addresses,
            network=network,
            first_answer=settings.stun_first_answer,
            timeout=settings.stun_timeout,
            prefer_ipv6=settings.prefer_ipv6,
        )
        if info.public_address is not None:
            self._note(info.public_address.host)
        if lifetime and info.server is not None and info.type is not NatType.BLOCKED:
            outlived, expired = await measure_lifetime(
                info.server, network=network, waits=lifetime_waits, progress=progress
            )
            unknown = "" if outlived is not None else "the server cannot measure how long a public address lasts"
            info = replace(
                info,
                mapping_lifetime=outlived,
                mapping_expired_after=expired,
                problem="; ".join(filter(None, (info.problem, unknown))),
            )
        self._last = info
        return info

    def _heard(self, answer: Answered) -> None:
        self._note(answer.mapped.host)

    def _note(self, host: str) -> None:
        self._hosts.pop(host, None)
        self._hosts[host] = None
        if len(self._hosts) > MAX_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        self._learned(host)


async def _finish(discovery: AddressDiscovery) -> None:
    try:
        await discovery.finish()
    finally:
        await discovery.close()


def _addresses(servers: Sequence[str | Address]) -> tuple[Address, ...]:
    if isinstance(servers, str):
        raise UsageError("a list of servers is wanted, not one text")
    return NatTraversalConfig(stun_servers=tuple(str(server) for server in servers)).stun_addresses
