"""The routers that this machine sends what is not for its own networks to, and which of its addresses they see."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path

from msgspec import Struct

from librats.runtime.interfaces import system_adapters
from librats.runtime.offload import run_in_thread

__all__ = [
    "Gateway",
    "Route",
    "default_gateways",
    "linux_routes",
    "linux_routes_ipv6",
    "netstat_routes",
    "windows_routes",
]

logger = logging.getLogger("librats.runtime")

MAX_GATEWAYS = 8
MAX_LOCAL = 2
"""IPv6 addresses of an interface that are looked at."""

COMMAND_TIMEOUT = 5.0
ROUTE_UP, ROUTE_GATEWAY, ROUTE_REJECT = 0x1, 0x2, 0x200
NETSTAT_COLUMNS = 4
WINDOWS_COLUMNS_IPV4, WINDOWS_COLUMNS_IPV6 = 4, 3
DISCARD_PORT = 9


class Route(Struct, frozen=True):
    """A default route as the system tells it."""

    gateway: str
    """IP address of the router; of a link-local one with its zone."""

    interface: str
    """The name of the interface that leads there; on Windows its index, or its IPv4 address."""


class Gateway(Struct, frozen=True):
    """A router, and an address of this host that it sees."""

    host: str
    """IP address of the router; of a link-local one with its zone."""

    local: str
    """The address of this host."""


async def default_gateways() -> list[Gateway]:
    """Return the routers of this machine's default routes, each with the addresses of this host that it serves.

    Where the system does not tell, that is logged at debug level, and the list is empty. So it is, for programs that
    are to leave the network alone and cannot be configured, where ``LIBRATS_PORT_MAPPING=0`` is in the environment.
    """
    if os.environ.get("LIBRATS_PORT_MAPPING") == "0":
        return []
    return await run_in_thread(_system_gateways)


def _system_gateways() -> list[Gateway]:
    try:
        routes = list(_system_routes())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        logger.debug("cannot list the routes of this machine: %s", error)
        return []
    found: dict[Gateway, None] = {}
    for route in routes[:MAX_GATEWAYS]:
        locals_ = _ipv6_of(route.interface) if ":" in route.gateway else _source_towards(route.gateway)
        found.update(dict.fromkeys(Gateway(route.gateway, local) for local in locals_))
    return list(found)


def _system_routes() -> Iterator[Route]:
    if sys.platform == "win32":
        yield from windows_routes(_output("route", "print"))
    elif sys.platform.startswith("linux"):
        for path, read in (("/proc/net/route", linux_routes), ("/proc/net/ipv6_route", linux_routes_ipv6)):
            file = Path(path)
            if file.exists():
                yield from read(file.read_text(encoding="ascii"))
    else:
        yield from netstat_routes(_output("netstat", "-rn"))


def _output(program: str, *arguments: str) -> str:
    import shutil  # noqa: PLC0415 - asked for on systems alone that have no table to read

    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        raise OSError(f"there is no {program}")
    done = subprocess.run(  # noqa: S603 - a program of the system, and no shell
        [path, *arguments], capture_output=True, check=True, timeout=COMMAND_TIMEOUT
    )
    return done.stdout.decode("ascii", "replace")


def _source_towards(gateway: str) -> list[str]:
    """Return the IPv4 address that this host has towards a router; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((gateway, DISCARD_PORT))
        except OSError:
            return []
        return [str(sock.getsockname()[0])]


def _ipv6_of(interface: str) -> list[str]:
    """Return the IPv6 addresses of an interface that reach beyond its link."""
    found = []
    for adapter in system_adapters(complaint=logging.DEBUG):
        if interface in (adapter.name, adapter.nice_name, str(adapter.index)):
            addresses = [ipaddress.IPv6Address(ip.ip[0]) for ip in adapter.ips if isinstance(ip.ip, tuple)]
            found += [str(each) for each in addresses if not (each.is_link_local or each.is_loopback)]
    return found[:MAX_LOCAL]


