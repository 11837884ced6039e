"""UDP sockets: opening them on both address families, and what the systems call their options."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable

from msgspec import Struct

if sys.platform == "win32":
    import ctypes

from librats.errors import ConfigError
from librats.runtime.tcp import cannot_listen, sockaddr_of
from librats.types import Address

__all__ = [
    "EVERY_HOST",
    "OPTIONS",
    "SO_RXQ_OVFL",
    "UDP_GRO",
    "UDP_SEGMENT",
    "SocketFactory",
    "ask_kernel",
    "dropped_by_kernel",
    "has_option",
    "open_udp_sockets",
    "udp_socket",
]

SocketFactory = Callable[[int], socket.socket]

EVERY_HOST = ("0.0.0.0", "::")  # noqa: S104 - names, nothing is bound
PORT_TRIES = 16
SOL_UDP = 17
UDP_SEGMENT = (SOL_UDP, 103)
UDP_GRO = (SOL_UDP, 104)
SO_MEMINFO = (socket.SOL_SOCKET, 55)
SK_MEMINFO_DROPS = 8
SO_RXQ_OVFL = (socket.SOL_SOCKET, 40)
SIO_UDP_CONNRESET = 0x9800000C
SIO_UDP_NETRESET = 0x9800000F


class FamilyOptions(Struct, frozen=True, kw_only=True):
    """The options of one address family, as pairs of level and name; None where the system has none."""

    ask_local: tuple[int, int] | None = None
    """Tell the local address of each datagram."""

    local: tuple[int, int] | None = None
    """The local address, in a control message."""

    ask_tos: tuple[int, int] | None = None
    """Tell the traffic class of each datagram."""

    told_tos: tuple[int, int] | None = None
    """The traffic class, in a control message."""

    tos: tuple[int, int] | None = None
    """The traffic class of what is sent."""

    hops: tuple[int, int]
    """How many routers may pass on what is sent."""

    whole: tuple[tuple[int, int, int, int], ...] = ()
    """Never fragment: level, name, value for on, value for off. The first that the system takes counts."""


class SocketOptions(Struct, frozen=True):
    """Options by address family."""

    ipv4: FamilyOptions
    ipv6: FamilyOptions

    def of(self, sock: socket.socket) -> FamilyOptions:
        """Return those of a socket's family."""
        return self.of_family(sock.family)

    def of_family(self, family: int) -> FamilyOptions:
        """Return those of an address family."""
        return self.ipv6 if family == socket.AF_INET6 else self.ipv4


_IP, _IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
_TTL, _HOPS = (_IP, socket.IP_TTL), (_IPV6, socket.IPV6_UNICAST_HOPS)
_BY_PLATFORM = {
    "linux": SocketOptions(
        FamilyOptions(
            hops=_TTL,
            ask_local=(_IP, 8),
            local=(_IP, 8),
            ask_tos=(_IP, 13),
            told_tos=(_IP, 1),
            tos=(_IP, 1),
            # IP_PMTUDISC_PROBE: whole, whatever routers have said of the path (RFC 8899 finds out for itself).
            whole=((_IP, 10, 3, 0),),
        ),
        FamilyOptions(
            hops=_HOPS,
            ask_local=(_IPV6, 49),
            local=(_IPV6, 50),
            ask_tos=(_IPV6, 66),
            told_tos=(_IPV6, 67),
            tos=(_IPV6, 67),
            whole=((_IPV6, 23, 3, 0), (_IPV6, 62, 1, 0)),
        ),
    ),
    "darwin": SocketOptions(
        FamilyOptions(
            hops=_TTL,
            ask_local=(_IP, 26),
            local=(_IP, 26),
            ask_tos=(_IP, 27),
            told_tos=(_IP, 27),
            tos=(_IP, 3),
            whole=((_IP, 28, 1, 0),),
        ),
        FamilyOptions(
            hops=_HOPS,
            ask_local=(_IPV6, 61),
            local=(_IPV6, 46),
            ask_tos=(_IPV6, 35),
            told_tos=(_IPV6, 36),
            tos=(_IPV6, 36),
            whole=((_IPV6, 62, 1, 0),),
        ),
    ),
    "win32": SocketOptions(
        FamilyOptions(hops=_TTL, tos=(_IP, 3), whole=((_IP, 14, 1, 0),)),
        FamilyOptions(hops=_HOPS, tos=(_IPV6, 39), whole=((_IPV6, 14, 1, 0),)),
    ),
}
OPTIONS = _BY_PLATFORM.get(sys.platform, SocketOptions(FamilyOptions(hops=_TTL), FamilyOptions(hops=_HOPS)))
"""Those of this system. The socket module names only some of them, and not on every version of Python."""


