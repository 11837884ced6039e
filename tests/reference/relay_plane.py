"""A slow, obvious data plane of the relay: what :class:`librats._core.relay.Plane` must do, packet by packet.

It has the same interface. It forgets nothing by itself: :meth:`ReferencePlane.expire` does, and nothing over is used.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import time
from dataclasses import dataclass, field

from librats._core.relay import pack_address, unpack_address
from librats.errors import UsageError

COOKIE = struct.pack(">I", 0x2112A442)
UNDERSTOOD = frozenset({0x0008, 0x0012, 0x0013, 0x001A, 0x001C})
DROPS = [
    "malformed",
    "no_allocation",
    "no_channel",
    "no_permission",
    "dont_fragment",
    "over_limit",
    "oversized",
    "unreachable",
    "events",
]

Event = tuple[str, int, bytes, bytes, bytes, None] | tuple[str, int, bytes]


@dataclass
class Bucket:
    rate: float = 0.0
    tokens: float = 0.0
    filled: float = 0.0

    def allows(self, size: int, now: float) -> bool:
        if not self.rate:
            return True
        self.tokens = min(self.tokens + (now - self.filled) * self.rate, max(self.rate, 65536.0))
        self.filled = now
        if self.tokens < size:
            return False
        self.tokens -= size
        return True


@dataclass
class Allocation:
    number: int
    listener: int
    client: bytes
    sock: socket.socket
    shared: bool
    expires: float
    local: bytes
    permissions: dict[bytes, float] = field(default_factory=dict)
    channels: dict[int, tuple[bytes, float]] = field(default_factory=dict)
    traffic: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    bucket: Bucket = field(default_factory=Bucket)
    other: socket.socket | None = None

    def key(self, peer: bytes) -> bytes:
        """What a permission for a peer is found by: the host, and on a shared socket the port."""
        host, port = unpack_address(peer)
        return pack_address(host, port if self.shared else 0)

    def permits(self, peer: bytes, now: float) -> bool:
        return max(self.permissions.get(self.key(peer), now), self.permissions.get(peer, now)) > now

    def clashes(self, channel: int, peer: bytes) -> bool:
        return any((n == channel) != (bound == peer) for n, (bound, _) in self.channels.items())

    def socket_for(self, peer: bytes) -> socket.socket:
        family = socket.AF_INET6 if ":" in unpack_address(peer)[0] else socket.AF_INET
        return self.other if self.other is not None and self.other.family == family else self.sock

    def channel_of(self, peer: bytes, now: float) -> int | None:
        return next((n for n, (bound, expires) in self.channels.items() if bound == peer and expires > now), None)


def packed(name: tuple[str, int]) -> bytes:
    return pack_address(name[0], name[1])


def sockaddr(sock: socket.socket, address: bytes) -> tuple[str, int]:
    host, port = unpack_address(address)
    if sock.family == socket.AF_INET6 and ":" not in host:
        host = f"::ffff:{host}"
    return host, port


def attributes(message: bytes) -> list[tuple[int, bytes]] | None:
    """Types and values up to the integrity; None where lengths are wrong."""
    found, at = [], 20
    while at < len(message):
        kind, size = struct.unpack_from(">HH", message, at)
        end = at + 4 + (size + 3) // 4 * 4
        if end > len(message):
            return None
        if kind in {0x0008, 0x001C}:
            break
        found.append((kind, message[at + 4 : at + 4 + size]))
        at = end
    return found


def xor_address(value: bytes, message: bytes) -> bytes | None:
    if len(value) not in {8, 20} or value[1] != (1 if len(value) == 8 else 2):
        return None
    (port,) = struct.unpack(">H", bytes(a ^ b for a, b in zip(value[2:4], COOKIE, strict=False)))
    host = bytes(a ^ b for a, b in zip(value[4:], message[4:20], strict=False))
    return pack_address(str(ipaddress.ip_address(host)), port)


def parse_send(message: bytes) -> tuple[str, bytes, bytes]:
    """The verdict on a Send indication, its peer and data."""
    found = attributes(message) if message[4:8] == COOKIE else None
    if found is None or any(kind < 0x8000 and kind not in UNDERSTOOD for kind, _ in found):
        return "malformed", b"", b""
    first = dict(reversed(found))
    peer = xor_address(first[0x12], message) if 0x12 in first else None
    if peer is None or 0x13 not in first:
        return "malformed", b"", b""
    return "sound", peer, first[0x13]


def data_indication(peer: bytes, data: bytes) -> bytes:
    host, port = unpack_address(peer)
    raw = ipaddress.ip_address(host).packed
    head = COOKIE + bytes(12)
    value = bytes([0, 1 if len(raw) == 4 else 2])
    value += bytes(a ^ b for a, b in zip(struct.pack(">H", port), COOKIE, strict=False))
    value += bytes(a ^ b for a, b in zip(raw, head, strict=False))
    body = struct.pack(">HH", 0x12, len(value)) + value + struct.pack(">HH", 0x13, len(data)) + data
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", 0x17, len(body)) + head + body


class ReferencePlane:
    """The data plane by ``select``, one packet at a time, where systems can do what DONT-FRAGMENT asks for."""

    def __init__(self, *, max_allocations: int = 100_000, **_ignored: object) -> None:
        self.listeners: list[socket.socket] = []
        self.shared: dict[int, socket.socket] = {}
        self.allocations: dict[int, Allocation] = {}
        self.max_allocations = max_allocations
        self.counters = dict.fromkeys((f"dropped_{reason}" for reason in DROPS), 0) | {"ignored": 0, "received": 0}
        self.answers: list[tuple[int, bytes, bytes]] = []
        self.events: list[Event] = []
        self.bucket = Bucket()
        self.woken, self.waker = socket.socketpair()
        self.woken.setblocking(False)

    def add_listener(self, fd: int) -> int:
        self.listeners.append(socket.socket(fileno=socket.dup(fd)))
        return len(self.listeners) - 1

    def share_relay(self, fd: int) -> None:
        self.shared[fd] = socket.socket(fileno=socket.dup(fd))

    def wake(self) -> None:
        self.waker.send(b"w")

    def close(self) -> None:
        for sock in [*self.own(), *self.listeners, *self.shared.values(), self.woken, self.waker]:
            sock.close()

    def own(self) -> list[socket.socket]:
        live = self.allocations.values()
        return [s for a in live for s in (a.sock, a.other) if s is not None and not a.shared]

    def run(self, timeout: float) -> list[Event]:
        for listener, client, data in self.answers:
            self.listeners[listener].sendto(data, sockaddr(self.listeners[listener], client))
        self.answers.clear()
        deadline = time.monotonic() + timeout
        while not self.events:
            sources = [*self.listeners, *self.shared.values(), *self.own(), self.woken]
            ready, _, _ = select.select(sources, [], [], max(deadline - time.monotonic(), 0))
            for sock in ready:
                if sock is not self.woken:
                    self.receive(sock, time.monotonic())
            if self.woken in ready:
                self.woken.recv(4096)
                break
            if time.monotonic() >= deadline:
                break
        events, self.events = self.events, []
        return events

    def receive(self, sock: socket.socket, now: float) -> None:
        data, name = sock.recvfrom(65536)
        source = packed(name)
        self.counters["received"] += 1
        if sock in self.listeners:
            self.from_client(self.listeners.index(sock), source, data, now)
            return
        live = [a for a in self.allocations.values() if sock in {a.sock, a.other}]
        if sock in self.shared.values():
            live = [a for a in live if source in a.permissions]
        if not live:
            self.drop("no_permission")
        elif live[0].expires <= now:
            self.drop("no_allocation")
        else:
            self.from_peer(live[0], source, data, now)

    def drop(self, reason: str) -> None:
        self.counters[f"dropped_{reason}"] += 1

    def from_client(self, listener: int, source: bytes, data: bytes, now: float) -> None:
        allocation = next(
            (a for a in self.allocations.values() if (a.listener, a.client) == (listener, source) and a.expires > now),
            None,
        )
        if len(data) < 4 or data[0] >= 0x80:
            self.drop("malformed")
        elif data[0] >= 0x40:
            self.channel_data(allocation, data, now)
        elif len(data) < 20 or len(data) % 4 or len(data) != 20 + struct.unpack_from(">H", data, 2)[0]:
            self.drop("malformed")
        elif struct.unpack_from(">H", data)[0] & 0x0110 == 0:
            local = packed(self.listeners[listener].getsockname())
            self.events.append(("control", listener, source, local, data, None))
        elif data[:2] != b"\0\x16":
            self.counters["ignored"] += 1
        else:
            self.send_indication(allocation, data, now)

    def channel_data(self, allocation: Allocation | None, data: bytes, now: float) -> None:
        channel, size = struct.unpack_from(">HH", data)
        if allocation is None:
            self.drop("no_allocation")
        elif not size + 4 <= len(data) <= size + 7:
            self.drop("malformed")
        elif allocation.channels.get(channel, (b"", now))[1] <= now:
            self.drop("no_channel")
        else:
            self.to_peer(allocation, allocation.channels[channel][0], data[4 : 4 + size], now)

    def send_indication(self, allocation: Allocation | None, message: bytes, now: float) -> None:
        verdict, peer, data = parse_send(message)
        if allocation is None:
            self.drop("no_allocation")
        elif verdict == "sound":
            self.to_peer(allocation, peer, data, now)
        else:
            self.drop(verdict)

    def within_limits(self, allocation: Allocation, size: int, now: float) -> bool:
        allowed = allocation.bucket.allows(size, now) and self.bucket.allows(size, now)
        if not allowed:
            self.drop("over_limit")
        return allowed

    def to_peer(self, allocation: Allocation, peer: bytes, data: bytes, now: float) -> None:
        if not allocation.permits(peer, now):
            self.drop("no_permission")
        elif self.within_limits(allocation, len(data), now):
            sock = allocation.socket_for(peer)
            if sock.family == socket.AF_INET and ":" in unpack_address(peer)[0]:
                self.drop("unreachable")
                return
            sock.sendto(data, sockaddr(sock, peer))
            allocation.traffic[0] += 1
            allocation.traffic[1] += len(data)

    def from_peer(self, allocation: Allocation, source: bytes, data: bytes, now: float) -> None:
        channel = allocation.channel_of(source, now)
        if not allocation.permits(source, now):
            self.drop("no_permission")
            return
        if len(data) > 65507 - (4 if channel else 51):
            self.drop("oversized")
            return
        if not self.within_limits(allocation, len(data), now):
            return
        allocation.traffic[2] += 1
        allocation.traffic[3] += len(data)
        packet = data_indication(source, data)
        if channel:
            packet = struct.pack(">HH", channel, len(data)) + data
        if allocation.listener < 0:
            self.events.append(("stream", allocation.number, packet + bytes(-len(packet) % 4)))
        else:
            listener = self.listeners[allocation.listener]
            listener.sendto(packet, sockaddr(listener, allocation.client))

    def send(self, listener: int, client: bytes, _local: bytes, data: bytes) -> None:
        self.answers.append((listener, client, data))

    def forward(self, number: int, data: bytes) -> int:
        allocation, now = self.find(number), time.monotonic()
        before = allocation.traffic[0]
        if allocation.expires <= now:
            self.drop("no_allocation")
        elif len(data) >= 4 and 0x40 <= data[0] < 0x80:
            self.channel_data(allocation, data, now)
        elif len(data) < 20 or data[:2] != b"\0\x16" or len(data) != 20 + struct.unpack_from(">H", data, 2)[0]:
            self.drop("malformed")
        else:
            self.send_indication(allocation, data, now)
        return allocation.traffic[0] - before

    def find(self, number: int) -> Allocation:
        if number not in self.allocations:
            raise UsageError(f"there is no allocation {number}")
        return self.allocations[number]

    def add_allocation(
        self, number: int, listener: int, client: bytes, relay_fd: int, expires: float, local: bytes = b""
    ) -> None:
        if number in self.allocations or len(self.allocations) >= self.max_allocations:
            raise UsageError("the number is taken, or there are too many")
        if listener >= 0 and any((a.listener, a.client) == (listener, client) for a in self.allocations.values()):
            raise UsageError("the client has an allocation")
        shared = relay_fd in self.shared
        sock = self.shared[relay_fd] if shared else socket.socket(fileno=socket.dup(relay_fd))
        self.allocations[number] = Allocation(number, listener, client, sock, shared, expires, local)

    def refresh(self, number: int, expires: float) -> None:
        self.find(number).expires = expires

    def remove(self, number: int) -> None:
        allocation = self.find(number)
        del self.allocations[number]
        if not allocation.shared:
            allocation.sock.close()
        if allocation.other is not None:
            allocation.other.close()

    def add_relay(self, number: int, relay_fd: int) -> None:
        allocation = self.find(number)
        sock = socket.socket(fileno=socket.dup(relay_fd))
        if allocation.shared or allocation.other is not None or sock.family == allocation.sock.family:
            sock.close()
            raise UsageError("a second socket is of the other family")
        allocation.other = sock

    def set_permission(self, number: int, peer: bytes, expires: float, *, exact: bool = False) -> bool:
        allocation, now = self.find(number), time.monotonic()
        if len(peer) in {4, 16}:
            if allocation.shared:
                raise UsageError("a shared socket needs the peer's port")
            peer = pack_address(str(ipaddress.ip_address(peer)), 0)
        key = peer if exact else allocation.key(peer)
        if allocation.shared:
            rivals = [a for a in self.allocations.values() if a is not allocation and a.sock is allocation.sock]
            if any(a.permissions.get(key, now) > now for a in rivals):
                return False
            for rival in rivals:
                rival.permissions.pop(key, None)
        allocation.permissions[key] = expires
        return True

    def bind_channel(self, number: int, channel: int, peer: bytes, expires: float) -> bool:
        allocation, now = self.find(number), time.monotonic()
        if not 0x4000 <= channel <= 0x7FFF:
            raise UsageError("no channel number")
        if allocation.clashes(channel, peer):
            allocation.channels = {n: (p, e) for n, (p, e) in allocation.channels.items() if e > now}
            if allocation.clashes(channel, peer):
                return False
        allocation.channels[channel] = peer, expires
        return True

    def expire(self, now: float) -> list[int]:
        gone = [a.number for a in self.allocations.values() if a.expires <= now]
        for number in gone:
            self.remove(number)
        for a in self.allocations.values():
            a.permissions = {peer: expires for peer, expires in a.permissions.items() if expires > now}
            a.channels = {n: (p, e) for n, (p, e) in a.channels.items() if e > now}
        return gone

    def limit(self, number: int, bytes_per_second: float) -> None:
        self.find(number).bucket = Bucket(bytes_per_second, max(bytes_per_second, 65536.0), time.monotonic())

    def limit_total(self, bytes_per_second: float) -> None:
        self.bucket = Bucket(bytes_per_second, max(bytes_per_second, 65536.0), time.monotonic())

    def traffic(self, number: int) -> tuple[int, int, int, int]:
        a, b, c, d = self.find(number).traffic
        return a, b, c, d

    def statistics(self) -> dict[str, int]:
        live = list(self.allocations.values())
        return self.counters | {
            "allocations": len(live),
            "permissions": sum(len(a.permissions) for a in live),
            "channels": sum(len(a.channels) for a in live),
        }
