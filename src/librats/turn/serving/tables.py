"""What the allocations of one worker stand in, and what has to change together when one comes or goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from librats._core.relay import pack_address
from librats.turn.serving.allocation import IPV4, IPV6, UDP, Allocation, Client, Observer, Relay, RelayPorts
from librats.turn.serving.alternates import Alternates
from librats.turn.serving.credentials import Account
from librats.turn.serving.peer_policy import PeerPolicy, Verdict
from librats.turn.serving.quotas import Quotas

__all__ = ["DataPlane", "Settings", "Shared", "StreamRelays", "Tables", "family_of", "host_of"]

PACKED_SIZE = 24
"""Bytes of a packed address: of which a host alone has 4 or 16."""

_IPV4_MARK = pack_address("0.0.0.0", 0)[:2]  # noqa: S104 - only for its family


class DataPlane(Protocol):
    """What the tables tell the compiled data plane, :class:`librats._core.relay.Plane`."""

    @property
    def can_keep_whole(self) -> bool:
        """Whether it can keep single datagrams from being fragmented."""

    def add_allocation(
        self, number: int, listener: int, client: bytes, relay_fd: int, expires: float, local: bytes
    ) -> None:
        """Relay for a client."""

    def add_relay(self, number: int, relay_fd: int) -> None:
        """Relay through a second socket, of the other address family."""

    def refresh(self, number: int, expires: float) -> None:
        """Move an allocation's expiry."""

    def remove(self, number: int) -> None:
        """Forget an allocation."""

    def set_permission(self, number: int, peer: bytes, expires: float, *, exact: bool = False) -> bool:
        """Let a peer send and be sent to: a host, or exactly one port of it."""

    def bind_channel(self, number: int, channel: int, peer: bytes, expires: float) -> bool:
        """Bind a channel to a peer."""

    def limit(self, number: int, bytes_per_second: int) -> None:
        """Limit what an allocation relays."""

    def expire(self, now: float) -> list[int]:
        """Drop what is over, and return the allocations among it."""

    def traffic(self, number: int) -> tuple[int, int, int, int]:
        """Return packets and bytes to peers, then packets and bytes to the client."""


class StreamRelays(Protocol):
    """Accepts connections of peers for TCP allocations (RFC 6062)."""

    def opened(self, allocation: Allocation) -> None:
        """Accept from now on."""

    def released(self, allocation: Allocation) -> None:
        """Close what was accepted, and accept no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the server behaves."""

    default_lifetime: int = 600
    """Seconds an allocation lives at least when it is made or refreshed."""

    max_lifetime: int = 3600
    """Seconds it lives at most without being refreshed."""

    permission_lifetime: float = 300.0
    """Seconds."""

    channel_lifetime: float = 600.0
    """Seconds."""

    max_permissions: int = 256
    """Hosts that an allocation has permissions for at a time."""

    max_channels: int = 256
    """Channels of an allocation."""

    last_channel: int = 0x7FFF
    """The highest channel number: RFC 8656 ends at 0x4FFF, RFC 5766, which many clients follow, at 0x7FFF."""

    reservation_lifetime: float = 30.0
    """Seconds that a reserved port waits for its client."""

    mobility: bool = True
    """Whether clients may move their allocations (RFC 8016)."""

    source_answers: int = 500
    """Answers a second to a source that has not proven who it is; 0 for any number."""


@dataclass(slots=True)
class Shared:
    """What all workers of a server share."""

    settings: Settings
    policy: PeerPolicy
    quotas: Quotas
    ports: RelayPorts
    live: set[tuple[str, int]] = field(default_factory=set)
    """The relayed addresses of all allocations."""
    reserved: dict[bytes, tuple[Relay, float]] = field(default_factory=dict)
    """Relays that wait for their client, and until when, by token."""
    draining: bool = False
    """Whether nothing new is allocated any more."""
    alternates: Alternates = field(default_factory=Alternates)
    """Where clients are sent for whom there is no room."""

    def judge(self, host: str, port: int) -> Verdict:
        """Tell whether a peer may be talked to; on the relay's own hosts, only what it relays from may."""
        verdict = self.policy.judge(host)
        if verdict is Verdict.OWN and (host, port) not in self.live:
            return Verdict.DENIED
        return verdict

    def close(self) -> None:
        """Close what waits for clients, once no worker runs any more."""
        while self.reserved:
            self.ports.close(self.reserved.popitem()[1][0])


