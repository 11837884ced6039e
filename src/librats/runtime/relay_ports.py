"""The sockets of a relay: those it listens on, shared by several threads, and those it relays from."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import socket
import threading
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

from librats._core.bound_socket import OPENS_BOUND, open_bound
from librats._core.relay import unpack_address
from librats.errors import ConfigError
from librats.runtime.tcp import cannot_listen, share_port
from librats.turn.serving.allocation import IPV4, IPV6, TCP, UDP, Relay
from librats.types import Address, Entropy

__all__ = ["RelayPortPool", "check_relay_hosts", "open_listeners"]

logger = logging.getLogger("librats.relay")

_TRIES = 64
_NONBLOCKING = getattr(socket, "SOCK_NONBLOCK", 0)
_PORT_TRIES = 16
_RECEIVE_ROOM = 4 * 1024 * 1024
_MAX_PORT = 65535
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_DEFAULT = (32768, 60999)
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class RelayPortPool:
    """Opens the sockets of allocations, on ports in an order that nobody can foresee. Safe in every thread.

    Ports that the system gives to others by itself are used last.

    Args:
        hosts: The IP addresses to relay from.
        ports: The first and the last port.
        outside: What peers are told instead of a host, where a router in front translates one to one.
        entropy: Where the order comes from.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        ports: tuple[int, int],
        *,
        outside: dict[str, str] | None = None,
        entropy: Entropy,
    ) -> None:
        self._outside = outside or {}
        self._blocks = {IPV4: [], IPV6: []}  # type: dict[int, list[_Ports]]
        for host in hosts:
            family = IPV6 if ":" in host else IPV4
            self._blocks[family].append(_Ports(host, ports, entropy))
        self._next = 0

    @property
    def hosts(self) -> list[str]:
        """The hosts that are relayed from, and those that stand for them outside."""
        inside = [block.host for blocks in self._blocks.values() for block in blocks]
        return [*inside, *self._outside.values()]

    def has(self, family: int) -> bool:
        """Tell whether there is an address of a family."""
        return bool(self._blocks[family])

    def open(self, family: int, *, near: bytes, even: bool = False, transport: int = UDP) -> Relay | None:
        """Open a socket; None where no port, or no descriptor, is left.

        Args:
            family: 1 for IPv4, 2 for IPv6.
            near: The packed address that the client sent to, whose host is preferred; empty where it is not known.
            even: Whether the port must be even.
            transport: 17 for UDP; 6 for TCP, and the socket listens.
        """
        for ports in self._ordered(family, near):
            opened = self._open_on(ports, family, even=even, transport=transport)
            if opened is not None:
                return opened
        return None

    def open_pair(self, family: int, *, near: bytes) -> tuple[Relay, Relay] | None:
        """Open two UDP sockets with consecutive ports, an even one first; None where there are none left."""
        for ports in self._ordered(family, near):
            for _ in range(_TRIES):
                port = ports.take(even=True)
                if port is None:
                    break
                first = self._bind(ports, port, family, UDP)
                if first is None:
                    continue
                second = self._bind(ports, port + 1, family, UDP) if ports.take_just(port + 1) else None
                if second is not None:
                    return first, second
                self.close(first)
        return None

    def open_each(self) -> list[Relay]:
        """Open a UDP socket on each host, with room for the datagrams of many allocations.

        Raises:
            ConfigError: A host has no port left, or is not this machine's.
        """
        opened: list[Relay] = []
        with contextlib.ExitStack() as undo:
            for family, blocks in self._blocks.items():
                for ports in blocks:
                    relay = self._open_on(ports, family, even=False, transport=UDP)
                    if relay is None:
                        raise ConfigError("relay_hosts", f"cannot relay from {ports.host}")
                    undo.callback(self.close, relay)
                    opened.append(relay)
                    with socket.socket(fileno=socket.dup(relay.fd)) as sock:
                        _make_room(sock, _RECEIVE_ROOM)
            undo.pop_all()
        return opened

    def close(self, relay: Relay) -> None:
        """Close a socket, and let its port be used again."""
        os.close(relay.fd)
        for ports in self._blocks[relay.family]:
            if ports.host == relay.bound_host:
                ports.give_back(relay.port)

    def _open_on(self, ports: _Ports, family: int, *, even: bool, transport: int) -> Relay | None:
        for _ in range(_TRIES):
            port = ports.take(even=even)
            if port is None:
                break
            opened = self._bind(ports, port, family, transport)
            if opened is not None:
                return opened
        return None

    def _ordered(self, family: int, near: bytes) -> Iterable[_Ports]:
        blocks = self._blocks[family]
        if len(blocks) == 1:
            return blocks
        wanted = unpack_address(near)[0] if near else ""
        first = next((at for at, ports in enumerate(blocks) if ports.host == wanted), -1)
        if first < 0:
            self._next = first = (self._next + 1) % max(len(blocks), 1)
        return blocks[first:] + blocks[:first]

    def _bind(self, ports: _Ports, port: int, family: int, transport: int) -> Relay | None:
        try:
            if transport == UDP and ports.packed:
                fd = open_bound(ports.packed, port)
            else:
                fd = _bound_socket(ports.host, port, family, transport)
        except OSError as error:
            ports.give_back(port)
            if error.errno in _OUT_OF_DESCRIPTORS:
                logger.warning("cannot open a relay socket: %s", error.strerror)
            return None  # else another program has the port
        return Relay(fd, self._outside.get(ports.host, ports.host), port, family, ports.host)


