"""A data plane between loopback sockets: clients, peers and what they exchange, for tests of both planes."""

from __future__ import annotations

import ipaddress
import struct
from socket import AF_INET, AF_INET6, SO_RCVBUF, SOCK_DGRAM, SOL_SOCKET
from socket import socket as UdpSocket
from typing import Any

from tests.reference.relay_plane import ReferencePlane, xor_address

from librats._core.relay import Plane, pack_address, unpack_address

COOKIE = 0x2112A442
BATCHED, PORTABLE, SLOW = "batched", "portable", "slow"
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
FOREVER = 1e12


def udp(family: int = 4, host: str | None = None) -> UdpSocket:
    sock = UdpSocket(AF_INET if family == 4 else AF_INET6, SOCK_DGRAM)
    sock.bind((host if host is not None else LOOPBACK[family], 0))
    sock.setblocking(False)
    sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20)
    return sock


def address_of(sock: UdpSocket) -> bytes:
    host, port = sock.getsockname()[:2]
    return pack_address(host, port)


def channel_data(number: int, data: bytes, *, padding: int = 0) -> bytes:
    return struct.pack(">HH", number, len(data)) + data + bytes(padding)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(kind: int, *attributes: bytes, transaction: bytes = b"transaction!") -> bytes:
    body = b"".join(attributes)
    return struct.pack(">HHI", kind, len(body), COOKIE) + transaction + body


def xor_peer(peer: bytes, transaction: bytes = b"transaction!") -> bytes:
    host, port = unpack_address(peer)
    raw = ipaddress.ip_address(host).packed
    mask = struct.pack(">I", COOKIE) + transaction
    value = bytes([0, 1 if len(raw) == 4 else 2]) + struct.pack(">H", port ^ (COOKIE >> 16))
    return attribute(0x12, value + bytes(a ^ b for a, b in zip(raw, mask, strict=False)))


def send_indication(peer: bytes, data: bytes, *more: bytes) -> bytes:
    return message(0x16, xor_peer(peer), attribute(0x13, data), *more)


def read_data_indication(packet: bytes) -> tuple[bytes, bytes]:
    """Peer and data of a Data indication, checked to the last byte."""
    kind, size, cookie = struct.unpack_from(">HHI", packet)
    assert (kind, size, cookie) == (0x17, len(packet) - 20, COOKIE)
    kind, size = struct.unpack_from(">HH", packet, 20)
    peer = xor_address(packet[24 : 24 + size], packet)
    assert kind == 0x12
    assert peer is not None
    kind, length = struct.unpack_from(">HH", packet, 24 + size)
    data = packet[28 + size : 28 + size + length]
    assert kind == 0x13
    assert packet[28 + size + length :] == bytes(-length % 4)
    return peer, data


class Rig:
    """A plane with a listener, clients with allocations, and peers.

    Args:
        kind: Which plane: BATCHED, PORTABLE or SLOW.
        family: 4 or 6, of all sockets.
        shared: One relay socket for all allocations.
        options: For the plane.
    """

    def __init__(self, kind: str, family: int = 4, *, shared: bool = False, **options: Any) -> None:
        self.plane: Any = ReferencePlane(**options) if kind == SLOW else Plane(portable=kind == PORTABLE, **options)
        self.family = family
        self.kind = kind
        self.sockets: list[UdpSocket] = []
        self.listener_sock = self.socket()
        self.listener = self.plane.add_listener(self.listener_sock.fileno())
        self.shared = self.socket() if shared else None
        self.relays: dict[int, UdpSocket] = {}
        self.clients: dict[int, UdpSocket] = {}
        self.events: list[Any] = []
        if self.shared:
            self.plane.share_relay(self.shared.fileno())

    def socket(self) -> UdpSocket:
        self.sockets.append(udp(self.family))
        return self.sockets[-1]

    def close(self) -> None:
        self.plane.close()
        for sock in self.sockets:
            sock.close()

    def allocate(self, number: int = 1, *, stream: bool = False, expires: float = FOREVER) -> UdpSocket:
        """A client's socket, whose allocation has that number."""
        client, relay = self.socket(), self.shared or self.socket()
        listener, address = (-1, b"") if stream else (self.listener, address_of(client))
        self.plane.add_allocation(number, listener, address, relay.fileno(), expires)
        self.clients[number], self.relays[number] = client, relay
        return client

    def permit(self, peer: UdpSocket, number: int = 1, expires: float = FOREVER) -> bool:
        return bool(self.plane.set_permission(number, address_of(peer), expires))

    def bind(self, peer: UdpSocket, channel: int = 0x4000, number: int = 1, expires: float = FOREVER) -> bool:
        return bool(self.plane.bind_channel(number, channel, address_of(peer), expires))

    def client_sends(self, packet: bytes, number: int = 1) -> None:
        self.clients[number].sendto(packet, self.listener_sock.getsockname())

    def peer_sends(self, peer: UdpSocket, data: bytes, number: int = 1) -> None:
        peer.sendto(data, self.relays[number].getsockname())

    def settle(self) -> None:
        """Let the plane take all that was sent to it, until nothing comes any more."""
        before = -1
        while before != (before := self.plane.statistics()["received"]):
            self.events += self.plane.run(0.002)

    def dropped(self, reason: str) -> int:
        return int(self.plane.statistics()[f"dropped_{reason}"])


def received(sock: UdpSocket) -> list[bytes]:
    """All datagrams that wait on a socket."""
    found = []
    while True:
        try:
            found.append(sock.recv(65536))
        except BlockingIOError:
            return found


def ready(rig: Rig, *, channel: bool = True, number: int = 1) -> UdpSocket:
    """A peer that allocation 1 may exchange datagrams with."""
    rig.allocate(number)
    peer = rig.socket()
    assert rig.permit(peer, number)
    assert not channel or rig.bind(peer, number=number)
    return peer
