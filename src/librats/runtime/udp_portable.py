"""Datagrams one at a time, with what every system has: the same as ``_core.datagram``, without compiled code."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any

from librats.errors import UsageError
from librats.runtime.tcp import address_of, sockaddr_of
from librats.runtime.udp_sockets import OPTIONS
from librats.types import Address

__all__ = ["PortableSocket"]

MAX_PAYLOAD = 65535
MOST = 64  # datagrams that one call returns
KNOWN = 4096  # addresses remembered, each way
CONTROL = 256
ADDRESS_SIZES = {4: 4, 6: 16}
NO_ROOM = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, 10035, 10055})
TOLD_BY_ICMP = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.ENETRESET, 10052, 10054, 10061})
HAS_MESSAGES = hasattr(socket.socket, "recvmsg_into")

MakeOrigin = Callable[[str, int, str | None, int, bytes], Any]


class PortableSocket:
    """A UDP socket of each family, or of one, non-blocking and not connected; None where there is none."""

    def __init__(
        self,
        ipv4: socket.socket | None,
        ipv6: socket.socket | None,
        origin_type: type,
        make_origin: MakeOrigin,
        *,
        choose_local: bool = False,
        max_size: int = MAX_PAYLOAD,
    ) -> None:
        self._sockets = {4: ipv4, 6: ipv6}
        self._origin_type = origin_type
        self._make_origin = make_origin
        self._choose_local = choose_local and hasattr(socket.socket, "sendmsg")
        self._max_size = max_size
        self._buffer = bytearray(MAX_PAYLOAD)
        self._awaited = {4: bytearray(), 6: bytearray()}
        self._known: dict[Any, Any] = {}
        self._targets: dict[Address, tuple[int, Any]] = {}
        self.drained = True
        self.received = 0
        self.sent = 0
        self.refused = 0
        self.truncated = 0
        self.no_room = 0
        self.errors = 0
        self.reported_drops = 0
        self.segments = False

    # Receiving

    def receive(self, family: int) -> list[tuple[bytes, Any]]:
        """Return what has come on the socket of a family, 4 or 6, as pairs of data and origin; never waits."""
        batch: list[tuple[bytes, Any]] = []
        sock = self._sockets[family]
        self.drained = sock is None
        if sock is None:
            return batch
        for _ in range(MOST):
            try:
                if HAS_MESSAGES and isinstance(sock, socket.socket):
                    size, control, _, name = sock.recvmsg_into([self._buffer], CONTROL)
                else:
                    size, name = sock.recvfrom_into(self._buffer)
                    control = []
            except OSError as error:
                if self._is_over(error):
                    break
                continue
            self._take(batch, family, self._buffer, size, control, name)
        return batch

    async def wait_and_receive(self, loop: asyncio.AbstractEventLoop, family: int) -> list[tuple[bytes, Any]]:
        """Return what comes next, for loops that do not tell when a socket is readable, as Windows' own."""
        batch: list[tuple[bytes, Any]] = []
        buffer = self._awaited[family] = self._awaited[family] or bytearray(MAX_PAYLOAD)
        try:
            size, name = await loop.sock_recvfrom_into(self._sockets[family], buffer)  # type: ignore[arg-type]
        except OSError as error:
            self.drained = False
            self._is_over(error)
            return batch
        self._take(batch, family, buffer, size, [], name)
        return batch + self.receive(family)

    def _is_over(self, error: OSError) -> bool:
        """Count a reception that failed; True where nothing more is there."""
        if error.errno in NO_ROOM or error.errno == errno.EBADF:
            self.drained = True
            return True
        if error.errno != errno.EINTR:
            self.errors += 1
        return False

    def _take(
        self, batch: list[tuple[bytes, Any]], family: int, buffer: bytearray, size: int, control: list[Any], name: Any
    ) -> None:
        """Add what is in a buffer to a batch."""
        if size > self._max_size:
            self.truncated += 1
            return
        key = (name, tuple(control))
        origin = self._known.get(key)
        if origin is None:
            if len(self._known) >= KNOWN:
                self._known.clear()
            origin = self._known[key] = self._origin(family, control, name)
        batch.append((bytes(memoryview(buffer)[:size]), origin))
        self.received += 1

    def _origin(self, family: int, control: list[tuple[int, int, bytes]], name: Any) -> Any:
        options = OPTIONS.ipv6 if family == 6 else OPTIONS.ipv4  # noqa: PLR2004 - IPv6
        local, packed, ecn = None, b"", 0
        for level, kind, value in control:
            if (level, kind) == options.local:
                # macOS leaves ipi_spec_dst, the address to answer from, empty.
                packed = value[:16] if family == 6 else value[4:8] if any(value[4:8]) else value[8:12]  # noqa: PLR2004
                address = ipaddress.ip_address(packed)
                local, packed = (None, b"") if address.is_multicast else (str(address), packed)
            elif (level, kind) == options.told_tos:
                ecn = (value[0] if len(value) == 1 else int.from_bytes(value[:4], sys.byteorder)) & 3
        host, port = address_of(name)
        return self._make_origin(host, port, local, ecn, packed)

    # Sending

    def send(self, data: Any, address: Address) -> bool:
        """Send one datagram. False where the kernel has no room; what the network refuses is counted."""
        family, name = self._target(address)
        sock = self._sockets[family]
        if sock is None:
            self.refused += 1
            return True
        for control in self._controls(family, address):
            result = self._try(sock, data, control, name)
            if result is not None:
                self.sent += result
                self.no_room += not result
                return result
        self.refused += 1
        return True

    def _controls(self, family: int, address: Address) -> list[list[tuple[int, int, bytes]]]:
        """Return with which control messages to send, one after the other."""
        packed = getattr(address, "flow", b"") if self._choose_local and type(address) is self._origin_type else b""
        # The address that the peer knows may be gone from this host: any other is better than none.
        return [[_source(family, packed)], []] if len(packed) == ADDRESS_SIZES[family] else [[]]

    def _try(self, sock: socket.socket, data: Any, control: list[Any], name: Any) -> bool | None:
        """Send; False where there is no room, None where the network refuses."""
        for _ in range(3):
            try:
                if control:
                    sock.sendmsg([data], control, 0, name)
                else:
                    sock.sendto(data, name)
            except OSError as error:
                if error.errno in NO_ROOM:
                    return False
                if error.errno in TOLD_BY_ICMP:
                    self.errors += 1  # about an earlier datagram, told once
                elif error.errno != errno.EINTR:
                    return None
            else:
                return True
        return None

    def send_many(self, items: Iterable[tuple[Any, Address]]) -> int:
        """Send pairs of data and address, in order; return how many were dealt with before the kernel had no room."""
        done = 0
        for data, address in items:
            if not self.send(data, address):
                break
            done += 1
        return done

    def _target(self, address: Address) -> tuple[int, Any]:
        found = self._targets.get(address)
        if found is None:
            try:
                family, name = sockaddr_of(address)
            except (ValueError, OSError):
                raise UsageError(f"not an address that datagrams can be sent to: {address!r}") from None
            if not 0 < address.port <= MAX_PAYLOAD:
                raise UsageError(f"not an address that datagrams can be sent to: {address!r}")
            if len(self._targets) >= KNOWN:
                self._targets.clear()
            found = self._targets[address] = (6 if family == socket.AF_INET6 else 4, name)
        return found


def _source(family: int, packed: bytes) -> tuple[int, int, bytes]:
    """Return the control message that makes a datagram leave from an address."""
    if family == 6:  # noqa: PLR2004 - IPv6
        level, kind = OPTIONS.ipv6.local or (0, 0)
        return level, kind, packed + struct.pack("=I", 0)
    level, kind = OPTIONS.ipv4.local or (0, 0)
    return level, kind, struct.pack("=I4s4s", 0, packed, b"\0" * 4)
