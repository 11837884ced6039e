"""The introducer of a relay: sessions on its UDP and TCP ports, and TURN credentials for these, where it grants any."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from librats.config import CarryLimits, RatsConfig
from librats.introduce.carrying import Carrying
from librats.introduce.notices import Notice, Op
from librats.introduce.passing import Passing
from librats.introduce.places import Places
from librats.introduce.services import Services
from librats.introducers.announcing import IntroducerAnnouncer
from librats.peers.identity import Identity
from librats.peers.introducer_sessions import IntroducerSessions
from librats.relay.datagram_sessions import DatagramSessions
from librats.runtime.handover import give
from librats.runtime.tasks import TaskSet
from librats.services.introducer import Introductions
from librats.services.session import Link
from librats.session.greeting import Feature
from librats.stun.credentials import time_limited_password
from librats.turn.serving.credentials import GrantedNames
from librats.turn.serving.quotas import INTRODUCED
from librats.types import Address, Entropy

__all__ = ["Grants", "RelayIntroducer"]

AGENT = "librats-relay/0.1"

ROUND = 60
"""Seconds to which expiry is rounded up."""

IPV4_PREFIX, IPV6_PREFIX = 24, 48
"""Networks that count as one where something is granted: identities, and addresses within one, cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """How connected nodes may relay."""

    lifetime: float
    """Seconds for which one is good."""

    wall: Callable[[], float]
    """Seconds by which the relay's users expire."""

    names: GrantedNames
    """Where the user names are noted, and what vouches for them."""

    def credentials(self, host: str) -> tuple[str, str]:
        """Return username and password for a node at an IP address."""
        # Those of one minute share a name.
        expiry = -int(-(self.wall() + self.lifetime) // ROUND) * ROUND
        username = f"{expiry}:{INTRODUCED}{network_of(host)}"
        self.names.note(username)
        return username, time_limited_password(self.names.secret, username)


def network_of(host: str) -> str:
    """Return the network that counts as one source: /24 of IPv4, /48 of IPv6.

    Example:
        >>> network_of("203.0.113.77"), network_of("2001:db8:7:8::9")
        ('203.0.113.0', '2001:db8:7::')
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    prefix = IPV4_PREFIX if isinstance(address, ipaddress.IPv4Address) else IPV6_PREFIX
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False).network_address)


class RelayIntroducer:
    """Introduces the nodes that have a session with a relay.

    Args:
        identity: Who the relay is.
        entropy: Random values for everything but keys.
        new_key: Makes ephemeral keys.
        port: UDP port at which it answers STUN; 0 where it does not.
        most: Sessions at a time.
        grants: How nodes may relay; None where they may not.
        carry: How much of their sessions is carried; None for nothing.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        entropy: Entropy,
        new_key: Callable[[int], bytes],
        port: int,
        most: int,
        grants: Grants | None = None,
        carry: CarryLimits | None = None,
    ) -> None:
        self.identity = identity
        """Who the relay is."""
        self._entropy = entropy
        self._port = port
        self._most = most
        self._grants = grants
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskSet()
        self.sessions = IntroducerSessions(
            lambda: identity,
            RatsConfig(max_peers=most),
            entropy=entropy,
            new_key=new_key,
            agent=AGENT,
            features=Feature.INTRODUCES | Feature.MEETINGS | (Feature(0) if carry is None else Feature.CARRIES),
            most=most,
        )
        """The sessions."""
        self.passing = Passing(
            self.sessions.key_of, first=1 + entropy.randbelow(1 << 31), places=Places(entropy.randbelow)
        )
        """What it does for them."""
        self.carrying = None
        """How it carries their sessions; None where it does not."""
        if carry is not None:
            self.carrying = Carrying(self.passing.carriage, self.sessions.takes_carried, carry)
        self.circle = self.sessions.circle = Introductions(
            self.sessions.send, passing=self.passing, carrying=self.carrying
        )
        """Who hears what they say."""
        self.sessions.ready = self._ready
        self.announcer: IntroducerAnnouncer | None = None
        """Who tells the DHT of them; None where nobody does."""
        self.over_udp: DatagramSessions | None = None
        """Where packets of sessions over UDP go; None where there are no such sessions."""

    def take_datagrams(self, listeners: Sequence[Address]) -> DatagramSessions:
        """Have sessions over UDP, too, from now on.

        Args:
            listeners: Where the relay listens, by the numbers of its listeners.

        Returns:
            Where the packets of sessions go that come there.
        """
        self.over_udp = DatagramSessions(listeners, self.sessions.new_link, most=self._most, entropy=self._entropy)
        return self.over_udp

    def take(self, transport: asyncio.Transport, data: bytes) -> None:
        """Take over a connection that begins as a session does.

        Args:
            transport: The connection.
            data: What has come on it.
        """
        link = self.sessions.new_link()
        transport.set_protocol(link)
        link.connection_made(transport)
        give(lambda: link, data)

    def _ready(self, link: Link) -> None:
        if self.announcer is not None and self.sessions.is_findable(link.peer_id):
            self.announcer.joined(link.peer_id)
            link.closed.add_done_callback(lambda _: self._left(link.peer_id))
        self._tasks.create(self._serve(link), name="librats relay services")

    def _left(self, peer_id: str) -> None:
        if self.announcer is not None and peer_id not in self.sessions.links:
            self.announcer.left(peer_id)

    async def _serve(self, link: Link) -> None:
        """Tell a node what there is for it, and renew that in time."""
        while link.is_open:
            services = Services(stun_port=self._port)
            if self._grants is not None and self._port:
                username, password = self._grants.credentials(link.address.host)
                services = Services(
                    stun_port=self._port,
                    turn_port=self._port,
                    username=username,
                    password=password,
                    lifetime=self._grants.lifetime,
                )
            link.send_introduction(Notice(Op.SERVICES, 0, letter=services.encode()).encode())
            if self._grants is None:
                return
            try:
                async with asyncio.timeout(self._grants.lifetime / 2):
                    await asyncio.shield(link.closed)
            except TimeoutError:
                continue

    @property
    def statistics(self) -> dict[str, int]:
        """Sessions, what was passed, and what was carried."""
        return {"sessions": len(self.sessions.links), "under_way": len(self.passing), **self.passing.counters}

    @property
    def carried(self) -> dict[str, int]:
        """Sessions that are carried now, what was carried, and how often each limit has ended one."""
        return {} if self.carrying is None else {"now": len(self.carrying), **self.carrying.counters}

    async def close(self) -> None:
        """End every session."""
        await self._tasks.close()
        self.circle.close()
        self.sessions.close()
        if self.over_udp is not None:
            self.over_udp.close()