# What systems tell of their routes


def linux_routes(text: str) -> list[Route]:
    """Read ``/proc/net/route``, the best default route first.

    Example:
        >>> table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\\n"
        >>> linux_routes(table + "eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\\n")
        [Route(gateway='192.168.1.1', interface='eth0')]
    """
    found = []
    for line in text.splitlines()[1:]:
        interface, destination, gateway, flags, _, _, metric, mask = line.split()[:8]
        usable = int(flags, 16) & (ROUTE_UP | ROUTE_GATEWAY | ROUTE_REJECT) == ROUTE_UP | ROUTE_GATEWAY
        if usable and int(destination, 16) == 0 and int(mask, 16) == 0:
            # The kernel prints the four bytes as one number of the machine.
            host = ipaddress.IPv4Address(int(gateway, 16).to_bytes(4, sys.byteorder))
            found.append((int(metric), Route(str(host), interface)))
    return _best_first(found)


def linux_routes_ipv6(text: str) -> list[Route]:
    """Read ``/proc/net/ipv6_route``, the best default route first."""
    found = []
    for line in text.splitlines():
        destination, prefix, _, _, gateway, metric, _, _, flags, interface = line.split()
        usable = int(flags, 16) & (ROUTE_UP | ROUTE_GATEWAY | ROUTE_REJECT) == ROUTE_UP | ROUTE_GATEWAY
        if usable and int(destination, 16) == 0 and int(prefix, 16) == 0:
            host = ipaddress.IPv6Address(bytes.fromhex(gateway))
            found.append((int(metric, 16), Route(_with_zone(str(host), interface), interface)))
    return _best_first(found)


def netstat_routes(text: str) -> list[Route]:
    """Read what ``netstat -rn`` prints on macOS and the BSDs, in the system's order."""
    found: list[Route] = []
    column = NETSTAT_COLUMNS - 1
    for line in text.splitlines():
        words = line.split()
        if "Netif" in words:
            column = words.index("Netif")
        elif words[:1] == ["default"] and len(words) > column and "G" in words[2]:
            host = words[1]
            if _is_router(host):
                found.append(Route(_with_zone(host, words[column]), words[column]))
    return list(dict.fromkeys(found))


def windows_routes(text: str) -> list[Route]:
    """Read what ``route print`` prints on Windows, in whatever language, the best default route first."""
    ipv4: list[tuple[int, Route]] = []
    ipv6: list[tuple[int, Route]] = []
    lines = [line.split() for line in text.splitlines()]
    for number, words in enumerate(lines):
        if words[:2] == ["0.0.0.0", "0.0.0.0"] and len(words) > WINDOWS_COLUMNS_IPV4:  # noqa: S104 - a default route
            gateway, interface, metric = words[2:5]
            if _is_router(gateway) and metric.isdigit():
                ipv4.append((int(metric), Route(gateway, interface)))
        elif words[2:3] == ["::/0"] and words[0].isdigit() and words[1].isdigit():
            # A gateway that finds no room stands in the next line.
            rest = words[WINDOWS_COLUMNS_IPV6:] or (lines[number + 1] if number + 1 < len(lines) else [])
            if rest and _is_router(rest[0]):
                ipv6.append((int(words[1]), Route(_with_zone(rest[0], words[0]), words[0])))
    return [*_best_first(ipv4), *_best_first(ipv6)]


def _best_first(found: Iterable[tuple[int, Route]]) -> list[Route]:
    return list(dict.fromkeys(route for _, route in sorted(found, key=itemgetter(0))))


def _is_router(text: str) -> bool:
    host = text.partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a link, as of a tunnel
        return False
    return not address.is_unspecified and host != "fe80::"


def _with_zone(host: str, interface: str) -> str:
    """Return an address with its zone where it needs one."""
    if "%" in host or ":" not in host or not ipaddress.IPv6Address(host).is_link_local:
        return host
    return f"{host}%{interface}"
