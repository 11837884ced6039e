"""A small STUN server with the tests of RFC 5780, written for tests, without any code of the library.

It runs on a thread, over sockets that it is given: they may be those of a network namespace.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence

COOKIE = 0x2112A442
Endpoint = tuple[str, int]
Reply = tuple[int, bytes, Endpoint]
"""Number of the socket, datagram, destination."""


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(kind: int, transaction: bytes, *attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HHI", kind, len(body), COOKIE) + transaction + body


def packed(address: Endpoint, mask: bytes = b"") -> bytes:
    """Return an address attribute's value, XORed with the cookie and the transaction id where they are given."""
    host, port = address[0], address[1]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    raw = struct.pack("!H", port) + socket.inet_pton(family, host)
    if mask:
        full = mask[:2] + mask
        raw = bytes(a ^ b for a, b in zip(raw, full, strict=False))
    return struct.pack("!H", 2 if family == socket.AF_INET6 else 1) + raw


def attributes_of(data: bytes) -> dict[int, bytes]:
    found, at = {}, 20
    while at + 4 <= len(data):
        kind, size = struct.unpack_from("!HH", data, at)
        found[kind] = data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return found


def binding_reply(
    data: bytes, source: Endpoint, number: int, endpoints: Sequence[Endpoint], *, heeds_change: int | None = 6
) -> Reply | None:
    """Answer a Binding request that came to one of the endpoints: A1P1 alone, or A1P1, A1P2, A2P1, A2P2.

    Of CHANGE-REQUEST only the flags in ``heeds_change`` are heeded; None refuses it.
    """
    if len(data) < 20 or struct.unpack_from("!H", data)[0] != 1 or struct.unpack_from("!I", data, 4)[0] != COOKIE:
        return None
    transaction, asked = data[8:20], attributes_of(data)
    second = len(endpoints) == 4
    destination = source
    if 0x0027 in asked:
        if not second:
            return number, message(0x0111, transaction, attribute(0x0009, bytes([0, 0, 4, 20]) + b"Unknown")), source
        destination = (source[0], struct.unpack_from("!H", asked[0x0027])[0])
    answering = number
    if 0x0003 in asked and heeds_change is None:
        return number, message(0x0111, transaction, attribute(0x0009, bytes([0, 0, 4, 20]) + b"Unknown")), source
    if 0x0003 in asked and second and heeds_change:
        flags = struct.unpack("!I", asked[0x0003])[0] & heeds_change
        answering ^= (2 if flags & 4 else 0) | (1 if flags & 2 else 0)
    mask = struct.pack("!I", COOKIE) + transaction
    told = [attribute(0x0020, packed(source, mask)), attribute(0x802B, packed(endpoints[answering]))]
    if second:
        told.append(attribute(0x802C, packed(endpoints[number ^ 3])))
    return answering, message(0x0101, transaction, *told), destination


class StunServer:
    """Answers on the sockets that it is given, until it is closed.

    Args:
        sockets: One for a plain server, or four: A1P1, A1P2, A2P1, A2P2.
        meddle: Given each reply, returns what is sent instead.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        meddle: Callable[[Reply], list[Reply]] = lambda reply: [reply],
    ) -> None:
        self._sockets = list(sockets)
        self._meddle = meddle
        self.endpoints: list[Endpoint] = [sock.getsockname()[:2] for sock in sockets]
        self.requests = 0
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="test STUN server", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            readable, _, _ = select.select([*self._sockets, self._woken], [], [])
            if self._woken in readable:
                return
            for sock in readable:
                with contextlib.suppress(OSError):
                    self._answer(sock)

    def _answer(self, sock: socket.socket) -> None:
        data, source = sock.recvfrom(2048)
        self.requests += 1
        number = self._sockets.index(sock)
        reply = binding_reply(data, source[:2], number, self.endpoints)
        for answering, answer, destination in self._meddle(reply) if reply is not None else []:
            self._sockets[answering].sendto(answer, destination)

    @property
    def address(self) -> str:
        host, port = self.endpoints[0]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for sock in [*self._sockets, self._wake, self._woken]:
            sock.close()

    def __enter__(self) -> StunServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def udp_socket(host: str, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, port))
    return sock


def four_sockets(first: str = "127.0.0.1", second: str = "127.0.0.2") -> list[socket.socket]:
    """Bind two ports that are free on both addresses."""
    while True:
        made = [udp_socket(first), udp_socket(first)]
        try:
            made += [udp_socket(second, sock.getsockname()[1]) for sock in made]
        except OSError:
            for sock in made:
                sock.close()
            continue
        return made