class _Ports:
    """The ports of one host, each of which is given out once.

    They are taken in an order that steps through the range by a secret stride, so that a port that was given back
    is not given out again before the others.
    """

    def __init__(self, host: str, ports: tuple[int, int], entropy: Entropy) -> None:
        self.host = host
        self.packed = ip_address(host).packed if OPENS_BOUND and "%" not in host else b""
        """The host's bytes, where sockets are opened with them."""
        self._lock = threading.Lock()
        self._taken = bytearray(_MAX_PORT + 2)
        first, last = ports
        low, high = _ephemeral_ports()
        ranges = (
            range(first, min(last + 1, low)),
            range(max(first, high + 1), last + 1),
            range(max(first, low), min(last, high) + 1),
        )
        self._orders = [_Order(numbers, entropy) for numbers in ranges if numbers]

    def take(self, *, even: bool) -> int | None:
        """Take a port; None where none is left."""
        with self._lock:
            for order in self._orders:
                port = order.next(self._taken, even=even) if order.free else None
                if port is not None:
                    self._taken[port] = 1
                    order.free -= 1
                    return port
        return None

    def take_just(self, port: int) -> bool:
        """Take a certain port; False where it is taken, or not among ours."""
        with self._lock:
            for order in self._orders:
                if port in order and not self._taken[port]:
                    self._taken[port] = 1
                    order.free -= 1
                    return True
        return False

    def give_back(self, port: int) -> None:
        """Let a port be taken again."""
        with self._lock:
            for order in self._orders:
                if port in order and self._taken[port]:
                    self._taken[port] = 0
                    order.free += 1


class _Order:
    """The ports of a range in an order of their own."""

    def __init__(self, numbers: range, entropy: Entropy) -> None:
        self._numbers = numbers
        self.free = count = len(numbers)
        """How many are not taken."""
        self._stride = 1 + entropy.randbelow(count)
        while math.gcd(self._stride, count) != 1:
            self._stride = 1 + self._stride % count
        self._at = entropy.randbelow(count)

    def __contains__(self, number: int) -> bool:
        return number in self._numbers

    def next(self, taken: bytearray, *, even: bool) -> int | None:
        """Return the next number that is not taken; None where all are."""
        first, at, stride = self._numbers.start, self._at, self._stride
        count = len(self._numbers)
        for _ in range(count):
            at = (at + stride) % count
            number = first + at
            if not (taken[number] or (even and number & 1)):
                self._at = at
                return number
        return None


def open_listeners(addresses: Sequence[Address], *, threads: int, tcp: bool = False) -> list[list[tuple[int, Address]]]:
    """Open UDP sockets to listen on, as many on each address as there are threads.

    Args:
        addresses: IP addresses and ports; port 0 picks one.
        threads: How many threads share each address (SO_REUSEPORT).
        tcp: Whether a port that is picked must be free for TCP as well.

    Returns:
        For each thread, a descriptor and the address it is bound to for each of the addresses.

    Raises:
        ConfigError: An address is taken, or not this machine's.
    """
    for address in addresses if threads > 1 else ():
        if address.port:  # sockets that share a port would share it with those of another relay of this user as well
            _check_free(address)
    opened: list[list[tuple[int, Address]]] = [[] for _ in range(threads)]
    with contextlib.ExitStack() as undo:
        for wanted in addresses:
            address = wanted
            for place in opened:
                try:
                    sock = _listening_socket(address, shared=threads > 1)
                    for _ in range(_PORT_TRIES if tcp and not address.port else 0):
                        if _is_free_for_tcp(Address(address.host, sock.getsockname()[1])):
                            break
                        sock.close()
                        sock = _listening_socket(address, shared=threads > 1)
                except OSError as error:
                    raise cannot_listen("listen", address, error) from error
                address = Address(wanted.host, sock.getsockname()[1])
                fd = sock.detach()
                undo.callback(os.close, fd)
                place.append((fd, address))
        undo.pop_all()
    return opened


def check_relay_hosts(hosts: Iterable[str]) -> None:
    """Make sure that there is something to relay from: else every client would be told that the relay is full.

    Raises:
        ConfigError: A host is not this machine's.
    """
    for host in hosts:
        try:
            _listening_socket(Address(host, 0), shared=False).close()
        except OSError as error:
            raise ConfigError("relay_hosts", f"cannot relay from {host}: {error.strerror or error}") from error


def _check_free(address: Address) -> None:
    try:
        _listening_socket(address, shared=False).close()
    except OSError as error:
        raise cannot_listen("listen", address, error) from error


def _is_free_for_tcp(address: Address) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.bind((address.host, address.port))
        except OSError:
            return False
    return True


def _listening_socket(address: Address, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _make_room(sock, _RECEIVE_ROOM)
        sock.setblocking(False)
        sock.bind((address.host, address.port))
    except BaseException:
        sock.close()
        raise
    return sock


def _bound_socket(host: str, port: int, family: int, transport: int) -> int:
    """Return the descriptor of a socket on a port; one of TCP listens."""
    kind = socket.SOCK_STREAM if transport == TCP else socket.SOCK_DGRAM
    sock = socket.SocketType(socket.AF_INET6 if family == IPV6 else socket.AF_INET, kind | _NONBLOCKING)
    try:
        if family == IPV6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transport == TCP:
            share_port(sock)  # connections to peers leave from the same port (RFC 6062, 5.2)
        if not _NONBLOCKING:
            sock.setblocking(False)
        sock.bind((host, port))
        if transport == TCP:
            sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock.detach()


def _make_room(sock: socket.socket, size: int) -> None:
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):  # the system's own size is what there is
            sock.setsockopt(socket.SOL_SOCKET, option, size)


def _ephemeral_ports() -> tuple[int, int]:
    try:
        first, last = _EPHEMERAL.read_text(encoding="ascii").split()
        return int(first), int(last)
    except (OSError, ValueError):
        return _EPHEMERAL_DEFAULT
