"""The data plane of a simulated relay, in the place of :class:`librats._core.relay.Plane`, one packet at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from librats._core.allocations import Allocations
from librats._core.relay import pack_address, unpack_address
from librats._core.stun import MAGIC_COOKIE, channel_data, parse, parse_channel_data, serialise
from librats.errors import StunError
from librats.stun.constants import Attribute, MessageClass, Method
from librats.testing.datagrams import Arrived, SimDatagramSocket
from librats.turn.serving.allocation import Client
from librats.turn.serving.tables import PACKED_SIZE, family_of, host_of
from librats.types import Address

__all__ = ["SimPlane"]

FIRST_CHANNEL, FIRST_NEITHER = 0x40, 0x80
SESSION, COOKIE = 1, MAGIC_COOKIE.to_bytes(4)
HEADER = 20
LEAST_BURST = 65_536.0
MAX_DATAGRAM = 65_507
DROPS = (
    *("malformed", "no_allocation", "no_channel", "no_permission", "dont_fragment", "over_limit", "oversized"),
    *("unreachable", "events"),
)


class Rate:
    """How many bytes a second may pass; any number where it is 0."""

    def __init__(self, rate: float = 0.0, now: float = 0.0) -> None:
        self.rate = rate
        self._tokens = max(rate, LEAST_BURST)
        self._filled = now

    def allows(self, size: int, now: float) -> bool:
        """Whether that many bytes may pass now, which counts them."""
        if not self.rate:
            return True
        self._tokens = min(self._tokens + (now - self._filled) * self.rate, max(self.rate, LEAST_BURST))
        self._filled = now
        if self._tokens < size:
            return False
        self._tokens -= size
        return True


class Relaying:
    """What the plane holds for an allocation."""

    def __init__(self, number: int, client: Client, expires: float) -> None:
        self.number = number
        self.client = client
        self.expires = expires
        self.sockets: dict[int, SimDatagramSocket] = {}
        """By address family, as STUN numbers it."""
        self.permissions: dict[bytes, float] = {}
        self.channels: dict[int, tuple[bytes, float]] = {}
        self.by_peer: dict[bytes, int] = {}
        self.rate = Rate()
        self.traffic = [0, 0, 0, 0]

    def permits(self, peer: bytes, now: float) -> bool:
        """Whether a peer may send and be sent to."""
        permissions = self.permissions
        return permissions.get(host_of(peer), now) > now or permissions.get(peer, now) > now


class SimPlane(Allocations):
    """Forwards what clients and peers send, and hands requests over.

    Args:
        control: Called with who sent a request, and with the request.
        to_stream: Called with the number of an allocation, and with what is for its client, who is connected.
        sockets: The relaying sockets by their numbers.
    """

    can_keep_whole = False
    """Whether DONT-FRAGMENT is heeded."""

    def __init__(
        self,
        control: Callable[[Client, bytes], object],
        to_stream: Callable[[int, bytes], object],
        sockets: dict[int, SimDatagramSocket],
    ) -> None:
        self.sessions: Callable[[int, bytes, bytes, bytes], object] | None = None
        """Called with each packet of a session over UDP: the listener's number, where it came from and to, and itself;
        None drops them."""
        self._loop = asyncio.get_running_loop()
        self._control = control
        self._to_stream = to_stream
        self._sockets = sockets
        self._listeners: list[SimDatagramSocket] = []
        self._relaying: dict[int, Relaying] = {}
        self._by_client: dict[tuple[int, bytes], Relaying] = {}
        self._counters = dict.fromkeys(("received", "to_peer", "to_client", "to_peer_bytes", "to_client_bytes"), 0)
        self._counters |= {"ignored": 0} | {f"dropped_{why}": 0 for why in DROPS}
        self._rate = Rate()

    def listen(self, sock: SimDatagramSocket) -> int:
        """Serve a socket, and return its number."""
        listener = len(self._listeners)
        self._listeners.append(sock)
        self._loop.add_reader(sock.fileno(), self._read_clients, listener, sock)
        return listener

    def close(self) -> None:
        """Serve nobody any more."""
        for sock in self._listeners:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def statistics(self) -> dict[str, int]:
        """Return the counters, by the names that the compiled plane has for them."""
        return self._counters | {"allocations": len(self._relaying)}

    def send(self, listener: int, client: bytes, local: bytes, data: bytes) -> None:
        """Send an answer from a listener."""
        self._send(self._listeners[listener], data, client, unpack_address(local)[0] if local else None)

    def _send(self, sock: SimDatagramSocket, data: bytes, to: bytes, local: str | None = None) -> None:
        try:
            sock.send_from(data, Address(*unpack_address(to)), local)
        except OSError:
            self._drop("unreachable")

    def _drop(self, why: str) -> None:
        self._counters[f"dropped_{why}"] += 1

    # What clients send

    def _read_clients(self, listener: int, sock: SimDatagramSocket) -> None:
        while (arrived := sock.next()) is not None:
            self._counters["received"] += 1
            self._from_client(listener, sock.getsockname()[1], arrived)

    def _from_client(self, listener: int, port: int, arrived: Arrived) -> None:
        data, source = arrived.data, pack_address(*arrived.source)
        if not data or data[0] >= FIRST_NEITHER:
            self._drop("malformed")
        elif data[0] >= FIRST_CHANNEL or data[:2] == b"\0\x16":
            relaying = self._by_client.get((listener, source))
            if relaying is None:
                self._drop("no_allocation")
            else:
                self.forward(relaying.number, data)
        elif self.sessions is not None and data[0] >> 4 == SESSION and data[4:8] != COOKIE:
            self.sessions(listener, source, pack_address(arrived.local, port), data)
        elif len(data) != HEADER + int.from_bytes(data[2:4], "big"):
            self._drop("malformed")
        elif data[0] & 1 or data[1] & 0x10:
            self._counters["ignored"] += 1  # a response, or an indication that is for nobody here
        else:
            self._control(Client(listener, source, pack_address(arrived.local, port)), data)

    def forward(self, number: int, data: bytes) -> int:
        """Send what a client's ChannelData or Send indication carries to its peer, and return how many that were."""
        relaying, now = self._relaying[number], self._loop.time()
        if relaying.expires <= now:
            self._drop("no_allocation")
            return 0
        try:
            if data[0] >= FIRST_CHANNEL:
                channel, payload = parse_channel_data(data)
                peer, expires = relaying.channels.get(channel, (b"", now))
                if expires <= now:
                    self._drop("no_channel")
                    return 0
            else:
                message = parse(data)
                address, payload = message.get(Attribute.XOR_PEER_ADDRESS), message.get(Attribute.DATA)
                if address is None or payload is None or message.unknown_required():
                    self._drop("malformed")
                    return 0
                if message.raw(Attribute.DONT_FRAGMENT) is not None:
                    self._drop("dont_fragment")
                    return 0
                peer = pack_address(*address)
        except StunError:
            self._drop("malformed")
            return 0
        return self._to_peer(relaying, peer, payload, now)

    def _to_peer(self, relaying: Relaying, peer: bytes, payload: bytes, now: float) -> int:
        sock = relaying.sockets.get(family_of(peer))
        if not relaying.permits(peer, now):
            self._drop("no_permission")
        elif sock is None:
            self._drop("unreachable")
        elif self._is_within_limits(relaying, len(payload), now):
            self._send(sock, payload, peer)
            self._count(relaying, 0, "to_peer", len(payload))
            return 1
        return 0

    def _is_within_limits(self, relaying: Relaying, size: int, now: float) -> bool:
        allowed = relaying.rate.allows(size, now) and self._rate.allows(size, now)
        if not allowed:
            self._drop("over_limit")
        return allowed

    def _count(self, relaying: Relaying, at: int, way: str, size: int) -> None:
        relaying.traffic[at] += 1
        relaying.traffic[at + 1] += size
        self._counters[way] += 1
        self._counters[f"{way}_bytes"] += size

    # What peers send

    def _read_peers(self, relaying: Relaying, sock: SimDatagramSocket) -> None:
        while (arrived := sock.next()) is not None:
            self._counters["received"] += 1
            self._from_peer(relaying, pack_address(*arrived.source), arrived.data)

    def _from_peer(self, relaying: Relaying, peer: bytes, data: bytes) -> None:
        now = self._loop.time()
        if relaying.expires <= now:
            self._drop("no_allocation")
            return
        if not relaying.permits(peer, now):
            self._drop("no_permission")
            return
        if not self._is_within_limits(relaying, len(data), now):
            return
        listener, client, local = relaying.client
        channel = relaying.by_peer.get(peer)
        if channel is not None and relaying.channels[channel][1] > now:
            packet = channel_data(channel, data, padded=listener < 0)
        else:
            carried = [(Attribute.XOR_PEER_ADDRESS, unpack_address(peer)), (Attribute.DATA, data)]
            packet = serialise(Method.DATA, MessageClass.INDICATION, bytes(12), carried)
        if len(packet) > MAX_DATAGRAM:
            self._drop("oversized")
            return
        self._count(relaying, 2, "to_client", len(data))
        if listener < 0:
            self._to_stream(relaying.number, packet)
        else:
            self.send(listener, client, local, packet)

    # What the tables tell (turn.serving.tables.DataPlane)

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
        super().add_allocation(number, listener, client, relay_fd, expires, local, forwards=forwards)
        relaying = self._relaying[number] = Relaying(number, Client(listener, client, local), expires)
        if listener >= 0:
            self._by_client[listener, client] = relaying
        if forwards:
            self._read_from(relaying, relay_fd)

    def add_relay(self, number: int, relay_fd: int) -> None:
        """Relay through one more socket, of another address family."""
        super().add_relay(number, relay_fd)
        self._read_from(self._relaying[number], relay_fd)

    def _read_from(self, relaying: Relaying, relay_fd: int) -> None:
        sock = self._sockets[relay_fd]
        assert sock.local is not None  # noqa: S101 - who opened it has bound it
        relaying.sockets[family_of(pack_address(sock.local.host, 0))] = sock
        self._loop.add_reader(relay_fd, self._read_peers, relaying, sock)

    def refresh(self, number: int, expires: float, lifetime: int = 0) -> None:
        """Move an allocation's expiry."""
        super().refresh(number, expires, lifetime)
        self._relaying[number].expires = expires

    def remove(self, number: int) -> None:
        """Forget an allocation."""
        super().remove(number)
        relaying = self._relaying.pop(number)
        if relaying.client.listener >= 0:
            del self._by_client[relaying.client.listener, relaying.client.address]
        for sock in relaying.sockets.values():
            self._loop.remove_reader(sock.fileno())

    def set_permission(
        self, number: int, peer: bytes, expires: float, *, exact: bool = False, now: float | None = None
    ) -> bool:
        """Let a peer send and be sent to: a host, or exactly one port of it."""
        key = host_of(peer) if len(peer) == PACKED_SIZE and not exact else peer
        self._relaying[number].permissions[key] = expires
        return super().set_permission(number, peer, expires, exact=exact, now=self._time(now))

    def bind_channel(self, number: int, channel: int, peer: bytes, expires: float, *, now: float | None = None) -> bool:
        """Bind a channel to a peer."""
        relaying = self._relaying[number]
        relaying.channels[channel] = peer, expires
        relaying.by_peer[peer] = channel
        return super().bind_channel(number, channel, peer, expires, now=self._time(now))

    def _time(self, now: float | None) -> float:
        return self._loop.time() if now is None else now

    def limit(self, number: int, bytes_per_second: float) -> None:
        """Limit what an allocation relays."""
        super().limit(number, bytes_per_second)
        self._relaying[number].rate = Rate(bytes_per_second, self._loop.time())

    def limit_total(self, bytes_per_second: int) -> None:
        """Limit what all of them relay together."""
        self._rate = Rate(bytes_per_second, self._loop.time())

    def expire(self, now: float) -> list[int]:
        """Drop what is over; the tables have ended the allocations among it."""
        for relaying in self._relaying.values():
            relaying.permissions = {peer: until for peer, until in relaying.permissions.items() if until > now}
            for channel in [channel for channel, (_, until) in relaying.channels.items() if until <= now]:
                relaying.by_peer.pop(relaying.channels.pop(channel)[0], None)
        return super().expire(now)

    def traffic(self, number: int) -> tuple[int, int, int, int]:
        """Return packets and bytes to peers, then packets and bytes to the client."""
        a, b, c, d = self._relaying[number].traffic
        return a, b, c, d
