"""The peers of an allocation: data to them and from them, and asking the server to let them in."""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from librats._core.stun import StunMessage, channel_data, parse_channel_data, serialise
from librats.errors import OperationTimeout, RatsError, StunError, TurnError, UsageError
from librats.stun.constants import Attribute, ErrorCode, MessageClass, Method
from librats.turn.allocation_events import TurnCounters, TurnPeerRefused
from librats.turn.client_events import Event, RequestDone, RequestFailed, turn_error
from librats.turn.client_peers import (
    CHANNEL_COUNT,
    FIRST_CHANNEL,
    NEVER,
    Channel,
    Channels,
    Permission,
    Permissions,
)
from librats.turn.client_requests import Request, Requester
from librats.types import Address, Entropy

__all__ = ["Relaying", "canonical_host", "is_lost"]

HOSTS_A_REQUEST = 16
REFUSED_TIME = 30.0
RETRY_TIME = 5.0
MAX_DATA = 65_000
ID_SIZE = 12

_LOST = frozenset({ErrorCode.ALLOCATION_MISMATCH, ErrorCode.WRONG_CREDENTIALS, ErrorCode.UNAUTHENTICATED})
_PASSING = frozenset({ErrorCode.STALE_NONCE, ErrorCode.SERVER_ERROR, ErrorCode.INSUFFICIENT_CAPACITY})


def is_lost(error: RatsError) -> bool:
    """Tell whether an answer, or that there is none, means that the allocation is not ours any more."""
    return isinstance(error, OperationTimeout) or (isinstance(error, StunError) and error.code in _LOST)