def ask_kernel(sock: socket.socket, level: int, name: int, value: int) -> bool:
    """Set an option; False where the system does not know it."""
    try:
        sock.setsockopt(level, name, value)
    except OSError:
        return False
    return True


def has_option(sock: socket.socket, level: int, name: int) -> bool:
    """Whether the system knows an option."""
    try:
        sock.getsockopt(level, name)
    except OSError:
        return False
    return True


def dropped_by_kernel(sock: socket.socket) -> int | None:
    """Return how many datagrams found no room in a socket's buffer; None where the system does not tell."""
    if sys.platform == "linux":
        try:
            told = sock.getsockopt(*SO_MEMINFO, 4 * (SK_MEMINFO_DROPS + 1))
        except OSError:
            return None
        if len(told) > 4 * SK_MEMINFO_DROPS:
            return int.from_bytes(told[4 * SK_MEMINFO_DROPS :], sys.byteorder)
    return None


def udp_socket(family: int) -> socket.socket:
    """Make a socket of the system's."""
    return socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP)


class _Wishes(Struct, frozen=True, kw_only=True):
    new_socket: SocketFactory
    reuse_port: bool
    pktinfo: bool
    ecn: bool
    buffer_size: int

    def bound(self, host: str, port: int) -> socket.socket:
        family, name = sockaddr_of(Address(host, port))
        sock = self.new_socket(family)
        try:
            self.apply(sock, every_host=host in EVERY_HOST)
            sock.setblocking(False)
            sock.bind(name)
        except BaseException:
            sock.close()
            raise
        return sock

    def apply(self, sock: socket.socket, *, every_host: bool) -> None:
        """Set the options, before anything can come."""
        options = OPTIONS.of(sock)
        _prepare_on_windows(sock)
        if self.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if self.pktinfo and every_host and options.ask_local:
            ask_kernel(sock, *options.ask_local, 1)
        if self.ecn and options.ask_tos:
            ask_kernel(sock, *options.ask_tos, 1)
        ask_kernel(sock, socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer_size)
        ask_kernel(sock, socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer_size)


def _prepare_on_windows(sock: socket.socket) -> None:
    """Let nobody else take the port, and no ICMP message fail a later reception: some loops never read again then."""
    if sys.platform == "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        off, written = ctypes.c_ulong(0), ctypes.c_ulong(0)
        for code in (SIO_UDP_CONNRESET, SIO_UDP_NETRESET):  # socket.ioctl knows neither of the two
            handle, command = ctypes.c_void_p(sock.fileno()), ctypes.c_ulong(code)
            ctypes.windll.ws2_32.WSAIoctl(
                handle, command, ctypes.byref(off), 4, None, 0, ctypes.byref(written), None, None
            )


def open_udp_sockets(
    host: str,
    port: int,
    *,
    new_socket: SocketFactory,
    reuse_port: bool,
    pktinfo: bool,
    ecn: bool,
    buffer_size: int,
) -> list[socket.socket]:
    """Open a socket on an address; on every interface, one for each family, where none is named.

    Args:
        host: IP address; empty for every interface, IPv4 and IPv6.
        port: 0 picks one, the same for both families.
        new_socket: Makes a UDP socket of an address family.
        reuse_port: Whether others may have the same port, to share what comes (SO_REUSEPORT).
        pktinfo: Whether to be told the local address of each datagram, on every interface.
        ecn: Whether to be told the ECN field of each datagram.
        buffer_size: Bytes of the kernel's buffers, each way; it may give less.

    Raises:
        ConfigError: The address is taken, not this machine's, or not an address at all; or the system cannot share one.
    """
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigError("reuse_port", "this system cannot share a port")
    wishes = _Wishes(new_socket=new_socket, reuse_port=reuse_port, pktinfo=pktinfo, ecn=ecn, buffer_size=buffer_size)
    try:
        return [wishes.bound(host, port)] if host else _both_families(port, wishes.bound)
    except ValueError:
        raise ConfigError("host", f"{host!r} is not an IP address") from None
    except (OSError, OverflowError) as error:
        raise cannot_listen("port", Address(host or "*", port), error, what="no datagrams on") from error


def _both_families(port: int, bound: Callable[[str, int], socket.socket]) -> list[socket.socket]:
    for attempt in range(PORT_TRIES):
        first = bound("0.0.0.0", port)  # noqa: S104 - a peer hears everyone
        try:
            second = bound("::", first.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return [first]
            first.close()
            if port or attempt + 1 == PORT_TRIES:
                raise
            continue
        return [first, second]
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
