"""Multicast: the networks that this machine is in, and a socket for a group on each of them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from librats.runtime.interfaces import system_adapters
from librats.runtime.offload import run_in_thread
from librats.runtime.tasks import TaskSet
from librats.runtime.tcp import address_of
from librats.runtime.udp_sockets import ask_kernel, udp_socket
from librats.types import Address

if TYPE_CHECKING:
    from ifaddr import IP, Adapter

__all__ = ["MAX_DATAGRAM", "MAX_RATE", "MulticastLink", "MulticastSocket", "multicast_links"]

logger = logging.getLogger("librats.runtime")

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_DATAGRAM: Final = 1500
"""Bytes that are taken of a datagram."""

MAX_RATE: Final = 100
"""Datagrams a second that are taken: of more the kernel drops what its buffer has no room for."""

BURST = 16
BUFFER_SIZE = 32_768
IPV6 = 6

# Linux gives a socket what is sent to a group that any other socket has joined, on whatever interface.
LINUX_MULTICAST_ALL = {socket.AF_INET: (socket.IPPROTO_IP, 49), socket.AF_INET6: (socket.IPPROTO_IPV6, 29)}


@dataclass(frozen=True, slots=True)
class MulticastLink:
    """One network that this machine is in, by one interface and one address family.

    It is the same as long as interface and network are, whatever addresses we have there.
    """

    interface: str
    """What the system calls the interface."""

    index: int
    """The number of the interface."""

    hosts: tuple[str, ...] = field(compare=False)
    """Our IP addresses there; those of IPv6 have no zone."""

    networks: tuple[IPNetwork, ...]
    """The addresses that are there without a router in between, but for those that are link-local of IPv6."""

    @property
    def is_ipv6(self) -> bool:
        """Whether it is of IPv6."""
        return self.networks[0].version == IPV6

    def holds(self, host: str) -> bool:
        """Whether an IP address, with or without a zone, is of this network.

        Example:
            >>> import ipaddress
            >>> link = MulticastLink("eth0", 2, ("192.0.2.7",), (ipaddress.ip_network("192.0.2.0/24"),))
            >>> link.holds("192.0.2.9"), link.holds("198.51.100.9")
            (True, False)
        """
        address = ipaddress.ip_address(host.partition("%")[0])
        is_near = address.version == IPV6 and address.is_link_local
        return (is_near and self.is_ipv6) or any(address in network for network in self.networks)


async def multicast_links() -> list[MulticastLink]:
    """Return the networks that this machine is in, those of its loopback aside; whether they carry multicast shows."""
    return await run_in_thread(_links)


def _links() -> list[MulticastLink]:
    return [link for adapter in system_adapters() for is_ipv6 in (False, True) if (link := _link_of(adapter, is_ipv6))]


def _link_of(adapter: Adapter, is_ipv6: bool) -> MulticastLink | None:
    entries = [entry for entry in adapter.ips if entry.is_IPv6 is is_ipv6]
    networks = [network for entry in entries if (network := _network_of(entry)) is not None]
    index = adapter.index or next((entry.ip[2] for entry in entries if isinstance(entry.ip, tuple) and entry.ip[2]), 0)
    if not networks or (is_ipv6 and not index):
        return None
    near = tuple(dict.fromkeys(network.network for network in networks))
    return MulticastLink(adapter.nice_name, index, tuple(str(network.ip) for network in networks), near)


def _network_of(entry: IP) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    host = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
    try:
        found = ipaddress.ip_interface(f"{host.partition('%')[0]}/{entry.network_prefix}")
    except ValueError:
        return None
    return None if found.ip.is_loopback or found.ip.is_unspecified else found


class MulticastSocket:
    """Sends to a group on one network, and hears what others send to it. Other programs may do so on the same port.

    It never raises for what comes, and takes no more than :data:`MAX_RATE` datagrams a second, whoever sends them.

    Args:
        link: The network.
        group: The group's IP address, and its port.
        receive: Called with each datagram and where it came from.

    Raises:
        OSError: The network has no multicast, or another program has the port for itself.
    """

    def __init__(self, link: MulticastLink, group: Address, receive: Callable[[bytes, Address], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._group: tuple[Any, ...] = (group.host, group.port, 0, link.index) if link.is_ipv6 else tuple(group)
        self._left = MAX_RATE
        self._since = self._loop.time()
        self._pause: asyncio.TimerHandle | None = None
        self._tasks = TaskSet()
        self.is_closed = False
        """True once it is closed."""
        self._socket = _joined(link, self._group)
        try:
            self._loop.add_reader(self._socket.fileno(), self._readable)
        except NotImplementedError:  # Windows' own loop
            task = self._tasks.create(self._keep_receiving(), name="multicast datagrams")
            task.add_done_callback(lambda _task: self._socket.close())

    def send(self, data: bytes) -> None:
        """Send a datagram to the group. Where the kernel has no room now it is lost, as on the way.

        Raises:
            OSError: The network takes none.
        """
        with contextlib.suppress(BlockingIOError):
            self._socket.sendto(data, self._group)

    def _readable(self) -> None:
        for _ in range(BURST):
            if not self._has_turn():
                self._loop.remove_reader(self._socket.fileno())
                self._pause = self._loop.call_at(self._since + 1, self._go_on)
                return
            try:
                data, name = self._socket.recvfrom(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._left -= 1
                logger.debug("a multicast socket: %s", error)
                continue
            self._left -= 1
            self._receive(data, address_of(name))
            if self.is_closed:
                return

    def _has_turn(self) -> bool:
        now = self._loop.time()
        if now - self._since >= 1:
            self._since, self._left = now, MAX_RATE
        return self._left > 0

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket.fileno(), self._readable)

    async def _keep_receiving(self) -> None:
        while True:
            if not self._has_turn():
                await asyncio.sleep(1)
                continue
            self._left -= 1
            try:
                data, name = await self._loop.sock_recvfrom(self._socket, MAX_DATAGRAM)
            except OSError as error:
                logger.debug("a multicast socket: %s", error)
                continue
            self._receive(data, address_of(name))

    def close(self) -> None:
        """Leave the group. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        if len(self._tasks):
            self._tasks.cancel()
            return  # that closes the socket, once nothing waits for it any more
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


def _joined(link: MulticastLink, group: tuple[Any, ...]) -> socket.socket:
    family = socket.AF_INET6 if link.is_ipv6 else socket.AF_INET
    sock = udp_socket(family)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            ask_kernel(sock, socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ask_kernel(sock, socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_SIZE)
        if sys.platform == "linux":
            ask_kernel(sock, *LINUX_MULTICAST_ALL[family], 0)
        join = _join_ipv6 if link.is_ipv6 else _join_ipv4
        join(sock, link, group)
    except BaseException:
        sock.close()
        raise
    return sock


def _join_ipv4(sock: socket.socket, link: MulticastLink, group: tuple[Any, ...]) -> None:
    here, there = socket.inet_aton(link.hosts[0]), socket.inet_aton(group[0])
    # Bound to the group it hears nothing that was sent to this host alone; Windows does not have that.
    sock.bind(("" if sys.platform == "win32" else group[0], group[1]))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, there + here)


def _join_ipv6(sock: socket.socket, link: MulticastLink, group: tuple[Any, ...]) -> None:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("::", group[1]) if sys.platform == "win32" else group)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link.index)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
    membership = socket.inet_pton(socket.AF_INET6, group[0]) + struct.pack("@I", link.index)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