def canonical_host(host: str) -> str:
    """Return an IP address in the one spelling by which peers are known.

    Raises:
        UsageError: It is none.

    Example:
        >>> canonical_host("2001:DB8:0::7")
        '2001:db8::7'
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise UsageError(f"not an IP address: {host!r}") from None


class Relaying:
    """Permissions, channels and data of one client, over all allocations that it has one after the other.

    Args:
        entropy: Makes transaction ids and the first channel number.
        counters: Where datagrams are counted.
        events: Where events go.
        lost: Called with a reason and the time where the server knows of no allocation.
        padded: True over TCP and TLS, where ChannelData has padding.
        channels: Whether a peer that is sent to gets a channel by itself.
    """

    def __init__(
        self,
        entropy: Entropy,
        counters: TurnCounters,
        events: deque[Event],
        lost: Callable[[str, float], None],
        *,
        padded: bool,
        channels: bool,
    ) -> None:
        self._entropy = entropy
        self._counters = counters
        self._events = events
        self._lost = lost
        self._padded = padded
        self._uses_channels = channels
        self._permissions = Permissions()
        self._channels = Channels(FIRST_CHANNEL + entropy.randbelow(CHANNEL_COUNT))
        self._requester: Requester | None = None
        self._families: frozenset[int] = frozenset()
        self._unmade: dict[int, set[str]] = {}
        self._received: list[tuple[bytes, Address]] = []

    # The allocation

    def begin(self, requester: Requester, relayed: Sequence[Address], now: float) -> None:
        """There is a new allocation: make everything that is wanted."""
        self._requester = requester
        self._families = frozenset(_family(address.host) for address in relayed)
        self._permissions.forget_server()
        self._channels.forget_server()
        self.handle_timer(now)

    def move(self, requester: Requester, now: float) -> None:
        """The same allocation is used over another path: ask again what was not answered over the old one."""
        self._requester = requester
        for permission in self._permissions:
            if permission.asked:
                permission.asked, permission.due = False, now
        for channel in self._channels:
            if channel.asked:
                channel.asked, channel.due = False, now
        self.handle_timer(now)

    def pause(self) -> None:
        """There is no allocation at the moment; who waits for a permission waits for the next one."""
        self._requester = None
        for permission in self._permissions:
            self._counters.dropped += len(permission.release())

    def end(self, error: RatsError) -> None:
        """There will be none any more."""
        self.pause()
        waiting = set(self._unmade)
        for channel in self._channels:
            waiting.update(channel.requests)
            channel.requests.clear()
        self._unmade.clear()
        self._events.extend(RequestFailed(request, error) for request in sorted(waiting))

    @property
    def hosts(self) -> list[str]:
        """The peers that permissions are wanted for."""
        return [permission.host for permission in self._permissions]

    def is_permitted(self, host: str, now: float) -> bool:
        """Tell whether a peer is let in now."""
        return self._permissions.is_made(host, now)

    # Permissions and channels

    def want_permissions(self, request: int, hosts: Iterable[str], now: float) -> None:
        """Let peers in; RequestDone or RequestFailed with that number follows.

        Raises:
            TurnError: The allocation has no address of a peer's family.
        """
        wanted = list(dict.fromkeys(hosts))
        for host in wanted:
            self._check_family(host)
        missing = {host for host in wanted if not self._permissions.is_made(host, now)}
        for host in wanted:
            permission = self._permissions.want(host)
            if host in missing:
                permission.requests.append(request)
                if not permission.asked:
                    permission.due = now
        if missing:
            self._unmade[request] = missing
            self.handle_timer(now)
        else:
            self._events.append(RequestDone(request))

    def drop_permissions(self, hosts: Iterable[str]) -> None:
        """Let peers in no longer than the permissions at the server last; their channels end with them."""
        for host in hosts:
            permission = self._permissions.drop(host)
            if permission is not None:
                self._counters.dropped += len(permission.release())
                self._settle(permission.requests, host, turn_error(ErrorCode.FORBIDDEN, "dropped while asked for"))
            for channel in self._channels:
                if channel.peer.host == host:
                    channel.wanted = False

    def want_channel(self, request: int, peer: Address, now: float) -> None:
        """Bind a channel to a peer; RequestDone or RequestFailed with that number follows.

        Raises:
            TurnError: The allocation has no address of the peer's family.
            LocalProtocolError: All channels are taken.
        """
        self._check_family(peer.host)
        channel = self._channels.want(peer, now)
        if self._permissions.get(peer.host) is None:
            self._permissions.want(peer.host).due = NEVER  # the binding makes it
        if channel.until > now:
            self._events.append(RequestDone(request))
            return
        channel.requests.append(request)
        if not channel.asked:
            channel.due = now
        self.handle_timer(now)

    def drop_channel(self, peer: Address) -> None:
        """Renew the channel of a peer no more; data goes in Send indications once it has ended."""
        self._channels.drop(peer)

    def _check_family(self, host: str) -> None:
        if self._families and _family(host) not in self._families:
            raise turn_error(ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is due."""
        if self._requester is None:
            return None
        times = (self._permissions.next_time(), self._channels.next_time())
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Make and renew what is due."""
        if self._requester is None:
            return
        for channel in self._channels.take_due(now):
            self._bind(channel, now)
        due = self._permissions.take_due(now)
        for start in range(0, len(due), HOSTS_A_REQUEST):
            self._permit([permission.host for permission in due[start : start + HOSTS_A_REQUEST]], now)

    def _permit(self, hosts: list[str], now: float) -> None:
        def done(_message: StunMessage, now: float) -> None:
            for permission in self._permissions.made(hosts, now):
                self._permitted(permission, now)

        def failed(error: RatsError, _message: StunMessage | None, now: float) -> None:
            if is_lost(error):
                self._lost(str(error), now)
            elif len(hosts) > 1 and isinstance(error, TurnError) and error.code not in _PASSING:
                # RFC 8656, 9.2: one that is not allowed fails the whole request.
                for host in hosts:
                    self._permit([host], now)
            else:
                for host in hosts:
                    self._refused(host, error, now, every_port=not ports.get(host))

        # The port does not matter to most servers, but to those whose allocations share a port.
        ports = {channel.peer.host: channel.peer.port for channel in self._channels if channel.wanted}
        for host in hosts:
            permission = self._permissions.get(host)
            if host not in ports and permission is not None and permission.waiting:
                ports[host] = permission.waiting[0][1].port
        attributes = [(Attribute.XOR_PEER_ADDRESS, (host, ports.get(host, 0))) for host in hosts]
        if self._requester is not None:
            self._requester.send(Request(Method.CREATE_PERMISSION, attributes, done, failed), now)

    def _permitted(self, permission: Permission, now: float) -> None:
        self._settle(permission.requests, permission.host, None)
        if self._requester is None:
            return
        for data, peer in permission.release():
            if (message := self._message_to(data, peer, now)) is not None:
                self._requester.write(message)

    def _settle(self, requests: list[int], host: str, error: RatsError | None) -> None:
        for request in requests:
            if error is not None:
                if self._unmade.pop(request, None) is not None:
                    self._events.append(RequestFailed(request, error))
                continue
            missing = self._unmade.get(request)
            if missing is None:
                continue
            missing.discard(host)
            if not missing:
                del self._unmade[request]
                self._events.append(RequestDone(request))
        requests.clear()

    def _refused(self, host: str, error: RatsError, now: float, *, every_port: bool) -> None:
        permission = self._permissions.get(host)
        if permission is None:
            return
        permission.asked = False
        if permission.until > now and isinstance(error, TurnError) and error.code in _PASSING:
            permission.due = now + RETRY_TIME
            return
        permission.until = 0.0
        permission.due = NEVER
        # Of itself a server may permit the ports from which it relays, and no others: one of them is another question.
        permission.refused_until = now if every_port else now + REFUSED_TIME
        self._counters.dropped += len(permission.release())
        if permission.requests:
            self._settle(permission.requests, host, error)
        else:
            self._events.append(TurnPeerRefused(host, error))

    def _bind(self, channel: Channel, now: float) -> None:
        def done(_message: StunMessage, now: float) -> None:
            self._channels.bound(channel, now)
            self._events.extend(RequestDone(request) for request in channel.requests)
            channel.requests.clear()
            # RFC 8656, 12: the binding makes or renews the permission, too.
            for permission in self._permissions.made([channel.peer.host], now):
                self._permitted(permission, now)

        def failed(error: RatsError, _message: StunMessage | None, now: float) -> None:
            if is_lost(error):
                self._lost(str(error), now)
                return
            channel.asked = False
            if channel.until > now and isinstance(error, TurnError) and error.code in _PASSING:
                channel.due = now + RETRY_TIME
                return
            channel.wanted = False
            channel.until = now
            if channel.requests:
                self._events.extend(RequestFailed(request, error) for request in channel.requests)
                channel.requests.clear()
            elif not self._permissions.is_made(channel.peer.host, now):
                return  # the permission's own request tells of it
            else:
                self._events.append(TurnPeerRefused(channel.peer.host, error))

        attributes = [(Attribute.CHANNEL_NUMBER, channel.number), (Attribute.XOR_PEER_ADDRESS, channel.peer)]
        if self._requester is not None:
            self._requester.send(Request(Method.CHANNEL_BIND, attributes, done, failed), now)

    # Data

    def send(self, data: bytes, peer: Address, now: float) -> tuple[bool, bytes | None]:
        """Put a datagram for a peer into a message for the server.

        The first one to a peer asks for a permission, and waits for it.

        Returns:
            Whether the datagram was taken, and the message to send, None where it must wait.

        Raises:
            UsageError: The peer's host is no IP address.
        """
        if self._requester is None or len(data) > MAX_DATA or _family(peer.host) not in self._families:
            self._counters.dropped += 1
            return False, None
        channel = self._channels.bound_to(peer)
        if channel is not None and channel.until > now:
            self._counters.sent += 1
            return True, channel_data(channel.number, data, padded=self._padded)
        permission = self._permissions.get(peer.host)
        if permission is None:
            peer = Address(canonical_host(peer.host), peer.port)
            channel = self._channels.bound_to(peer)
            permission = self._permissions.want(peer.host)
        if permission.until > now:
            if channel is None:
                self._use_channel(peer, now)
            return True, self._message_to(data, peer, now)
        if permission.refused_until > now or not permission.hold(data, peer):
            self._counters.dropped += 1
            return False, None
        if not permission.asked:
            permission.due = now
            if channel is None:
                self._use_channel(peer, now)
            self.handle_timer(now)
        return True, None

    def _use_channel(self, peer: Address, now: float) -> None:
        if self._uses_channels and self._channels.has_room:
            self._channels.want(peer, now)
            self.handle_timer(now)

    def _message_to(self, data: bytes, peer: Address, now: float) -> bytes | None:
        channel = self._channels.bound_to(peer)
        self._counters.sent += 1
        if channel is not None and channel.until > now:
            return channel_data(channel.number, data, padded=self._padded)
        return serialise(
            Method.SEND,
            MessageClass.INDICATION,
            self._entropy.token_bytes(ID_SIZE),
            ((Attribute.XOR_PEER_ADDRESS, peer), (Attribute.DATA, data)),
        )

    def take_data(self) -> list[tuple[bytes, Address]]:
        """Return the datagrams of peers that have come, with their addresses."""
        received, self._received = self._received, []
        return received

    def receive_channel_data(self, frame: bytes, now: float) -> None:
        """Take a ChannelData message.

        Raises:
            StunError: It does not parse.
        """
        number, data = parse_channel_data(frame)
        channel = self._channels.numbered(number)
        # RFC 8656, 12.6: what comes on a channel that is not bound is discarded.
        if channel is None or (channel.until <= now and not channel.asked):
            self._counters.uninvited += 1
            return
        self._counters.received += 1
        self._received.append((data, channel.peer))

    def receive_indication(self, message: StunMessage, now: float) -> None:
        """Take a Data indication (RFC 8656, 11.4).

        Raises:
            StunError: A value does not parse.
        """
        peer, data = message.get(Attribute.XOR_PEER_ADDRESS), message.get(Attribute.DATA)
        if peer is None or data is None:
            if message.get(Attribute.ICMP) is None:
                self._counters.malformed += 1
            return
        host, port = peer
        if not self._permissions.is_made(host, now):
            self._counters.uninvited += 1
            return
        self._counters.received += 1
        self._received.append((data, Address(host, port)))


def _family(host: str) -> int:
    return 6 if ":" in host else 4
