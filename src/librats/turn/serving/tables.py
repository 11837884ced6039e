"""What the allocations of one worker stand in, and what has to change together when one comes or goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from librats._core.relay import pack_address
from librats.turn.serving.allocation import (
    IPV4,
    IPV6,
    UDP,
    Allocation,
    Client,
    Moving,
    Observer,
    Relay,
    RelayPorts,
)
from librats.turn.serving.alternates import Alternates
from librats.turn.serving.credentials import Account
from librats.turn.serving.live import LiveAddresses
from librats.turn.serving.peer_policy import PeerPolicy, Verdict
from librats.turn.serving.quotas import Quotas

__all__ = ["DataPlane", "Settings", "Shared", "StreamRelays", "Tables", "family_of", "host_of"]

PACKED_SIZE = 24
"""Bytes of a packed address: of which a host alone has 4 or 16."""

_NONE: Mapping[Any, Any] = {}
_NO_TRAFFIC = (0, 0, 0, 0)
_named = tuple.__new__
"""Makes named tuples from plain ones: what else would take most of the time that finding an allocation does."""

_IPV4_MARK = pack_address("0.0.0.0", 0)[:2]  # noqa: S104 - only for its family


class DataPlane(Protocol):
    """What holds the allocations and forwards for them, as :class:`librats._core.relay.Plane` does.

    :class:`librats._core.allocations.Allocations` does all of it but the forwarding.
    """

    @property
    def can_keep_whole(self) -> bool:
        """Whether it can keep single datagrams from being fragmented."""

    def __len__(self) -> int:
        """Return how many allocations there are."""

    def add_allocation(
        self,
        number: int,
        listener: int,
        client: bytes,
        relay_fd: int,
        expires: float,
        local: bytes = b"",
        *,
        forwards: bool = True,
    ) -> None:
        """Hold an allocation, and relay for its client where it forwards."""

    def describe(
        self,
        number: int,
        username: str,
        owner: str,
        relays: Sequence[tuple[int, str, int, int, str]],
        lifetime: int,
        *,
        transport: int = UDP,
        ticket: int = 0,
    ) -> None:
        """Hold with it what only the machine asks for."""

    def add_relay(self, number: int, relay_fd: int) -> None:
        """Relay through a second socket, of the other address family."""

    def refresh(self, number: int, expires: float, lifetime: int = 0) -> None:
        """Move an allocation's expiry."""

    def remove(self, number: int) -> None:
        """Forget an allocation."""

    def find(self, listener: int, client: bytes, local: bytes) -> tuple[Any, ...] | None:
        """Return what is held for a client, as :class:`~librats.turn.serving.allocation.Allocation` has it."""

    def has_client(self, listener: int, client: bytes, local: bytes) -> bool:
        """Tell whether a client has an allocation."""

    def get(self, number: int) -> tuple[Any, ...] | None:
        """Return the same by an allocation's number."""

    def numbers(self, until: float = math.inf) -> list[int]:
        """Return the numbers of the allocations that are over by then."""

    def keep_answer(self, listener: int, client: bytes, local: bytes, answer: bytes, now: float) -> bool:
        """Keep the last answer to a client for a while; False where it has no allocation."""

    def answer(self, listener: int, client: bytes, local: bytes) -> bytes | None:
        """Return the answer that is kept; None where the client has no allocation."""

    def next_ticket(self, number: int) -> int:
        """Count a mobility ticket of an allocation."""

    def set_permission(
        self, number: int, peer: bytes, expires: float, *, exact: bool = False, now: float | None = None
    ) -> bool:
        """Let a peer send and be sent to: a host, or exactly one port of it."""

    def permissions(self, number: int) -> dict[bytes, float]:
        """Return an allocation's permissions."""

    def bind_channel(self, number: int, channel: int, peer: bytes, expires: float, *, now: float | None = None) -> bool:
        """Bind a channel to a peer."""

    def channels(self, number: int) -> dict[int, tuple[bytes, float]]:
        """Return an allocation's channels."""

    def limit(self, number: int, bytes_per_second: int) -> None:
        """Limit what an allocation relays."""

    def rate(self, number: int) -> float:
        """Return what it is limited to; 0 where it is not."""

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
    live: LiveAddresses = field(default_factory=LiveAddresses)
    """The relayed addresses of all allocations."""
    reserved: dict[bytes, tuple[Relay, float, str]] = field(default_factory=dict)
    """Relays that wait for their client, until when, and whose quota they are counted in, by token."""
    draining: bool = False
    """Whether nothing new is allocated any more."""
    alternates: Alternates = field(default_factory=Alternates)
    """Where clients are sent for whom there is no room."""

    def judge(self, host: str, port: int, transport: int = UDP) -> Verdict:
        """Tell whether a peer may be talked to; on the relay's own hosts, only what it relays from may."""
        verdict = self.policy.judge(host)
        if verdict is Verdict.OWN and not self.live.has(host, port, transport):
            return Verdict.DENIED
        return verdict

    def take_reserved(self, token: bytes) -> tuple[Relay, float] | None:
        """Return a relay that waits for its client, and until when; its place in a quota is free.

        Another worker may take it, or close it, at this very moment: whoever gets it out has it, the others None.
        """
        found = self.reserved.pop(token, None)
        if found is None:
            return None
        relay, expires, owner = found
        self.quotas.give_back(owner)
        return relay, expires

    def close_reserved(self, until: float = math.inf) -> None:
        """Close what has waited until then. Safe in every thread."""
        for token, (_, expires, _) in list(self.reserved.items()):
            left = self.take_reserved(token) if expires <= until else None
            if left is not None:
                self.ports.close(left[0])


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
        self._observer = observer
        self._streams = streams
        self._next_number = 1
        self._limits = False

    def __len__(self) -> int:
        """Return how many allocations there are."""
        return len(self.plane)

    def __contains__(self, client: Client) -> bool:
        """Tell whether a client has an allocation."""
        return self.plane.has_client(*client)

    def find(self, client: Client) -> Allocation | None:
        """Return the allocation of a client."""
        return _allocation(self.plane.find(*client))

    def get(self, number: int) -> Allocation | None:
        """Return the allocation of a number."""
        return _allocation(self.plane.get(number))

    def all(self) -> list[Allocation]:
        """Return what there is."""
        return [each for each in map(self.get, self.plane.numbers()) if each is not None]

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
        username, owner = ("", "") if account is None else (account.username, account.owner)
        number = self._take_number()
        allocation = Allocation(number, client, username, owner, relays, transport, lifetime, now + lifetime, 0)
        try:
            self._insert(allocation, _NONE, _NONE, now=now)
        except BaseException:
            self._close(allocation)
            raise
        if not self.has_shared_relay(allocation):  # whose port does not tell which of them is meant
            for relay in relays:
                self.shared.live.add(relay.host, relay.port, transport)
        if self._observer is not None:
            self._observer.allocated(allocation)
        return allocation

    def has_shared_relay(self, allocation: Allocation) -> bool:
        """Tell whether an allocation is found by its peers' addresses and ports, as it shares its relay socket."""
        return self.shares_relays and allocation.transport == UDP

    def adopt(self, moving: Moving, client: Client, *, now: float) -> Allocation:
        """Take an allocation in for a client, be it new, another worker's or another client's until now.

        If that fails, it has ended.
        """
        allocation = moving.allocation._replace(number=self._take_number(), client=client)
        try:
            self._insert(allocation, moving.permissions, moving.channels, now=now)
        except BaseException:
            self.abandon(moving)
            raise
        return allocation

    def abandon(self, moving: Moving) -> None:
        """End an allocation on its way, which has nowhere to go."""
        try:
            if self._observer is not None:
                self._observer.released(moving.allocation, "disconnected", _NO_TRAFFIC)
        finally:
            self._close(moving.allocation)

    def _take_number(self) -> int:
        number = self._next_number
        self._next_number += 1
        return number

    def _insert(
        self,
        allocation: Allocation,
        permissions: Mapping[bytes, float],
        channels: Mapping[int, tuple[bytes, float]],
        *,
        now: float,
    ) -> None:
        plane, number, relays = self.plane, allocation.number, allocation.relays
        forwards = allocation.transport == UDP
        listener, address, local = allocation.client
        plane.add_allocation(number, listener, address, relays[0].fd, allocation.expires, local, forwards=forwards)
        try:
            plane.describe(
                number,
                allocation.username,
                allocation.owner,
                relays,
                allocation.lifetime,
                transport=allocation.transport,
                ticket=allocation.ticket,
            )
            for relay in relays[1:]:
                if forwards:
                    plane.add_relay(number, relay.fd)
            for peer, expires in permissions.items():
                plane.set_permission(number, peer, expires, exact=len(peer) == PACKED_SIZE, now=now)
            for channel, (peer, expires) in channels.items():
                plane.bind_channel(number, channel, peer, expires, now=now)
            self.limit(allocation)
            if self._streams is not None and not forwards:
                self._streams.opened(allocation)
        except BaseException:
            plane.remove(number)
            raise

    def let_go(self, allocation: Allocation) -> Moving:
        """Take an allocation out, for another worker or another address of its client."""
        number, plane = allocation.number, self.plane
        moving = Moving(allocation, plane.permissions(number), plane.channels(number))
        self._remove(allocation)
        return moving

    def _remove(self, allocation: Allocation) -> None:
        self.plane.remove(allocation.number)
        if self._streams is not None and allocation.transport != UDP:
            self._streams.released(allocation)

    def release(self, allocation: Allocation, reason: str) -> None:
        """End an allocation, and close its sockets.

        Args:
            allocation: Which.
            reason: For the observer.
        """
        try:
            if self._observer is not None:
                self._observer.released(allocation, reason, self.plane.traffic(allocation.number))
        finally:
            self._remove(allocation)
            self._close(allocation)

    def _close(self, allocation: Allocation) -> None:
        """Close the sockets of an allocation, and give its quota back."""
        for relay in allocation.relays:
            self._close_relay(relay, allocation.transport)
        self.shared.quotas.give_back(allocation.owner)

    def _close_relay(self, relay: Relay, transport: int) -> None:
        self.shared.live.discard(relay.host, relay.port, transport)
        self.ports.close(relay)

    def refresh(self, allocation: Allocation, lifetime: int, *, now: float) -> None:
        """Let an allocation live that many seconds from now."""
        self.plane.refresh(allocation.number, now + lifetime, lifetime)

    def drop_relay(self, allocation: Allocation, family: int, *, now: float) -> None:
        """End one half of an allocation that has addresses of both families."""
        moving = self.let_go(allocation)
        for relay in allocation.relays:
            if relay.family == family:
                self._close_relay(relay, allocation.transport)
        left = Moving(
            allocation._replace(relays=tuple(relay for relay in allocation.relays if relay.family != family)),
            {peer: until for peer, until in moving.permissions.items() if _peer_family(peer) != family},
            {number: bound for number, bound in moving.channels.items() if family_of(bound[0]) != family},
        )
        self.adopt(left, allocation.client, now=now)

    def limit(self, allocation: Allocation) -> None:
        """Give an allocation its share of what its owner may relay."""
        quotas = self.shared.quotas
        bandwidth = quotas.limits.user_bandwidth
        if allocation.transport != UDP or not (bandwidth or self._limits):
            return
        self._limits = True
        share = max(bandwidth // max(quotas.held_by(allocation.owner), 1), 1) if bandwidth else 0
        if share != self.plane.rate(allocation.number):
            self.plane.limit(allocation.number, share)

    def expire(self, *, now: float) -> None:
        """End what is over, and share what users may relay among what is left."""
        self._release_all("expired", until=now)
        self.plane.expire(now)
        if self._limits or self.shared.quotas.limits.user_bandwidth:
            for allocation in self.all():
                self.limit(allocation)
            self._limits = bool(self.shared.quotas.limits.user_bandwidth)

    def close(self) -> None:
        """End everything."""
        self._release_all("closed")

    def _release_all(self, reason: str, *, until: float = math.inf) -> None:
        for number in self.plane.numbers(until):
            allocation = self.get(number)
            if allocation is not None:
                self.release(allocation, reason)


def _allocation(held: tuple[Any, ...] | None) -> Allocation | None:
    """Return what the data plane holds as what the machine works with."""
    if held is None:
        return None
    number, client, username, owner, relays, transport, lifetime, expires, ticket = held
    named_client, named_relays = _named(Client, client), tuple([_named(Relay, relay) for relay in relays])
    fields = number, named_client, username, owner, named_relays, transport, lifetime, expires, ticket
    return _named(Allocation, fields)


def host_of(address: bytes) -> bytes:
    """Return the host in a packed address: 4 or 16 bytes."""
    return address[8:12] if address[:2] == _IPV4_MARK else address[8:24]


def family_of(address: bytes) -> int:
    """Return the address family of a packed address, as STUN numbers it."""
    return IPV4 if address[:2] == _IPV4_MARK else IPV6


def _peer_family(peer: bytes) -> int:
    """Return the address family of what a permission is for."""
    return family_of(peer) if len(peer) == PACKED_SIZE else IPV4 if len(peer) == 4 else IPV6  # noqa: PLR2004