class Tables:
    """The allocations of one worker.

    Args:
        plane: Its data plane.
        shared: What it shares with the other workers.
        observer: Is told what comes and goes.
        capacity: How many there may be.
        streams: Accepts the connections of TCP allocations.
        ports: Opens the sockets of allocations. They all share these, of which each is found by its peers' addresses
            and ports; None where each has its own, of ``shared.ports``.
    """

    def __init__(
        self,
        plane: DataPlane,
        shared: Shared,
        observer: Observer | None = None,
        *,
        capacity: int = 100_000,
        streams: StreamRelays | None = None,
        ports: RelayPorts | None = None,
    ) -> None:
        self.capacity = capacity
        self.plane = plane
        self.shared = shared
        self.ports = ports or shared.ports
        """Opens the sockets of allocations."""
        self.shares_relays = ports is not None
        """Whether UDP allocations have no relay socket of their own."""
        self.by_client: dict[Client, Allocation] = {}
        self.by_number: dict[int, Allocation] = {}
        self._observer = observer
        self._streams = streams
        self._next_number = 1

    def add(
        self,
        client: Client,
        account: Account | None,
        relays: tuple[Relay, ...],
        *,
        lifetime: int,
        now: float,
        transport: int = UDP,
    ) -> Allocation:
        """Make an allocation, whose quota is counted already; if that fails, neither quota nor sockets stay taken.

        Args:
            client: Whose it is.
            account: Who it is; None where nobody is asked.
            relays: The open sockets.
            lifetime: Seconds.
            now: Monotonic seconds.
            transport: UDP, or TCP (RFC 6062).
        """
        allocation = Allocation(client, account, relays)
        allocation.transport = transport
        allocation.lifetime = lifetime
        allocation.expires = now + lifetime
        try:
            self.adopt(allocation)
        except BaseException:
            self._undo(allocation)
            raise
        if not self.has_shared_relay(allocation):  # whose port does not tell which of them is meant
            for relay in relays:
                self.shared.live.add((relay.host, relay.port))
        if self._observer is not None:
            self._observer.allocated(allocation)
        return allocation

    def has_shared_relay(self, allocation: Allocation) -> bool:
        """Tell whether an allocation is found by its peers' addresses and ports, as it shares its relay socket."""
        return self.shares_relays and allocation.transport == UDP

    def adopt(self, allocation: Allocation) -> None:
        """Take an allocation in, be it new or another worker's until now."""
        number = allocation.number = self._next_number
        self._next_number += 1
        client = allocation.client
        if allocation.transport != UDP:
            self.by_client[client] = self.by_number[number] = allocation
            if self._streams is not None:
                self._streams.opened(allocation)
            return
        plane = self.plane
        listener, address, local = client
        relays = allocation.relays
        plane.add_allocation(number, max(listener, -1), address, relays[0].fd, allocation.expires, local)
        self.by_client[client] = self.by_number[number] = allocation
        for relay in relays[1:]:
            plane.add_relay(number, relay.fd)
        if allocation.permissions:
            for peer, expires in allocation.permissions.items():
                plane.set_permission(number, peer, expires, exact=len(peer) == PACKED_SIZE)
        if allocation.channels:
            for channel, (peer, expires) in allocation.channels.items():
                plane.bind_channel(number, channel, peer, expires)
        allocation.share = 0
        self.limit(allocation)

    def let_go(self, allocation: Allocation) -> None:
        """Take an allocation out, for another worker or another address of its client."""
        del self.by_client[allocation.client]
        del self.by_number[allocation.number]
        if allocation.transport == UDP:
            self.plane.remove(allocation.number)
        elif self._streams is not None:
            self._streams.released(allocation)

    def release(self, allocation: Allocation, reason: str) -> None:
        """End an allocation, and close its sockets.

        Args:
            allocation: Which.
            reason: For the observer.
        """
        try:
            if self._observer is not None:
                traffic = self.plane.traffic(allocation.number) if allocation.transport == UDP else (0, 0, 0, 0)
                self._observer.released(allocation, reason, traffic)
        finally:
            self._undo(allocation)

    def _undo(self, allocation: Allocation) -> None:
        """Take an allocation out as far as it is in, and close its sockets."""
        if self.by_number.get(allocation.number) is allocation:
            self.let_go(allocation)
        shared = self.shared
        for relay in allocation.relays:
            shared.live.discard((relay.host, relay.port))
            self.ports.close(relay)
        shared.quotas.give_back(allocation.owner)

    def refresh(self, allocation: Allocation, lifetime: int, *, now: float) -> None:
        """Let an allocation live that many seconds from now."""
        allocation.lifetime = lifetime
        allocation.expires = now + lifetime
        if allocation.transport == UDP:
            self.plane.refresh(allocation.number, allocation.expires)

    def drop_relay(self, allocation: Allocation, family: int) -> None:
        """End one half of an allocation that has addresses of both families."""
        self.let_go(allocation)
        for relay in allocation.relays:
            if relay.family == family:
                self.shared.live.discard((relay.host, relay.port))
                self.ports.close(relay)
        allocation.relays = tuple(relay for relay in allocation.relays if relay.family != family)
        allocation.permissions = {
            peer: expires for peer, expires in (allocation.permissions or {}).items() if _peer_family(peer) != family
        }
        allocation.channels = {
            number: bound for number, bound in (allocation.channels or {}).items() if family_of(bound[0]) != family
        }
        self.adopt(allocation)

    def limit(self, allocation: Allocation) -> None:
        """Give an allocation its share of what its owner may relay."""
        quotas = self.shared.quotas
        bandwidth = quotas.limits.user_bandwidth
        if not bandwidth and not allocation.share:
            return
        share = max(bandwidth // max(quotas.held_by(allocation.owner), 1), 1) if bandwidth else 0
        if share != allocation.share and allocation.transport == UDP:
            allocation.share = share
            self.plane.limit(allocation.number, share)

    def expire(self, *, now: float) -> None:
        """End what is over, and share what users may relay among what is left."""
        for allocation in [each for each in self.by_number.values() if each.expires <= now]:
            self.release(allocation, "expired")
        self.plane.expire(now)
        for allocation in self.by_number.values():
            self.limit(allocation)

    def close(self) -> None:
        """End everything."""
        for allocation in list(self.by_number.values()):
            self.release(allocation, "closed")


def host_of(address: bytes) -> bytes:
    """Return the host in a packed address: 4 or 16 bytes."""
    return address[8:12] if address[:2] == _IPV4_MARK else address[8:24]


def family_of(address: bytes) -> int:
    """Return the address family of a packed address, as STUN numbers it."""
    return IPV4 if address[:2] == _IPV4_MARK else IPV6


def _peer_family(peer: bytes) -> int:
    """Return the address family of what a permission is for."""
    return family_of(peer) if len(peer) == PACKED_SIZE else IPV4 if len(peer) == 4 else IPV6  # noqa: PLR2004
