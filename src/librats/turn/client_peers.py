"""Who may send to a relayed address: permissions and channels, and when they must be renewed (RFC 8656, 9 and 12)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from librats.errors import LocalProtocolError
from librats.types import Address

__all__ = ["Channel", "Channels", "Permission", "Permissions"]

PERMISSION_LIFETIME = 300.0
PERMISSION_RENEWAL = 230.0  # long enough before the end that a whole transaction fits
CHANNEL_LIFETIME = 600.0
CHANNEL_RENEWAL = 530.0
CHANNEL_COOLING = 300.0  # RFC 8656, 12: until a channel that ended may go to another peer
RENEWAL_TOGETHER = 30.0  # what is due within that time is renewed with what is due now
FIRST_CHANNEL = 0x4000
CHANNEL_COUNT = 0x1000
NEVER = float("inf")

MAX_WAITING = 32
MAX_WAITING_BYTES = 64 * 1024


class Permission:
    """Whether one IP address may send to us, and we to it."""

    __slots__ = ("asked", "due", "host", "refused_until", "requests", "until", "waiting", "waiting_bytes")

    def __init__(self, host: str) -> None:
        self.host = host
        self.until = 0.0
        """When it ends at the server; 0 where it was not made."""
        self.due = 0.0
        """When it is to be made or renewed; never while that is being asked for."""
        self.asked = False
        """True while the server is being asked."""
        self.refused_until = 0.0
        """Until when the server is not asked again for datagrams, because it refused."""
        self.requests: list[int] = []
        """Who waits for it."""
        self.waiting: deque[tuple[bytes, Address]] = deque()
        """Datagrams that wait for it."""
        self.waiting_bytes = 0

    def hold(self, data: bytes, peer: Address) -> bool:
        """Keep a datagram until the permission is made; False where too many wait."""
        if len(self.waiting) >= MAX_WAITING or self.waiting_bytes + len(data) > MAX_WAITING_BYTES:
            return False
        self.waiting.append((data, peer))
        self.waiting_bytes += len(data)
        return True

    def release(self) -> list[tuple[bytes, Address]]:
        """Return and forget the datagrams that wait."""
        held = list(self.waiting)
        self.waiting.clear()
        self.waiting_bytes = 0
        return held


class Permissions:
    """The permissions that are wanted, by IP address; each is made, and renewed until it is dropped."""

    def __init__(self) -> None:
        self._by_host: dict[str, Permission] = {}

    def __iter__(self) -> Iterator[Permission]:
        """Those that are wanted."""
        return iter(self._by_host.values())

    def __len__(self) -> int:
        """How many are wanted."""
        return len(self._by_host)

    def get(self, host: str) -> Permission | None:
        """Return that of an address, made or not; None where none is wanted."""
        return self._by_host.get(host)

    def want(self, host: str) -> Permission:
        """Return that of an address, which is wanted from now on."""
        permission = self._by_host.get(host)
        if permission is None:
            permission = self._by_host[host] = Permission(host)
        return permission

    def drop(self, host: str) -> Permission | None:
        """Want it no more; at the server it ends by itself."""
        return self._by_host.pop(host, None)

    def is_made(self, host: str, now: float) -> bool:
        """Tell whether the server lets that address in now."""
        permission = self._by_host.get(host)
        return permission is not None and permission.until > now

    def made(self, hosts: Iterable[str], now: float) -> list[Permission]:
        """The server has made or renewed them; return those that are still wanted."""
        found = [permission for host in hosts if (permission := self._by_host.get(host)) is not None]
        for permission in found:
            permission.asked = False
            permission.refused_until = 0.0
            permission.until = now + PERMISSION_LIFETIME
            permission.due = now + PERMISSION_RENEWAL
        return found

    def take_due(self, now: float) -> list[Permission]:
        """Return those to be made or renewed now, and with them those that soon will be."""
        if not any(permission.due <= now and not permission.asked for permission in self):
            return []
        horizon = now + RENEWAL_TOGETHER
        due = [permission for permission in self if permission.due <= horizon and not permission.asked]
        for permission in due:
            permission.asked = True
        return due

    def next_time(self) -> float | None:
        """Return when :meth:`take_due` has something."""
        due = min((permission.due for permission in self if not permission.asked), default=NEVER)
        return None if due == NEVER else due

    def forget_server(self) -> None:
        """The allocation is gone: all of them must be made again."""
        for permission in self:
            permission.until = permission.due = permission.refused_until = 0.0
            permission.asked = False


class Channel:
    """A number that stands for one peer in ChannelData."""

    __slots__ = ("asked", "due", "number", "peer", "requests", "until", "wanted")

    def __init__(self, number: int, peer: Address) -> None:
        self.number = number
        self.peer = peer
        self.until = 0.0
        self.due = 0.0
        self.asked = False
        self.wanted = True
        self.requests: list[int] = []


class Channels:
    """The channels of an allocation, by number and by peer.

    Args:
        first: The number that is given out first.
    """

    def __init__(self, first: int = FIRST_CHANNEL) -> None:
        self._next = first
        self._by_number: dict[int, Channel] = {}
        self._by_peer: dict[Address, Channel] = {}

    def __iter__(self) -> Iterator[Channel]:
        """Every channel, those that cool down, too."""
        return iter(self._by_number.values())

    @property
    def has_room(self) -> bool:
        """True where another channel may be bound without looking for one that has ended."""
        return len(self._by_number) < CHANNEL_COUNT

    def bound_to(self, peer: Address) -> Channel | None:
        """Return the channel of a peer, bound or not."""
        return self._by_peer.get(peer)

    def numbered(self, number: int) -> Channel | None:
        """Return the channel of that number."""
        return self._by_number.get(number)

    def want(self, peer: Address, now: float) -> Channel:
        """Return the channel of a peer, which is wanted from now on.

        Raises:
            LocalProtocolError: All 4,096 are taken.
        """
        channel = self._by_peer.get(peer)
        if channel is None:
            self._sweep(now)
            if len(self._by_number) >= CHANNEL_COUNT:
                raise LocalProtocolError(f"all {CHANNEL_COUNT} channels of the allocation are taken")
            while self._next in self._by_number:
                self._next = _after(self._next)
            channel = self._by_peer[peer] = self._by_number[self._next] = Channel(self._next, peer)
            self._next = _after(self._next)
        if not channel.wanted:
            channel.wanted = True
            channel.due = 0.0
        return channel

    def drop(self, peer: Address) -> Channel | None:
        """Renew it no more. The number stays with the peer until it has ended and cooled down."""
        channel = self._by_peer.get(peer)
        if channel is not None:
            channel.wanted = False
        return channel

    def remove(self, channel: Channel) -> None:
        """Forget a channel that was never bound."""
        if self._by_number.get(channel.number) is channel:
            del self._by_number[channel.number]
            del self._by_peer[channel.peer]

    def bound(self, channel: Channel, now: float) -> None:
        """The server has bound or renewed it."""
        channel.asked = False
        channel.until = now + CHANNEL_LIFETIME
        channel.due = now + CHANNEL_RENEWAL

    def _sweep(self, now: float) -> None:
        for channel in [c for c in self if not c.wanted and now >= c.until + CHANNEL_COOLING]:
            self.remove(channel)

    def take_due(self, now: float) -> list[Channel]:
        """Return those to be bound or renewed now."""
        due = [channel for channel in self if channel.wanted and channel.due <= now and not channel.asked]
        for channel in due:
            channel.asked = True
        return due

    def next_time(self) -> float | None:
        """Return when :meth:`take_due` has something."""
        return min((channel.due for channel in self if channel.wanted and not channel.asked), default=None)

    def forget_server(self) -> None:
        """The allocation is gone: those still wanted must be bound again, the others are free."""
        for channel in list(self):
            if not channel.wanted:
                self.remove(channel)
            channel.until = channel.due = 0.0
            channel.asked = False


def _after(number: int) -> int:
    return FIRST_CHANNEL + (number + 1 - FIRST_CHANNEL) % CHANNEL_COUNT
